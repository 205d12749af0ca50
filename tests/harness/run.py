"""`make run UPSTREAM=https://api.openai.com`: the example in front of a real provider.

The listener stays at 127.0.0.1:10000; a client's path, credentials and body pass as they are.
"""

import ipaddress
import os
import pathlib
import sys
import tempfile
import urllib.parse

from harness import envoy_program
from harness.envoy import ROOT, Config
from harness.envoy_binary import NoEnvoy

SYSTEM_ROOTS = "/etc/ssl/certs/ca-certificates.crt"
TYPE = "type.googleapis.com/"


class BadUpstream(Exception):
    """UPSTREAM is not something Envoy can be put in front of; the message says why."""


def upstream_of(text: str) -> tuple[bool, str, int]:
    """Whether to use TLS, the host, the port."""
    example = "give it like UPSTREAM=https://api.openai.com or UPSTREAM=http://127.0.0.1:8000"
    if not text:
        raise BadUpstream(f"UPSTREAM is missing: {example}")
    url = urllib.parse.urlsplit(text)
    if url.scheme not in ("http", "https"):
        raise BadUpstream(f"UPSTREAM={text}: the scheme has to be http or https; {example}")
    if not url.hostname:
        raise BadUpstream(f"UPSTREAM={text}: there is no host in it; {example}")
    try:
        port = url.port
    except ValueError:
        raise BadUpstream(f"UPSTREAM={text}: the port has to be a number up to 65535") from None
    if url.username or url.password:
        raise BadUpstream("UPSTREAM holds credentials; clients send their own in a header")
    if url.path not in ("", "/") or url.query or url.fragment:
        raise BadUpstream(f"UPSTREAM={text}: only scheme, host and port; the path is the client's")
    tls = url.scheme == "https"
    return tls, url.hostname, port or (443 if tls else 80)


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def config_for(upstream: str) -> Config:
    tls, host, port = upstream_of(upstream)
    config = Config()
    cluster = config.cluster
    cluster["type"] = "LOGICAL_DNS"
    cluster["dns_lookup_family"] = "V4_PREFERRED"
    config.upstream_address.update(address=host, port_value=port)
    for host_routes in config.manager["route_config"]["virtual_hosts"]:
        for route in host_routes["routes"]:
            # The provider must see its own name, not 127.0.0.1:10000.
            route["route"]["auto_host_rewrite"] = True
    if is_loopback(host):
        # A model of one's own machine asks for no credentials.
        config.settings["key"] = {"anonymous": "share"}
    if tls:
        cluster["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": TYPE + "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": host,
                "common_tls_context": {"validation_context": {
                    "trusted_ca": {"filename": SYSTEM_ROOTS},
                    "match_typed_subject_alt_names": [
                        {"san_type": "DNS", "matcher": {"exact": host}}],
                }},
            },
        }
        # HTTP/2 where the provider offers it, else HTTP/1.1.
        cluster["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": TYPE + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "auto_config": {"http_protocol_options": {}, "http2_protocol_options": {}},
            }}
    return config


def main(upstream: str) -> int:
    try:
        config = config_for(upstream)
        program = envoy_program.chosen()
    except (BadUpstream, NoEnvoy) as error:
        print(error, file=sys.stderr)
        return 1
    if upstream.startswith("https") and not pathlib.Path(SYSTEM_ROOTS).exists():
        print(f"{SYSTEM_ROOTS} is missing: install the package ca-certificates", file=sys.stderr)
        return 1
    with tempfile.NamedTemporaryFile("w", prefix="envoy-llm-cache-", suffix=".yaml",
                                     delete=False) as file:
        file.write(config.text())
    port = config.listener["address"]["socket_address"]["port_value"]
    print(f"{upstream} with a cache: http://127.0.0.1:{port} (configuration: {file.name})",
          flush=True)
    os.chdir(ROOT)
    command = program.command("-c", file.name, "--disable-hot-restart")
    os.execvp(command[0], command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))

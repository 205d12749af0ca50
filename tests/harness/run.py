"""`make run UPSTREAM=https://api.openai.com`: the example in front of a real provider.

The listener stays at 127.0.0.1:10000; a client's path, credentials and body pass as they are.
"""

import ipaddress
import os
import pathlib
import sys
import time
import urllib.parse

from harness import demo_page, envoy_program
from harness.envoy import Config, Envoy
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


def example_of(host: str) -> str:
    """A curl line for this provider, up to its body."""
    if host.endswith("anthropic.com"):
        return """/v1/messages \\
    -H "x-api-key: $ANTHROPIC_API_KEY" -H 'anthropic-version: 2023-06-01' \\
    -H 'content-type: application/json' -d '{"model": "claude-sonnet-4-5", "max_tokens": 99,
      "messages": [{"role": "user", "content": "Say hello"}]}'"""
    if host.endswith("googleapis.com"):
        return """/v1beta/models/gemini-2.5-flash:generateContent \\
    -H "x-goog-api-key: $GEMINI_API_KEY" -H 'content-type: application/json' \\
    -d '{"contents": [{"parts": [{"text": "Say hello"}]}]}'"""
    credential = "" if is_loopback(host) else ' -H "authorization: Bearer $OPENAI_API_KEY"'
    return f"""/v1/chat/completions{credential} \\
    -H 'content-type: application/json' \\
    -d '{{"model": "gpt-4o-mini", "messages": [{{"role": "user", "content": "Say hello"}}]}}'"""


def introduction(upstream: str, envoy: Envoy) -> str:
    """What a person needs to know of the running gateway."""
    _, host, _ = upstream_of(upstream)
    return f"""{upstream} with a cache. Ctrl-C ends it.

gateway   {envoy.url}
page      {envoy.url}/demo/
metrics   http://127.0.0.1:{envoy.admin_port}/stats/prometheus
logs      {envoy.log_path} and {envoy.access_path.name}, until it ends

  curl -i {envoy.url}{example_of(host)}
"""


def follow(envoy: Envoy) -> None:
    """Prints what the filter says in Envoy's log, until Envoy ends."""
    with envoy.log_path.open(errors="replace") as log:
        line = ""
        while envoy.process.poll() is None:
            # A line may be half written.
            while (line := line + log.readline()).endswith("\n"):
                if "llm-cache:" in line:
                    print(line.rstrip(), flush=True)
                line = ""
            time.sleep(0.2)


def main(upstream: str) -> int:
    try:
        config = config_for(upstream)
        envoy_program.chosen()
    except (BadUpstream, NoEnvoy) as error:
        print(error, file=sys.stderr)
        return 1
    if upstream.startswith("https") and not pathlib.Path(SYSTEM_ROOTS).exists():
        print(f"{SYSTEM_ROOTS} is missing: install the package ca-certificates", file=sys.stderr)
        return 1
    demo_page.serve(config, {"standin": None, "upstream": upstream})
    try:
        envoy = Envoy(config, workers=os.cpu_count() or 1)
    except AssertionError as error:
        print(error, file=sys.stderr)
        return 1
    with envoy:
        print(introduction(upstream, envoy), flush=True)
        try:
            follow(envoy)
        except KeyboardInterrupt:
            print()
            return 0
        print(envoy.log()[-2000:], file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))

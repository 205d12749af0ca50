"""Beside the LLM requests, everything else passes a gateway as if the two filters were not there.

The buffer filter holds a request until it is complete, so each example skips it for what is not
the cache's: WebSockets, streams both ways, uploads.
"""

import hashlib
import itertools
import socket
import threading

import pytest
import websockets.sync.client
import yaml
from asserts import upstream_asked
from chats import chat
from documentation import api_paths, envoy_block
from harness.envoy import EXAMPLE, WASM, Config, Envoy
from harness.http1 import Answer, Http1Connection, fetch, request_bytes
from harness.http2 import Http2Connection
from harness.http2_upstream import Http2Echo
from harness.server_process import free_port
from harness.socket_server import SocketServer
from harness.uploads import Uploads
from harness.websocket_echo import WebSocketEcho

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
FILTERS = EXAMPLE.with_name("filter.yaml")
EXAMPLES = sorted(
    path.name for path in EXAMPLE.parent.glob("*.yaml")
    if "envoy.filters.http.buffer" in path.read_text() and "apiVersion" not in path.read_text())
MEGABYTE = 1_000_000


class TcpEcho(SocketServer):
    """Sends back every byte."""

    def serve(self, accepted: socket.socket) -> None:
        with accepted:
            while data := accepted.recv(1 << 16):
                accepted.sendall(data)


class Upstreams:
    """The LLM provider, and what else stands behind the gateway. A context manager."""

    def __init__(self, standin) -> None:
        self.standin = standin
        self.others = {"websockets": WebSocketEcho(), "uploads": Uploads(),
                       "both-ways": Http2Echo(), "tunnel": TcpEcho()}

    def __enter__(self) -> "Upstreams":
        return self

    def __exit__(self, *_) -> None:
        for other in self.others.values():
            other.__exit__()

    @property
    def uploads(self) -> Uploads:
        return self.others["uploads"]


def gateway_of(example: str, upstreams: Upstreams) -> Config:
    """The example, with routes to the other upstreams: by the header `x-to`, or by CONNECT."""
    if example == FILTERS.name:
        config = Config.for_tests(upstreams.standin.port)
        config.http_filters[:-1] = yaml.safe_load(FILTERS.read_text())
        config.plugin["vm_config"]["code"]["local"]["filename"] = str(WASM)
    else:
        config = Config.for_tests(upstreams.standin.port, EXAMPLE.with_name(example))
    for listener in config.tree["static_resources"]["listeners"]:
        config.listen(0, listener["name"])
    # The shared stores are away; memory serves the hits.
    for cluster in config.tree["static_resources"]["clusters"][1:]:
        config.at(cluster["name"], free_port())
    config.manager["upgrade_configs"] = [{"upgrade_type": "websocket"}, {"upgrade_type": "CONNECT"}]
    routes = config.manager["route_config"]["virtual_hosts"][0]["routes"]
    for name, upstream in upstreams.others.items():
        config.add_cluster(name, upstream.port, http2=name == "both-ways")
        routes.insert(0, {
            "match": {"prefix": "/", "headers": [
                {"name": "x-to", "string_match": {"exact": name}}]},
            "route": {"cluster": name, "timeout": "0s"}})
    routes.insert(0, {
        "match": {"connect_matcher": {}},
        "route": {"cluster": "tunnel", "upgrade_configs": [
            {"upgrade_type": "CONNECT", "connect_config": {}}]}})
    return config


@pytest.fixture(scope="module")
def upstreams(standin):
    with Upstreams(standin) as upstreams:
        yield upstreams


@pytest.fixture(scope="module", params=EXAMPLES)
def gateway(request, upstreams):
    with Envoy(gateway_of(request.param, upstreams)) as envoy:
        yield envoy
        assert envoy.vm_failures() == []


numbers = itertools.count()


def test_every_example_for_a_plain_envoy_is_tested_here():
    assert EXAMPLES == ["envoy.yaml", "filter.yaml", "redis-cluster.yaml", "redis.yaml", "s3.yaml"]


# -- WebSockets and tunnels -----------------------------------------------------------------------

@pytest.mark.parametrize("headers", [{}, {"content-type": "application/json"}],
                         ids=["plain", "json"])
def test_a_websocket_is_open_both_ways(gateway, headers):
    """On the path on which Codex opens one."""
    with websockets.sync.client.connect(
            f"ws://127.0.0.1:{gateway.port}{RESPONSES}", proxy=None,
            additional_headers={"x-to": "websockets", "authorization": "Bearer key", **headers},
    ) as connection:
        assert connection.response.status_code == 101
        for message in ("first", b"\x00\xff", "x" * 100_000):
            connection.send(message)
            assert connection.recv() == message


def test_a_tunnel_is_open_both_ways(gateway):
    with Http1Connection(gateway.port) as connection:
        connection.send(b"CONNECT somewhere.test:443 HTTP/1.1\r\nhost: somewhere.test:443\r\n\r\n")
        assert connection.read_head().status == 200
        for message in (b"\x16\x03\x01", b"more"):
            connection.send(message)
            assert connection.take(len(message)) == message


# -- streams both ways ----------------------------------------------------------------------------

@pytest.mark.parametrize("kind", [
    "application/grpc", "application/grpc+proto", "application/grpc+json",
    "application/connect+json", "application/grpc-web+json", "application/x-ndjson",
    "application/json-seq", "application/json", "text/event-stream", None])
@pytest.mark.parametrize("path", ["/llm.v1.Chat/Completions", "/v1/elsewhere"])
def test_a_stream_is_answered_before_it_ends(gateway, kind, path):
    if kind is None or kind == "application/json":
        path = "/v1/elsewhere"
    headers = {"x-to": "both-ways", **({"content-type": kind} if kind else {})}
    with Http2Connection(gateway.port) as connection:
        stream_id = connection.open(path, headers)
        stream, sent = connection.streams[stream_id], b""
        for message in (b'{"n": 1}', b'{"n": 2}', b"x" * 40_000):
            connection.send(stream_id, message)
            sent += message
            while stream.body != sent:
                assert not stream.ending
                connection.read_events()
        connection.send(stream_id, b"", end=True)
        connection.finish(stream_id)
        assert (stream.status, stream.cache, stream.ending) == (200, None, "whole")
        assert stream.trailers == [("grpc-status", b"0")]


# -- uploads --------------------------------------------------------------------------------------

KINDS = ["multipart/form-data; boundary=b", "application/octet-stream", "text/plain",
         "application/jsonl", "application/x-ndjson"]
UPLOADS = [
    *(("POST", path, kind) for path in ("/v1/files", CHAT) for kind in KINDS),
    ("POST", "/v1/files", None),
    ("POST", "/v1/files", "application/json"),
    ("PUT", CHAT, "application/json"),
    ("PATCH", "/v1/messages", None)]
each_upload = pytest.mark.parametrize(("method", "path", "kind"), UPLOADS)


def upload_headers(kind: str | None) -> tuple[str, dict]:
    name = f"upload-{next(numbers)}"
    return name, {"x-to": "uploads", "x-upload": name, **({"content-type": kind} if kind else {})}


def raw_head(method: str, path: str, headers: dict) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: llm.test", "authorization: Bearer test-key",
             *(f"{key}: {value}" for key, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


@each_upload
@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_the_upstream_has_the_first_piece_before_the_last_is_sent(
        gateway, upstreams, method, path, kind, framing):
    name, headers = upload_headers(kind)
    first, last = b"a" * 1000, b"b" * 10
    if framing == "chunked":
        headers["transfer-encoding"] = "chunked"
    else:
        headers["content-length"] = str(len(first + last))

    def framed(data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data) if framing == "chunked" else data
    with Http1Connection(gateway.port) as connection:
        connection.send(raw_head(method, path, headers) + framed(first))
        upstreams.uploads.wait_for(name, len(first))
        connection.send(framed(last) + (framed(b"") if framing == "chunked" else b""))
        answer = connection.read_answer()
    assert (answer.status, answer.cache) == (200, None)
    assert answer.json()["bytes"] == len(first + last)


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize(("path", "kind"), [
    ("/v1/files", "multipart/form-data; boundary=b"), ("/v1/files", None),
    ("/v1/batches", "application/json"), (CHAT, "application/jsonl")])
def test_seventy_megabytes_pass(gateway, upstreams, path, kind, chunked):
    _, headers = upload_headers(kind)
    body = bytes(range(256)) * (70 * MEGABYTE // 256)
    length = {"transfer-encoding": "chunked"} if chunked else {"content-length": str(len(body))}
    framed = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body
    with Http1Connection(gateway.port) as connection:
        # Envoy reads on as the upstream does, and answers at the end.
        sending = threading.Thread(daemon=True, target=connection.send, args=[
            raw_head("POST", path, {**headers, **length}) + framed])
        sending.start()
        answer = connection.read_answer()
        sending.join()
    assert (answer.status, answer.cache) == (200, None)
    assert answer.json() == {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}


# -- LLM requests ---------------------------------------------------------------------------------

PATHS = [
    *api_paths(), f"{CHAT}/", f"{CHAT}?api-version=1", "/openai/deployments/GPT/Chat/Completions",
    "/v1beta/models/m:streamGenerateContent?alt=sse", "/v1/a/gateway/workers-ai/@cf/meta/llama"]


def asked(gateway: Envoy) -> tuple[int, int]:
    """How often Envoy has begun to ask the provider, or to wait for a connection to it."""
    prefix = "cluster.upstream.upstream_rq_"
    stats = gateway.stats(prefix)
    return stats[f"{prefix}total"], stats[f"{prefix}pending_total"]


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON ; charset=utf-8", None])
@pytest.mark.parametrize("path", PATHS)
def test_a_request_that_the_cache_answers_never_asks_the_provider(gateway, path, kind):
    headers = {"cache-control": "only-if-cached", "content-length": "500",
               **({"content-type": kind} if kind else {})}
    before = asked(gateway)
    with Http1Connection(gateway.port) as connection:
        connection.send(raw_head("POST", path, headers))
        gateway.wait_until(lambda: gateway.stat("http.llm.downstream_rq_active") == 1, "its head")
        connection.send(b'{"messages": []}'.ljust(500))
        assert connection.read_answer().status == 504
    assert asked(gateway) == before


@pytest.mark.parametrize("kind", ["application/json", None])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("size", [0, 2 * MEGABYTE, 15 * MEGABYTE])
def test_a_prompt_is_a_miss_and_then_a_hit(gateway, standin, prompt, size, chunked, kind):
    body = chat(prompt(), stream=size == 0, padding="p" * size)
    answers = [ask_model(gateway, body, chunked, kind)]
    before = asked(gateway)
    with upstream_asked(standin, 0):
        answers.append(ask_model(gateway, body, chunked, kind))
    assert asked(gateway) == before
    assert [answer.cache for answer in answers] == ["MISS", "HIT"]
    assert answers[0].body == answers[1].body


def ask_model(gateway: Envoy, body: dict, chunked: bool, kind: str | None) -> Answer:
    request = request_bytes("POST", CHAT, body, standin="pace=0", chunked=chunked)
    if kind is None:
        request = request.replace(b"content-type: application/json\r\n", b"")
    with Http1Connection(gateway.port) as connection:
        connection.send(request)
        return connection.read_answer()


def test_a_prompt_of_any_length_that_is_told_passes(gateway, standin, prompt):
    body = chat(prompt(), padding="p" * (70 * MEGABYTE))
    for _ in range(2):
        with upstream_asked(standin, 1):
            answer = fetch(gateway.port, body)
        assert (answer.status, answer.cache) == (200, "BYPASS")
        assert "detail=request_too_large" in answer.header("cache-status")


# -- what docs/configuration.md says of the matcher -----------------------------------------------

# What Envoy answers where a filter holds more than the listener's limit, and a router waits.
HELD_TOO_LONG = (413, 503)


@pytest.fixture(scope="module")
def plain(upstreams):
    with Envoy(gateway_of("envoy.yaml", upstreams)) as envoy:
        yield envoy


def test_a_prompt_of_another_json_type_hits_and_asks_in_vain(plain, prompt):
    kind = {"content-type": "application/x.chat+json"}
    body = chat(prompt())
    assert fetch(plain.port, body, headers=kind).cache == "MISS"
    before = asked(plain)
    assert fetch(plain.port, body, headers=kind).cache == "HIT"
    assert asked(plain) > before
    long = chat(prompt(), padding="p" * (2 * MEGABYTE))
    assert fetch(plain.port, long, headers=kind).status in HELD_TOO_LONG


@pytest.mark.parametrize("is_added", [False, True], ids=["as-it-is", "added"])
def test_the_path_of_a_rule_is_to_be_added_to_the_matcher(upstreams, standin, prompt, is_added):
    answer = standin.put_fixture("asked", b'{"answer": 42}') + ";type=application/json"
    config = gateway_of("envoy.yaml", upstreams)
    config.configure({"rules": [{"match": {"path": "/ask"}, "api": "json"}]})
    text = config.text()
    if is_added:
        config.tree = yaml.safe_load(text.replace("/(completions|", "/(ask|completions|"))
        assert config.text() != text
    long = {"question": prompt(), "padding": "p" * (2 * MEGABYTE)}
    with Envoy(config) as envoy:
        body = {"question": prompt()}
        assert fetch(envoy.port, body, "/ask", standin=answer).cache == "MISS"
        before = asked(envoy)
        assert fetch(envoy.port, body, "/ask", standin=answer).cache == "HIT"
        assert (asked(envoy) == before) == is_added
        long = fetch(envoy.port, long, "/ask", standin=answer)
        assert (long.status in HELD_TOO_LONG) != is_added


def test_a_route_can_turn_the_buffer_filter_off(upstreams, prompt):
    config = gateway_of("envoy.yaml", upstreams)
    config.manager["route_config"]["virtual_hosts"][0]["routes"][-1].update(
        envoy_block("configuration.md", "typed_per_filter_config"))
    body = chat(prompt())
    with Envoy(config) as envoy:
        assert fetch(envoy.port, body).cache == "MISS"
        before = asked(envoy)
        assert fetch(envoy.port, body).cache == "HIT"
        assert asked(envoy) > before

"""What takes no part passes as if the filter were not there."""

import pytest
from asserts import upstream_asked, without_serial
from chats import chat
from harness.http1 import Http1Connection, fetch, request_bytes

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(("method", "path", "headers", "body"), [
    ("GET", CHAT, {}, None),
    ("GET", "/v1/models", {}, None),
    ("GET", CHAT, {}, b"{}"),
    ("PUT", CHAT, {}, b"{}"),
    ("DELETE", CHAT, {}, None),
    ("POST", "/v1/unknown", {}, b"{}"),
    ("POST", "/v1/chat/completions/x", {}, b"{}"),
    ("POST", "/v1/chat/xcompletions", {}, b"{}"),
    ("POST", CHAT, {"content-type": "application/x-www-form-urlencoded"}, b"a=b"),
    ("POST", CHAT, {"content-type": "multipart/form-data; boundary=b"}, b"--b--"),
    ("POST", CHAT, {"content-type": "text/plain"}, b"{}"),
    ("POST", CHAT, {"range": "bytes=0-3"}, b"{}"),
    ("POST", CHAT, {"content-type": "application/grpc"}, b"\0\0\0\0\0"),
])
def test_it_passes_with_no_header_added(envoy, bare, standin, method, path, headers, body):
    with upstream_asked(standin, 3):
        answers = []
        for port in (bare.port, envoy.port, envoy.port):
            answer = fetch(port, body, path, method, headers=headers)
            answers.append((answer, standin.stats()["serial"]))
    for answer, _ in answers:
        assert answer.status == 200
        assert answer.cache is None
        assert answer.header("cache-status") is None
    without, first, second = (without_serial(*answer) for answer in answers)
    assert without == first == second


def test_json_content_types_take_part_whatever_their_parameters(envoy, prompt):
    body = chat(prompt())
    for kind in ("application/json; charset=utf-8", "Application/JSON"):
        answer = fetch(envoy.port, body, headers={"content-type": kind})
        assert answer.cache in ("MISS", "HIT")


def test_an_upgrade_is_left_alone(envoy, bare):
    results = []
    for port in (bare.port, envoy.port):
        answer = fetch(port, b"{}", headers={"connection": "upgrade", "upgrade": "websocket"})
        results.append((answer.status, answer.body))
        assert answer.cache is None
    assert results[0] == results[1]


def test_a_head_request_is_left_alone(envoy, bare):
    for port in (bare.port, envoy.port):
        with Http1Connection(port) as connection:
            connection.send(request_bytes("HEAD", "/v1/models"))
            answer = connection.read_head()
            assert (answer.status, answer.cache) == (200, None)

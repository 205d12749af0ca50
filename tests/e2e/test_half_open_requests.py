"""Requests that begin and do not end: what is kept of them is bounded, and nobody notices."""

import contextlib

import pytest
from asserts import vm_survives
from chats import chat
from harness.envoy import Envoy
from harness.http1 import Http1Connection, fetch, request_bytes
from harness.http2_frames import FIELD_BYTES, TABLE_BYTES, Http2Frames

MIB = 1 << 20
STREAMS = 18_000
# Envoy allows so many at once on a connection, unless told otherwise.
PER_CONNECTION = 1_000
# As often as Envoy's limit of 60 KiB for the headers of a request allows.
TIMES = 15
REQUEST = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/v1/chat/completions"),
           (b":authority", b"llm.test"), (b"content-type", b"application/json")]
KEY = (b"authorization", b"Bearer test-key")
ANOTHER = {"authorization": "Bearer another-key"}


def huge(name: bytes) -> tuple[bytes, bytes]:
    """The longest field of that name that fits into a peer's table."""
    return name, b"v" * (TABLE_BYTES - FIELD_BYTES - len(name) - 150)


@contextlib.contextmanager
def half_open(envoy: Envoy, fields, repeated=None, times=0, streams=STREAMS):
    """So many requests that have begun, on as many connections as it needs."""
    with contextlib.ExitStack() as opened:
        connections = []
        for _ in range(streams // PER_CONNECTION):
            connection = opened.enter_context(Http2Frames(envoy.port))
            connection.begin(PER_CONNECTION, fields, repeated, times)
            connection.settle()
            connections.append(connection)
        yield connections


def bypassed(envoy: Envoy) -> int:
    counter = "llm_cache_requests_total.result.bypass.reason.capture_limit"
    return envoy.cache_counters().get(counter, 0)


def caches(envoy: Envoy, question: str, headers: dict[str, str]) -> list[str | None]:
    return [fetch(envoy.port, chat(question), headers=headers).cache for _ in range(2)]


@pytest.mark.parametrize("name", [b"x-pad", KEY[0]], ids=["decides-nothing", "decides"])
def test_three_megabytes_of_references_to_a_huge_header_leave_the_vm_alive(
        envoys, prompt, name):
    """18,000 requests, 157 bytes or less each, have 58 KB of headers decoded."""
    fields = REQUEST if name == KEY[0] else [*REQUEST, KEY]
    with (Envoy(envoys.config({})) as envoy, vm_survives(envoy),
          Http1Connection(envoy.port) as other):
        body = chat(prompt())
        headers = {"authorization": "Bearer test-key"}
        whole = request_bytes("POST", "/v1/chat/completions", body, headers=headers)
        # One that began before all others, and ends after them.
        other.send(whole[:-10])
        with half_open(envoy, fields, huge(name), TIMES) as connections:
            assert sum(connection.sent for connection in connections) < 3 * MIB
            # Their caller has its share of the budget, and others find what it had to leave.
            assert bypassed(envoy) > 0
            answers = [fetch(envoy.port, chat(prompt()), headers=ANOTHER) for _ in range(3)]
            assert [(answer.status, answer.cache) for answer in answers] == [(200, "MISS")] * 3
            assert caches(envoy, prompt(), ANOTHER) == ["MISS", "HIT"]
            other.send(whole[-10:])
            answer = other.read_answer()
            assert (answer.status, answer.cache, answer.ending) == (200, "MISS", "whole")
        # What they held is there for others again.
        envoy.wait_until(lambda: caches(envoy, prompt(), headers) == ["MISS", "HIT"], "room")

"""Hits and what comes after them on the same connection, over HTTP/1.1 and HTTP/2."""

import contextlib
import json

import pytest
from asserts import upstream_asked, vm_survives
from chats import chat
from harness.http1 import Answer, Broken, Http1Connection, fetch, request_bytes
from harness.http2 import Http2Connection

PATH = "/v1/chat/completions"


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_a_hit_leaves_the_connection_open_for_the_next_request(envoy, standin, prompt, stream):
    known, new = chat(prompt(), stream), chat(prompt(), stream)
    with Http1Connection(envoy.port) as connection:
        miss = connection.ask(known, standin="pace=0")
        hit = connection.ask(known)
        other = connection.ask(new, standin="pace=0")
        get = connection.request("GET", "/v1/models")
        again = connection.ask(known)
    assert [answer.cache for answer in (miss, hit, other, get, again)] == [
        "MISS", "HIT", "MISS", None, "HIT"]
    assert miss.body == hit.body == again.body != other.body


def test_a_chunked_request_is_read_to_its_end_before_a_hit_answers_it(envoy, prompt):
    """Bytes of a body that were left unread would be taken for the next request."""
    body = chat(prompt(), padding="x" * 200_000)
    with Http1Connection(envoy.port) as connection:
        answers = [connection.ask(body, chunked=chunked) for chunked in (True, True, False, True)]
    assert [answer.cache for answer in answers] == ["MISS", "HIT", "HIT", "HIT"]
    assert len({answer.body for answer in answers}) == 1


def pipelined(port: int, requests: list[bytes]) -> list[Answer]:
    """Sends all at once; returns the answers that came until the end of the connection."""
    answers = []
    with Http1Connection(port) as connection:
        connection.send(b"".join(requests))
        with contextlib.suppress(Broken):
            for _ in requests:
                answers.append(connection.read_answer())
    return answers


@pytest.mark.parametrize("order", ["HH", "HM", "MH", "HG", "GH", "MM", "MGM", "GMMG"])
def test_pipelined_requests_are_answered_in_their_order(envoy, standin, prompt, order):
    """H is a question whose answer is stored, M a new one, G a GET that takes no part."""
    requests, expected = [], []
    for kind in order:
        question = prompt()
        if kind == "G":
            requests.append(request_bytes("GET", f"/v1/models?{len(requests)}"))
            expected.append((None, f"models?{len(expected)}"))
            continue
        body = chat(question, stream=kind == "H", stop=[question])
        if kind == "H":
            fetch(envoy.port, body, standin="pace=0")
        requests.append(request_bytes("POST", PATH, body))
        expected.append(("HIT" if kind == "H" else "MISS", question))
    with upstream_asked(standin, len(order) - order.count("H")):
        answers = pipelined(envoy.port, requests)
    assert [answer.cache for answer in answers] == [cache for cache, _ in expected]
    for answer, (cache, text) in zip(answers, expected, strict=True):
        said = answer.body if cache != "HIT" else spoken(answer.body)
        assert text.encode() in said


def spoken(stream: bytes) -> bytes:
    """The text of a stream of chat events."""
    events = [json.loads(line[6:]) for line in stream.split(b"\n\n")
              if line.startswith(b"data: {")]
    return "".join(choice["delta"].get("content") or "" for event in events
                   for choice in event["choices"]).encode()


def test_a_client_that_always_has_two_requests_on_the_way_is_served_for_ever(envoy, prompt):
    known = [chat(prompt(), stream) for stream in (False, True)]
    stored = [fetch(envoy.port, body, standin="pace=0").body for body in known]
    with Http1Connection(envoy.port) as connection:
        connection.send(request_bytes("POST", PATH, known[0]))
        for number in range(1, 200):
            connection.send(request_bytes("POST", PATH, known[number % 2]))
            hit = connection.read_answer()
            assert (hit.cache, hit.body) == ("HIT", stored[(number - 1) % 2])


def test_more_hits_in_one_packet_than_envoy_queues_end_as_its_own_answers_do(
        envoys, envoy, prompt):
    """Envoy ends a connection on which more than two answers wait to be written.

    That is its protection against floods (`Too many responses queued`), for every answer that it
    makes itself. What was answered until then has to be right; a client sends the rest again.
    """
    config = envoys.config().without("envoy_llm_cache")
    config.manager["route_config"]["virtual_hosts"][0]["routes"].insert(0, {
        "match": {"path": "/own"}, "direct_response": {
            "status": 200, "body": {"inline_string": "own"}}})
    own = pipelined(envoys.shared(config).port, 5 * [request_bytes("GET", "/own")])
    body = chat(prompt())
    stored = fetch(envoy.port, body).body
    hits = pipelined(envoy.port, 5 * [request_bytes("POST", PATH, body)])
    assert len(hits) == len(own) >= 2
    assert {(hit.cache, hit.body) for hit in hits} == {("HIT", stored)}
    assert fetch(envoy.port, body).cache == "HIT"


def test_a_pipelined_request_behind_a_slow_miss_waits_for_its_turn(envoy, standin, prompt):
    known, slow, step = chat(prompt()), chat(prompt(), True), f"slow {prompt()}"
    stored = fetch(envoy.port, known).body
    with Http1Connection(envoy.port) as connection:
        connection.send(request_bytes("POST", PATH, slow, standin=f"step={step}")
                        + request_bytes("POST", PATH, known))
        first = connection.read_head()
        connection.read_chunk()
        standin.release(step, 1_000)
        connection.read_body(first)
        second = connection.read_answer()
    assert (first.cache, second.cache, second.body) == ("MISS", "HIT", stored)


def test_many_streams_of_one_http2_connection_are_answered_each_with_its_own(
        envoy, standin, prompt):
    known = [chat(prompt(), number % 2 == 0) for number in range(10)]
    stored = [fetch(envoy.port, body, standin="pace=0").body for body in known]
    new = [chat(prompt(), number % 2 == 0) for number in range(10)]
    with vm_survives(envoy), Http2Connection(envoy.port) as connection:
        with upstream_asked(standin, 10):
            ids = [connection.start(body, standin="pace=1") for pair in zip(known, new, strict=True)
                   for body in pair]
            streams = [connection.finish(stream_id) for stream_id in ids]
        assert {stream.status for stream in streams} == {200}
        assert [stream.cache for stream in streams] == 10 * ["HIT", "MISS"]
        assert [stream.body for stream in streams[::2]] == stored
        for body, miss in zip(new, streams[1::2], strict=True):
            hit = connection.ask(body)
            assert (hit.cache, hit.body) == ("HIT", miss.body)


def test_an_http2_hit_overtakes_a_miss_that_is_still_running(envoy, standin, prompt):
    known, step = chat(prompt()), f"running {prompt()}"
    stored = fetch(envoy.port, known).body
    with Http2Connection(envoy.port) as connection:
        running = connection.start(chat(prompt(), True), standin=f"step={step}")
        while not connection.streams[running].body:
            connection.read_events()
        hit = connection.ask(known)
        assert (hit.cache, hit.body) == ("HIT", stored)
        assert connection.streams[running].ending == ""
        standin.release(step, 1_000)
        assert connection.finish(running).body.endswith(b"data: [DONE]\n\n")


def test_what_http1_stored_http2_gets_and_the_other_way_round(envoy, prompt):
    one, two = chat(prompt(), True), chat(prompt(), False)
    with Http2Connection(envoy.port) as connection:
        stored = fetch(envoy.port, one, standin="pace=0")
        hit = connection.ask(one)
        assert (hit.cache, hit.body) == ("HIT", stored.body)
        stored = connection.ask(two)
        assert stored.cache == "MISS"
    hit = fetch(envoy.port, two)
    assert (hit.cache, hit.body) == ("HIT", stored.body)


def test_a_client_that_asks_to_close_gets_its_hit_and_then_the_end(envoy, prompt):
    body = chat(prompt())
    fetch(envoy.port, body)
    with Http1Connection(envoy.port) as connection:
        assert connection.ask(body, headers={"connection": "close"}).cache == "HIT"
        assert connection.is_closed_by_peer()

"""Answers of an upstream that speaks HTTP/2, which may tell of an error after the whole body."""

import json

import pytest
from asserts import vm_survives
from chats import chat
from h2.errors import ErrorCodes
from harness.http2 import Http2Connection
from harness.http2_upstream import Http2Answer, Http2Upstream

CHOICE = {"index": 0, "finish_reason": "stop"}
SAID = {"role": "assistant", "content": "Hi"}
BODIES = {
    "json": ("application/json",
             json.dumps({"id": "c-1", "choices": [{**CHOICE, "message": SAID}]}).encode()),
    "stream": ("text/event-stream", b"data: %b\n\ndata: [DONE]\n\n" % json.dumps(
        {"id": "c-1", "choices": [{**CHOICE, "delta": SAID}]}).encode()),
}


@pytest.fixture(scope="module")
def upstream():
    with Http2Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def envoy(envoys, upstream):
    return envoys.shared(envoys.config().at("upstream", upstream.port).with_http2_upstream())


def asked_twice(envoy, upstream, question, **ending) -> tuple[list, int, set[str]]:
    """How two requests go, how many of them reach the upstream, and why none was stored."""
    kind, body = BODIES["stream" if question["stream"] else "json"]
    upstream.answer = Http2Answer(kind, body, **ending)
    reasons = "llm_cache_answers_total.result.not_stored.reason."
    asked, before = upstream.asked, envoy.cache_counters()
    with vm_survives(envoy), Http2Connection(envoy.port) as connection:
        answers = [connection.ask(question) for _ in range(2)]
    assert all(answer.body == body for answer in answers)
    after = envoy.cache_counters()
    refused = {name.removeprefix(reasons) for name in after
               if name.startswith(reasons) and after[name] > before.get(name, 0)}
    return answers, upstream.asked - asked, refused


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("trailers", [
    [], [("grpc-status", "0")], [("grpc-status", "0"), ("grpc-message", "")],
    [("server-timing", "total;dur=1")]], ids=["none", "grpc-ok", "grpc-ok-message", "timing"])
def test_an_answer_that_ends_well_is_stored(envoy, upstream, prompt, stream, trailers):
    answers, asked, refused = asked_twice(
        envoy, upstream, chat(prompt(), stream), trailers=trailers)
    assert [(answer.cache, answer.ending) for answer in answers] == [
        ("MISS", "whole"), ("HIT", "whole")]
    assert answers[0].trailers == [(name, value.encode()) for name, value in trailers]
    assert (asked, refused) == (1, set())


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("trailers", [
    [("grpc-status", "14"), ("grpc-message", "upstream reset")],
    [("grpc-status", "4")], [("grpc-status", "0"), ("x-stream-error", "reset")],
    [("x-error", "1")]], ids=["unavailable", "deadline", "beside-ok", "of-its-own"])
def test_an_answer_whose_trailers_tell_of_an_error_passes_and_is_not_stored(
        envoy, upstream, prompt, stream, trailers):
    answers, asked, refused = asked_twice(
        envoy, upstream, chat(prompt(), stream), trailers=trailers)
    for answer in answers:
        assert (answer.cache, answer.ending) == ("MISS", "whole")
        assert answer.trailers == [(name, value.encode()) for name, value in trailers]
    assert (asked, refused) == (2, {"trailers"})


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("code", [ErrorCodes.INTERNAL_ERROR, ErrorCodes.CANCEL,
                                  ErrorCodes.NO_ERROR], ids=lambda code: code.name)
def test_an_answer_that_is_reset_after_its_body_is_not_stored(
        envoy, upstream, prompt, stream, code):
    """It is the upstream that breaks off, whatever end marker has come: no client has hung up."""
    answers, asked, refused = asked_twice(envoy, upstream, chat(prompt(), stream), reset=code)
    assert [(answer.cache, answer.ending) for answer in answers] == [("MISS", "reset")] * 2
    assert (asked, refused) == (2, {"aborted"})

"""Clients that hang up once nothing follows that they would miss, as official clients do.

The stand-in falls silent where the client hangs up, so that what is stored, if anything, is stored
because of what came before: the end of the stream never comes.
"""

import base64
import dataclasses
import json

import pytest
from answers import (
    DONE,
    Pair,
    chat_text,
    cohere_text,
    completions_text,
    data,
    gemini_text,
    messages_text,
    ollama_chat_text,
    ollama_generate,
    responses_text,
    spelled,
)
from asserts import upstream_asked
from harness import aws_events, codings
from harness.http1 import Http1Connection, fetch, request_bytes


@dataclasses.dataclass
class Case:
    """A stream up to its end marker, and a request that it answers."""

    path: str
    body: dict
    kind: str
    stream: bytes
    marker: bytes
    # What an upstream may send behind it, which says nothing.
    rest: bytes = b""

    def ask(self, prompt: str) -> bytes:
        return json.dumps(self.body).replace("PROMPT", prompt).encode()


def of(pair: Pair, marker_begins: bytes, rest: bytes = b"") -> Case:
    stream = pair.stream.removesuffix(rest)
    marker = stream[stream.rindex(marker_begins):]
    return Case(pair.path(True), pair.body("PROMPT", True), pair.stream_type, stream, marker, rest)


def gemini_array() -> Case:
    case = of(gemini_text(), b"data: ")
    elements = case.stream.removeprefix(b"data: ").strip().split(b"\r\n\r\ndata: ")
    stream = b"[" + b"\n,\n".join(elements) + b"\n]"
    return dataclasses.replace(case, path="/v1beta/models/stand-in:streamGenerateContent",
                               kind="application/json", stream=stream, marker=b"]", rest=b"\n")


def cohere_v1() -> Case:
    lines = [{"event_type": "stream-start", "is_finished": False, "generation_id": "hand"},
             {"event_type": "text-generation", "is_finished": False, "text": "Grüße"},
             {"event_type": "stream-end", "is_finished": True, "finish_reason": "COMPLETE",
              "response": {"text": "Grüße", "generation_id": "hand", "finish_reason": "COMPLETE"}}]
    lines = [spelled(line) + b"\n" for line in lines]
    return Case("/v1/chat", {"model": "stand-in", "message": "PROMPT", "stream": True},
                "application/stream+json", b"".join(lines), lines[-1])


def bedrock_converse() -> Case:
    messages = [aws_events.message(*event) for event in (
        ("messageStart", {"role": "assistant"}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Grüße"}}),
        ("contentBlockStop", {"contentBlockIndex": 0}),
        ("messageStop", {"stopReason": "end_turn"}),
        ("metadata", {"usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5},
                      "metrics": {"latencyMs": 275}}))]
    question = {"messages": [{"role": "user", "content": [{"text": "PROMPT"}]}]}
    return Case("/model/stand-in/converse-stream", question, "application/vnd.amazon.eventstream",
                b"".join(messages), messages[-1])


def bedrock_invoke() -> Case:
    """Anthropic's events, which end as Anthropic's own stream does."""
    events = [line.removeprefix(b"data: ") for line in messages_text().stream.split(b"\n")
              if line.startswith(b"data: ")]
    messages = [aws_events.message("chunk", {"bytes": base64.b64encode(event).decode()})
                for event in events]
    question = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 400,
                "messages": [{"role": "user", "content": "PROMPT"}]}
    return Case("/model/anthropic.stand-in/invoke-with-response-stream", question,
                "application/vnd.amazon.eventstream", b"".join(messages), messages[-1])


def workers_ai() -> Case:
    stream = data({"response": "Grü"}, {"response": "ße"},
                  {"response": "", "finish_reason": "stop", "usage": {"total_tokens": 5}}) + DONE
    return Case("/client/v4/accounts/a/ai/run/@cf/stand-in", {"prompt": "PROMPT", "stream": True},
                "text/event-stream", stream, DONE)


CASES = {
    "openai-chat": of(chat_text(), b"data: [DONE]"),
    "openai-completions": of(completions_text(), b"data: [DONE]"),
    "openai-responses": of(responses_text(), b"event: response.completed"),
    "anthropic-messages": of(messages_text(), b"event: message_stop"),
    "gemini-events": of(gemini_text(), b"data: "),
    "gemini-array": gemini_array(),
    "ollama-chat": of(ollama_chat_text(), b"{"),
    "ollama-generate": of(ollama_generate(), b"{"),
    "cohere-v1": cohere_v1(),
    "cohere-v2": of(cohere_text(), b"event: message-end", rest=DONE),
    "bedrock-converse": bedrock_converse(),
    "bedrock-invoke": bedrock_invoke(),
    "workers-ai": workers_ai(),
}


def hang_up(envoy, standin, case: Case, question: bytes, came: bytes,
            accepts: str = "identity") -> None:
    """Reads an answer as far as it comes, and closes while the upstream has not ended it."""
    aborted = standin.stats()["aborted"]
    fixture = standin.put_fixture("left", came + case.rest + b"never sent")
    with Http1Connection(envoy.port) as connection:
        connection.send(request_bytes(
            "POST", case.path, question, headers={"accept-encoding": accepts},
            standin=f"{fixture};type={case.kind};chunked;stall={len(came)}"))
        assert connection.read_head().cache == "MISS"
        assert connection.read_bytes(len(came)) == came
    standin.wait_for(lambda stats: stats["aborted"] == aborted + 1, "the end of its client")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_client_that_hangs_up_at_the_end_marker_leaves_a_whole_answer(
        envoy, standin, prompt, case):
    question = case.ask(prompt())
    hang_up(envoy, standin, case, question, case.stream)
    with upstream_asked(standin, 0):
        hit = fetch(envoy.port, question, path=case.path)
    assert (hit.cache, hit.body) == ("HIT", case.stream)
    assert hit.header("content-type") == case.kind


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_client_that_hangs_up_just_before_the_end_marker_leaves_nothing(
        envoy, standin, prompt, case):
    """Before its first byte, and before its last: a line's end, a checksum's. Where that is CR LF,
    the line has ended at the CR."""
    fixture = standin.put_fixture("whole", case.stream + case.rest)
    whole = f"{fixture};type={case.kind};chunked"
    for missing in (len(case.marker), 2 if case.marker.endswith(b"\r\n") else 1):
        question = case.ask(prompt())
        hang_up(envoy, standin, case, question, case.stream[:-missing])
        again = [fetch(envoy.port, question, path=case.path, standin=whole) for _ in range(2)]
        assert [answer.cache for answer in again] == ["MISS", "HIT"]


GEMINI_CANDIDATE = {"content": {"parts": [{"text": "Grüße"}]}}
GEMINI_FINISHED = {**GEMINI_CANDIDATE, "finishReason": "STOP"}


@pytest.mark.parametrize("came", [
    # Older models say so in every chunk, so that none of them is known to be the last.
    data({"candidates": [GEMINI_FINISHED], "usageMetadata": {"totalTokenCount": 3}},
         {"candidates": [GEMINI_FINISHED], "usageMetadata": {"totalTokenCount": 6}}),
    # Others report the usage in a chunk of its own.
    data({"candidates": [GEMINI_CANDIDATE]}, {"candidates": [GEMINI_FINISHED]}),
], ids=["always-stop", "usage-to-come"])
def test_a_client_that_hangs_up_on_a_gemini_stream_of_unknown_end_leaves_nothing(
        envoy, standin, prompt, came):
    case = CASES["gemini-events"]
    question = case.ask(prompt())
    hang_up(envoy, standin, case, question, came)
    assert fetch(envoy.port, question, path=case.path).cache == "MISS"


# -- compressed streams ---------------------------------------------------------------------------

CODINGS = ["gzip", "deflate", "zstd"]


def in_coding(case: Case, coding: str, pieces: list[bytes], come: int) -> tuple[Case, bytes]:
    """The case in a coding that is flushed after each piece, and as much of it as comes."""
    body = b"".join(codings.coded(coding, pieces))
    kind = f"{case.kind};header=content-encoding:{coding}"
    return dataclasses.replace(case, kind=kind, rest=body[come:]), body[:come]


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("name", ["openai-chat", "cohere-v2", "bedrock-converse", "ollama-chat"])
def test_a_client_that_hangs_up_before_the_coding_ends_leaves_a_plain_answer(
        envoy, standin, prompt, coding, name):
    """The end marker has been flushed, and nothing else has: not how the coding tells its end, or
    all of that but its last byte."""
    case = CASES[name]
    pieces = codings.coded(coding, [case.stream])
    whole = sum(map(len, pieces))
    for come in (whole - len(pieces[-1]), whole - 1):
        question = case.ask(prompt())
        coded, came = in_coding(case, coding, [case.stream], come)
        hang_up(envoy, standin, coded, question, came, accepts=coding)
        with upstream_asked(standin, 0):
            for accepts in ({"accept-encoding": coding}, {}):
                hit = fetch(envoy.port, question, path=case.path, headers=accepts)
                assert (hit.cache, hit.body) == ("HIT", case.stream)
                assert hit.header("content-encoding") is None
                assert hit.header("content-length") == str(len(case.stream))
                assert hit.header("content-type") == case.kind


@pytest.mark.parametrize("coding", CODINGS)
def test_a_client_that_hangs_up_before_the_end_marker_of_a_compressed_stream_leaves_nothing(
        envoy, standin, prompt, coding):
    case = CASES["openai-chat"]
    before = case.stream.removesuffix(case.marker)
    *pieces, _marker, _end = codings.coded(coding, [before, case.marker])
    question, come = case.ask(prompt()), sum(map(len, pieces))
    coded, came = in_coding(case, coding, [before, case.marker], come)
    hang_up(envoy, standin, coded, question, came, accepts=coding)
    assert fetch(envoy.port, question, path=case.path).cache == "MISS"


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("ending", ["clean_cut", "cut", "reset"])
def test_a_coding_that_the_upstream_cuts_is_not_stored(envoy, standin, prompt, coding, ending):
    """Though the end marker can be read: the client waits for more, and gets none."""
    case = CASES["openai-chat"]
    *pieces, end = codings.coded(coding, [case.stream])
    body, come = b"".join([*pieces, end]), sum(map(len, pieces))
    fixture = standin.put_fixture("cut-coding", body)
    whole = f"{fixture};type={case.kind};header=content-encoding:{coding};chunked"
    question, accepts = case.ask(prompt()), {"accept-encoding": coding}
    answers = [fetch(envoy.port, question, path=case.path, headers=accepts, standin=told)
               for told in (f"{whole};{ending}={come}", whole, whole)]
    assert [answer.cache for answer in answers] == ["MISS", "MISS", "HIT"]
    assert body[:come].startswith(answers[0].body)
    assert answers[1].body == answers[2].body == body

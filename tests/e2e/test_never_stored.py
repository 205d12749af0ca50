"""An answer that is not provably whole and good is never stored, and passes as it came."""

import concurrent.futures
import json
import re

import pytest
from asserts import seen, upstream_asked, vm_survives
from chats import chat
from harness.http1 import Http1Connection, fetch, request_bytes
from harness.http2 import Http2Connection

# Of our own writing: two choices of words, non-ASCII, a comment, a usage event, CRLF now and then.
STREAM = (
    'data: {"id":"c-1","choices":[{"index":0,"delta":{"role":"assistant","content":""},'
    '"finish_reason":null}]}\n\n'
    ": keep-alive\n\n"
    'data: {"id":"c-1","choices":[{"index":0,"delta":{"content":"Grüße, 世界"},'
    '"finish_reason":null}]}\r\n\r\n'
    'data: {"id":"c-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    'data: {"id":"c-1","choices":[],"usage":{"total_tokens":9}}\n\n'
    "data: [DONE]\n\n").encode()
SMALL_RECORDED = [
    "openai-chat/complex_agent_run_in_flow.sse",
    "mistral-chat/vercel_mistral_tool_call.sse",
    "mistral-chat/vercel_mistral_incremental_tool_call.sse",
]


def closing_at_once(config):
    """Envoy ends a broken HTTP/1.1 answer by closing, after a second for the client to close first.

    With thousands of broken answers that second is what a test would take.
    """
    config.manager["delayed_close_timeout"] = "0.001s"
    return config


@pytest.fixture
def envoy(envoys, workers):
    return envoys.shared(closing_at_once(envoys.config()), workers)


@pytest.fixture
def bare(envoys):
    return envoys.bare(closing_at_once(envoys.config()))


def lacks_nothing(body: bytes, offset: int) -> bool:
    """Whether nothing that means anything stands behind `offset`: the line end after [DONE], or all
    of [DONE] where every choice is finished and the usage has come."""
    got, rest = body[:offset], body[offset:].strip(b"\r\n")
    return not rest or (rest == b"data: [DONE]" and b'"usage"' in got
                       and got.endswith((b"\n\n", b"\r\n\r\n")))


def cut_everywhere(envoy, bare, fixture: str, body: bytes, ending: str, prompt) -> None:
    """Cuts the answer after each of its bytes but the last, and asks again."""
    kind = "type=text/event-stream"

    def at(offset: int) -> None:
        question = chat(prompt(), stream=True)
        standin = f"{fixture};{kind};{ending % offset};pace=0"
        cut = fetch(envoy.port, question, standin=standin)
        without = fetch(bare.port, question, standin=standin)
        assert cut.cache == "MISS"
        assert (cut.status, cut.ending) == (without.status, without.ending), offset
        # Bytes that came together with the end may be lost on the way, with or without a filter.
        assert body.startswith(cut.body), offset
        if cut.ending == "whole":
            assert len(cut.body) == offset
        again = fetch(envoy.port, question, standin=f"{fixture};{kind}")
        is_whole = cut.ending == "whole" and lacks_nothing(body, offset)
        expected = ("HIT", body[:offset]) if is_whole else ("MISS", body)
        assert (again.cache, again.body) == expected, \
            f"cut at {offset} of {len(body)}: {body[:offset][-40:]!r}"

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for done in [pool.submit(at, offset) for offset in range(len(body))]:
            done.result()


@pytest.mark.parametrize("ending", ["cut=%d", "clean_cut=%d", "close;cut=%d", "length_only;cut=%d"])
def test_a_stream_cut_at_any_byte_is_never_stored(envoy, bare, standin, prompt, ending):
    with vm_survives(envoy):
        cut_everywhere(envoy, bare, standin.put_fixture("stream", STREAM), STREAM, ending, prompt)


@pytest.mark.parametrize("name", SMALL_RECORDED)
@pytest.mark.parametrize("ending", ["cut=%d", "clean_cut=%d"])
def test_a_recorded_stream_cut_at_any_byte_is_never_stored(
        envoy, bare, recorded, prompt, name, ending):
    with vm_survives(envoy):
        cut_everywhere(envoy, bare, f"fixture={name}", (recorded / name).read_bytes(), ending,
                       prompt)


def test_a_whole_answer_cut_at_any_byte_is_never_stored(envoy, standin, prompt):
    body = (b'{"id":"c-2","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},'
            b'"finish_reason":"stop"}]}')
    fixture = standin.put_fixture("answer", body) + ";type=application/json"

    def at(offset: int, ending: str) -> None:
        question = chat(prompt())
        cut = fetch(envoy.port, question, standin=f"{fixture};{ending}={offset}")
        assert body.startswith(cut.body)
        again = fetch(envoy.port, question, standin=fixture)
        assert (again.cache, again.body) == ("MISS", body), (ending, offset)

    with vm_survives(envoy), concurrent.futures.ThreadPoolExecutor(16) as pool:
        for done in [pool.submit(at, offset, ending) for offset in range(len(body))
                     for ending in ("cut", "chunked;clean_cut", "close;cut")]:
            done.result()


@pytest.mark.parametrize("ending", ["cut=%d", "clean_cut=%d", "reset=%d", "close;cut=%d",
                                    "length_only;cut=%d"])
@pytest.mark.parametrize("offset", [0, 1, 90, 300, len(STREAM) - 1])
def test_a_broken_stream_reaches_the_client_exactly_as_without_the_filter(
        envoy, bare, standin, prompt, ending, offset):
    """The stand-in breaks off only once the client has every byte, so that none can get lost."""
    fixture = standin.put_fixture("stream", STREAM)

    def broken(port: int) -> tuple:
        step = f"break {prompt()}"
        with Http1Connection(port) as connection:
            connection.send(request_bytes(
                "POST", "/v1/chat/completions", question,
                standin=f"{fixture};type=text/event-stream;{ending % offset};step={step}"))
            answer = connection.read_head()
            got = (connection.read_bytes(offset) if answer.header("transfer-encoding")
                   else connection.take(offset))
            standin.release(step, 10)
            rest = connection.read_chunk() if answer.header("transfer-encoding") else None
            # None: the body ended without its last chunk.
            return seen(answer), got, rest, rest == b"" or connection.end

    question = chat(prompt(), stream=True)
    assert broken(envoy.port) == broken(bare.port)
    ends_well = ending in ("clean_cut=%d", "close;cut=%d") and lacks_nothing(STREAM, offset)
    expected = "HIT" if ends_well else "MISS"
    assert fetch(envoy.port, question, standin="pace=0").cache == expected


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("directive", [
    "err=400", "err=401", "err=404", "err=429", "err=500", "err=503", "err=529", "err=200",
    "err=429;header=retry-after:7"])
def test_an_error_is_never_stored_and_passes_as_it_came(
        envoy, bare, standin, prompt, directive, stream):
    question = chat(prompt(), stream)
    fixture = standin.put_fixture("error", b'{"error": {"message": "no"}}')
    directive = f"{directive};{fixture};type=application/json" if "=200" in directive else directive
    with upstream_asked(standin, 2):
        first = fetch(envoy.port, question, standin=directive)
        second = fetch(envoy.port, question, standin=directive)
    assert (first.cache, second.cache) == ("MISS", "MISS")
    without = fetch(bare.port, question, standin=directive)

    def same(answer):
        status, reason, headers, body, trailers, ending = seen(answer)
        return status, reason, headers, re.sub(rb"\d{6}", b"", body), trailers, ending
    assert same(first) == same(second) == same(without)
    assert fetch(envoy.port, question, standin="pace=0").cache == "MISS"
    assert fetch(envoy.port, question).cache == "HIT"


@pytest.mark.parametrize("directive", [
    "err=event", "err=named_event", "err=200", "no_done", "no_finish", "finish=length",
    "finish=content_filter", "finish=abort", "finish=error", "empty",
    "type=text/html", "type=application/json", "status=201", "status=206", "die"])
def test_a_stream_that_is_not_a_valid_answer_is_never_stored(envoy, standin, prompt, directive):
    question = chat(prompt(), stream=True)
    with upstream_asked(standin, 2):
        first = fetch(envoy.port, question, standin=f"{directive};pace=0")
        second = fetch(envoy.port, question, standin="pace=0")
    assert (first.cache, second.cache) == ("MISS", "MISS")


@pytest.mark.parametrize("directive", [
    "err=200", "finish=length", "finish=content_filter", "finish=unheard_of", "empty",
    "type=text/plain", "status=202", "die"])
def test_a_complete_answer_that_is_not_valid_is_never_stored(envoy, standin, prompt, directive):
    question = chat(prompt())
    with upstream_asked(standin, 2):
        first = fetch(envoy.port, question, standin=directive)
        second = fetch(envoy.port, question)
    assert (first.cache, second.cache) == ("MISS", "MISS")


@pytest.mark.parametrize("name", [
    "derived/openai_cut_before_finish.sse", "derived/openai_cut_inside_utf8.sse",
    "derived/openai_error_then_done.sse",
    "derived/openai_missing_done_after_finish.sse", "derived/vllm_abort_then_done.sse",
    "openrouter-chat/openrouter_stream_error.sse", "groq-chat/tool_use_failed_error_streaming.sse",
    "openai-chat/tools_streaming_variant_a.sse",
    "vllm-chat/trace_propagation_stream_ChatOpenAI.sse"])
def test_a_recorded_stream_that_is_broken_is_never_stored(single, recorded, prompt, name):
    question = chat(prompt(), stream=True)
    first = fetch(single.port, question, standin=f"fixture={name}")
    assert first.body == (recorded / name).read_bytes()
    assert fetch(single.port, question, standin=f"fixture={name}").cache == "MISS"


@pytest.mark.parametrize("name", [
    "openai-chat/vision_1.json", "azure-chat/chat_content_filtering.json",
    "openrouter-chat/openrouter_errors_raised.json", "openai-chat/chat_unknown_model.json"])
def test_a_recorded_answer_that_is_not_valid_is_never_stored(single, recorded, prompt, name):
    question = chat(prompt())
    for _ in range(2):
        answer = fetch(single.port, question, standin=f"fixture={name}")
        assert (answer.cache, answer.body) == ("MISS", (recorded / name).read_bytes())


@pytest.mark.parametrize(("directive", "stream"), [
    ("type=text/plain", True), ("no_finish", False)])
def test_what_providers_leave_out_of_whole_answers_does_not_keep_them_out(
        envoy, standin, prompt, directive, stream):
    """A stream of text without a type, and a document with usage that says no finish."""
    question = chat(prompt(), stream)
    with upstream_asked(standin, 1):
        first = fetch(envoy.port, question, standin=f"{directive};pace=0")
        again = fetch(envoy.port, question)
    assert (first.cache, again.cache, again.body) == ("MISS", "HIT", first.body)


def outcomes(envoy, standin, question, body: bytes, more: str = "") -> list[str]:
    """How two requests go that get this stream: the second is a hit, or says why the first one's
    answer was not stored."""
    reasons = "llm_cache_answers_total.result.not_stored.reason."
    before = envoy.cache_counters()
    fixture = f"{standin.put_fixture('judged', body)};type=text/event-stream{more}"
    first, second = (fetch(envoy.port, question, standin=fixture) for _ in range(2))
    assert first.body == second.body == body
    after = envoy.cache_counters()
    refused = [name.removeprefix(reasons) for name in after
               if name.startswith(reasons) and after[name] > before.get(name, 0)]
    return [first.cache, second.cache, *refused]


def chunk(finish: str | None = None, **more) -> bytes:
    choice = {"index": 0, "delta": {"content": "Hi"}, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "c-1", "choices": [choice], **more}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


@pytest.mark.parametrize(("last", "expected"), [
    (chunk("stop", usage=USAGE), ["MISS", "HIT"]),
    # As vLLM and others report it where it is asked for.
    (chunk("stop") + b'data: {"choices":[],"usage":{"total_tokens":9}}\n\n', ["MISS", "HIT"]),
    (chunk("stop"), ["MISS", "MISS", "unmarked_end"]),
    # Usage that comes with every chunk tells of no end.
    (chunk(usage=USAGE), ["MISS", "MISS", "unmarked_end"]),
    (chunk("stop", usage=USAGE) + chunk(), ["MISS", "MISS", "unmarked_end"]),
], ids=["with-finish", "after-finish", "without", "without-finish", "before-the-end"])
def test_usage_with_the_last_finish_is_as_good_an_end_as_the_marker(
        single, standin, prompt, last, expected):
    """Perplexity and Cerebras never send `[DONE]`."""
    question = chat(prompt(), stream=True)
    assert outcomes(single, standin, question, chunk() + last) == expected


@pytest.mark.parametrize(("text", "expected"), [
    (": keep-alive\n\n", ["MISS", "HIT"]),
    ("event: error\n\n", ["MISS", "MISS", "error_in_answer"]),
    ("id: 1\n\n", ["MISS", "MISS", "no_data"]),
    ("retry: 3000\n\n", ["MISS", "MISS", "no_data"]),
    ("event: message\n\n", ["MISS", "MISS", "no_data"]),
])
def test_an_event_without_data_keeps_a_stream_from_being_stored(
        single, standin, prompt, text, expected):
    """OpenAI's clients raise on it."""
    stream = chunk() + text.encode() + chunk("stop") + DONE
    assert outcomes(single, standin, chat(prompt(), stream=True), stream) == expected


@pytest.mark.parametrize("error", [
    {"detail": "Internal Server Error"}, {"code": 500, "message": "no healthy upstream"},
    {"errors": [{"message": "failed"}]}, {"message": "The server is overloaded"},
    {"object": "error", "message": "aborted"}], ids=lambda error: "-".join(error))
def test_an_error_of_any_shape_instead_of_a_chunk_keeps_a_stream_from_being_stored(
        single, standin, prompt, error):
    stream = b"%bdata: %b\n\n%b%b" % (chunk(), json.dumps(error).encode(), chunk("stop"), DONE)
    question = chat(prompt(), stream=True)
    assert outcomes(single, standin, question, stream) == ["MISS", "MISS", "error_in_answer"]


def test_a_part_of_an_answer_is_not_stored_whatever_its_status(single, standin, prompt):
    question, stream = chat(prompt(), stream=True), chunk("stop") + DONE
    part = f";header=content-range:bytes 0-{len(stream) - 1}/900"
    assert outcomes(single, standin, question, stream, part) == ["MISS", "MISS", "content_range"]
    assert outcomes(single, standin, question, stream) == ["MISS", "HIT"]


def test_a_finish_word_that_the_configuration_knows_makes_an_answer_complete(
        envoys, single, standin, prompt):
    stream = chunk("natural_end") + DONE
    question = chat(prompt(), stream=True)
    assert outcomes(single, standin, question, stream) == ["MISS", "MISS", "unknown_finish"]
    for meaning, expected in [("complete", ["MISS", "HIT"]),
                              ("length", ["MISS", "MISS", "finish_length"])]:
        envoy = envoys.configured({"store_if": {"finish_words": {meaning: ["natural_end"]}}})
        assert outcomes(envoy, standin, question, stream) == expected


def test_a_client_that_goes_away_mid_stream_leaves_nothing_stored(envoy, standin, prompt):
    question = chat(prompt(), stream=True)
    for pieces in (1, 4):
        step = f"gone {prompt()}"
        aborted = standin.stats()["aborted"]
        with Http1Connection(envoy.port) as connection:
            connection.send(request_bytes("POST", "/v1/chat/completions", question,
                                          standin=f"step={step}"))
            assert connection.read_head().cache == "MISS"
            for _ in range(pieces):
                connection.read_chunk()
                standin.release(step)
        standin.wait_for(lambda stats: stats["aborted"] == aborted + 1,  # noqa: B023 - used at once
                         "the end of the client it was answering")
    assert fetch(envoy.port, question, standin="pace=0").cache == "MISS"


def test_an_http2_client_that_resets_its_stream_leaves_nothing_stored(envoy, standin, prompt):
    question, step = chat(prompt(), stream=True), f"reset {prompt()}"
    aborted = standin.stats()["aborted"]
    with Http2Connection(envoy.port) as connection:
        stream_id = connection.start(question, standin=f"step={step}")
        while not connection.streams[stream_id].body:
            connection.read_events()
        connection.reset_stream(stream_id)
        standin.wait_for(lambda stats: stats["aborted"] == aborted + 1, "the end of the stream")
        # The connection goes on, and what comes next on it is not mixed up with what was reset.
        again = connection.ask(question, standin="pace=0")
        assert (again.status, again.cache) == (200, "MISS")
        hit = connection.ask(question)
        assert (hit.cache, hit.body) == ("HIT", again.body)


def test_an_upstream_that_falls_silent_and_is_given_up_leaves_nothing_stored(
        envoys, standin, prompt):
    config = envoys.config()
    config.manager["stream_idle_timeout"] = "0.3s"
    with_filter = envoys.shared(config)
    config = envoys.config()
    config.manager["stream_idle_timeout"] = "0.3s"
    bare = envoys.bare(config)
    question = chat(prompt(), stream=True)
    silent = fetch(with_filter.port, question, standin="stall=200;pace=0")
    without = fetch(bare.port, question, standin="stall=200;pace=0")
    assert (silent.status, silent.ending, len(silent.body)) == (
        without.status, without.ending, len(without.body))
    assert silent.ending != "whole"
    assert fetch(with_filter.port, question, standin="pace=0").cache == "MISS"


def test_no_upstream_at_all_looks_as_it_does_without_the_filter(envoys, prompt):
    def nowhere():
        config = envoys.config()
        config.upstream_address["port_value"] = 1
        return config
    with_filter, bare = envoys.shared(nowhere()), envoys.bare(nowhere())
    question = chat(prompt())
    answers = [fetch(with_filter.port, question) for _ in range(2)]
    without = fetch(bare.port, question)
    assert [answer.cache for answer in answers] == ["MISS", "MISS"]
    assert seen(answers[0]) == seen(answers[1]) == seen(without)


def test_an_answer_over_the_size_limits_passes_whole_and_is_not_stored(envoys, prompt):
    envoy = envoys.configured({"limits": {"max_response_bytes": "64KiB"}})
    for stream in (False, True):
        question = chat(prompt(), stream)
        answers = [fetch(envoy.port, question, standin="size=100000;pace=0") for _ in range(2)]
        assert [answer.cache for answer in answers] == ["MISS", "MISS"]
        assert all(answer.status == 200 and len(answer.body) > 100_000 for answer in answers)
    small = envoys.configured({"store": {"memory": {"max_entry_bytes": "4KiB"}}})
    question = chat(prompt())
    answers = [fetch(small.port, question, standin="size=9000") for _ in range(2)]
    assert [answer.cache for answer in answers] == ["MISS", "MISS"]
    reason = "llm_cache_answers_total.result.not_stored.reason."
    assert small.cache_counters()[reason + "entry_too_large"] == 2
    assert envoy.cache_counters()[reason + "response_too_large"] == 4


def test_captures_of_one_worker_are_bounded_together(envoys, standin, prompt):
    """Two streams of one caller do not fit into its half at once; the second passes unstored while
    the first is captured."""
    envoy = envoys.configured({"limits": {"max_capture_bytes": "64KiB"}})
    first, second = chat(prompt(), True), chat(prompt(), True)
    piece = {"choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}]}
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    events = [*(json.dumps(piece) for _ in range(200)), json.dumps(last), "[DONE]"]
    stream = "".join(f"data: {event}\n\n" for event in events).encode()
    fixture = f"{standin.put_fixture('two-at-once', stream)};type=text/event-stream;pace=0"
    step = f"captured {prompt()}"
    with Http1Connection(envoy.port) as connection:
        connection.send(request_bytes("POST", "/v1/chat/completions", first,
                                      standin=f"{fixture};split=15000;step={step}"))
        connection.read_head()
        connection.read_bytes(15_000)
        other = fetch(envoy.port, second, standin=fixture)
        assert (other.status, other.ending) == (200, "whole")
        standin.release(step, 100)
        while connection.read_chunk():
            pass
    assert fetch(envoy.port, first).cache == "HIT"
    assert fetch(envoy.port, second, standin=fixture).cache == "MISS"
    # What the first one held was given back.
    assert fetch(envoy.port, second).cache == "HIT"


@pytest.mark.parametrize(("store_if", "directive"), [
    ({"finish": ["complete", "length"]}, "finish=length"),
    ({"finish": ["complete", "filtered"]}, "finish=content_filter"),
    ({"empty": True}, "empty"),
    ({"unmarked_end": True}, "no_done"),
    ({"unmarked_end": True}, "no_finish"),
])
def test_what_is_not_stored_unless_asked_for_is_stored_when_asked_for(
        envoys, prompt, store_if, directive):
    envoy = envoys.configured({"store_if": store_if})
    question = chat(prompt(), stream=True)
    answers = [fetch(envoy.port, question, standin=f"{directive};pace=0") for _ in range(2)]
    assert [answer.cache for answer in answers] == ["MISS", "HIT"]
    assert answers[0].body == answers[1].body


def test_streams_are_not_stored_when_streams_are_turned_off(envoys, prompt):
    envoy = envoys.configured({"store_if": {"streams": False}})
    streaming, whole = chat(prompt(), True), chat(prompt(), False)
    assert [fetch(envoy.port, streaming, standin="pace=0").cache for _ in range(2)] == [
        "MISS", "MISS"]
    assert [fetch(envoy.port, whole).cache for _ in range(2)] == ["MISS", "HIT"]


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_of_another_model_is_stored_unless_the_configuration_wants_the_same_one(
        envoys, standin, prompt, stream):
    choice = {"index": 0, "finish_reason": "stop",
              ("delta" if stream else "message"): {"role": "assistant", "content": "Hi"}}

    def asked_twice(config: dict, model: str) -> list[str]:
        answer = json.dumps({"id": "c-1", "model": model, "choices": [choice]})
        body = f"data: {answer}\n\ndata: [DONE]\n\n" if stream else answer
        kind = "text/event-stream" if stream else "application/json"
        fixture = f"{standin.put_fixture('of-a-model', body.encode())};type={kind};pace=0"
        envoy, question = envoys.configured(config), chat(prompt(), stream, model="gpt-4o")
        return [fetch(envoy.port, question, standin=fixture).cache for _ in range(2)]

    same = {"store_if": {"same_model": True}}
    assert asked_twice(same, "gpt-4o-2024-08-06") == ["MISS", "HIT"]
    assert asked_twice(same, "gpt-4o-mini") == ["MISS", "MISS"]
    assert asked_twice({}, "gpt-4o-mini") == ["MISS", "HIT"]


def test_a_response_header_that_the_configuration_names_keeps_an_answer_out(envoys, prompt):
    envoy = envoys.configured({"store_if": {"unless_header": {"content-type": "application/*"}}})
    whole, streaming = chat(prompt(), False), chat(prompt(), True)
    assert [fetch(envoy.port, whole).cache for _ in range(2)] == ["MISS", "MISS"]
    assert [fetch(envoy.port, streaming, standin="pace=0").cache for _ in range(2)] == [
        "MISS", "HIT"]

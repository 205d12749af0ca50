"""The first answer comes from the upstream, the second from the cache, with the same bytes."""

import gzip
import json

import pytest
from asserts import upstream_asked
from chats import chat
from harness.http1 import Http1Connection, fetch

RECORDED_STREAMS = [
    "openai-chat/chat_streaming.sse",
    "openai-chat/completion_stream_multiple_choices_exclude_usage.sse",
    "openai-chat/complex_agent_run_in_flow.sse",
    "openai-chat/tools_streaming_variant_d_1.sse",
    "azure-chat/chat_streaming.sse",
    "deepseek-chat/deepseek_model_thinking_stream.sse",
    "mistral-chat/mistral_model_thinking_part_iter.sse",
    "openrouter-chat/openrouter_stream_with_native_options.sse",
    "derived/openai_cr_only.sse",
    "derived/openai_crlf.sse",
]
RECORDED_ANSWERS = [
    "azure-chat/chat.json",
    "deepseek-chat/vercel_deepseek_tool_call.json",
    "openai-chat/open_ai_function_calls.json",
    "openrouter-chat/openrouter_tool_calling.json",
]


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_the_second_of_two_equal_requests_is_a_hit_with_the_same_bytes(
        envoy, standin, prompt, stream):
    body = chat(prompt(), stream)
    miss = fetch(envoy.port, body, standin="pace=0")
    with upstream_asked(standin, 0):
        hit = fetch(envoy.port, body)
    assert (miss.status, miss.cache, miss.ending) == (200, "MISS", "whole")
    assert (hit.status, hit.cache, hit.ending) == (200, "HIT", "whole")
    assert hit.body == miss.body
    assert miss.header("cache-status") == "envoy-llm-cache; fwd=uri-miss"
    assert hit.header("cache-status").startswith("envoy-llm-cache; hit; ttl=")
    assert hit.header("cache-status").endswith("; detail=memory")
    assert int(hit.header("age")) >= 0
    assert miss.header("age") is None
    assert hit.header("content-type") == miss.header("content-type")
    assert hit.header("content-length") == str(len(hit.body))


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_other_questions_get_answers_of_their_own(envoy, prompt, stream):
    one, two = chat(prompt(), stream), chat(prompt(), stream)
    first, second = (fetch(envoy.port, body, standin="pace=0") for body in (one, two))
    assert first.body != second.body
    assert fetch(envoy.port, one).body == first.body
    assert fetch(envoy.port, two).body == second.body


@pytest.mark.parametrize("name", RECORDED_STREAMS + RECORDED_ANSWERS)
def test_a_recorded_answer_is_replayed_byte_for_byte(single, recorded, prompt, name):
    stream = name.endswith(".sse")
    body = chat(prompt(), stream)
    miss = fetch(single.port, body, standin=f"fixture={name};split=97;pace=0")
    hit = fetch(single.port, body)
    assert (miss.cache, hit.cache) == ("MISS", "HIT")
    assert miss.body == (recorded / name).read_bytes()
    assert hit.body == miss.body


def test_an_answer_with_several_choices_is_replayed(single, prompt):
    for stream in (False, True):
        body = chat(prompt(), stream, n=3)
        miss, hit = (fetch(single.port, body, standin="pace=0") for _ in range(2))
        assert (miss.cache, hit.cache) == ("MISS", "HIT")
        assert hit.body == miss.body


def test_an_answer_larger_than_one_slots_fair_share_is_replayed(single, prompt):
    body = chat(prompt())
    miss, hit = (fetch(single.port, body, standin="size=900000") for _ in range(2))
    assert (miss.cache, hit.cache) == ("MISS", "HIT")
    assert len(hit.body) > 900_000
    assert hit.body == miss.body


def test_what_one_worker_stored_every_worker_serves(envoys, standin, prompt):
    envoy = envoys.shared(envoys.config(), workers=4)
    body = chat(prompt(), stream=True)
    miss = fetch(envoy.port, body, standin="pace=0")
    pattern = "listener.*worker_.*downstream_cx_total"
    before = envoy.stats(pattern)
    with upstream_asked(standin, 0):
        for _ in range(60):
            hit = fetch(envoy.port, body)
            assert (hit.cache, hit.body) == ("HIT", miss.body)
    busy = [name for name, count in envoy.stats(pattern).items() if count > before[name]]
    assert len(busy) == 4, "connections have to land on every worker for this to show anything"


@pytest.mark.parametrize("stream", [False, True], ids=["json-first", "stream-first"])
def test_one_answer_is_replayed_in_either_form(single, standin, prompt, stream):
    text = prompt()
    usage = {"stream_options": {"include_usage": True}}
    bodies = {False: chat(text), True: chat(text, True, **usage)}
    miss = fetch(single.port, bodies[stream], standin="pace=0")
    with upstream_asked(standin, 0):
        same, other = (fetch(single.port, bodies[form]) for form in (stream, not stream))
    assert [answer.cache for answer in (miss, same, other)] == ["MISS", "HIT", "HIT"]
    assert same.body == miss.body
    answers = {stream: same, not stream: other}
    assert answers[False].header("content-type") == "application/json"
    assert answers[True].header("content-type") == "text/event-stream; charset=utf-8"
    message = answers[False].json()["choices"][0]["message"]
    assert message["content"].endswith(f"to: {text}")
    chunks = [json.loads(event.removeprefix(b"data: "))
              for event in answers[True].body.removesuffix(b"\n\n").split(b"\n\n")[:-1]]
    said = [choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]]
    assert "".join(said) == message["content"]
    assert {chunk["id"] for chunk in chunks} == {answers[False].json()["id"]}
    assert chunks[-1]["usage"] == answers[False].json()["usage"]


def test_the_access_log_tells_a_hit_by_its_response_code_details(single, prompt):
    body = chat(prompt())
    before = len(single.log_lines())
    with Http1Connection(single.port) as connection:
        assert [connection.ask(body).cache for _ in range(2)] == ["MISS", "HIT"]

    single.wait_until(lambda: len(single.log_lines()) == before + 2, "both lines of the access log")
    miss, hit = single.log_lines()[before:]
    assert (miss["x_cache"], miss["details"]) == ("MISS", "via_upstream")
    assert miss["cache_status"] == "envoy-llm-cache; fwd=uri-miss"
    assert (hit["x_cache"], hit["details"]) == ("HIT", "llm_cache_hit")
    assert hit["cache_status"].startswith("envoy-llm-cache; hit; ttl=")


def test_only_harmless_headers_of_the_stored_answer_are_replayed(single, prompt):
    body = chat(prompt())
    standin = ("header=set-cookie:session=1;header=openai-processing-ms:12;"
               "header=x-ratelimit-remaining-requests:3;header=openai-version:2020-10-01;"
               "header=x-request-id:abc;header=cf-ray:123")
    miss = fetch(single.port, body, standin=standin)
    hit = fetch(single.port, body)
    assert (miss.cache, hit.cache) == ("MISS", "HIT")
    assert miss.header("set-cookie") == "session=1"
    assert miss.header("x-ratelimit-remaining-requests") == "3"
    for name in ("set-cookie", "x-request-id", "x-ratelimit-remaining-requests", "cf-ray",
                 "transfer-encoding", "connection"):
        assert hit.header(name) is None, name


def test_a_stream_asks_proxies_in_front_not_to_hold_it_back(single, envoys, prompt):
    body = chat(prompt(), stream=True)
    for cache in ("MISS", "HIT"):
        answer = fetch(single.port, body, standin="pace=0")
        assert (answer.cache, answer.header("x-accel-buffering")) == (cache, "no")
    assert fetch(single.port, chat(prompt())).header("x-accel-buffering") is None
    quiet = envoys.configured({"respond": {"anti_buffering": False}})
    for _ in range(2):
        assert fetch(quiet.port, body, standin="pace=0").header("x-accel-buffering") is None


def test_the_key_is_shown_only_when_asked_for(single, envoys, prompt):
    body = chat(prompt())
    assert fetch(single.port, body).header("x-cache-key") is None
    open_ = envoys.configured({"respond": {"expose_key": True}})
    keys = {fetch(open_.port, body).header("x-cache-key") for _ in range(2)}
    assert len(keys) == 1
    key = keys.pop()
    assert len(key) == 64
    assert set(key) <= set("0123456789abcdef")


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_a_compressed_answer_is_replayed_as_it_came_to_clients_that_accept_it(
        single, standin, prompt, stream):
    text = prompt()
    body = chat(text, stream)
    miss = fetch(single.port, body, standin="gzip;pace=0")
    assert (miss.cache, miss.header("content-encoding")) == ("MISS", "gzip")
    with upstream_asked(standin, 0):
        willing = fetch(single.port, body, headers={"accept-encoding": "br;q=0.5, gzip"})
        unable = fetch(single.port, body, headers={"accept-encoding": "identity"})
    assert (willing.cache, willing.header("content-encoding")) == ("HIT", "gzip")
    assert willing.body == miss.body
    assert (unable.cache, unable.header("content-encoding")) == ("HIT", None)
    assert unable.body == gzip.decompress(miss.body)


def test_an_answer_in_a_content_coding_that_cannot_be_read_passes_and_is_not_stored(
        single, prompt):
    body = chat(prompt())
    for _ in range(2):
        answer = fetch(single.port, body, standin="header=content-encoding:br")
        assert (answer.cache, answer.header("content-encoding")) == ("MISS", "br")

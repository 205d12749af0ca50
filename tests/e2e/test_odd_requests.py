"""Requests that are odd, huge or broken are served as without the filter, and its VM lives on."""

import contextlib
import json

import pytest
from asserts import seen, upstream_asked, vm_survives, without_serial
from chats import chat
from harness.http1 import Broken, Http1Connection, fetch, request_bytes
from harness.http2 import Http2Connection

PATH = "/v1/chat/completions"


@pytest.fixture
def alive(envoy, prompt):
    """After the test, no VM has died and the cache still works on every worker."""
    with vm_survives(envoy):
        yield
        body = chat(prompt())
        first = fetch(envoy.port, body)
        assert (first.status, first.cache) == (200, "MISS")
        for _ in range(8 * envoy.workers):
            assert fetch(envoy.port, body).cache == "HIT"


def compare(envoy, bare, provider, *arguments, **named):
    """Sends the same bytes through both, compares all that can be seen, returns the filter's."""
    data = request_bytes(*arguments, **named)
    results = []
    for port in (bare.port, envoy.port):
        with Http1Connection(port) as connection:
            connection.send(data)
            try:
                answer = connection.read_answer()
            except Broken as error:
                results.append((f"no answer: {error}", None, None))
                continue
        stats = provider.stats()
        upstream = stats["last"] and {
            key: value for key, value in stats["last"].items() if key != "headers"}
        headers = sorted(header for header in (stats["last"] or {}).get("headers", [])
                         if header[0] != "x-request-id")
        results.append((without_serial(answer, stats["serial"]), (upstream, headers), answer))
    assert results[0][:2] == results[1][:2]
    return results[1][2]


def test_header_values_that_are_not_utf8(envoy, bare, standin, prompt, alive):
    raw = [b"x-binary: \xff\xfe\xe9", b"authorization: Bearer \xc3\x28", b"user-agent: \x80",
           b"openai-organization: \xe9", b"cache-control: \xff", b"x-llm-cache-ttl: \xff"]
    for count in range(1, len(raw) + 1):
        answer = compare(envoy, bare, standin, "POST", PATH, chat(prompt()),
                         raw_headers=raw[:count])
        assert answer.status == 200


def test_response_headers_that_are_not_utf8(envoy, bare, standin, prompt, alive):
    for stream in (False, True):
        body = chat(prompt(), stream)
        answer = compare(envoy, bare, standin, "POST", PATH, body,
                         standin="binary_header;pace=0")
        assert (answer.cache, answer.header("x-binary")) == ("MISS", "caf\xe9 \xff\xfe")
        hit = fetch(envoy.port, body)
        assert (hit.cache, hit.body) == ("HIT", answer.body)


def test_odd_headers_and_large_prompts_over_http2(envoy, prompt, alive):
    body = chat(prompt())
    with Http2Connection(envoy.port) as connection:
        for secret in (b"Bearer \xff", b"Bearer \xfe"):
            answers = [connection.ask(body, headers={"authorization": secret, "x-odd": b"\xc3"})
                       for _ in range(2)]
            assert [answer.cache for answer in answers] == ["MISS", "HIT"]
        large = connection.ask(chat(prompt(), padding="p" * 20_000_000))
        assert (large.status, large.cache, large.ending) == (200, "BYPASS", "whole")
        empty = connection.ask(b"")
        assert (empty.status, empty.ending) == (200, "whole")


def test_a_credential_that_is_not_utf8_is_a_tenant_of_its_own(envoy, prompt, alive):
    body = chat(prompt())
    answers = [fetch(envoy.port, body, raw_headers=[b"authorization: Bearer " + secret])
               for secret in (b"\xff", b"\xfe", b"\xff")]
    assert [answer.cache for answer in answers] == ["MISS", "MISS", "HIT"]


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_json_nested_ten_thousand_deep(envoy, bare, standin, prompt, alive, opening):
    closing = "]" if opening == "[" else "}"
    deep = opening * 10_000 + "1" + closing * 10_000
    body = json.dumps(chat(prompt()))[:-1] + f', "deep": {deep}}}'
    answer = compare(envoy, bare, standin, "POST", PATH, body.encode())
    assert answer.status == 200
    alone = compare(envoy, bare, standin, "POST", PATH, deep.encode())
    assert alone.status == 200
    unclosed = compare(envoy, bare, standin, "POST", PATH, (opening * 10_000).encode())
    assert unclosed.status == 200


def test_a_deeply_nested_answer_passes(envoy, bare, standin, prompt, alive):
    deep = b'{"choices":' + b"[" * 10_000 + b"]" * 10_000 + b"}"
    fixture = standin.put_fixture("deep", deep) + ";type=application/json"
    answer = compare(envoy, bare, standin, "POST", PATH, chat(prompt()), standin=fixture)
    assert answer.body == deep
    stream = standin.put_fixture("deep-stream", b"data: " + deep + b"\n\ndata: [DONE]\n\n")
    answer = compare(envoy, bare, standin, "POST", PATH, chat(prompt(), True), standin=stream)
    assert deep in answer.body


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_prompt_of_fifty_megabytes(envoy, bare, standin, prompt, alive, chunked):
    body = chat(prompt(), padding="p" * 50_000_000)
    answer = compare(envoy, bare, standin, "POST", PATH, body, chunked=chunked)
    assert (answer.status, answer.cache) == (200, "BYPASS")
    assert "detail=request_too_large" in answer.header("cache-status")
    assert standin.last()["body_bytes"] > 50_000_000


def test_the_longest_prompt_that_can_be_configured_in_the_worst_spelling(envoys, prompt):
    """A line feed as an escape is two bytes in the body, and six in its canonical form."""
    envoy = envoys.configured({"limits": {"max_request_bytes": "32MiB"}})
    start, end = json.dumps(chat(prompt(), padding="@")).encode().split(b"@")
    body = start + b"\\n" * ((32 << 20) // 2 - len(start) - len(end)) + end
    with vm_survives(envoy):
        assert [fetch(envoy.port, body).cache for _ in range(2)] == ["MISS", "HIT"]


def test_a_prompt_right_at_the_limit_is_cached_and_one_byte_more_is_not(envoy, prompt, alive):
    def of(size: int) -> bytes:
        body = json.dumps(chat(prompt(), padding="")).encode()
        return body.replace(b'"padding": ""', b'"padding": "%b"' % (b"p" * (size - len(body))))
    limit = 16 << 20
    for chunked in (False, True):
        fits, over = of(limit), of(limit + 1)
        assert (len(fits), len(over)) == (limit, limit + 1)
        assert [fetch(envoy.port, fits, chunked=chunked).cache for _ in range(2)] == ["MISS", "HIT"]
        assert [fetch(envoy.port, over, chunked=chunked).cache for _ in range(2)] == [
            "BYPASS", "BYPASS"]


def test_a_prompt_over_what_envoy_allows_is_refused_as_without_the_filter(
        envoy, bare, standin, prompt, alive):
    body = chat(prompt(), padding="p" * (65 << 20))
    refused = []
    for port in (bare.port, envoy.port):
        with Http1Connection(port) as connection:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.send(request_bytes("POST", PATH, body, chunked=True))
            answer = connection.read_answer()
            refused.append((answer.status, answer.body))
    assert refused[0] == refused[1]
    assert refused[0][0] == 413


@pytest.mark.parametrize("body", [
    b"", b" ", b"{", b"null", b"[]", b"0", b'"text"', b"\xff\xfe\x00", b"{}", b'{"stream":1}',
    b'{"stream":true,"stream":false}', b'{"model":"\xff"}', b'\xef\xbb\xbf{}', b"{}{}",
    b'{"messages":1e999999}', b'{"n":-0}', b'{"a":"\\ud800"}'])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_bodies_that_are_no_chat_at_all(envoy, bare, standin, alive, body, chunked):
    # no-cache, so that an answer stored for the same odd body does not stand in for the upstream's.
    for _ in range(2):
        answer = compare(envoy, bare, standin, "POST", PATH, body, chunked=chunked,
                         headers={"cache-control": "no-cache"})
        assert answer.status == 200


def test_a_body_with_a_member_twice_is_keyed_by_its_bytes(envoy, prompt, alive):
    text = json.dumps(chat(prompt()))[:-1]
    bodies = [f'{text}, "seed": 1, "seed": 2}}', f'{text}, "seed": 2, "seed": 1}}',
              f'{text}, "seed": 1,  "seed": 2}}']
    for body in bodies:
        assert fetch(envoy.port, body.encode()).cache == "MISS"
    for body in bodies:
        assert fetch(envoy.port, body.encode()).cache == "HIT"


def test_a_post_without_any_body(envoy, bare, standin, alive):
    for headers in ({}, {"content-type": "application/json"}, {"content-length": "0"}):
        answer = compare(envoy, bare, standin, "POST", PATH, headers=headers)
        assert answer.status == 200


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_trailers_of_the_answer_reach_the_client_on_a_miss(
        envoys, workers, standin, prompt, stream):
    envoy = envoys.shared(envoys.config().with_http1_trailers(), workers)
    bare = envoys.bare(envoys.config().with_http1_trailers())
    body = chat(prompt(), stream)
    with vm_survives(envoy):
        miss = compare(envoy, bare, standin, "POST", PATH, body, standin="trailers;pace=0")
        assert miss.trailers == [("server-timing", b"total")]
        hit = fetch(envoy.port, body)
        assert (hit.cache, hit.body, hit.trailers) == ("HIT", miss.body, [])


@pytest.mark.parametrize("trailer", ["grpc-status:14", "x-error:reset", "x-stream-error:1"])
@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_an_answer_whose_trailers_tell_of_an_error_passes_and_is_not_stored(
        envoys, standin, prompt, stream, trailer):
    envoy = envoys.shared(envoys.config().with_http1_trailers())
    reason = "llm_cache_answers_total.result.not_stored.reason.trailers"
    body = chat(prompt(), stream)
    before = envoy.cache_counters().get(reason, 0)
    name, _, value = trailer.partition(":")
    with vm_survives(envoy), upstream_asked(standin, 2):
        for _ in range(2):
            answer = fetch(envoy.port, body, standin=f"trailers={trailer};pace=0")
            assert (answer.cache, answer.ending) == ("MISS", "whole")
            assert answer.trailers == [(name, value.encode())]
    assert envoy.cache_counters()[reason] == before + 2


def test_trailers_of_the_request_are_taken_as_without_the_filter(envoys, workers, standin, prompt):
    envoy = envoys.shared(envoys.config().with_http1_trailers(), workers)
    bare = envoys.bare(envoys.config().with_http1_trailers())
    body = chat(prompt())
    with vm_survives(envoy):
        miss = compare(envoy, bare, standin, "POST", PATH, body, trailers={"x-checksum": "abc"})
        assert miss.cache == "MISS"
        assert miss.header("x-cache") == "MISS"
        hit = fetch(envoy.port, body, trailers={"x-checksum": "abc"})
        assert (hit.cache, hit.body) == ("HIT", miss.body)
        with Http1Connection(envoy.port) as connection:
            first = connection.ask(body, trailers={"x-checksum": "abc"})
            second = connection.ask(body)
            assert (first.cache, second.cache) == ("HIT", "HIT")


def test_trailers_over_http2_in_both_directions(envoys, workers, prompt):
    envoy = envoys.shared(envoys.config().with_http1_trailers(), workers)
    body = chat(prompt(), True)
    with vm_survives(envoy), Http2Connection(envoy.port) as connection:
        miss = connection.ask(body, trailers={"x-checksum": "abc"}, standin="trailers;pace=0")
        assert (miss.cache, miss.ending) == ("MISS", "whole")
        assert miss.trailers == [("server-timing", b"total")]
        hit = connection.ask(body, trailers={"x-checksum": "abc"})
        assert (hit.cache, hit.ending, hit.body) == ("HIT", "whole", miss.body)


def test_expect_100_continue_is_honoured_on_misses_and_hits(envoy, bare, standin, prompt, alive):
    body = json.dumps(chat(prompt())).encode()
    answers = []
    for port in (bare.port, envoy.port, envoy.port):
        with Http1Connection(port) as connection:
            head, _, data = request_bytes("POST", PATH, body, headers={
                "expect": "100-continue"}).partition(b"\r\n\r\n")
            connection.send(head + b"\r\n\r\n")
            interim = connection.take_until(b"\r\n\r\n")
            assert interim.startswith(b"HTTP/1.1 100")
            connection.send(data)
            answers.append((connection.read_answer(), standin.stats()["serial"]))
    assert [answer.cache for answer, _ in answers] == [None, "MISS", "HIT"]
    without, miss = (without_serial(*answer) for answer in answers[:2])
    assert without == miss
    assert answers[2][0].body == answers[1][0].body


def test_a_body_shorter_than_its_length_is_never_answered_from_the_cache(envoy, prompt, alive):
    """The rest never comes: the client closes. Nobody may be answered on half a question."""
    body = json.dumps(chat(prompt())).encode()
    fetch(envoy.port, body)
    with Http1Connection(envoy.port) as connection:
        connection.send(request_bytes("POST", PATH, body, headers={
            "content-length": str(len(body) + 10)}))
        assert fetch(envoy.port, body).cache == "HIT"


def test_many_header_fields_and_long_ones(envoy, bare, standin, prompt, alive):
    headers = {f"x-field-{number}": "v" * 500 for number in range(80)}
    answer = compare(envoy, bare, standin, "POST", PATH, chat(prompt()), headers=headers)
    assert (answer.status, answer.cache) == (200, "MISS")


def test_an_event_of_a_hundred_kilobytes_and_split_utf8_pass_and_are_stored(
        envoy, standin, prompt, alive):
    text = "世界é😀" * 10_000
    event = json.dumps({"choices": [{"index": 0, "delta": {"content": text},
                                     "finish_reason": "stop"}]}, ensure_ascii=False)
    stream = f"data: {event}\n\ndata: [DONE]\n\n".encode()
    fixture = standin.put_fixture("large-event", stream)
    body = chat(prompt(), True)
    miss = fetch(envoy.port, body, standin=f"{fixture};split=1021;pace=0")
    hit = fetch(envoy.port, body)
    assert (miss.cache, hit.cache) == ("MISS", "HIT")
    assert miss.body == hit.body == stream


def test_a_stream_written_byte_by_byte_is_stored_as_one(envoy, bare, standin, prompt, alive):
    body = chat(prompt(), True)
    miss = compare(envoy, bare, standin, "POST", PATH, body, standin="split=1;pace=0")
    hit = fetch(envoy.port, body)
    assert (hit.cache, hit.body) == ("HIT", miss.body)


def test_a_hit_looks_like_the_miss_but_for_what_belongs_to_one_answer_only(envoy, prompt, alive):
    body = chat(prompt())
    miss, hit = (fetch(envoy.port, body) for _ in range(2))
    kept = [field for field in seen(miss)[2] if field[0] != "x-request-id"]
    assert seen(hit)[2] == kept

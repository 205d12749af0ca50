"""The other way to keep a request off the upstream, on Envoy 1.35 and later: hold its headers."""

import pytest
from asserts import upstream_asked, vm_survives, without_serial
from chats import chat
from harness.http1 import Http1Connection, encoded, fetch
from harness.http2 import Http2Connection


def held(envoys, filtered: bool = True):
    config = envoys.config({"hold_headers": True}).without("envoy.filters.http.buffer")
    config.plugin["allow_on_headers_stop_iteration"] = True
    config.with_http1_trailers()
    return config if filtered else config.without("envoy_llm_cache")


@pytest.fixture
def envoy(envoys, workers):
    return envoys.shared(held(envoys), workers)


@pytest.fixture
def bare(envoys):
    return envoys.shared(held(envoys, filtered=False))


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_a_hit_never_reaches_the_upstream(envoy, standin, prompt, stream):
    body = chat(prompt(), stream, padding="p" * 100_000)
    with vm_survives(envoy):
        with upstream_asked(standin, 1):
            miss = fetch(envoy.port, body, standin="pace=0")
        with upstream_asked(standin, 0):
            hit = fetch(envoy.port, body)
    assert (miss.cache, hit.cache) == ("MISS", "HIT")
    assert miss.body == hit.body


def test_requests_pass_as_they_came(envoy, bare, standin, prompt):
    body = chat(prompt())
    for named in ({}, {"chunked": True}, {"trailers": {"x-checksum": "abc"}}):
        results = []
        for port in (bare.port, envoy.port):
            answer = fetch(port, body, headers={"cache-control": "no-cache"}, **named)
            stats = standin.stats()
            last = {key: value for key, value in stats["last"].items() if key != "headers"}
            headers = sorted(header for header in stats["last"]["headers"]
                             if header[0] != "x-request-id")
            results.append((without_serial(answer, stats["serial"]), last, headers))
        assert results[0] == results[1]
    assert standin.last()["trailers"] == [["x-checksum", "abc"]]


def test_headers_alone_are_not_held_for_ever(envoy, prompt):
    answer = fetch(envoy.port, None, headers={"content-type": "application/json"})
    assert answer.status == 200


@pytest.mark.parametrize("size", [10_000, 300_000, 1_500_000, 5_000_000])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_no_prompt_is_refused_because_its_headers_were_held(envoys, standin, prompt, size,
                                                            chunked):
    """Envoy buffers what it lets go of once more, and its limit is 1 MiB.

    So only a prompt whose length is known before it comes is held.
    """
    config = envoys.config({"hold_headers": True, "limits": {"max_request_bytes": "256KiB"}})
    config = config.without("envoy.filters.http.buffer")
    config.plugin["allow_on_headers_stop_iteration"] = True
    envoy = envoys.shared(config)
    body = chat(prompt(), padding="p" * size)
    with vm_survives(envoy):
        answer = fetch(envoy.port, body, chunked=chunked)
        assert answer.status == 200
        assert standin.last()["body_bytes"] > size
    if chunked:
        assert "detail=unknown_length" in answer.header("cache-status")
    else:
        assert answer.cache == ("MISS" if size < 256 << 10 else "BYPASS")


def length(body: dict) -> dict:
    """HTTP/2 does not need it, and clients send it all the same."""
    return {"content-length": str(len(encoded(body)))}


def test_http2_streams_are_held_each_for_itself(envoy, standin, prompt):
    bodies = [chat(prompt(), number % 2 == 0) for number in range(10)]
    with vm_survives(envoy), Http2Connection(envoy.port) as connection:
        ids = [connection.start(body, standin="pace=0", headers=length(body)) for body in bodies]
        misses = [connection.finish(stream_id) for stream_id in ids]
        with upstream_asked(standin, 0):
            ids = [connection.start(body, headers=length(body),
                                    trailers={"x-t": "1"} if number % 3 == 0 else None)
                   for number, body in enumerate(bodies)]
            hits = [connection.finish(stream_id) for stream_id in ids]
    assert {miss.cache for miss in misses} == {"MISS"}
    assert [(hit.cache, hit.body) for hit in hits] == [("HIT", miss.body) for miss in misses]


def test_untouched_requests_and_controls_work_the_same(envoy, prompt):
    body = chat(prompt())
    with Http1Connection(envoy.port) as connection:
        assert connection.request("GET", "/v1/models").cache is None
        assert connection.request("POST", "/v1/other", body).cache is None
        refused = connection.ask(body, headers={"cache-control": "only-if-cached"})
        assert refused.status == 504
        assert connection.ask(body, headers={"cache-control": "no-store"}).cache == "BYPASS"
        assert connection.ask(body).cache == "MISS"
        assert connection.ask(body).cache == "HIT"

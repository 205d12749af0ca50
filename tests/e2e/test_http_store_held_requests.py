"""A request that is held while the store is asked: it goes on as it came, or goes away in peace."""

import contextlib

import pytest
from asserts import upstream_asked, vm_survives
from chats import chat
from harness.envoy import Envoy
from harness.http1 import Http1Connection, encoded, fetch, request_bytes
from harness.http2 import Http2Connection
from harness.redis_server import Redis
from harness.scripted_server import Gate, ScriptedServer
from harness.webdis import Webdis
from http_stores import (
    LOOKUP,
    OPEN,
    ask_and_store,
    counted,
    gauge,
    on_webdis,
    tier,
    wait_for_count,
)

PATH = "/v1/chat/completions"


def held(config, how: str):
    """By the buffer filter, or by holding the headers as well (Envoy 1.35 and later)."""
    config.with_http1_trailers()
    if how == "buffer":
        return config
    settings = config.plugin["configuration"]["value"]
    config.configure({**settings, "hold_headers": True})
    config.plugin["allow_on_headers_stop_iteration"] = True
    return config.without("envoy.filters.http.buffer")


@pytest.fixture(scope="module")
def webdis():
    with Redis() as redis, Webdis(redis.port) as webdis:
        yield webdis


@pytest.fixture(scope="module", params=["buffer-1", "buffer-4", "hold-headers-1",
                                        "hold-headers-4"])
def envoy(request, envoys, webdis):
    how, _, workers = request.param.rpartition("-")
    with Envoy(held(on_webdis(envoys, webdis.port), how), int(workers)) as envoy:
        yield envoy


class GatedStore(ScriptedServer):
    """Answers lookups when the test lets it: that there is nothing."""

    def __init__(self):
        self.gate = Gate()
        super().__init__(self.serve_one)

    def serve_one(self, asked):
        asked.body()
        if asked.method == "GET":
            self.gate.wait()
        asked.connection.answer(404)


@pytest.fixture
def gated():
    with GatedStore() as store:
        yield store
        store.gate.open()


@pytest.fixture(params=["buffer", "hold-headers"])
def waiting(request, envoys, gated):
    """An Envoy whose lookups wait for the test."""
    config = on_webdis(envoys, gated.port, plugin={"mode": "read_only"})
    with Envoy(held(config, request.param), 2) as envoy, vm_survives(envoy):
        yield envoy


def length(body: dict) -> dict:
    """Without it a request whose headers are held takes no part."""
    return {"content-length": str(len(encoded(body)))}


def test_http2_streams_wait_each_for_itself_and_go_on_after_miss_and_hit(envoy, standin, prompt):
    bodies = [chat(prompt(), number % 2 == 0, padding="p" * 50_000 * (number % 3))
              for number in range(12)]

    def ask_all(connection):
        ids = [connection.start(body, standin="pace=0", headers=length(body),
                                trailers={"x-t": "1"} if number % 4 == 0 else None)
               for number, body in enumerate(bodies)]
        return [connection.finish(stream_id) for stream_id in ids]
    with vm_survives(envoy), Http2Connection(envoy.port) as connection:
        with upstream_asked(standin, len(bodies)):
            misses = ask_all(connection)
        envoy.wait_until(lambda: envoy.stat("cluster.cache.upstream_rq_active") == 0, "writes")
        with upstream_asked(standin, 0):
            hits = ask_all(connection)
    assert {(miss.status, miss.cache, miss.ending) for miss in misses} == {(200, "MISS", "whole")}
    assert [(tier(hit), hit.body) for hit in hits] == [("http", miss.body) for miss in misses]


def test_a_request_goes_on_as_it_came(envoy, envoys, webdis, standin, prompt):
    """What the upstream sees of a request that was held is what it sees without the filter."""
    bare = envoys.bare(envoy.config)
    for named in ({}, {"chunked": True}, {"trailers": {"x-checksum": "abc"}}):
        body, seen = chat(prompt(), padding="p" * 200_000), []
        for port in (bare.port, envoy.port):
            answer = fetch(port, body, **named)
            assert (answer.status, answer.ending) == (200, "whole")
            last = standin.last()
            last["headers"] = sorted(header for header in last["headers"]
                                     if header[0] != "x-request-id")
            seen.append(last)
        assert seen[0] == seen[1]
    # The buffer filter makes one length of all chunks, and leaves no place for trailers.
    if "buffer" not in [entry["name"].rpartition(".")[2] for entry in envoy.config.http_filters]:
        assert standin.last()["trailers"] == [["x-checksum", "abc"]]


def test_requests_on_one_connection_keep_their_order(envoy, standin, prompt):
    """Pipelined: a hit in the store is no faster than the miss before it."""
    known, unknown = chat(prompt()), chat(prompt())
    stored = ask_and_store(envoy, known)
    with vm_survives(envoy), Http1Connection(envoy.port) as connection:
        connection.send(request_bytes("POST", PATH, unknown) + request_bytes("POST", PATH, known))
        first, second = connection.read_answer(), connection.read_answer()
    assert (first.cache, second.cache) == ("MISS", "HIT")
    assert second.body == stored.body


def test_an_upstream_sees_nothing_of_a_request_while_the_store_is_asked(
        waiting, gated, standin, prompt):
    body = chat(prompt())
    with Http1Connection(waiting.port) as connection:
        with upstream_asked(standin, 0):
            connection.send(request_bytes("POST", PATH, body))
            gated.gate.wait_for_somebody()
        with upstream_asked(standin, 1):
            gated.gate.open()
            answer = connection.read_answer()
    assert (answer.status, answer.cache, answer.ending) == (200, "MISS", "whole")


def test_a_client_may_go_while_the_store_is_asked(waiting, gated, standin, prompt):
    """Over HTTP/1.1 and HTTP/2; the streams beside it go on."""
    with upstream_asked(standin, 1), contextlib.ExitStack() as stack:
        for _ in range(5):
            with Http1Connection(waiting.port) as connection:
                connection.send(request_bytes("POST", PATH, chat(prompt())))
                gated.gate.wait_for_somebody()
        http2 = stack.enter_context(Http2Connection(waiting.port))
        bodies = [chat(prompt()) for _ in range(6)]
        ids = [http2.start(body, headers=length(body)) for body in bodies]
        for _ in ids:
            gated.gate.wait_for_somebody()
        for stream_id in ids[:-1]:
            http2.reset_stream(stream_id)
        waiting.wait_until(
            lambda: waiting.stat("http.llm.downstream_rq_active") == 1, "the others to be gone")
        gated.gate.open()
        stayed = http2.finish(ids[-1])
        assert (stayed.status, stayed.cache, stayed.ending) == (200, "MISS", "whole")
    # Who has gone has taken the callout along: it says nothing of the store.
    wait_for_count(waiting, LOOKUP + "absent", 1)
    assert gauge(waiting, OPEN) == 0
    assert fetch(waiting.port, chat(prompt())).cache == "MISS"


def test_clients_that_go_at_once_by_the_hundred_leave_nothing_behind(envoy, standin, prompt):
    with vm_survives(envoy):
        for number in range(200):
            with Http1Connection(envoy.port) as connection:
                connection.send(request_bytes("POST", PATH, chat(prompt(), number % 2 == 0)))
        envoy.wait_until(lambda: envoy.stat("http.llm.downstream_rq_active") == 0, "their end")
        ask_and_store(envoy, chat(prompt()))


def test_an_upstream_that_answers_before_it_is_asked_wins_over_the_store(envoys, gated, prompt):
    """Without anything that keeps a request off the upstream, which sees its headers first."""
    early = Gate()

    def script(asked):
        early.wait()
        asked.connection.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\n"
                              b"connection: close\r\n\r\nearly")
        asked.connection.wait_until_gone()
    config = on_webdis(envoys, gated.port).without("envoy.filters.http.buffer")
    with ScriptedServer(script) as upstream:
        config.upstream_address["port_value"] = upstream.port
        with (Envoy(config, 2) as envoy, vm_survives(envoy),
              Http1Connection(envoy.port) as connection):
            connection.send(request_bytes("POST", PATH, chat(prompt())))
            early.wait_for_somebody()
            gated.gate.wait_for_somebody()
            early.open()
            answer = connection.read_answer()
            assert (answer.status, answer.body) == (413, b"early")
            gated.gate.open()
            envoy.wait_until(lambda: envoy.stat("cluster.cache.upstream_rq_active") == 0,
                             "the lookup's end")
            assert counted(envoy, "llm_cache_answers_total.") == {}


def test_a_hit_comes_though_the_upstream_has_seen_the_headers(envoys, webdis, standin, prompt):
    config = on_webdis(envoys, webdis.port).without("envoy.filters.http.buffer")
    with Envoy(config, 2) as envoy, vm_survives(envoy):
        for body in (chat(prompt()), chat(prompt(), True), chat(prompt(), padding="p" * 300_000)):
            stored = ask_and_store(envoy, body, standin="pace=0")
            hits = [fetch(envoy.port, body) for _ in range(3)]
            assert [(tier(hit), hit.body) for hit in hits] == 3 * [("http", stored.body)]

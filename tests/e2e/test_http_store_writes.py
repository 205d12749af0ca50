"""Writing to a store over HTTP: behind the client's back, bounded, and counted all the same."""

import concurrent.futures
import contextlib

import pytest
from asserts import upstream_asked, vm_survives
from chats import chat
from harness.envoy import GUARD_SECONDS, Envoy
from harness.http1 import Http1Connection, fetch, request_bytes
from harness.redis_server import Redis
from harness.scripted_server import Gate, ScriptedServer
from harness.webdis import Webdis
from http_stores import (
    LOOKUP,
    MEMORY,
    OPEN,
    WRITE,
    RedisEntries,
    S3Entries,
    ask_and_store,
    counted,
    detail,
    gauge,
    on_s3,
    on_webdis,
    tier,
    wait_for_count,
)

MIB = 1 << 20
# src/store/http.rs: so many writes of one worker may be on their way, and so much of them.
MAX_WRITES = 64
MAX_WRITTEN_ENTRIES = 2
NEW = {"cache-control": "no-cache"}
ANSWERS = "llm_cache_answers_total.result."


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_a_client_has_its_whole_answer_before_it_is_written_to_the_store(
        envoys, redis, webdis, prompt, stream):
    with Envoy(on_webdis(envoys, webdis.port, memory=MEMORY)) as envoy, vm_survives(envoy):
        body = chat(prompt(), stream)
        redis.pause()
        with Http1Connection(envoy.port) as connection:
            # The same connection serves on: a write that waits holds nothing up.
            answers = [connection.ask(body, headers=NEW, standin="pace=0") for _ in range(3)]
            assert connection.ask(body).body == answers[-1].body
        assert {(answer.status, answer.ending) for answer in answers} == {(200, "whole")}
        envoy.wait_until(lambda: envoy.stat("cluster.cache.upstream_rq_total") == 3,
                         "the writes to be sent")
        assert counted(envoy, WRITE) == {}
        redis.resume()
        wait_for_count(envoy, WRITE + "done", 3)
    assert len(redis.stored_keys()) == 1


@pytest.mark.parametrize(("early", "workers"), [(False, 4), (True, 1)],
                         ids=["at-the-end", "at-the-end-marker"])
def test_a_write_goes_on_and_is_counted_when_its_client_has_gone(
        envoys, redis, webdis, standin, prompt, early, workers):
    with Envoy(on_webdis(envoys, webdis.port), workers) as envoy, vm_survives(envoy):
        body, step = chat(prompt(), True), f"gone {prompt()}"
        redis.pause()
        with Http1Connection(envoy.port) as connection:
            connection.send(request_bytes(
                "POST", "/v1/chat/completions", body, headers=NEW,
                standin=f"step={step};chunked" if early else "pace=0"))
            answer = connection.read_head()
            if early:
                seen = b""
                while not seen.endswith(b"data: [DONE]\n\n"):
                    assert len(seen) < 100_000
                    standin.release(step)
                    seen += connection.read_chunk()
            else:
                seen = connection.read_body(answer).body
        envoy.wait_until(lambda: envoy.stat("http.llm.downstream_cx_active") == 0,
                         "the client's connection to be gone")
        envoy.wait_until(lambda: envoy.stat("cluster.cache.upstream_rq_total") == 1,
                         "the write to be sent")
        assert counted(envoy, WRITE) == {}
        redis.resume()
        wait_for_count(envoy, WRITE + "done", 1)
        with upstream_asked(standin, 0):
            hit = fetch(envoy.port, body)
        assert (tier(hit), hit.body) == ("http", seen)


def test_redis_is_told_how_long_to_keep_an_entry(envoys, redis, webdis, prompt):
    plugin = {"ttl": "1h", "client": {"max_ttl": "2d"}}
    with Envoy(on_webdis(envoys, webdis.port, plugin=plugin)) as envoy:
        for asked, at_most in ((None, 3600), ("10m", 600), ("1d", 86_400), ("7d", 172_800)):
            headers = {"x-llm-cache-ttl": asked} if asked else {}
            key = ask_and_store(envoy, chat(prompt()), headers=headers).header("x-cache-key")
            # The upper half: time passes while the test runs, but not as much as that.
            assert at_most / 2 < redis.client.ttl(RedisEntries.name(key)) <= at_most
        assert fetch(envoy.port, chat(prompt()), headers={"x-llm-cache-ttl": "0s"}).cache == "MISS"
        short = ask_and_store(envoy, chat(prompt()), headers={"x-llm-cache-ttl": "1s"})
        envoy.wait_until(lambda: RedisEntries(redis).read(short.header("x-cache-key")) is None,
                         "Redis to forget the entry")


def test_an_object_says_how_long_it_may_be_served(envoys, s3, prompt):
    with Envoy(on_s3(envoys, s3)) as envoy:
        stored = ask_and_store(envoy, chat(prompt()), headers={"x-llm-cache-ttl": "10m"})
    key = S3Entries.name(stored.header("x-cache-key"))
    said = s3.client.head_object(Bucket=s3.bucket, Key=key)
    assert said["ContentType"] == "application/octet-stream"
    name, _, seconds = said["CacheControl"].partition("=")
    assert name == "max-age"
    assert 300 < int(seconds) <= 600


def test_writes_on_their_way_are_bounded_in_number(envoys, redis, webdis, prompt):
    extra = 20
    with Envoy(on_webdis(envoys, webdis.port)) as envoy, vm_survives(envoy):
        redis.pause()
        with Http1Connection(envoy.port) as connection:
            bodies = [chat(prompt()) for _ in range(MAX_WRITES + extra)]
            for body in bodies:
                answer = connection.ask(body, headers=NEW)
                assert (answer.status, answer.cache) == (200, "MISS")
        assert counted(envoy, WRITE) == {"failed.reason.store_busy": extra}
        assert counted(envoy, ANSWERS) == {
            "stored": MAX_WRITES, "not_stored.reason.store_busy": extra}
        redis.resume()
        wait_for_count(envoy, WRITE + "done", MAX_WRITES)
        assert len(redis.stored_keys()) == MAX_WRITES
        # What was bounded is free again.
        ask_and_store(envoy, bodies[-1])
        assert counted(envoy, WRITE)["failed.reason.store_busy"] == extra
        assert gauge(envoy, OPEN) == 0


def test_writes_on_their_way_are_bounded_in_bytes(envoys, redis, webdis, prompt):
    """300 MB of answers while the store hangs do not stay in Envoy's memory."""
    config = on_webdis(envoys, webdis.port, max_entry_bytes="1100KiB")
    with Envoy(config) as envoy, vm_survives(envoy):
        redis.pause()
        with Http1Connection(envoy.port) as connection:
            def ask(count: int) -> None:
                for _ in range(count):
                    answer = connection.ask(chat(prompt()), headers=NEW, standin=f"size={MIB}")
                    assert (answer.status, answer.cache) == (200, "MISS")
            ask(50)
            filled = envoy.resident_bytes()
            ask(250)
            assert envoy.resident_bytes() - filled < 16 * MIB
        assert counted(envoy, WRITE) == {"failed.reason.store_busy": 300 - MAX_WRITTEN_ENTRIES}
        redis.resume()
        wait_for_count(envoy, WRITE + "done", MAX_WRITTEN_ENTRIES)
        ask_and_store(envoy, chat(prompt()), standin=f"size={MIB}")


def test_a_write_that_is_never_answered_ends_with_its_deadline(envoys, redis, webdis, prompt):
    config = on_webdis(envoys, webdis.port, store_timeout="50ms", breaker={"failures": 1000})
    with Envoy(config, 4) as envoy, vm_survives(envoy):
        redis.pause()
        for _ in range(3 * MAX_WRITES):
            assert fetch(envoy.port, chat(prompt()), headers=NEW).cache == "MISS"
        envoy.wait_until(lambda: sum(counted(envoy, WRITE).values()) == 3 * MAX_WRITES,
                         "every write to end")
        assert set(counted(envoy, WRITE)) <= {"failed.reason.store_timeout",
                                              "failed.reason.store_busy"}
        redis.resume()
        envoy.wait_until(
            lambda: fetch(envoy.port, chat(prompt()), headers=NEW).cache == "MISS"
            and counted(envoy, WRITE).get("done"), "writes that are done")


def test_a_full_redis_that_may_not_evict_refuses_writes_and_serves_hits(
        envoys, redis, webdis, standin, prompt):
    breaker = {"failures": 2, "min_open": "1h", "max_open": "1h"}
    with Envoy(on_webdis(envoys, webdis.port, breaker=breaker)) as envoy, vm_survives(envoy):
        body = chat(prompt())
        stored = ask_and_store(envoy, body)
        redis.client.config_set("maxmemory", 1)
        for number in range(10):
            assert fetch(envoy.port, chat(prompt()), headers=NEW).cache == "MISS"
            wait_for_count(envoy, WRITE + "failed.reason.store_refused", number + 1)
            with upstream_asked(standin, 0):
                hit = fetch(envoy.port, body)
            assert (tier(hit), hit.body) == ("http", stored.body)
        assert gauge(envoy, OPEN) == 0
        redis.client.config_set("maxmemory", 0)
        ask_and_store(envoy, chat(prompt()))


def test_a_full_redis_that_may_evict_takes_what_is_new(envoys, standin, prompt):
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(Redis(maxmemory="8mb", maxmemory_policy="allkeys-lru"))
        webdis = stack.enter_context(Webdis(redis.port))
        envoy = stack.enter_context(Envoy(on_webdis(envoys, webdis.port)))
        bodies = [chat(prompt()) for _ in range(30)]
        stored = [ask_and_store(envoy, body, standin="size=500000") for body in bodies]
        assert counted(envoy, WRITE) == {"done": len(bodies)}
        assert redis.client.info("stats")["evicted_keys"] > 0
        with upstream_asked(standin, 0):
            hit = fetch(envoy.port, bodies[-1])
        assert (tier(hit), hit.body) == ("http", stored[-1].body)


def test_nothing_is_written_while_the_breaker_is_open(envoys, redis, webdis, prompt):
    breaker = {"failures": 1, "min_open": "1h", "max_open": "1h"}
    with Envoy(on_webdis(envoys, webdis.port, breaker=breaker)) as envoy, vm_survives(envoy):
        redis.kill()
        assert detail(fetch(envoy.port, chat(prompt()))) == "store_unavailable"
        envoy.wait_until(lambda: gauge(envoy, OPEN) == 1, "the breaker")
        sent = envoy.stat("cluster.cache.upstream_rq_total")
        before = counted(envoy, WRITE)
        for _ in range(5):
            assert fetch(envoy.port, chat(prompt()), headers=NEW).status == 200
        added = counted(envoy, WRITE)["failed.reason.breaker_open"] - before.get(
            "failed.reason.breaker_open", 0)
        assert added == 5
        # The first one's write may have begun before the probe told that the store is down.
        answers = counted(envoy, ANSWERS)
        assert answers.pop("stored", 0) + answers.pop("not_stored.reason.breaker_open") == 6
        assert answers == {}
        assert envoy.stat("cluster.cache.upstream_rq_total") == sent


def test_failing_writes_open_the_breaker_as_well(envoys, redis, webdis, prompt):
    breaker = {"failures": 3, "min_open": "1h", "max_open": "1h"}
    with Envoy(on_webdis(envoys, webdis.port, breaker=breaker)) as envoy:
        redis.kill()
        for number in range(3):
            assert fetch(envoy.port, chat(prompt()), headers=NEW).status == 200
            wait_for_count(envoy, WRITE + "failed.reason.store_unavailable", number + 1)
        envoy.wait_until(lambda: gauge(envoy, OPEN) == 1, "the breaker to open")
        assert counted(envoy, LOOKUP) == {}


def test_what_is_not_stored_in_memory_is_not_written_either(envoys, redis, webdis, prompt):
    with Envoy(on_webdis(envoys, webdis.port)) as envoy:
        for standin in ("err=500", "finish=length", "no_done", "cut=200", "err=event"):
            fetch(envoy.port, chat(prompt(), True), standin=f"{standin};pace=0")
        # A write that comes after all of them would have come after theirs.
        ask_and_store(envoy, chat(prompt()))
        assert counted(envoy, WRITE) == {"done": 1}
    assert len(redis.stored_keys()) == 1


REFUSALS = {
    "an error of Redis": (200, b'{"SETEX":[false,"ERR no"]}', "store_refused"),
    "something else": (200, b"<html>welcome</html>", "store_refused"),
    "nothing": (200, b"", "store_refused"),
    "no content": (204, b"", "store_refused"),
    "a large body": (200, bytes(5 * MIB), "store_refused"),
    "forbidden": (403, b"", "store_refused"),
    "too large": (413, b"", "store_refused"),
    "moved": (307, b"", "store_refused"),
    "busy": (503, b"", "store_unavailable"),
    "loading": (200, b'{"SETEX":[false,"LOADING Redis is loading"]}', "store_unavailable"),
}


def test_a_write_that_the_store_does_not_confirm_is_counted_as_failed(envoys, prompt):
    said = []

    def script(asked):
        asked.body()
        asked.connection.answer(*said[-1])
    with (ScriptedServer(script) as store,
          Envoy(on_webdis(envoys, store.port, breaker={"failures": 1000})) as envoy,
          vm_survives(envoy)):
        for status, body, reason in REFUSALS.values():
            said.append((status, body))
            before = counted(envoy, WRITE).get(f"failed.reason.{reason}", 0)
            assert fetch(envoy.port, chat(prompt()), headers=NEW).status == 200
            wait_for_count(envoy, WRITE + f"failed.reason.{reason}", before + 1)
        assert sum(counted(envoy, WRITE).values()) == len(REFUSALS)
        assert {asked.method for asked in store.asked} == {"PUT"}, "no retries, no other commands"
        assert len(store.asked) == len(REFUSALS)


def test_a_store_that_closes_in_the_middle_of_a_write_costs_nothing_but_the_write(envoys, prompt):
    def script(asked):
        asked.connection.take(1000)
        asked.connection.reset()
    with (ScriptedServer(script) as store,
          Envoy(on_webdis(envoys, store.port, breaker={"failures": 1000})) as envoy,
          vm_survives(envoy)):
        for number in range(5):
            answer = fetch(envoy.port, chat(prompt()), headers=NEW, standin=f"size={3 * MIB}")
            assert (answer.status, answer.ending) == (200, "whole")
            wait_for_count(envoy, WRITE + "failed.reason.store_unavailable", number + 1)


def test_many_writes_at_once_are_each_their_own(envoys, redis, webdis, standin, prompt):
    with Envoy(on_webdis(envoys, webdis.port), 4) as envoy, vm_survives(envoy):
        bodies = [chat(prompt(), number % 2 == 0) for number in range(120)]
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            stored = list(pool.map(
                lambda body: fetch(envoy.port, body, standin="pace=0"), bodies))
            envoy.wait_until(lambda: sum(counted(envoy, WRITE).values()) == len(bodies),
                             "every write to end")
            assert counted(envoy, WRITE) == {"done": len(bodies)}
            with upstream_asked(standin, 0):
                hits = list(pool.map(lambda body: fetch(envoy.port, body), bodies))
    assert [(tier(hit), hit.body) for hit in hits] == [("http", one.body) for one in stored]


def test_a_write_begun_before_an_envoy_ends_does_not_keep_it_from_ending(envoys, prompt):
    gate = Gate()

    def script(asked):
        asked.body()
        gate.wait()
    with ScriptedServer(script) as store:
        with Envoy(on_webdis(envoys, store.port), 4) as envoy:
            fetch(envoy.port, chat(prompt()), headers=NEW)
            gate.wait_for_somebody()
            envoy.process.terminate()
            assert envoy.process.wait(GUARD_SECONDS) == 0
            assert envoy.vm_failures() == []
        gate.open()

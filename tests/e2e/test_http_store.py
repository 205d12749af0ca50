"""A store over HTTP behind the memory: a second place, which many Envoys share."""

import json

import pytest
from asserts import upstream_asked, vm_survives
from chats import chat
from harness.envoy import Envoy
from harness.http1 import fetch
from harness.redis_server import Redis
from harness.webdis import Webdis
from http_stores import (
    CREATED,
    LOOKUP,
    MEMORY,
    PREFIX,
    WRITE,
    RedisEntries,
    ask_and_store,
    changed,
    counted,
    detail,
    on_s3,
    on_webdis,
    tier,
    wait_for_count,
)


@pytest.fixture(scope="module")
def redis():
    """One for all of these tests: they ask different things, and none does it harm."""
    with Redis() as redis:
        yield redis


@pytest.fixture(scope="module")
def webdis(redis):
    with Webdis(redis.port) as webdis:
        yield webdis


@pytest.fixture(scope="module", params=[1, 4], ids=["1-worker", "4-workers"])
def pair(request, envoys, webdis):
    """Two Envoys with a memory each and one store over HTTP."""
    config = on_webdis(envoys, webdis.port, memory=MEMORY)
    with Envoy(config, request.param) as one, Envoy(config, request.param) as other:
        yield one, other


@pytest.fixture(scope="module")
def remote(envoys, webdis):
    """An Envoy that keeps nothing in memory."""
    with Envoy(on_webdis(envoys, webdis.port)) as envoy:
        yield envoy


def test_memory_is_asked_first_and_then_the_store(pair, standin, prompt):
    one, other = pair
    for body in (chat(prompt()), chat(prompt(), True)):
        before = counted(other, LOOKUP).get("found", 0)
        with vm_survives(one), vm_survives(other), upstream_asked(standin, 1):
            stored = ask_and_store(one, body, standin="pace=0")
            asked = sum(counted(one, LOOKUP).values())
            hits = [fetch(one.port, body), fetch(other.port, body), fetch(other.port, body)]
        assert [tier(hit) for hit in hits] == ["memory", "http", "memory"]
        assert {hit.body for hit in hits} == {stored.body}
        assert {hit.header("content-type") for hit in hits} == {stored.header("content-type")}
        # What is in memory is not asked for elsewhere; what was found elsewhere is in memory.
        assert sum(counted(one, LOOKUP).values()) == asked
        assert counted(other, LOOKUP)["found"] == before + 1


def test_without_memory_every_hit_is_from_the_store(remote, standin, prompt):
    for body in (chat(prompt()), chat(prompt(), True)):
        with upstream_asked(standin, 1):
            stored = ask_and_store(remote, body, standin="pace=0")
            hits = [fetch(remote.port, body) for _ in range(3)]
        assert [(tier(hit), hit.body) for hit in hits] == 3 * [("http", stored.body)]
        assert hits[0].header("age") is not None


@pytest.mark.parametrize(("protocol", "workers"), [("webdis", 4), ("rest", 1)])
def test_what_one_envoy_stored_is_a_hit_in_another_also_after_both_restart(
        envoys, webdis, s3, standin, prompt, protocol, workers):
    def config():
        if protocol == "rest":
            return on_s3(envoys, s3, memory=MEMORY)
        return on_webdis(envoys, webdis.port, memory=MEMORY)
    bodies = [chat(prompt()), chat(prompt(), True),
              chat(prompt(), True, stream_options={"include_usage": True}),
              chat(prompt(), tools=[{"type": "function", "function": {"name": "f"}}],
                   tool_choice="required")]
    with Envoy(config(), workers) as one, Envoy(config(), workers) as other:
        with upstream_asked(standin, len(bodies)):
            stored = [ask_and_store(envoy, body, standin="pace=0")
                      for envoy, body in zip([one, other, one, other], bodies, strict=True)]
        with upstream_asked(standin, 0):
            hits = [fetch(envoy.port, body)
                    for envoy, body in zip([other, one, other, one], bodies, strict=True)]
    with (Envoy(config(), workers) as one, Envoy(config(), workers) as other, vm_survives(one),
          vm_survives(other), upstream_asked(standin, 0)):
        hits += [fetch(one.port, body) for body in bodies]
        hits += [fetch(other.port, body) for body in bodies]
    assert [tier(hit) for hit in hits] == 12 * ["http"]
    assert [hit.body for hit in hits] == 3 * [answer.body for answer in stored]


def test_an_entry_from_the_store_serves_the_other_form_too(pair, remote, standin, prompt):
    one, other = pair
    for stream in (True, False):
        text = prompt()
        usage = {"stream_options": {"include_usage": True}}
        streamed, whole = chat(text, True, **usage), chat(text)
        asked, converted = (streamed, whole) if stream else (whole, streamed)
        with upstream_asked(standin, 1):
            ask_and_store(one, asked, standin="pace=0")
            hits = [fetch(envoy.port, converted) for envoy in (one, remote, other, other)]
        assert [tier(hit) for hit in hits] == ["memory", "http", "http", "memory"]
        assert len({hit.body for hit in hits}) == 1
        if stream:
            assert text in hits[0].json()["choices"][0]["message"]["content"]
        else:
            assert hits[0].body.endswith(b"data: [DONE]\n\n")


def test_a_stream_of_five_megabytes_comes_back_byte_for_byte(pair, remote, standin, prompt):
    one, other = pair
    text = prompt()
    pieces = [{"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
               "choices": [{"index": 0, "delta": {"content": f"{number} {'x' * 5000}"},
                            "finish_reason": None}]} for number in range(1000)]
    pieces.append({**pieces[0], "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    stream = b"".join(b"data: " + json.dumps(piece).encode() + b"\n\n" for piece in pieces)
    stream += b"data: [DONE]\n\n"
    fixture = standin.put_fixture("five-megabytes", stream)
    with vm_survives(one), vm_survives(other), vm_survives(remote), upstream_asked(standin, 1):
        stored = ask_and_store(one, chat(text, True), standin=fixture)
        hits = [fetch(envoy.port, chat(text, True)) for envoy in (one, other, remote, other)]
    assert stored.body == stream
    assert [tier(hit) for hit in hits] == ["memory", "http", "http", "memory"]
    assert all(hit.body == stream for hit in hits)


def test_an_entry_over_the_stores_limit_is_kept_in_memory_alone(envoys, redis, webdis, prompt):
    config = on_webdis(envoys, webdis.port, memory=MEMORY, max_entry_bytes="64KiB",
                       path_prefix="small:")
    with Envoy(config) as envoy:
        large, small = chat(prompt()), chat(prompt())
        assert fetch(envoy.port, large, standin="size=70000").cache == "MISS"
        ask_and_store(envoy, small, standin="size=60000")
        assert counted(envoy, WRITE) == {"failed.reason.entry_too_large": 1, "done": 1}
        assert [tier(fetch(envoy.port, body)) for body in (large, small)] == 2 * ["memory"]
    assert len(redis.client.keys("small:*")) == 1


def test_an_entry_over_the_memorys_limit_is_kept_in_the_store_alone(
        envoys, webdis, standin, prompt):
    memory = {"max_bytes": "1MiB", "max_entry_bytes": "64KiB"}
    with Envoy(on_webdis(envoys, webdis.port, memory=memory)) as envoy, vm_survives(envoy):
        body = chat(prompt())
        with upstream_asked(standin, 1):
            stored = ask_and_store(envoy, body, standin="size=70000")
            hits = [fetch(envoy.port, body) for _ in range(2)]
        assert [(tier(hit), hit.body) for hit in hits] == 2 * [("http", stored.body)]
        # It was stored, though not everywhere.
        assert counted(envoy, "llm_cache_answers_total.result.") == {"stored": 1}


def test_controls_of_a_request_hold_for_the_store_as_well(remote, standin, prompt):
    def ask(body, control):
        return fetch(remote.port, body, headers={"cache-control": control})
    body = chat(prompt())
    with upstream_asked(standin, 0):
        lookups = sum(counted(remote, LOOKUP).values())
        assert ask(body, "only-if-cached").status == 504
        assert sum(counted(remote, LOOKUP).values()) == lookups + 1
    old = ask_and_store(remote, body)
    lookups = counted(remote, LOOKUP)
    assert ask(body, "no-store").cache == "BYPASS"
    assert counted(remote, LOOKUP) == lookups
    hit = ask(body, "only-if-cached")
    assert (tier(hit), hit.body) == ("http", old.body)
    assert tier(ask(body, "max-age=1000")) == "http"
    new = ask_and_store(remote, body, headers={"cache-control": "no-cache"})
    assert new.body != old.body
    assert fetch(remote.port, body).body == new.body
    remote.wait_until(lambda: int(fetch(remote.port, body).header("age")) >= 1, "age 1")
    with upstream_asked(standin, 1):
        newest = ask_and_store(remote, body, headers={"cache-control": "max-age=0"})
    assert newest.header("cache-status").startswith("envoy-llm-cache; fwd=request")
    assert fetch(remote.port, body).body == newest.body


def test_the_store_is_asked_when_the_memorys_entry_is_too_old(pair, redis, standin, prompt):
    one, other = pair
    body, entries = chat(prompt()), RedisEntries(redis)
    old = ask_and_store(one, body)
    key = old.header("x-cache-key")
    entries.write(key, changed(entries.read(key), CREATED, lambda created: created - 600_000))
    assert [tier(fetch(other.port, body)) for _ in range(2)] == ["http", "memory"]
    newer = ask_and_store(one, body, headers={"cache-control": "no-cache"})
    with upstream_asked(standin, 0):
        assert fetch(other.port, body).body == old.body
        hits = [fetch(other.port, body, headers={"cache-control": "max-age=300"})
                for _ in range(2)]
    assert [(tier(hit), hit.body) for hit in hits] == [("http", newer.body),
                                                       ("memory", newer.body)]


def test_modes_hold_for_the_store_as_well(envoys, remote, webdis, standin, prompt):
    def mode(word):
        return on_webdis(envoys, webdis.port, plugin={"mode": word})
    with Envoy(mode("read_only")) as reader, Envoy(mode("write_only")) as writer:
        body = chat(prompt())
        with upstream_asked(standin, 4):
            assert fetch(reader.port, body).cache == "MISS"
            written = [fetch(writer.port, body) for _ in range(2)]
            assert [answer.cache for answer in written] == 2 * ["BYPASS"]
            wait_for_count(writer, WRITE + "done", 2)
            hits = [fetch(envoy.port, body) for envoy in (reader, remote)]
            assert fetch(writer.port, body).cache == "BYPASS"
        assert [tier(hit) for hit in hits] == 2 * ["http"]
        assert hits[0].body in {answer.body for answer in written}
        assert counted(reader, WRITE) == counted(writer, LOOKUP) == {}


def test_two_tenants_are_two_entries(remote, redis, standin, prompt):
    body = chat(prompt())
    tenants = [{"authorization": "Bearer one"}, {"authorization": "Bearer two"}, {}]
    before = len(redis.stored_keys())
    with upstream_asked(standin, 3):
        stored = [ask_and_store(remote, body, headers=tenant) for tenant in tenants]
    assert len({answer.body for answer in stored}) == 3
    assert len(redis.stored_keys()) == before + 3
    with upstream_asked(standin, 0):
        hits = [fetch(remote.port, body, headers=tenant) for tenant in tenants]
    assert [hit.body for hit in hits] == [answer.body for answer in stored]


def test_a_lifetime_that_is_over_is_over_in_both_stores(pair, standin, prompt):
    one, other = pair
    body = chat(prompt())
    short = {"x-llm-cache-ttl": "1s"}
    first = ask_and_store(one, body, headers=short)
    written = counted(one, WRITE)["done"]
    again = one.wait_until(
        lambda: (answer := fetch(one.port, body)).cache == "MISS" and answer, "the entry's end")
    assert again.header("cache-status") == "envoy-llm-cache; fwd=stale"
    assert again.body != first.body
    wait_for_count(one, WRITE + "done", written + 1)
    with upstream_asked(standin, 0):
        assert fetch(other.port, body).body == again.body


def test_namespaces_and_prefixes_keep_entries_apart(envoys, webdis, redis, prompt):
    body = chat(prompt())
    text = {"plugin": {"key": {"namespace": "other"}}}, {"path_prefix": "a/b.json:%20&c?/"}
    for settings in text:
        with Envoy(on_webdis(envoys, webdis.port, **settings)) as envoy:
            stored = ask_and_store(envoy, body)
            hit = fetch(envoy.port, body)
            assert (tier(hit), hit.body) == ("http", stored.body)
    assert len(redis.client.keys("a/b.json:%20&c?/" + 64 * "[0-9a-f]")) == 1
    assert redis.client.keys(PREFIX + "*")


def test_a_form_that_would_lose_something_is_a_miss_that_says_so(pair, prompt):
    one, other = pair
    text = prompt()
    ask_and_store(one, chat(text, True), standin="pace=0")
    missed = fetch(other.port, chat(text))
    assert (missed.cache, detail(missed)) == ("MISS", "form_no_usage")

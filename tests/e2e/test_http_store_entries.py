"""Whatever the store hands back that is not the entry asked for is a miss, and never an answer."""

import json
import random

import pytest
from asserts import upstream_asked, vm_survives
from chats import chat
from harness.envoy import Envoy
from harness.http1 import fetch
from harness.redis_server import Redis
from harness.webdis import Webdis
from http_stores import (
    CREATED,
    DELETE,
    FRAMING,
    HEAD,
    LIFETIME,
    LOOKUP,
    MEMORY,
    STATUS,
    VERSION,
    RedisEntries,
    S3Entries,
    ask_and_store,
    changed,
    counted,
    detail,
    on_s3,
    on_webdis,
    rebuilt,
    resealed,
    tier,
)

KEY = "an integrity key of 32 characters"
OTHER_KEY = "and another one of 32 characters."
DAY = 86_400_000


def flipped(position: int):
    def flip(entry: bytes) -> bytes:
        at = position % len(entry)
        return entry[:at] + bytes([entry[at] ^ 0x10]) + entry[at + 1:]
    return flip


def with_body(entry: bytes, body: bytes) -> bytes:
    """The entry with other bytes at the end of its body, of the same length."""
    return entry[:-4 - len(body)] + body + entry[-4:]


UNUSABLE = {
    "an older version": lambda entry: changed(entry, VERSION, lambda version: version - 1),
    "a newer version": lambda entry: changed(entry, VERSION, lambda version: version + 1),
    "its magic flipped": flipped(0),
    "its creation flipped": flipped(8),
    "its lifetime flipped": flipped(16),
    "its key flipped": flipped(24),
    "a header flipped": flipped(HEAD + 20),
    "its body flipped": flipped(-10),
    "its checksum flipped": flipped(-1),
    "another answer planted": lambda entry: with_body(entry, b'"hello"}'),
    "a framing that there is not": lambda entry: changed(entry, FRAMING, lambda _: 200),
    "a status that there is not": lambda entry: changed(entry, STATUS, lambda _: 99),
    "from the future": lambda entry: changed(entry, CREATED, lambda created: created + DAY),
    "cut by a byte": lambda entry: entry[:-1],
    "cut in half": lambda entry: entry[:len(entry) // 2],
    "cut to its head": lambda entry: entry[:HEAD],
    "cut to its magic": lambda entry: entry[:4],
    "lengthened": lambda entry: entry + b"\0",
    "cut under a checksum that fits": lambda entry: resealed(entry[:-20]),
    "a head and nothing else": lambda entry: resealed(entry[:HEAD]),
    "lengths beyond its end": lambda entry: resealed(entry[:HEAD] + 20 * b"\xff"),
    "twice": lambda entry: entry + entry,
    "empty": lambda entry: b"",
    "one byte": lambda entry: b"L",
    "text": lambda entry: b"Hello, this is not an entry.",
    "JSON": lambda entry: b'{"choices": []}',
    "random bytes": lambda entry: random.Random(1).randbytes(len(entry)),
    "zeros": lambda entry: bytes(len(entry)),
    "random bytes under its magic": lambda entry: b"LLMC\x01" + random.Random(1).randbytes(1_000),
}


def adding(name: bytes, value: bytes):
    """The entry with one more header."""
    return lambda entry: rebuilt(entry, headers=lambda pairs: [*pairs, (name, value)])


def typed(value: bytes):
    return lambda entry: rebuilt(entry, headers=lambda _: [(b"content-type", value)])


def saying(change):
    return lambda entry: rebuilt(entry, body=change)


NEXT_RESPONSE = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nowned"

# All of these have a checksum that fits, as anybody can make who can write to the store.
PLANTED = {
    "status 204 with the next response for a body": lambda entry: rebuilt(
        entry, status=204, body=lambda _: NEXT_RESPONSE),
    "status 304 with the next response for a body": lambda entry: rebuilt(
        entry, status=304, body=lambda _: NEXT_RESPONSE),
    "status 101": lambda entry: rebuilt(entry, status=101),
    "status 206": lambda entry: rebuilt(entry, status=206),
    "status 301": lambda entry: rebuilt(entry, status=301),
    "status 500": lambda entry: rebuilt(entry, status=500),
    "a set-cookie": adding(b"set-cookie", b"session=theirs"),
    "a content-length": adding(b"content-length", b"1"),
    "a transfer-encoding": adding(b"transfer-encoding", b"chunked"),
    "a connection header": adding(b"connection", b"close"),
    "a pseudo-header": adding(b":status", b"204"),
    "a header that ends the headers": adding(b"openai-model", b"x\r\n\r\n" + NEXT_RESPONSE),
    "a header with a line feed": adding(b"openai-model", b"x\nset-cookie: a=b"),
    "a header with a NUL": adding(b"openai-model", b"x\0"),
    "a name with a line end": adding(b"openai-model\r\nset-cookie", b"a=b"),
    "a name in capitals": adding(b"OpenAI-Model", b"x"),
    "a name of nothing": adding(b"", b"x"),
    "a header twice": adding(b"content-type", b"application/json"),
    "a header of 100 KB": adding(b"openai-model", 100_000 * b"x"),
    "100,000 headers": lambda entry: rebuilt(entry, headers=lambda _: 100_000 * [(b"", b"")]),
    "no content type": lambda entry: rebuilt(entry, headers=lambda _: []),
    "a content type of another framing": typed(b"text/event-stream"),
    "a page": typed(b"text/html"),
    "a coding that it is not in": adding(b"content-encoding", b"gzip"),
    "a coding that cannot be judged": adding(b"content-encoding", b"br"),
    "form options of 100 KB": lambda entry: rebuilt(entry, options=100_000 * b"x"),
    "a framing that its body has not": lambda entry: changed(entry, FRAMING, lambda _: 1),
    "a life of 500 million years": lambda entry: changed(entry, LIFETIME, lambda _: 2**64 - 1),
    "half of its answer": saying(lambda body: body[:len(body) // 2]),
    "no answer": saying(lambda _: b""),
    "an error": saying(lambda _: b'{"error": {"message": "quota"}}'),
    "an answer that a limit cut off": saying(lambda body: body.replace(b"stop", b"length")),
    "an answer of another API": saying(lambda _: json.dumps({
        "type": "message", "content": [{"type": "text", "text": "x"}],
        "stop_reason": "end_turn"}).encode()),
    "a body that is no text": saying(lambda body: body.replace(b"assistant", b"assist\xffnt")),
}


@pytest.fixture(scope="module")
def redis():
    """One for all of these tests: they spoil different entries."""
    with Redis() as redis:
        yield redis


@pytest.fixture(scope="module")
def webdis(redis):
    with Webdis(redis.port) as webdis:
        yield webdis


@pytest.fixture(scope="module", params=["webdis", "rest"])
def store(request, envoys, redis, webdis, s3):
    """An Envoy that keeps nothing in memory, and the entries in its store."""
    if request.param == "rest":
        with Envoy(on_s3(envoys, s3)) as envoy:
            yield envoy, S3Entries(s3)
    else:
        with Envoy(on_webdis(envoys, webdis.port)) as envoy:
            yield envoy, RedisEntries(redis)


def spoil(envoy, entries, standin, body, spoiled):
    """Stores, spoils, and asks again: it must be a miss that mends it; returns that miss."""
    stored = ask_and_store(envoy, body)
    key = stored.header("x-cache-key")
    assert tier(fetch(envoy.port, body)) == "http"
    spoiled(key)
    with upstream_asked(standin, 1), vm_survives(envoy):
        mended = ask_and_store(envoy, body)
        hit = fetch(envoy.port, body)
    assert mended.body != stored.body
    assert (tier(hit), hit.body) == ("http", mended.body)
    return mended


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_is_not_the_entry_as_it_was_written_is_a_miss(store, standin, prompt, name):
    envoy, entries = store
    missed = spoil(envoy, entries, standin, chat(prompt()),
                   lambda key: entries.write(key, UNUSABLE[name](entries.read(key))))
    assert detail(missed) == "unusable_entry"


@pytest.mark.parametrize("name", PLANTED)
def test_what_this_filter_would_not_have_stored_is_a_miss_though_its_checksum_fits(
        store, standin, prompt, name):
    envoy, entries = store
    missed = spoil(envoy, entries, standin, chat(prompt()),
                   lambda key: entries.write(key, PLANTED[name](entries.read(key))))
    assert detail(missed) == "unusable_entry"


def test_an_entry_that_is_put_together_anew_is_the_same_entry(store, standin, prompt):
    """Otherwise the tests above would show nothing."""
    envoy, entries = store
    body = chat(prompt())
    stored = ask_and_store(envoy, body)
    key = stored.header("x-cache-key")
    shouted = rebuilt(entries.read(key), body=lambda body: body.replace(b"stand", b"STAND"))
    entries.write(key, shouted)
    with upstream_asked(standin, 0):
        hit = fetch(envoy.port, body)
    assert (tier(hit), hit.body) == ("http", stored.body.replace(b"stand", b"STAND"))
    assert hit.body != stored.body


def test_a_planted_entry_does_not_reach_the_memory_either(envoys, redis, webdis, standin, prompt):
    entries, body = RedisEntries(redis), chat(prompt())
    planted = PLANTED["half of its answer"]
    with (Envoy(on_webdis(envoys, webdis.port)) as writer,
          Envoy(on_webdis(envoys, webdis.port, memory=MEMORY)) as reader):
        key = ask_and_store(writer, body).header("x-cache-key")
        entries.write(key, planted(entries.read(key)))
        with upstream_asked(standin, 1):
            mended = ask_and_store(reader, body)
            assert detail(mended) == "unusable_entry"
            hit = fetch(reader.port, body)
        assert (tier(hit), hit.body) == ("memory", mended.body)


def test_an_entry_with_any_byte_flipped_is_a_miss(envoys, redis, webdis, prompt):
    """Each is asked for with only-if-cached, so that the answer says whether it was served."""
    entries, body = RedisEntries(redis), chat(prompt())
    with Envoy(on_webdis(envoys, webdis.port)) as envoy, vm_survives(envoy):
        stored = ask_and_store(envoy, body)
        key = stored.header("x-cache-key")
        entry = entries.read(key)
        for position in range(len(entry)):
            entries.write(key, flipped(position)(entry))
            asked = fetch(envoy.port, body, headers={"cache-control": "only-if-cached"})
            assert asked.status == 504, f"byte {position}"
        entries.write(key, entry)
        assert fetch(envoy.port, body).body == stored.body


def test_an_entry_copied_under_another_key_is_a_miss(store, standin, prompt):
    envoy, entries = store
    other = ask_and_store(envoy, chat(prompt())).header("x-cache-key")
    missed = spoil(envoy, entries, standin, chat(prompt()),
                   lambda key: entries.write(key, entries.read(other)))
    assert detail(missed) == "unusable_entry"


def test_one_tenants_entry_under_anothers_key_is_not_served(store, standin, prompt):
    envoy, entries = store
    body = chat(prompt())
    keys = [ask_and_store(envoy, body, headers={"authorization": name}).header("x-cache-key")
            for name in ("one", "two")]
    entries.write(keys[0], entries.read(keys[1]))
    with upstream_asked(standin, 1):
        missed = ask_and_store(envoy, body, headers={"authorization": "one"})
    assert detail(missed) == "unusable_entry"


def test_an_entry_that_has_expired_is_a_miss_though_the_store_still_has_it(
        store, standin, prompt):
    envoy, entries = store
    changes = [(LIFETIME, lambda _: 0), (LIFETIME, lambda _: 1),
               (CREATED, lambda created: created - DAY), (CREATED, lambda _: 0)]
    for field, change in changes:
        body = chat(prompt())
        key = ask_and_store(envoy, body).header("x-cache-key")
        entries.write(key, changed(entries.read(key), field, change))
        with upstream_asked(standin, 1):
            missed = fetch(envoy.port, body)
        assert missed.header("cache-status") == "envoy-llm-cache; fwd=stale"


def test_an_expired_object_that_nobody_replaces_is_deleted(envoys, s3, prompt):
    """Redis forgets by itself; a bucket does not."""
    entries, body = S3Entries(s3), chat(prompt())
    with Envoy(on_s3(envoys, s3)) as envoy:
        key = ask_and_store(envoy, body).header("x-cache-key")
        entries.write(key, changed(entries.read(key), LIFETIME, lambda _: 0))
        assert fetch(envoy.port, body, headers={"cache-control": "only-if-cached"}).status == 504
        envoy.wait_until(lambda: entries.name(key) not in s3.stored_keys(), "the object to go")
        envoy.wait_until(lambda: counted(envoy, DELETE) == {"done": 1}, "the removal")


@pytest.mark.parametrize(("size", "reason"), [
    (2 << 20, "entry_too_large"), (33 << 20, "store_unavailable")], ids=["limit", "Envoys-limit"])
def test_a_value_that_is_too_large_is_a_miss(envoys, redis, webdis, standin, prompt, size, reason):
    """Envoy itself gives up on an answer to a callout that is over 32 MiB, and does not say why."""
    entries = RedisEntries(redis)
    with Envoy(on_webdis(envoys, webdis.port, max_entry_bytes="1MiB")) as envoy:
        missed = spoil(envoy, entries, standin, chat(prompt()),
                       lambda key: entries.write(key, entries.read(key) + bytes(size)))
        assert detail(missed) == reason
        assert counted(envoy, LOOKUP + "failed.reason.") == {reason: 1}


def test_a_key_of_another_type_is_a_miss(envoys, redis, webdis, standin, prompt):
    entries = RedisEntries(redis)
    with Envoy(on_webdis(envoys, webdis.port)) as envoy:
        def spoiled(key):
            entries.client.delete(entries.name(key))
            entries.client.lpush(entries.name(key), "x")
        missed = spoil(envoy, entries, standin, chat(prompt()), spoiled)
        assert detail(missed) == "store_refused"


def test_an_entry_that_is_gone_is_a_miss(envoys, redis, webdis, standin, prompt):
    with Envoy(on_webdis(envoys, webdis.port)) as envoy:
        missed = spoil(envoy, RedisEntries(redis), standin, chat(prompt()),
                       lambda key: redis.client.flushall())
        assert missed.header("cache-status") == "envoy-llm-cache; fwd=uri-miss"


# -- the integrity key ----------------------------------------------------------------------------

@pytest.fixture(scope="module")
def sealing(envoys, webdis):
    """Envoys by their integrity key, all on one store."""
    started: dict[str | None, Envoy] = {}

    def by_key(key: str | None) -> Envoy:
        if key not in started:
            settings = {"integrity_key": key} if key else {}
            started[key] = Envoy(on_webdis(envoys, webdis.port, **settings), 2)
        return started[key]
    yield by_key
    for envoy in started.values():
        envoy.stop()


def test_envoys_with_one_integrity_key_share_their_entries(envoys, webdis, sealing, standin,
                                                           prompt):
    body = chat(prompt(), True)
    one = sealing(KEY)
    with (Envoy(on_webdis(envoys, webdis.port, memory=MEMORY, integrity_key=KEY)) as other,
          upstream_asked(standin, 1), vm_survives(one), vm_survives(other)):
        stored = ask_and_store(one, body, standin="pace=0")
        hits = [fetch(envoy.port, body) for envoy in (other, other, one)]
    assert [tier(hit) for hit in hits] == ["http", "memory", "http"]
    assert {hit.body for hit in hits} == {stored.body}


@pytest.mark.parametrize(("written", "read"), [(None, KEY), (OTHER_KEY, KEY), (KEY, None)],
                         ids=["unsealed", "otherwise-sealed", "sealed"])
def test_what_is_sealed_otherwise_is_a_miss(sealing, standin, prompt, written, read):
    body = chat(prompt())
    stored = ask_and_store(sealing(written), body)
    with upstream_asked(standin, 1):
        missed = ask_and_store(sealing(read), body)
        assert detail(missed) == "unusable_entry"
        assert missed.body != stored.body
        assert fetch(sealing(read).port, body).body == missed.body


def test_a_writer_to_the_store_cannot_plant_an_answer(redis, sealing, standin, prompt):
    """An edited entry under a checksum that fits, a sealed one edited, one of another key."""
    entries, envoy, body = RedisEntries(redis), sealing(KEY), chat(prompt())
    key = ask_and_store(envoy, body).header("x-cache-key")
    sealed = entries.read(key)
    other = ask_and_store(envoy, chat(prompt())).header("x-cache-key")
    forged = [resealed(sealed[:-32]), sealed[:-40] + b"planted!" + sealed[-32:],
              changed(sealed[:-28], LIFETIME, lambda lifetime: lifetime * 2),
              sealed[:16] + bytes(8) + sealed[24:], entries.read(other), sealed[:-32],
              sealed[:-32] + bytes(32)]
    for planted in forged:
        entries.write(key, planted)
        with upstream_asked(standin, 1), vm_survives(envoy):
            assert detail(ask_and_store(envoy, body)) == "unusable_entry"
    entries.write(key, sealed)
    assert tier(fetch(envoy.port, body)) == "http"

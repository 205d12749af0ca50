"""A store that does not answer a lookup as it should costs a miss, and never the answer.

Where a fault shows at once, the lookup's deadline is the longest there is, so that a request which
waited for it instead would be seen to hang.
"""

import concurrent.futures
import contextlib
import pathlib
import random

import pytest
from asserts import upstream_asked, vm_survives
from chats import chat
from harness.envoy import Envoy
from harness.http1 import fetch
from harness.redis_server import Redis
from harness.s3 import S3
from harness.scripted_server import ScriptedServer
from harness.server_process import free_port
from harness.webdis import Webdis
from http_stores import (
    LOOKUP,
    MEMORY,
    ask_and_store,
    cluster,
    counted,
    detail,
    on_s3,
    on_webdis,
    tier,
    with_cluster,
)

NEVER_OPEN = {"breaker": {"failures": 1000}}
SOON = {"lookup_timeout": "50ms"}
STORED = b'{"SETEX":[true,"OK"]}'
UNAVAILABLE, REFUSED, UNUSABLE = "store_unavailable", "store_refused", "unusable_entry"
# The same each time: one that began with "-" would be an error of Redis.
GARBAGE = random.Random(1).randbytes(5000)
OVER_CHUNKS = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def close(asked):
    asked.connection.close()


def says(data: bytes, then=close):
    def script(asked):
        asked.connection.send(data)
        if then:
            then(asked)
    return script


def answers(status: int, body: bytes = b"", **headers):
    def script(asked):
        asked.connection.answer(status, body, **headers)
    return script


def resets(asked):
    asked.connection.reset()


# What the store does when it is asked, and what the request that asked says of it.
AT_ONCE = {
    "closes": (close, UNAVAILABLE),
    "resets": (resets, UNAVAILABLE),
    "closes within its head": (says(b"HTTP/1.1 200 OK\r\ncontent-le"), UNAVAILABLE),
    "resets within its body": (says(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nLLMC", resets),
                               UNAVAILABLE),
    "closes within its body": (says(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nLLMC"),
                               UNAVAILABLE),
    "closes within a chunk": (says(OVER_CHUNKS + b"ff\r\nLLMC"), UNAVAILABLE),
    "closes before the last chunk": (says(OVER_CHUNKS + b"4\r\nLLMC\r\n"), UNAVAILABLE),
    "sends a chunk without a size": (says(OVER_CHUNKS + b"four\r\nLLMC\r\n0\r\n\r\n"), UNAVAILABLE),
    "speaks something else": (says(b"-ERR unknown command 'GET'\r\n"), UNAVAILABLE),
    "speaks random bytes": (says(GARBAGE[:1000]), UNAVAILABLE),
    "speaks HTTP/2": (says(bytes.fromhex("000000040000000000")), UNAVAILABLE),
    "has no length and closes": (says(b"HTTP/1.1 200 OK\r\n\r\nnothing of ours"), UNUSABLE),
    "has two lengths": (says(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\n"
                             b"LLMCX"), UNAVAILABLE),
    "has a length that is none": (says(b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\nLLMC"),
                                  UNAVAILABLE),
    "has a header line that is none": (says(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"), UNAVAILABLE),
    "has a NUL in a header": (says(b"HTTP/1.1 200 OK\r\nx: \0\r\ncontent-length: 0\r\n\r\n"),
                              UNAVAILABLE),
    "has headers without end": (says(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 60_000), UNAVAILABLE),
    "has a header of a megabyte": (says(b"HTTP/1.1 200 OK\r\nx: " + b"y" * (1 << 20) + b"\r\n\r\n"),
                                   UNAVAILABLE),
    "has headers that are not UTF-8": (says(b"HTTP/1.1 200 OK\r\nx: caf\xe9 \xff\xfe\r\n"
                                            b"content-length: 4\r\n\r\nLLMC", None), UNUSABLE),
    "says more than its length": (says(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nLLMC more"),
                                  UNUSABLE),
    "answers 0 bytes": (answers(200), UNUSABLE),
    "answers garbage": (answers(200, GARBAGE), UNUSABLE),
    "answers with an error of Redis": (answers(200, b"-ERR no"), REFUSED),
    "answers that Redis is loading": (answers(200, b"-LOADING Redis is loading"), UNAVAILABLE),
    "answers that the cluster is down": (answers(200, b"-CLUSTERDOWN Hash slot"), UNAVAILABLE),
    "moved": (answers(301, location="http://127.0.0.1:1/elsewhere"), REFUSED),
    "moved for now": (answers(307, location="/elsewhere"), REFUSED),
    "has it unchanged": (answers(304), REFUSED),
    "has part of it": (answers(206, b"LLMC", content_range="bytes 0-3/100"), REFUSED),
    "has no content": (says(b"HTTP/1.1 204 No Content\r\n\r\n", None), REFUSED),
    "wants credentials": (answers(401, www_authenticate="Basic"), REFUSED),
    "forbids it": (answers(403), REFUSED),
    "does not know the method": (answers(405), REFUSED),
    "has too much to do": (answers(429, retry_after="1"), UNAVAILABLE),
    "fails": (answers(500, b"oops"), UNAVAILABLE),
    "has no Redis": (answers(503), UNAVAILABLE),
    "gave up": (answers(408), "store_timeout"),
    "has a gateway that gave up": (answers(504), "store_timeout"),
    "has a status that there is not": (answers(999), UNAVAILABLE),
    "continues, then has nothing": (says(b"HTTP/1.1 100 Continue\r\n\r\n"
                                         b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
                                         None), None),
    "has nothing": (answers(404), None),
    "says at length that it has nothing": (answers(404, bytes(100_000)), None),
}

def hangs(asked):
    asked.connection.wait_until_gone()


# Envoy does not say why an answer to a callout ends that has begun.
HANGS = {
    "never answers": (hangs, "store_timeout"),
    "never ends its head": (says(b"HTTP/1.1 200 OK\r\n", hangs), "store_timeout"),
    "never ends its body": (says(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nLLMC", hangs),
                            UNAVAILABLE),
    "never ends its chunks": (says(OVER_CHUNKS + b"4\r\nLLMC\r\n", hangs), UNAVAILABLE),
}


class FaultyStore(ScriptedServer):
    """Takes every write and keeps the last; answers lookups by the script of the moment."""

    def __init__(self):
        self.get = answers(404)
        self.written = b""
        super().__init__(self.serve_one)

    def serve_one(self, asked):
        if asked.method == "PUT":
            self.written = asked.body()
            asked.connection.answer(200, STORED, content_type="application/json")
        else:
            self.get(asked)


@pytest.fixture(scope="module")
def faulty():
    with FaultyStore() as store:
        yield store


@pytest.fixture(scope="module", params=[1, 4], ids=["1-worker", "4-workers"])
def patient(request, envoys, faulty):
    """Waits ten seconds for an answer to a lookup."""
    with Envoy(on_webdis(envoys, faulty.port, **NEVER_OPEN), request.param) as envoy:
        yield envoy


@pytest.fixture(scope="module")
def hasty(envoys, faulty):
    """Waits a twentieth of a second."""
    with Envoy(on_webdis(envoys, faulty.port, **NEVER_OPEN, **SOON)) as envoy:
        yield envoy


def missed(envoy, standin, body) -> str | None:
    """Asks what must be a miss that the upstream serves; says why it was."""
    with upstream_asked(standin, 1), vm_survives(envoy):
        answer = fetch(envoy.port, body, standin="pace=0")
    assert (answer.status, answer.cache, answer.ending) == (200, "MISS", "whole")
    return detail(answer)


@pytest.mark.parametrize("does", AT_ONCE)
def test_a_store_that_fails_at_once_costs_a_miss(patient, faulty, standin, prompt, does):
    faulty.get, why = AT_ONCE[does]
    asked = len(faulty.asked)
    for stream in (False, True):
        assert missed(patient, standin, chat(prompt(), stream)) == why
    assert [request.method for request in faulty.asked[asked:]].count("GET") == 2, "no retries"


@pytest.mark.parametrize("does", HANGS)
def test_a_store_that_hangs_costs_a_miss(hasty, faulty, standin, prompt, does):
    """It hangs until the filter has given up: there is an answer only if the filter does."""
    faulty.get, why = HANGS[does]
    for stream in (False, True):
        assert missed(hasty, standin, chat(prompt(), stream)) == why


def test_after_all_of_that_the_store_is_used_again(patient, faulty, standin, prompt):
    """The entry is the one that the filter itself wrote."""
    body = chat(prompt())
    faulty.get = answers(404)
    stored = ask_and_store(patient, body)
    faulty.get = answers(200, faulty.written)
    with upstream_asked(standin, 0):
        hit = fetch(patient.port, body)
    assert (tier(hit), hit.body) == ("http", stored.body)
    # And it answers only the request that it is for.
    assert missed(patient, standin, chat(prompt())) == UNUSABLE


def without_endpoints(envoys, port):
    config = on_webdis(envoys, port)
    config.tree["static_resources"]["clusters"][-1] = cluster()
    return config


def without_cluster(envoys, port):
    config = on_webdis(envoys, port)
    del config.tree["static_resources"]["clusters"][-1]
    return config


def elsewhere(envoys, port):
    """Another name for a cluster that there is."""
    return with_cluster(on_webdis(envoys, port, cluster="no such cluster"), None)


@pytest.mark.parametrize("config", [without_cluster, without_endpoints, elsewhere, on_webdis])
def test_a_cluster_that_is_not_there_costs_a_miss(envoys, standin, prompt, config):
    """The last one has an endpoint that refuses connections."""
    with Envoy(config(envoys, free_port()), 2) as envoy:
        for number in range(10):
            body = chat(prompt(), number % 2 == 0)
            assert missed(envoy, standin, body) in (UNAVAILABLE, "breaker_open")
        assert set(counted(envoy, LOOKUP)) == {"failed.reason.store_unavailable"}


def test_only_if_cached_is_refused_when_the_store_fails(patient, faulty, standin, prompt):
    for faulty.get in (close, answers(503), answers(200, b"garbage")):
        with upstream_asked(standin, 0), vm_survives(patient):
            refused = fetch(patient.port, chat(prompt()),
                            headers={"cache-control": "only-if-cached"})
        assert (refused.status, refused.cache) == (504, "MISS")


def test_memory_serves_whatever_the_store_does(envoys, redis, webdis, standin, prompt):
    with Envoy(on_webdis(envoys, webdis.port, memory=MEMORY)) as envoy:
        body = chat(prompt())
        stored = ask_and_store(envoy, body)
        lookups = counted(envoy, LOOKUP)
        for harm in (redis.pause, webdis.pause, webdis.kill):
            harm()
            with upstream_asked(standin, 0):
                hit = fetch(envoy.port, body)
            assert (tier(hit), hit.body) == ("memory", stored.body)
        assert counted(envoy, LOOKUP) == lookups


@pytest.mark.parametrize("stalled", ["redis", "webdis"])
def test_a_store_that_stalls_for_good_costs_a_miss(request, envoys, webdis, standin, prompt,
                                                   stalled):
    """Each stalls in a store of its own: once resumed, Webdis may answer one request with the
    answer to another that was given up meanwhile.
    """
    server = request.getfixturevalue(stalled)
    with Envoy(on_webdis(envoys, webdis.port, **SOON, **NEVER_OPEN), 4) as envoy:
        stored = chat(prompt())
        ask_and_store(envoy, stored)
        server.pause()
        for body in (stored, chat(prompt()), chat(prompt(), True)):
            assert missed(envoy, standin, body) == "store_timeout"
        server.resume()
        envoy.wait_until(lambda: fetch(envoy.port, stored).cache == "HIT", "hits again")


def test_an_s3_that_stalls_or_dies_costs_a_miss(envoys, standin, prompt):
    with S3() as s3, Envoy(on_s3(envoys, s3, **SOON, **NEVER_OPEN)) as envoy:
        s3.pause()
        assert missed(envoy, standin, chat(prompt())) == "store_timeout"
        s3.kill()
        assert missed(envoy, standin, chat(prompt())) == UNAVAILABLE


def open_files(pid: int) -> int:
    return len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))


def test_webdis_answering_one_request_with_the_answer_to_another_is_a_miss(
        envoys, standin, prompt):
    """Webdis knows a client that waits by its descriptor, also after it has gone and another
    has the same one: that one gets both answers.
    """
    reads = {"plugin": {"mode": "read_only"}, **NEVER_OPEN}
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        redis = enter(Redis())
        webdis = enter(Webdis(redis.port, threads=1, pool_size=1))
        writer = enter(Envoy(on_webdis(envoys, webdis.port)))
        hasty = enter(Envoy(on_webdis(envoys, webdis.port, **reads, **SOON)))
        patient = enter(Envoy(on_webdis(envoys, webdis.port, **reads)))
        pool = enter(concurrent.futures.ThreadPoolExecutor())
        bodies = [chat(prompt()) for _ in range(6)]
        own = [ask_and_store(writer, body).body for body in bodies]
        for first, second in zip(bodies[::2], bodies[1::2], strict=True):
            redis.pause()
            free = open_files(webdis.pid)
            assert missed(hasty, standin, first) == "store_timeout"
            hasty.wait_until(lambda free=free: open_files(webdis.pid) <= free,
                             "Webdis to see that the first client is gone")
            asking = pool.submit(fetch, patient.port, second)
            patient.wait_until(lambda: patient.stat("cluster.cache.upstream_rq_active") == 1,
                               "the second request to be at Webdis")
            redis.resume()
            answer = asking.result()
            assert (answer.status, answer.ending) == (200, "whole")
            question = second["messages"][0]["content"]
            assert answer.json()["choices"][0]["message"]["content"].endswith(question)
            assert answer.cache == "HIT" or detail(answer) == UNUSABLE
        hits = [fetch(patient.port, body) for body in bodies]
        assert [(tier(hit), hit.body) for hit in hits] == [("http", body) for body in own]
        assert patient.vm_failures() == hasty.vm_failures() == []

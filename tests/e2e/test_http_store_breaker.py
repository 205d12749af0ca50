"""A store that fails again and again is left alone for a while, and no request waits for it then.

Where a breaker is to stay open it does so for an hour, where it is to close it is open for
hundredths of a second; so no test depends on how fast it runs.
"""

import concurrent.futures
import contextlib
import itertools
import os
import re
import threading

import pytest
from asserts import upstream_asked, vm_survives
from chats import chat
from crowds import Crowd
from harness.envoy import GUARD_SECONDS, Envoy
from harness.http1 import Http1Connection, fetch
from harness.redis_server import Redis
from harness.scripted_server import Gate, ScriptedServer
from harness.webdis import Webdis
from http_stores import (
    HALF_OPEN,
    LOOKUP,
    OPEN,
    PROBE,
    WRITE,
    RedisEntries,
    ask_and_store,
    counted,
    detail,
    gauge,
    on_webdis,
    tier,
)

STAYS_OPEN = {"failures": 3, "min_open": "1h", "max_open": "1h"}
SOON_CLOSES = {"failures": 3, "min_open": "10ms", "max_open": "50ms"}
SOON = {"lookup_timeout": "50ms"}
TURN = re.compile(r"llm-cache: breaker of cluster cache: (\w+) -> (\w+)( for \d+ ms)?")


def turns(envoy) -> list[tuple[str, str]]:
    """What the log says of the breaker, over all workers."""
    return [found.groups()[:2] for found in TURN.finditer(envoy.log())]


def missed(envoy, body) -> str | None:
    answer = fetch(envoy.port, body, standin="pace=0")
    assert (answer.status, answer.cache, answer.ending) == (200, "MISS", "whole")
    return detail(answer)


@pytest.mark.parametrize("harm", ["kill", "pause"])
def test_it_opens_once_after_the_configured_failures_and_then_no_request_waits(
        envoys, redis, webdis, standin, prompt, harm):
    """A stalled store is asked for the failures that it takes, and never again: nobody waits."""
    config = on_webdis(envoys, webdis.port, breaker=STAYS_OPEN, **SOON,
                       plugin={"mode": "read_only"})
    with Envoy(config) as envoy, vm_survives(envoy):
        assert missed(envoy, chat(prompt())) is None
        getattr(redis, harm)()
        why = "store_unavailable" if harm == "kill" else "store_timeout"
        failures = STAYS_OPEN["failures"]
        for _ in range(failures - 1):
            assert missed(envoy, chat(prompt())) == why
            assert gauge(envoy, OPEN) == 0
        assert missed(envoy, chat(prompt())) == why
        # A probe confirms that it is the store, and not what it was asked for.
        envoy.wait_until(lambda: gauge(envoy, OPEN) == 1, "the breaker to open")
        assert counted(envoy, PROBE) == {f"failed.reason.{why}": 1}
        sent = envoy.stat("cluster.cache.upstream_rq_total")
        lookups = counted(envoy, LOOKUP)
        assert lookups == {"absent": 1, f"failed.reason.{why}": failures}
        with upstream_asked(standin, 200), Http1Connection(envoy.port) as connection:
            for number in range(200):
                answer = connection.ask(chat(prompt(), number % 2 == 0), standin="pace=0")
                assert (answer.status, detail(answer)) == (200, "breaker_open")
        assert counted(envoy, LOOKUP) == lookups
        assert counted(envoy, PROBE) == {f"failed.reason.{why}": 1}
        assert envoy.stat("cluster.cache.upstream_rq_total") == sent
        # The log is written by a thread of its own.
        envoy.wait_until(lambda: turns(envoy), "the log")
        assert turns(envoy) == [("closed", "open")]
        assert gauge(envoy, OPEN) == 1


def test_every_worker_has_a_breaker_of_its_own_that_opens_once(envoys, redis, webdis, prompt):
    config = on_webdis(envoys, webdis.port, breaker=STAYS_OPEN, plugin={"mode": "read_only"})
    with Envoy(config, 4) as envoy, vm_survives(envoy):
        redis.kill()
        envoy.wait_until(lambda: missed(envoy, chat(prompt())) and gauge(envoy, OPEN) >= 2,
                         "two workers' breakers to open")
        for _ in range(100):
            missed(envoy, chat(prompt()))
        opened = gauge(envoy, OPEN)
        assert 2 <= opened <= 4
        envoy.wait_until(lambda: len(turns(envoy)) == opened, "a line for each")
        assert set(turns(envoy)) == {("closed", "open")}
        failed = counted(envoy, LOOKUP)["failed.reason.store_unavailable"]
        failures = STAYS_OPEN["failures"]
        assert failed >= failures * opened
        assert counted(envoy, PROBE) == {"failed.reason.store_unavailable": opened}


def test_a_success_in_between_starts_the_count_again(envoys, prompt):
    fails = itertools.cycle([True, True, False])

    def script(asked):
        asked.body()
        asked.connection.answer(503 if next(fails) else 404)
    with (ScriptedServer(script) as store,
          Envoy(on_webdis(envoys, store.port, breaker=STAYS_OPEN,
                          plugin={"mode": "read_only"})) as envoy):
        for _ in range(30):
            missed(envoy, chat(prompt()))
        assert counted(envoy, LOOKUP) == {"failed.reason.store_unavailable": 20, "absent": 10}
        assert gauge(envoy, OPEN) == 0


@pytest.mark.parametrize(("harm", "workers"), [("kill", 4), ("pause", 1), ("webdis", 4)])
def test_it_closes_by_itself_when_the_store_is_back(
        envoys, redis, webdis, standin, prompt, harm, workers):
    config = on_webdis(envoys, webdis.port, breaker=SOON_CLOSES, **SOON)
    with Envoy(config, workers) as envoy, vm_survives(envoy):
        bodies = [chat(prompt()), chat(prompt(), True)]
        stored = [ask_and_store(envoy, body, standin="pace=0") for body in bodies]
        snapshot = {key: redis.client.get(key) for key in redis.stored_keys()}
        {"kill": redis.kill, "pause": redis.pause, "webdis": webdis.kill}[harm]()
        envoy.wait_until(lambda: missed(envoy, chat(prompt())) == "breaker_open"
                         and counted(envoy, PROBE), "the breaker to open, and to try")
        {"kill": redis.start, "pause": redis.resume, "webdis": webdis.start}[harm]()
        for key, value in snapshot.items():
            redis.client.set(key, value)
        for body, answer in zip(bodies, stored, strict=True):
            only = {"cache-control": "only-if-cached"}
            hit = envoy.wait_until(
                lambda body=body, only=only: (hit := fetch(envoy.port, body, headers=only)).cache
                == "HIT" and hit, "hits again")
            assert (tier(hit), hit.body) == ("http", answer.body)
        # Requests reach every worker in the end, and each closes its own.
        envoy.wait_until(
            lambda: fetch(envoy.port, bodies[0], headers=only).status
            and gauge(envoy, OPEN) == gauge(envoy, HALF_OPEN) == 0, "every breaker to close")
        said = turns(envoy)
        assert said.count(("closed", "open")) == said.count(("half_open", "closed"))


def test_requests_do_not_wait_for_a_probe_either(envoys, prompt):
    """The probe hangs until the test lets go; requests come and go meanwhile."""
    gate, store_is_well = Gate(), threading.Event()

    def script(asked):
        asked.body()
        if not store_is_well.is_set():
            asked.connection.answer(503)
            return
        gate.wait()
        asked.connection.answer(404)
    breaker = {"failures": 1, "min_open": "10ms", "max_open": "10ms"}
    config_of = {"breaker": breaker, "plugin": {"mode": "read_only"}}
    with (ScriptedServer(script) as store,
          Envoy(on_webdis(envoys, store.port, **config_of)) as envoy, vm_survives(envoy)):
        assert missed(envoy, chat(prompt())) == "store_unavailable"
        envoy.wait_until(lambda: gauge(envoy, OPEN) == 1, "the breaker to open")
        store_is_well.set()
        probed = counted(envoy, PROBE)
        envoy.wait_until(lambda: missed(envoy, chat(prompt())) and gauge(envoy, HALF_OPEN) == 1,
                         "a probe")
        gate.wait_for_somebody()
        asked = len(store.asked)
        for _ in range(50):
            assert missed(envoy, chat(prompt())) == "breaker_open"
        assert (gauge(envoy, HALF_OPEN), gauge(envoy, OPEN)) == (1, 0)
        assert len(store.asked) == asked, "one probe at a time"
        assert counted(envoy, PROBE) == probed
        gate.open()
        envoy.wait_until(lambda: gauge(envoy, HALF_OPEN) == 0, "the probe's answer")
        assert gauge(envoy, OPEN) == 0
        assert missed(envoy, chat(prompt())) is None
        envoy.wait_until(lambda: len(turns(envoy)) == 3, "the log")
        assert turns(envoy) == [("closed", "open"), ("open", "half_open"),
                                ("half_open", "closed")]


# -- one caller's entries, and the others ---------------------------------------------------------

def of(caller: str) -> dict[str, str]:
    return {"authorization": f"Bearer {caller}"}


class SlowFor:
    """A store that stalls in the middle of some entries, and answers everything else at once."""

    def __init__(self, stalls) -> None:
        self.stalls = stalls

    def __call__(self, asked) -> None:
        asked.body()
        if self.stalls(asked):
            asked.connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nLLMC")
            asked.connection.wait_until_gone()
        else:
            asked.connection.answer(404)


@pytest.mark.parametrize("workers", [1, 4])
def test_one_callers_slow_entries_keep_no_other_caller_from_the_store(
        envoys, standin, prompt, workers):
    """Its lookups time out while bytes flow, over and over; the others' are answered. Envoy tells
    us of such a timeout as of a connection that broke."""
    slow: set[str] = set()
    script = SlowFor(lambda asked: any(key in asked.target for key in slow))
    with (ScriptedServer(script) as store,
          Envoy(on_webdis(envoys, store.port, breaker=STAYS_OPEN, lookup_timeout="1s",
                          plugin={"mode": "read_only"}), workers) as envoy,
          vm_survives(envoy), concurrent.futures.ThreadPoolExecutor(5) as pool):
        bodies = [chat(prompt()) for _ in range(5)]
        for body in bodies:
            slow.add(fetch(envoy.port, body, headers=of("slow")).header("x-cache-key"))
        for round_ in range(6):
            asked = [pool.submit(fetch, envoy.port, body, headers=of("slow")) for body in bodies]
            for answer in [future.result() for future in asked]:
                assert (answer.status, detail(answer)) == (200, "store_unavailable")
            other = fetch(envoy.port, chat(prompt()), headers=of("other"))
            assert detail(other) is None, round_
        assert counted(envoy, LOOKUP)["failed.reason.store_unavailable"] == 30
        assert gauge(envoy, OPEN) == gauge(envoy, HALF_OPEN) == 0
        assert turns(envoy) == []


def test_entries_that_are_larger_than_the_time_allows_are_no_fault_of_the_stores(
        envoys, redis, webdis, standin, prompt):
    """With a real Redis: an entry beyond what Envoy takes breaks off, again and again."""
    entries = RedisEntries(redis)
    with Envoy(on_webdis(envoys, webdis.port, breaker=STAYS_OPEN)) as envoy, vm_survives(envoy):
        body, other = chat(prompt()), chat(prompt())
        key = ask_and_store(envoy, body, headers=of("large")).header("x-cache-key")
        ask_and_store(envoy, other, headers=of("other"))
        for _ in range(2 * STAYS_OPEN["failures"]):
            entries.write(key, bytes(33 << 20))
            missed_ = fetch(envoy.port, body, headers={**of("large"), "x-llm-cache-ttl": "0s"})
            assert detail(missed_) == "store_unavailable"
        envoy.wait_until(lambda: counted(envoy, PROBE) == {"absent": 2}, "two probes")
        with upstream_asked(standin, 0):
            assert tier(fetch(envoy.port, other, headers=of("other"))) == "http"
        assert turns(envoy) == []


def test_one_callers_lookups_that_hang_leave_the_others_room(envoys, prompt):
    """A caller with more lookups on their way than its share goes without the store."""
    share, extra = 256, 10
    gate, slow, hanging = Gate(), threading.Event(), []

    def script(asked):
        asked.body()
        if slow.is_set():
            hanging.append(asked)
            gate.wait()
        asked.connection.answer(404)
    with (ScriptedServer(script) as store,
          Envoy(on_webdis(envoys, store.port, breaker=STAYS_OPEN,
                          plugin={"mode": "read_only"})) as envoy,
          vm_survives(envoy),
          Crowd(envoy.port, "http1") as crowd):
        slow.set()
        crowd.ask(chat(prompt()), share, headers=of("slow"))
        # Not before the server has all of them: those that it reads later would be answered.
        envoy.wait_until(lambda: len(hanging) == share, "the caller's share")
        for _ in range(extra):
            assert detail(fetch(envoy.port, chat(prompt()), headers=of("slow"))) == "store_busy"
        slow.clear()
        assert detail(fetch(envoy.port, chat(prompt()), headers=of("other"))) is None
        assert counted(envoy, LOOKUP) == {"failed.reason.store_busy": extra, "absent": 1}
        gate.open()
        assert {detail(answer) for answer in crowd.answers()} == {None}


def test_what_only_the_request_is_to_blame_for_does_not_open_it(envoys, prompt):
    said = itertools.cycle([(200, b"garbage"), (200, b"-WRONGTYPE Operation"), (404, b""),
                            (403, b""), (200, b""), (301, b"")])

    def script(asked):
        asked.body()
        asked.connection.answer(*next(said))
    with (ScriptedServer(script) as store,
          Envoy(on_webdis(envoys, store.port, breaker={**STAYS_OPEN, "failures": 1},
                          plugin={"mode": "read_only"})) as envoy):
        for _ in range(60):
            assert missed(envoy, chat(prompt())) != "breaker_open"
        assert gauge(envoy, OPEN) == 0
        assert len(store.asked) == 60


# -- under load -----------------------------------------------------------------------------------

class Load:
    """Clients that ask over and over, each its own questions among many; none may be failed."""

    CLIENTS = 100
    QUESTIONS = 60

    def __init__(self, envoy: Envoy, prompt) -> None:
        self.envoy = envoy
        self.questions = [prompt() for _ in range(self.QUESTIONS)]
        self.over = threading.Event()
        self.answered = 0
        self.tiers = {None: 0, "http": 0}
        self.lock = threading.Condition()
        self.pool = concurrent.futures.ThreadPoolExecutor(self.CLIENTS)
        self.clients = [self.pool.submit(self.ask, number) for number in range(self.CLIENTS)]

    def ask(self, number: int) -> None:
        with Http1Connection(self.envoy.port) as connection:
            for turn in itertools.count():
                if self.over.is_set():
                    return
                question = self.questions[(number * 7 + turn) % self.QUESTIONS]
                answer = connection.ask(chat(question, (number + turn) % 2 == 0,
                                             stream_options={"include_usage": True}),
                                        standin="pace=0")
                assert (answer.status, answer.ending) == (200, "whole")
                assert belongs(answer, question), (question, answer)
                with self.lock:
                    self.answered += 1
                    self.tiers[tier(answer) if answer.cache == "HIT" else None] += 1
                    self.lock.notify_all()

    def wait_for(self, more: int) -> None:
        """Until so many more requests have been answered, or one has failed."""
        with self.lock:
            wanted = self.answered + more
            while self.answered < wanted:
                assert self.lock.wait(GUARD_SECONDS), "no request was answered"
                for client in self.clients:
                    if client.done():
                        client.result()

    def end(self) -> None:
        self.over.set()
        for client in self.clients:
            client.result()
        self.pool.shutdown()


def belongs(answer, question: str) -> bool:
    """Whether it is an answer to this question, in the form that was asked for."""
    if answer.header("content-type").startswith("application/json"):
        return answer.json()["choices"][0]["message"]["content"].endswith(question)
    text = "".join(re.findall(r'"content":\s*"([^"]*)"', answer.body.decode()))
    return text.endswith(question) and answer.body.endswith(b"data: [DONE]\n\n")


def test_under_load_no_request_fails_whatever_becomes_of_redis(envoys, standin, prompt):
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(Redis())
        webdis = stack.enter_context(Webdis(redis.port))
        config = on_webdis(envoys, webdis.port, breaker=SOON_CLOSES, lookup_timeout="250ms",
                           store_timeout="1s")
        envoy = stack.enter_context(Envoy(config, 4))
        stack.enter_context(vm_survives(envoy))
        load = Load(envoy, prompt)
        stack.callback(load.over.set)
        events = [redis.kill, redis.start, redis.pause, redis.resume, webdis.kill, webdis.start,
                  webdis.pause, webdis.resume,
                  lambda: redis.set_all(os.urandom(2_000)), lambda: redis.set_all(b""),
                  lambda: redis.client.config_set("maxmemory", 1),
                  lambda: redis.client.config_set("maxmemory", 0), redis.client.flushall]
        load.wait_for(300)
        for event in events:
            event()
            load.wait_for(300)
        # And then it is as if nothing had been.
        before = load.tiers["http"]
        while load.tiers["http"] < before + 200:
            load.wait_for(100)
        load.end()
        envoy.wait_until(
            lambda: fetch(envoy.port, chat(load.questions[0])).status == 200
            and gauge(envoy, OPEN) == gauge(envoy, HALF_OPEN) == 0, "every breaker to close")
        assert counted(envoy, LOOKUP).keys() >= {"found", "absent"}
        assert envoy.stat("http.llm.downstream_rq_5xx") == 0
        envoy.wait_until(lambda: fetch(envoy.port, chat(load.questions[0])).cache == "HIT",
                         "the last write to be there")
        with upstream_asked(standin, 0):
            assert tier(fetch(envoy.port, chat(load.questions[0]))) == "http"


# -- live updates ---------------------------------------------------------------------------------

class QuickEnvoy(Envoy):
    """A listener that was replaced is gone after a second, not after ten minutes."""

    options = ("--drain-time-s", "1", "--drain-strategy", "immediate")


def live_update(envoy, config) -> None:
    """Hands the Envoy another listener, and waits until the old one is gone."""
    config.listener["drain_type"] = "MODIFY_ONLY"
    config.listen(envoy.config.listener["address"]["socket_address"]["port_value"])
    envoy.write_listener(config)
    envoy.wait_until(lambda: envoy.stat("listener_manager.listener_modified") >= 1
                     and not envoy.stat("listener_manager.total_listeners_warming"), "the update")


@pytest.mark.parametrize("workers", [1, 4])
def test_an_update_while_the_breaker_is_open_leaves_no_gauge_behind(
        envoys, redis, webdis, prompt, workers):
    config_of = {"breaker": {**STAYS_OPEN, "failures": 1}}
    config = on_webdis(envoys, webdis.port, **config_of)
    with QuickEnvoy(config, workers, listener_file=True) as envoy:
        redis.kill()
        envoy.wait_until(lambda: missed(envoy, chat(prompt())) and gauge(envoy, OPEN) >= 1,
                         "a breaker to open")
        updated = on_webdis(envoys, webdis.port, plugin={"ttl": "2h"}, **config_of)
        redis.start()
        live_update(envoy, updated)
        # The old configuration goes with its last connection.
        envoy.wait_until(lambda: gauge(envoy, OPEN) == 0, "the old breakers to be gone")
        envoy.wait_until(lambda: missed(envoy, chat(prompt())) is None, "the new one's lookups")
        ask_and_store(envoy, chat(prompt()))
        assert envoy.vm_failures() == []


def test_an_update_while_requests_wait_and_writes_are_on_their_way_traps_nothing(
        envoys, redis, webdis, prompt):
    config = on_webdis(envoys, webdis.port, store_timeout="1s")
    with (QuickEnvoy(config, 4, listener_file=True) as envoy,
          concurrent.futures.ThreadPoolExecutor(20) as pool):
        redis.pause()
        for _ in range(10):
            answer = fetch(envoy.port, chat(prompt()), headers={"cache-control": "no-cache"})
            assert answer.status == 200
        asking = [pool.submit(fetch, envoy.port, chat(prompt())) for _ in range(10)]
        envoy.wait_until(lambda: envoy.stat("cluster.cache.upstream_rq_active") == 20,
                         "ten writes and ten lookups to be on their way")
        live_update(envoy, on_webdis(envoys, webdis.port, plugin={"ttl": "2h"}))
        redis.resume()
        assert {one.result().status for one in asking} == {200}
        envoy.wait_until(lambda: envoy.stat("cluster.cache.upstream_rq_active") == 0,
                         "nothing to be on its way")
        ask_and_store(envoy, chat(prompt()))
        assert counted(envoy, WRITE)["done"] >= 1
        assert gauge(envoy, OPEN) == 0
        assert envoy.vm_failures() == []


def test_writes_whose_configuration_is_gone_trap_nothing(envoys, redis, webdis, prompt):
    config = on_webdis(envoys, webdis.port)
    with QuickEnvoy(config, 4, listener_file=True) as envoy:
        redis.pause()
        for _ in range(10):
            answer = fetch(envoy.port, chat(prompt()), headers={"cache-control": "no-cache"})
            assert answer.status == 200
        envoy.wait_until(lambda: envoy.stat("cluster.cache.upstream_rq_active") == 10, "writes")
        live_update(envoy, on_webdis(envoys, webdis.port, plugin={"ttl": "2h"}))
        envoy.wait_until(
            lambda: envoy.stat("listener_manager.total_listeners_draining") == 0
            and envoy.stat("listener_manager.total_filter_chains_draining") == 0,
            "the old configuration to be gone")
        redis.resume()
        ask_and_store(envoy, chat(prompt()))
        envoy.wait_until(lambda: envoy.stat("cluster.cache.upstream_rq_active") == 0, "their end")
        assert envoy.vm_failures() == []

"""A VM that traps costs what is in flight on its worker, and nobody on another one.

The filter is a build of its own here, with the feature `trap-for-tests`: a request with the header
`x-llm-cache-trap` traps the VM of the worker that has it.
"""

import contextlib

import pytest
from asserts import upstream_asked
from chats import chat
from crowds import is_collapsed, outcome, wait_for_active
from harness.envoy import ROOT, Envoy
from harness.http2 import Http2Connection, Stream

TRAP_WASM = ROOT / "target" / "trap" / "wasm32-wasip1" / "release" / "envoy_llm_cache.wasm"
PLUGIN = {"collapse": {"max_wait": "1s", "streams": True}}
TIMEOUT = "envoy-llm-cache; fwd=miss; collapsed=?0; detail=collapse_timeout"
RELOADED = "wasm.envoy_llm_cache.vm_reload_success"
TRAP = {"x-llm-cache-trap": "1"}
WORKERS = 4
ALL_PIECES = 100_000


@pytest.fixture
def envoy(envoys):
    if not TRAP_WASM.exists():
        raise pytest.UsageError(f"{TRAP_WASM} is missing: run `make trap` first")
    config = envoys.config(PLUGIN)
    config.plugin["vm_config"]["code"]["local"]["filename"] = str(TRAP_WASM)
    config.manager["stream_idle_timeout"] = "5s"
    with Envoy(config, WORKERS) as envoy:
        yield envoy


def connections_per_worker(envoy: Envoy) -> list[int]:
    found = envoy.stats("worker_.*downstream_cx_total")
    return [sum(count for name, count in found.items() if f".worker_{worker}." in name)
            for worker in range(WORKERS)]


@contextlib.contextmanager
def one_connection_to_each_worker(envoy: Envoy):
    """The kernel chooses the worker, so connections are made until each has one."""
    with contextlib.ExitStack() as stack:
        found: dict[int, Http2Connection] = {}
        while len(found) < WORKERS:
            before = connections_per_worker(envoy)
            connection = stack.enter_context(Http2Connection(envoy.port))
            after = envoy.wait_until(
                lambda before=before: (now := connections_per_worker(envoy)) != before and now,
                "the connection")
            worker = next(worker for worker in range(WORKERS) if after[worker] != before[worker])
            found.setdefault(worker, connection)
        yield [found[worker] for worker in range(WORKERS)]


def ended(connection: Http2Connection, stream_id: int) -> Stream:
    with contextlib.suppress(ConnectionResetError):
        return connection.finish(stream_id)
    return connection.streams[stream_id]


@pytest.mark.parametrize("begun", [False, True], ids=["before-its-answer", "in-its-answer"])
def test_a_request_that_waits_for_a_worker_whose_vm_traps_goes_to_the_upstream(
        envoy, standin, prompt, begun):
    first, second, body, known = prompt(), prompt(), chat(prompt(), True), chat(prompt())
    with one_connection_to_each_worker(envoy) as (trapped, *others):
        stored = trapped.ask(known).body
        before = standin.requests()
        leader = trapped.start(body, standin=f"step={first};{'' if begun else 'hold'}")
        standin.wait_for(lambda stats: stats["requests"] == before + 1, "the first request")
        waiters = [(connection, connection.start(body, standin=f"hold;step={second}"))
                   for connection in others for _ in range(10)]
        wait_for_active(envoy, 31)
        victim = ended(trapped, trapped.start(chat(prompt()), headers=TRAP))
        assert (victim.status, victim.ending) in {(503, "whole"), (0, "reset"), (0, "cut")}
        # None of their answers is released: they come without the one that asked first.
        standin.wait_for(lambda stats: stats["requests"] == before + 31, "all of them")
        standin.release(second, ALL_PIECES)
        answers = [connection.finish(stream) for connection, stream in waiters]
        assert {outcome(answer) for answer in answers} == {(200, "MISS", "whole")}
        assert {answer.header("cache-status") for answer in answers} == {TIMEOUT}
        assert len({answer.body for answer in answers}) == 30
        standin.release(first, ALL_PIECES)
        cut = ended(trapped, leader)
        assert (cut.status, cut.ending) != (200, "whole")
        with upstream_asked(standin, 0):
            for connection in others:
                hit = connection.ask(known)
                assert (hit.cache, hit.body) == ("HIT", stored)


def test_a_worker_whose_vm_trapped_has_a_new_one_and_takes_part_again(envoy, standin, prompt):
    """In the memory that all workers share, and in what they agree on about it."""
    known, body, step = chat(prompt()), chat(prompt()), prompt()
    with one_connection_to_each_worker(envoy) as connections:
        stored = connections[0].ask(known).body
        ended(connections[0], connections[0].start(chat(prompt()), headers=TRAP))
    with one_connection_to_each_worker(envoy) as connections:
        trapped, *others = connections
        assert {outcome(connection.ask(chat(prompt()))) for connection in others} == {
            (200, "MISS", "whole")}
        # Envoy lets a second pass between two VMs, in which the worker's requests get 503.
        envoy.wait_until(lambda: trapped.ask(chat(prompt())).status == 200, "a new VM")
        assert envoy.stat(RELOADED) == 1
        with upstream_asked(standin, 0):
            hits = [connection.ask(known) for connection in connections]
        assert {(hit.cache, hit.body) for hit in hits} == {("HIT", stored)}
        with upstream_asked(standin, 1):
            before = standin.requests()
            streams = [(connection, connection.start(body, standin=f"hold;step={step}"))
                       for connection in reversed(connections) for _ in range(10)]
            standin.wait_for(lambda stats: stats["requests"] > before, "the first request")
            wait_for_active(envoy, 40)
            standin.release(step, ALL_PIECES)
            answers = [connection.finish(stream) for connection, stream in streams]
        assert sum(map(is_collapsed, answers)) == 39


def test_a_request_that_waits_on_the_worker_whose_vm_traps_ends_by_the_idle_timeout(
        envoy, standin, prompt):
    """Nobody but Envoy knows of them then (`stream_idle_timeout`): an error, no wrong answer."""
    step, body = prompt(), chat(prompt())
    with one_connection_to_each_worker(envoy) as (trapped, other, *rest):
        before = standin.requests()
        leader = other.start(body, standin=f"hold;step={step}")
        standin.wait_for(lambda stats: stats["requests"] == before + 1, "the first request")
        waiters = [trapped.start(body) for _ in range(5)]
        elsewhere = [connection.start(body) for connection in rest]
        wait_for_active(envoy, 8)
        trapped.start(chat(prompt()), headers=TRAP)
        wait_for_active(envoy, 8)
        standin.release(step, ALL_PIECES)
        assert outcome(other.finish(leader)) == (200, "MISS", "whole")
        assert all(is_collapsed(connection.finish(stream))
                   for connection, stream in zip(rest, elsewhere, strict=True))
        answers = [trapped.finish(waiter) for waiter in waiters]
        assert {(answer.status, answer.cache) for answer in answers} <= {
            (503, None), (504, None), (408, None)}

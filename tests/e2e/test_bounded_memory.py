"""The store stays within its bytes whatever arrives, and keeps what is asked for."""

import concurrent.futures
import json

import pytest
from asserts import vm_survives
from chats import chat
from harness.envoy import Envoy
from harness.http1 import Http1Connection, fetch, request_bytes

PATH = "/v1/chat/completions"
ANSWERS = 100_000
CONNECTIONS = 8
DEPTH = 50
MIB = 1 << 20
# What Envoy itself needs more as it runs: arenas of the allocator, the access log's buffers.
GROWTH = 16 * MIB


def ask_many(port: int, numbers: range, prompt: str) -> None:
    """Asks a question per number, pipelined, and checks that each answer is to its question."""
    with Http1Connection(port) as connection:
        for start in range(numbers.start, numbers.stop, DEPTH):
            batch = range(start, min(start + DEPTH, numbers.stop))
            questions = [f"{prompt} number {number}." for number in batch]
            connection.send(b"".join(request_bytes("POST", PATH, chat(question))
                                     for question in questions))
            for question in questions:
                answer = connection.read_answer()
                assert (answer.status, answer.cache) == (200, "MISS")
                content = json.loads(answer.body)["choices"][0]["message"]["content"]
                # The stand-in repeats the last 60 characters.
                assert content.endswith(question[-60:])


@pytest.mark.parametrize("workers", [1, 4], ids=["1-worker", "4-workers"])
def test_a_hundred_thousand_answers_through_a_small_store_leave_memory_flat(
        envoys, prompt, workers):
    config = envoys.config({"store": {"memory": {"max_bytes": "1MiB"}}})
    text = prompt()
    with Envoy(config, workers) as envoy, vm_survives(envoy):
        def ask(numbers: range) -> None:
            share = len(numbers) // CONNECTIONS
            parts = [range(start, start + share)
                     for start in range(numbers.start, numbers.stop, share)]
            with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
                for done in [pool.submit(ask_many, envoy.port, part, text) for part in parts]:
                    done.result()

        ask(range(0, ANSWERS // 5))
        filled = envoy.resident_bytes()
        ask(range(ANSWERS // 5, ANSWERS))
        assert envoy.resident_bytes() - filled < GROWTH
        counters = envoy.cache_counters()
        assert counters["llm_cache_requests_total.result.miss.reason.absent"] == ANSWERS
        stored = counters["llm_cache_answers_total.result.stored"]
        contended = counters.get(
            "llm_cache_answers_total.result.not_stored.reason.store_contended", 0)
        assert stored + contended == ANSWERS
        assert stored > ANSWERS * 0.9
        # The store still works, and what came last is in it.
        body = chat(prompt())
        assert [fetch(envoy.port, body).cache for _ in range(2)] == ["MISS", "HIT"]


def test_answers_of_any_size_leave_memory_flat_too(envoys, prompt):
    config = envoys.config({"store": {"memory": {"max_bytes": "2MiB", "max_entry_bytes": "1MiB"}}})
    sizes = [100, 5_000, 50_000, 200_000, 700_000, 990_000]
    with Envoy(config) as envoy, vm_survives(envoy), Http1Connection(envoy.port) as connection:
        def ask(rounds: int) -> None:
            for number in range(rounds):
                size = sizes[number % len(sizes)]
                body = chat(prompt())
                answer = connection.ask(body, standin=f"size={size}")
                assert (answer.status, answer.cache) == (200, "MISS")
                assert len(answer.body) >= size
        ask(150)
        filled = envoy.resident_bytes()
        ask(450)
        assert envoy.resident_bytes() - filled < GROWTH


@pytest.mark.parametrize("size", [2_000, 60_000])
def test_entries_that_are_used_often_outlive_the_others(envoys, prompt, size):
    """Evictions follow recency: a store of 1 MiB sees many times its size go by."""
    wanted, forgotten = chat(prompt()), chat(prompt())
    standin = f"size={size}"
    with (Envoy(envoys.config({"store": {"memory": {"max_bytes": "1MiB"}}})) as envoy,
          Http1Connection(envoy.port) as connection):
        for body in (wanted, forgotten):
            assert connection.ask(body, standin=standin).cache == "MISS"
        first = connection.ask(wanted).body
        for number in range(8 * MIB // size):
            assert connection.ask(chat(prompt()), standin=standin).cache == "MISS"
            if number % 2 == 0:
                hit = connection.ask(wanted)
                assert (hit.cache, hit.body) == ("HIT", first), f"after {number} others"
        assert connection.ask(forgotten, standin=standin).cache == "MISS"


def test_new_entries_are_kept_while_old_ones_are_evicted(envoys, prompt):
    """Not the newest but the oldest make room: the last few of many are all there."""
    with (Envoy(envoys.config({"store": {"memory": {"max_bytes": "1MiB"}}})) as envoy,
          Http1Connection(envoy.port) as connection):
        bodies = [chat(prompt()) for _ in range(2_000)]
        for body in bodies:
            connection.ask(body, standin="size=2000")
        # A tenth of what the store holds: a set that has to take more than its share is full
        # before the others, so not all of the last megabyte can be expected.
        newest = [connection.ask(body).cache for body in bodies[-50:]]
        assert newest == 50 * ["HIT"]
        oldest = [connection.ask(body, standin="size=2000").cache for body in bodies[:500]]
        assert oldest == 500 * ["MISS"]

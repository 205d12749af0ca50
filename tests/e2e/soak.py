"""Half-open, slow, huge and hostile traffic for minutes: memory stays bounded, no VM is lost,
and others see nothing of it.

`make soak` runs it for SOAK_SECONDS, 600 unless set.
"""

import concurrent.futures
import contextlib
import gzip
import json
import os
import random
import threading
import time

from asserts import vm_survives
from chats import chat
from harness.envoy import Envoy
from harness.http1 import Broken, Http1Connection, fetch, request_bytes
from harness.http2_frames import Http2Frames
from side_by_side.memory import linear_memory
from test_half_open_requests import KEY, MIB, REQUEST, TIMES, huge

SECONDS = float(os.environ.get("SOAK_SECONDS", "600"))
WORKERS = 2
ATTACKERS = 12
PATH = "/v1/chat/completions"
HEADERS = {"authorization": "Bearer test-key"}
# limits.max_capture_bytes, 64 MiB, and the most that one callback takes for a moment: 176 MiB for a
# prompt of 16 MiB of line feeds. What a worker remembers, and fragments, come to less than as much
# again.
MAX_LINEAR_BYTES = WORKERS * 480 * MIB
# Of what it came to in the first half, by chance and fragments.
GROWTH = 1.25
PAUSE_SECONDS = 0.25


def half_open_h2(port: int, fields, repeated=None, times=0, count=400, data=b"") -> None:
    """Requests that begin, stay for a while, and go with their connection."""
    with Http2Frames(port) as connection:
        connection.begin(count, fields, repeated, times, data)
        connection.settle()
        time.sleep(random.uniform(0, 3))


def references(port: int) -> None:
    half_open_h2(port, [*REQUEST, KEY], huge(b"x-pad"), TIMES)


def references_that_decide(port: int) -> None:
    half_open_h2(port, REQUEST, huge(KEY[0]), TIMES)


def tiny(port: int) -> None:
    half_open_h2(port, [*REQUEST, KEY], count=1_000, data=b"{")


def many_fields(port: int) -> None:
    fields = [(b"x-%d" % number, b"v") for number in range(80)]
    half_open_h2(port, [*REQUEST, KEY, *fields])


def long_path(port: int) -> None:
    path = (b":path", b"/v1/chat/completions?" + b"q" * 40_000)
    half_open_h2(port, [path if field[0] == b":path" else field for field in [*REQUEST, KEY]],
                 count=50)


def bodies_without_an_end(port: int) -> None:
    half_open_h2(port, [*REQUEST, KEY], count=1, data=b'{"model":"' + b"m" * 16_000)


def slow(port: int) -> None:
    """A byte now and then, the headers first."""
    whole = request_bytes("POST", PATH, chat("slow"), headers=HEADERS)
    with Http1Connection(port) as connection:
        for place in range(0, len(whole) - 1, 40):
            connection.send(whole[place:place + 40])
            time.sleep(0.05)


def half_of_a_long_prompt(port: int) -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"' + b"a" * (8 * MIB)
    with Http1Connection(port) as connection:
        connection.send(request_bytes("POST", PATH, body, headers={
            **HEADERS, "content-length": str(16 * MIB - 1)}))
        time.sleep(random.uniform(0, 1))


def long_prompts(port: int) -> None:
    unit = random.choice([b"a", b"\\n", b"\\u00e9", b"word "])
    start, end = b'{"model":"m","messages":[{"role":"user","content":"', b'"}]}'
    size = random.choice([100_000, MIB, 16 * MIB - 200])
    body = start + b"%016d" % random.randrange(10**16) + unit * (size // len(unit)) + end
    assert fetch(port, body, headers=HEADERS).status == 200


def too_long_a_prompt(port: int) -> None:
    body = chat("p" * (17 * MIB))
    assert fetch(port, body, headers=HEADERS, chunked=True).status == 200


def hostile_answers() -> dict[str, tuple[bytes, str]]:
    calls = [{"index": index, "id": f"c{index}", "function": {"arguments": '{"a":'}}
             for index in range(1_000)]
    chunks = [{"choices": [{"index": index, "delta": {"tool_calls": calls}}]}
              for index in range(60)]
    return {
        "calls": (b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks), ""),
        "line": (b"data: " + b"x" * (8 * MIB), ""),
        "lines": (b"data: x\n" * MIB, ""),
        "unpacked": (gzip.compress(b"data: " + b"x" * (64 * MIB)), ";header=content-encoding:gzip"),
    }


def ask_in_both_forms(port: int, standin: str) -> None:
    text = f"hostile {random.randrange(10**9)}"
    for stream in (True, False, True):
        fetch(port, chat(text, stream), headers=HEADERS, standin=standin)


def leave_early(port: int) -> None:
    with Http1Connection(port) as connection:
        connection.send(request_bytes("POST", PATH, chat(f"{random.random()}", True),
                                      headers=HEADERS, standin="size=200000;split=1000"))
        connection.read_head()
        connection.read_bytes(2_000)


class Witness:
    """Asks as a client would, and compares all that it gets: nothing of it expires."""

    headers = {**HEADERS, "x-llm-cache-ttl": "1h"}

    def __init__(self, port: int, name: str):
        self.port, self.name = port, name
        self.asked = 0
        self.caches: dict[str | None, int] = {}

    def run(self, over: threading.Event) -> None:
        while not over.is_set():
            self.asked += 1
            question = f"{self.name} asks {self.asked}"
            first = None
            for _ in range(3):
                answer = fetch(self.port, chat(question), headers=self.headers)
                assert (answer.status, answer.ending) == (200, "whole"), answer
                content = answer.json()["choices"][0]["message"]["content"]
                assert content.endswith(question), (question, answer)
                self.caches[answer.cache] = self.caches.get(answer.cache, 0) + 1
                if answer.cache == "HIT" and first:
                    assert answer.body == first
                first = answer.body if answer.cache == "MISS" else first
            time.sleep(0.02)


def test_memory_is_bounded_and_flat_whatever_clients_and_upstreams_do(envoys, standin):
    shapes = [references, references_that_decide, tiny, many_fields, long_path,
              bodies_without_an_end, slow, half_of_a_long_prompt, long_prompts, too_long_a_prompt,
              leave_early]
    for name, (body, more) in hostile_answers().items():
        directive = standin.put_fixture(f"soak-{name}", body)
        directive += f";type=text/event-stream;pace=0;split=100000{more}"
        shapes.append(lambda port, directive=directive: ask_in_both_forms(port, directive))
    config = envoys.config({
        "ttl": "5s", "stale_while_revalidate": "5s", "stale_if_error": "5s",
        "collapse": {"max_wait": "1s", "streams": True}})
    over = threading.Event()
    samples: list[tuple[int, int]] = []

    def attack(number: int) -> int:
        order = random.Random(number)
        done = 0
        while not over.is_set():
            shape = shapes[number % len(shapes)] if order.random() < 0.3 else order.choice(shapes)
            # Envoy may close what it has enough of.
            with contextlib.suppress(ConnectionError, Broken):
                shape(envoy.port)
            done += 1
        return done

    with (Envoy(config, WORKERS) as envoy, vm_survives(envoy),
          concurrent.futures.ThreadPoolExecutor(ATTACKERS + 2) as pool):
        witnesses = [Witness(envoy.port, f"witness {number}") for number in range(2)]
        running = [pool.submit(attack, number) for number in range(ATTACKERS)]
        running += [pool.submit(witness.run, over) for witness in witnesses]
        try:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                samples.append((linear_memory(envoy), envoy.resident_bytes()))
                failed = [future for future in running if future.done()]
                if failed or envoy.vm_failures():
                    break
                time.sleep(PAUSE_SECONDS)
        finally:
            over.set()
        attacks = sum(future.result() or 0 for future in running)
        halves = samples[:len(samples) // 2], samples[len(samples) // 2:]
        (linear, resident), (linear_later, resident_later) = (
            [max(values) for values in zip(*half, strict=True)] for half in halves)
        counters = {name: value for name, value in envoy.cache_counters().items()
                    if "capture_limit" in name or "conversion_limit" in name}
        print(f"\n{attacks} attacks, {sum(w.asked for w in witnesses)} questions "
              f"{[w.caches for w in witnesses]}\nlinear memory {linear / MIB:.0f} MiB, then "
              f"{linear_later / MIB:.0f}; resident {resident / MIB:.0f} MiB, then "
              f"{resident_later / MIB:.0f}\n{counters}")
        assert max(linear, linear_later) < MAX_LINEAR_BYTES
        assert linear_later <= linear * GROWTH
        assert resident_later <= resident * GROWTH
        assert any("HIT" in witness.caches for witness in witnesses)

"""What the filter takes of memory."""

import dataclasses
import pathlib
import re

from harness.envoy import WASM, Envoy

from side_by_side import envoys, variants
from side_by_side.load import Load

# V8 reserves this much address space for a linear memory, and makes accessible what is in use.
RESERVED = 4 << 30
CONNECTIONS = 16
# All that a worker remembers is bounded, and what is asked here fills it: of 4,096 places for
# requests, which their fingerprints choose, three times as many leave one in twenty empty; and the
# long prompts come to more than the 4 MiB that it keeps of such. They differ in length, because of
# those that differ in a few words only it keeps one.
SHORT_PROMPTS = 3 * 4_096
LONG_PROMPTS = (8_192, 16_000, 32_000, 64_000, *range(100_000, 1_000_001, 100_000))
# All are asked in turn so often, and each long one by all connections at once, as it will be: then
# the memory is divided up as it will be.
WARM_UP_ROUNDS = 6
WARM_UP_HITS = 10 * CONNECTIONS
# One hit of so many has a long prompt.
LONG_SHARE = 20
# Room for the entries of both halves, in sets none of which gets full of small ones.
GROWING_STORE = "256MiB"
# What an entry in memory holds beside the answer: key, times, content type, lengths and checksum
# (src/cache/entry.rs), and its slot's trailer (src/store/memory/segment.rs).
BESIDE_THE_ANSWER = 151
# How much is stored while Envoy's growth is measured, about.
GROWTH_BYTES = 32 << 20


@dataclasses.dataclass(frozen=True)
class Entries:
    answer_bytes: int
    count: int
    resident_bytes: float

    @property
    def entry_bytes(self) -> int:
        return self.answer_bytes + BESIDE_THE_ANSWER


@dataclasses.dataclass(frozen=True)
class Memory:
    module_bytes: int
    hits: int
    linear_warmed_up: int
    linear_after_hits: int
    entries: list[Entries]


def measure(load: Load, hits: int) -> Memory:
    warmed_up, after_hits = linear_memory_over_hits(load, hits)
    return Memory(WASM.stat().st_size, hits, warmed_up, after_hits,
                  [resident_per_entry(load, size) for size in variants.ANSWERS])


def linear_memory_over_hits(load: Load, hits: int) -> tuple[int, int]:
    """That of all VMs once their worker remembers all that it may, and after so many hits more."""
    with envoys.start(envoys.cache(load.upstream_port)) as envoy:
        for size in (variants.PROMPT, *LONG_PROMPTS):
            count = SHORT_PROMPTS if size == variants.PROMPT else 1
            load.run(variants.question("JSON", "1.7 KB", prompt=size), envoy.port,
                     connections=CONNECTIONS, count=count, distinct=count)
        for _ in range(WARM_UP_ROUNDS):
            hit_all(load, envoy, SHORT_PROMPTS, WARM_UP_HITS)
        warmed_up = linear_memory(envoy)
        long = max(1, hits // LONG_SHARE // len(LONG_PROMPTS))
        hit_all(load, envoy, hits - long * len(LONG_PROMPTS), long)
        return warmed_up, linear_memory(envoy)


def hit_all(load: Load, envoy: Envoy, short: int, long: int) -> None:
    """So many hits with short prompts in turn, and so many with each of the long ones."""
    load.run(variants.hit(), envoy.port, connections=CONNECTIONS, count=short,
             distinct=SHORT_PROMPTS)
    for size in LONG_PROMPTS:
        load.run(variants.hit(prompt=size), envoy.port, connections=CONNECTIONS, count=long,
                 distinct=1)


def resident_per_entry(load: Load, size: str) -> Entries:
    """How much Envoy grows by each entry.

    As many are stored before: the first ones get memory that Envoy has freed since it started, and
    would seem to take less than they hold.
    """
    count = min(variants.STORE_SLOTS, GROWTH_BYTES // (variants.ANSWERS[size] + 200))
    with envoys.start(envoys.cache(load.upstream_port, {
            "memory": {"max_bytes": GROWING_STORE}})) as envoy:
        ask = variants.question("JSON", size)
        load.run(ask, envoy.port, connections=CONNECTIONS, count=count)
        before, evicted_before = envoy.resident_bytes(), evictions(envoy)
        load.run(ask, envoy.port, connections=CONNECTIONS, count=count, first=count)
        grown = envoy.resident_bytes() - before
        # A long one may find its set full already. The place it takes is not growth.
        stored = count - (evictions(envoy) - evicted_before)
        return Entries(len(variants.answer_body("JSON", size)), stored, grown / stored)


def evictions(envoy: Envoy) -> int:
    return envoy.cache_counters().get("llm_cache_evictions_total", 0)


def linear_memory(envoy: Envoy) -> int:
    """Accessible bytes at the beginning of address ranges that are reserved for linear memories.

    The filter has one VM for each worker and one on the main thread, and one that these are made
    from. Before a range there may be a thread's stack, which is accessible as well.
    """
    total = 0
    end = accessible = 0
    for line in pathlib.Path(f"/proc/{envoy.pid}/maps").read_text().splitlines():
        start, stop, rights = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", line).groups()
        first, last = int(start, 16), int(stop, 16)
        if rights.startswith("---") and first == end and last - first >= RESERVED:
            total += accessible
        accessible = last - first if rights == "rw-p" and line.split()[4] == "0" else 0
        end = last
    return total

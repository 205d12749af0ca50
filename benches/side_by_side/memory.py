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


@dataclasses.dataclass(frozen=True)
class Entries:
    answer_bytes: int
    count: int
    resident_bytes: float


@dataclasses.dataclass(frozen=True)
class Memory:
    module_bytes: int
    hits: int
    linear_after_thousand: int
    linear_after_all: int
    entries: list[Entries]


def measure(load: Load, hits: int) -> Memory:
    after_thousand, after_all = linear_memory_over_hits(load, hits)
    return Memory(WASM.stat().st_size, hits, after_thousand, after_all,
                  [resident_per_entry(load, size) for size in variants.ANSWERS])


def linear_memory_over_hits(load: Load, hits: int) -> tuple[int, int]:
    with envoys.start(envoys.cache(load.upstream_port)) as envoy:
        load.run(variants.question("JSON", "1.7 KB"), envoy.port, count=1)
        ask = variants.hit()
        load.run(ask, envoy.port, connections=CONNECTIONS, count=1_000, distinct=1)
        early = linear_memory(envoy)
        load.run(ask, envoy.port, connections=CONNECTIONS, count=hits - 1_000, distinct=1)
        return early, linear_memory(envoy)


def resident_per_entry(load: Load, size: str) -> Entries:
    """How much Envoy grows by each entry, once it has warmed up with as many that are not kept."""
    count = min(variants.STORE_SLOTS // 2,
                variants.STORE_BYTES // 2 // (variants.ANSWERS[size] + 200))
    with envoys.start(envoys.cache(load.upstream_port)) as envoy:
        ask = variants.question("JSON", size)
        unkept = ask.request.replace(b"accept:", b"cache-control: no-store\r\naccept:", 1)
        load.run(dataclasses.replace(ask, request=unkept), envoy.port, connections=CONNECTIONS,
                 count=count)
        load.run(ask, envoy.port, connections=CONNECTIONS, first=10**12, count=count // 10)
        before = envoy.resident_bytes()
        load.run(ask, envoy.port, connections=CONNECTIONS, count=count)
        grown = envoy.resident_bytes() - before
        return Entries(len(variants.answer_body("JSON", size)), count, grown / count)



def linear_memory(envoy: Envoy) -> int:
    """Accessible bytes at the beginning of address ranges that are reserved for linear memories.

    The filter has one VM for each worker and one on the main thread.
    """
    total = accessible = 0
    end = None
    for line in pathlib.Path(f"/proc/{envoy.pid}/maps").read_text().splitlines():
        start, stop, rights = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", line).groups()
        first, last = int(start, 16), int(stop, 16)
        if rights == "rw-p" and line.split()[4] == "0":
            accessible = (accessible if first == end else 0) + last - first
        elif rights.startswith("---") and first == end and last - first >= RESERVED:
            total += accessible
            accessible = 0
        else:
            accessible = 0
        end = last
    return total

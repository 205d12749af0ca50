"""What it costs Envoy to load the module, beside one that does nothing: what its size costs."""

import dataclasses
import os
import pathlib
import statistics

from harness.envoy import WASM, Config

from side_by_side import envoys, variants

TIMES = 5
# Every worker has a VM of its own, and all share what was compiled.
WORKERS = 2


@dataclasses.dataclass(frozen=True)
class Loading:
    """Processor time of an Envoy from its start until it is ready, in milliseconds."""

    plain_ms: float
    noop_ms: float
    filter_ms: float
    noop_bytes: int
    filter_bytes: int


def measure() -> Loading:
    """In turns: what else runs on the machine slows all of them alike."""
    # No request is made, so that nobody listens there.
    kinds = [envoys.plain, envoys.noop, envoys.cache]
    rounds = [[started(kind(1)) for kind in kinds] for _ in range(TIMES)]
    medians = (statistics.median(times) for times in zip(*rounds, strict=True))
    noop = envoys.FILTERS / "noop.wasm"
    return Loading(*medians, noop.stat().st_size, WASM.stat().st_size)


def started(config: Config) -> float:
    envoy = envoys.start(config, WORKERS)
    try:
        return sum(map(cpu_ms, variants.pids(envoy)))
    finally:
        envoy.stop()


def cpu_ms(pid: int) -> float:
    # The name in parentheses may hold spaces; user and system time are the 14th and 15th fields.
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") * 1e3

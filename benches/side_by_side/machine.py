"""The machine: which core is whose, and what it is."""

import contextlib
import os
import pathlib
import platform
import re

CORES = sorted(os.sched_getaffinity(0))
# With two cores and two workers the load generator shares a core with a worker.
LOAD_CORE = CORES[-1]


def proxy_cores(workers: int = 1) -> set[int]:
    """The first cores are the proxy's, one for each worker."""
    return set(CORES[:workers])


@contextlib.contextmanager
def pinned(cores: set[int]):
    """What is started inside stays on these cores, with all of its threads."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def description() -> dict:
    cpuinfo = pathlib.Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", cpuinfo)
    memory = re.search(r"MemTotal:\s+(\d+) kB", pathlib.Path("/proc/meminfo").read_text())
    return {"processor": model.group(1) if model else platform.machine(), "cores": len(CORES),
            "memory_gib": round(int(memory.group(1)) / (1 << 20), 1),
            "kernel": platform.release()}

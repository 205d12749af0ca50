"""`make bench`. How much of it: BENCH_ROUNDS, BENCH_SECONDS, BENCH_ONLY=<pattern>, BENCH_LONG=1;
BENCH_MODULES=<a.wasm>,<b.wasm> holds builds of the filter against the first of them."""

import dataclasses
import json
import os
import pathlib
import re
import statistics
import sys
import time

from harness import envoy_binary
from harness.debian import NoProgram
from harness.envoy import ROOT, Envoy
from harness.server_process import Ended

from side_by_side import chart, docs, loading, machine, memory, report, targets, variants
from side_by_side.load import Load
from side_by_side.variants import Row, Servers

FOLDER = ROOT / "target" / "bench"
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "1"))
ONLY = os.environ.get("BENCH_ONLY", "")
LONG = os.environ.get("BENCH_LONG", "") not in ("", "0")
MODULES = [pathlib.Path(module).resolve(strict=True)
           for module in os.environ.get("BENCH_MODULES", "").split(",") if module]
WARM_SECONDS = 0.15
# Streams begin together, and that is over when it is measured; from then on one begins and one ends
# every 10 ms, or every 40 where they are calm. Of 10,000 calm chunks 100 are beyond p99. That few
# are late wherever the machine was, and so it is the median of several times.
STREAM_WARM_SECONDS = 1.0
STREAM_BUSY_SECONDS = max(1.0, SECONDS)
STREAM_CALM_SECONDS = max(2.0, SECONDS)
STREAM_CALM_TIMES = 3
# Latency is that of one request at a time, where nothing waits for anything else.
ALONE_SECONDS = SECONDS * 0.4
FILLING_CONNECTIONS = 8
# Where other processes take more than this share of one core, it is measured once more, and what
# was disturbed less is taken.
DISTURBED = 0.1
# Others may keep a proxy from running until the time is over.
ATTEMPTS = 5
# Numbers of prompts that are never asked again.
FRESH = 10**9


def chosen() -> list[Row]:
    """The rows that BENCH_ONLY names, and those they are held against."""
    all_rows = variants.rows()
    if MODULES:
        matching = [row for row in all_rows if re.search(ONLY, row.name)]
        return variants.with_modules(matching, MODULES)
    rows = {row.name: row for row in all_rows}
    wanted = [name for name in rows if re.search(ONLY, name)]
    for name in wanted:
        if (against := rows[name].against) and against not in wanted:
            wanted.append(against)
    return [row for name, row in rows.items() if name in wanted]


class Bench:
    def __init__(self, load: Load) -> None:
        self.load = load
        self.servers = Servers(load)
        self.skipped: dict[str, str] = {}
        self.runs = 0

    def prepare(self, rows: list[Row]) -> list[Row]:
        """Starts the servers and fills the caches; returns the rows that can be measured."""
        ready = []
        for row in rows:
            try:
                self.fill(row)
                ready.append(row)
            except (NoProgram, Ended) as error:
                # The whole of it may be long: it holds the log of what did not start.
                print(f"{row.name}: {error}", file=sys.stderr)
                self.skipped[row.name] = str(error).splitlines()[0]
        return ready

    def fill(self, row: Row) -> None:
        server = self.servers[row.server]
        for filling in row.fill:
            self.load.run(filling.job, server.port, first=filling.first, count=filling.count,
                          connections=min(FILLING_CONNECTIONS, filling.count),
                          sleep=int(variants.load_shares_its_core(row)))
        if isinstance(server, Envoy) and "% full" in row.name:
            self.check_fullness(row, server)

    @staticmethod
    def check_fullness(row: Row, server: Envoy) -> None:
        evicted = server.cache_counters().get("llm_cache_evictions_total", 0)
        if (evicted > 0) != ("100 %" in row.name):
            raise RuntimeError(f"{row.name}: {evicted} evictions, so the store is not that full")

    def measure(self, row: Row) -> dict[str, float]:
        first = self.measure_once(row)
        if first["others_share"] <= DISTURBED:
            return first
        return min(first, self.measure_once(row), key=lambda result: result["others_share"])

    def measure_once(self, row: Row) -> dict[str, float]:
        server = self.servers[row.server]
        pids = variants.pids(server)
        if row.streams:
            return self.measure_streams(row, server.port, pids)
        busy = self.ask(row, server.port, pids, connections=row.connections, warm=WARM_SECONDS,
                        seconds=SECONDS)
        alone = self.ask(row, server.port, pids, connections=1, warm=WARM_SECONDS,
                         seconds=ALONE_SECONDS)
        return {"per_second": busy["requests"] / busy["seconds"],
                "cpu_us": busy["cpu_us"] / busy["requests"],
                "p50_us": alone["p50_us"], "p99_us": alone["p99_us"],
                "load_share": load_share(busy),
                "others_share": max(others_share(row, busy), others_share(row, alone))}

    def measure_streams(self, row: Row, port: int, pids: list[int]) -> dict[str, float]:
        busy, *calm = (
            self.ask(dataclasses.replace(row, job=dataclasses.replace(row.job, pace_us=pace)), port,
                     pids, connections=row.connections, warm=STREAM_WARM_SECONDS, seconds=seconds)
            for pace, seconds in ((variants.BUSY_PACE_US, STREAM_BUSY_SECONDS),
                                  *[(variants.CALM_PACE_US, STREAM_CALM_SECONDS)]
                                  * STREAM_CALM_TIMES))
        return {"per_second": busy["pieces"] / busy["seconds"],
                "cpu_us": busy["cpu_us"] / busy["pieces"],
                # Where the proxy was kept from running, it passes several on at once.
                "pieces_per_chunk": busy["pieces"] / busy["chunks"],
                "p50_us": statistics.median(once["piece_p50_us"] for once in calm),
                "p99_us": statistics.median(once["piece_p99_us"] for once in calm),
                "load_share": load_share(busy),
                "others_share": max(others_share(row, busy),
                                    statistics.median(others_share(row, once) for once in calm))}

    def ask(self, row: Row, port: int, pids: list[int], **options) -> dict:
        for _ in range(ATTEMPTS):
            self.runs += 1
            first = 0 if row.distinct else self.runs * FRESH
            result = self.load.run(row.job, port, pids, first=first, distinct=row.distinct,
                                   sleep=int(variants.load_shares_its_core(row)), **options)
            if result["upstream"] and not row.asks_upstream:
                raise RuntimeError(f"{row.name}: the upstream was asked {result['upstream']} times")
            if result["requests"]:
                return result
        raise RuntimeError(f"{row.name}: nothing was answered, {ATTEMPTS} times in a row")


def load_share(result: dict) -> float:
    """How much of the time the load generator had something to do: at 1, it is the limit."""
    return result["load_busy_us"] / 1e6 / result["seconds"]


def others_share(row: Row, result: dict) -> float:
    """How much of a core went to what is not measured, and does no work for what is."""
    if variants.has_servers_behind(row):
        return 0.0
    others = result["all_cpu_us"] - result["cpu_us"] - result["load_cpu_us"]
    return max(0.0, others / 1e6 / result["seconds"])


def main() -> int:
    began = time.monotonic()
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        envoy = envoy_binary.find()
    except envoy_binary.NoEnvoy as error:
        print(error, file=sys.stderr)
        return 1
    if os.environ.get("ENVOY_IMAGE"):
        print("the benchmark binds Envoy to a core, which it cannot in a container: "
              "unset ENVOY_IMAGE", file=sys.stderr)
        return 1
    if len(machine.CORES) < 2:
        print("the benchmark needs two cores: one for Envoy, one for what loads it",
              file=sys.stderr)
        return 1
    only = ONLY + "".join(f" {module.stem}" for module in MODULES)
    about = {"envoy": envoy_binary.version(envoy), "rounds": ROUNDS, "seconds": SECONDS,
             **machine.description(), **({"only": only} if only else {})}
    load = Load()
    bench = Bench(load)
    try:
        rows = bench.prepare(chosen())
        results: dict[str, dict[str, list[float]]] = {row.name: {} for row in rows}
        for number in range(ROUNDS):
            print(f"round {number + 1} of {ROUNDS}, {len(rows)} rows", file=sys.stderr, flush=True)
            for row in rows:
                for key, value in bench.measure(row).items():
                    results[row.name].setdefault(key, []).append(value)
        bench.servers.stop()
        took = None if MODULES or ONLY and not re.search(ONLY, "memory") else memory.measure(
            load, 1_000_000 if LONG else 200_000)
        loaded = None if MODULES or ONLY and not re.search(ONLY, "loading") else loading.measure()
    finally:
        bench.servers.stop()
        load.close()
    judged = targets.judged(results, took)
    about["others_share"] = round(statistics.median(
        share for row in rows for share in results[row.name]["others_share"]), 2)
    about["minutes"] = round((time.monotonic() - began) / 60, 1)
    print(report.text(about, rows, results, bench.skipped, judged, took, loaded))
    tree = report.tree(about, rows, results, bench.skipped, judged, took, loaded)
    write(FOLDER / "results.json", json.dumps(tree, indent=1))
    write(FOLDER / "table.md", docs.text(tree))
    write(FOLDER / "chart.svg", chart.svg(about, rows, results))
    return 0


def write(path: pathlib.Path, text: str) -> None:
    path.write_text(text + "\n")
    print(f"written: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())

"""The table, and the same as a tree for JSON."""

import dataclasses
import statistics

from side_by_side.loading import Loading
from side_by_side.memory import Memory
from side_by_side.targets import Target
from side_by_side.variants import Row

# From here on the load generator, and not the proxy, bounds the throughput.
LOAD_LIMIT = 0.9
NOTES = """\
CPU: microseconds of the proxy's processor time, user and system, per request (of a stream: chunk).
/s: requests (chunks) per second over 16 connections; `>` where the load generator had no time left
and was the limit. p50, p99: microseconds, one request at a time (of a stream: from the upstream's
writing of a chunk to the client's reading it, 100 streams at once, a chunk every 20 ms of each; for
CPU and chunks per second it is one every 5 ms). ratio: CPU to that of the row named, median of the
rounds, with the least and the greatest. others_share: of a core, what processes that are not part
of the benchmark took while it measured: the less, the better the figures. Where more than one event
was sent per chunk that came, the proxy was kept from running and passed on several at a time."""


def ratios(row: Row, results: dict) -> list[float]:
    """CPU to the row it is held against, round by round."""
    if row.against not in results:
        return []
    return [a / b for a, b in zip(results[row.name]["cpu_us"], results[row.against]["cpu_us"],
                                  strict=True)]


def ratio(found: list[float]) -> str:
    return f"{statistics.median(found):.2f} ({min(found):.2f}-{max(found):.2f})"


def rate(per_second: float, load_share: float) -> str:
    return f"{'>' if load_share > LOAD_LIMIT else ''}{per_second:,.0f}"


def median(results: dict, row: Row, key: str) -> float:
    return statistics.median(results[row.name][key])


def text(about: dict, rows: list[Row], results: dict, skipped: dict[str, str],
         judged: list[Target], memory: Memory | None, loading: Loading | None) -> str:
    lines = [", ".join(f"{name} {value}" for name, value in about.items()), ""]
    width = max((len(row.name) for row in rows), default=0)
    lines.append(f"{'':{width}}  {'CPU us':>8} {'/s':>9} {'p50 us':>8} {'p99 us':>8}   ratio")
    group = ""
    for row in rows:
        if group != row.group:
            group = row.group
            lines.append("")
        per_second = rate(median(results, row, "per_second"), median(results, row, "load_share"))
        line = (f"{row.name:{width}}  {median(results, row, 'cpu_us'):>8.1f} {per_second:>9} "
                f"{median(results, row, 'p50_us'):>8.0f} {median(results, row, 'p99_us'):>8.0f}")
        if found := ratios(row, results):
            line += f"   {ratio(found)} {row.against}"
        if "pieces_per_chunk" in results[row.name]:
            line += f"   {median(results, row, 'pieces_per_chunk'):.2f} sent per chunk"
        lines.append(line)
    lines += [f"{name:{width}}  skipped: {why}" for name, why in skipped.items()]
    lines += ["", NOTES]
    if memory:
        lines += ["", f"module: {memory.module_bytes:,} bytes",
                  f"linear memory: {memory.linear_warmed_up:,} bytes once a worker remembers "
                  f"all that it may, {memory.linear_after_hits:,} after {memory.hits:,} hits more"]
        lines += [f"resident: {entry.resident_bytes:,.0f} bytes per entry of "
                  f"{entry.answer_bytes:,} bytes, {entry.count:,} of them"
                  for entry in memory.entries]
    if loading:
        lines += ["", f"loading: {loading.plain_ms:,.0f} ms of CPU until an Envoy is ready, "
                  f"{loading.noop_ms:,.0f} ms with the wasm filter that does nothing "
                  f"({loading.noop_bytes:,} bytes), {loading.filter_ms:,.0f} ms with this one "
                  f"({loading.filter_bytes:,} bytes)"]
    if judged:
        width = max(len(target.what) for target in judged)
        lines += ["", f"{'target':{width}}  {'measured':>12} {'wanted':>14}"]
        for target in judged:
            sign = ">=" if target.at_least else "<="
            measured = f"{target.measured:,.2f}{target.unit}"
            wanted = f"{sign} {target.limit:,.2f}{target.unit}"
            lines.append(f"{target.what:{width}}  {measured:>12} {wanted:>14}  "
                         f"{'met' if target.met else 'NOT MET'}")
    return "\n".join(lines)


def tree(about: dict, rows: list[Row], results: dict, skipped: dict[str, str],
         judged: list[Target], memory: Memory | None, loading: Loading | None) -> dict:
    return {
        "about": about,
        "rows": [{"name": row.name, "group": row.group, "against": row.against,
                  "unit": "chunk" if row.streams else "request",
                  "cpu_ratios": [round(one, 4) for one in ratios(row, results)],
                  "rounds": {key: [round(value, 3) for value in values]
                             for key, values in results[row.name].items()},
                  **{key: round(statistics.median(values), 3)
                     for key, values in results[row.name].items()}} for row in rows],
        "skipped": skipped,
        "targets": [{**dataclasses.asdict(target), "met": target.met} for target in judged],
        "memory": dataclasses.asdict(memory) if memory else None,
        "loading": dataclasses.asdict(loading) if loading else None}

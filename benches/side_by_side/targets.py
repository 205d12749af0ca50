"""What the figures are held against, as information: nothing fails by them."""

import dataclasses
import statistics

from side_by_side.memory import Memory

BASE = "1 KB prompt, 1.7 KB answer"
# The targets say linear and flat; measured figures are never quite.
TOLERANCE = 1.15


@dataclasses.dataclass(frozen=True)
class Target:
    what: str
    measured: float
    limit: float
    at_least: bool = False
    unit: str = "x"

    @property
    def met(self) -> bool:
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


def judged(results: dict, memory: Memory | None) -> list[Target]:
    """The targets for which there are figures."""
    found = []

    def ratio(what: str, row: str, against: str, limit: float, key: str = "cpu_us",
              at_least: bool = False) -> None:
        if row in results and against in results:
            pairs = zip(results[row][key], results[against][key], strict=True)
            found.append(Target(what, statistics.median(a / b for a, b in pairs), limit, at_least))

    def slope(what: str, rows: list[tuple[str, int]], limit: float) -> None:
        """How much more the last bytes cost than the ones before them, each."""
        if all(row in results for row, _ in rows):
            cost = [statistics.median(results[row]["cpu_us"]) for row, _ in rows]
            per_byte = [(cost[n + 1] - cost[n]) / (rows[n + 1][1] - rows[n][1]) for n in (0, 1)]
            found.append(Target(what, per_byte[1] / per_byte[0], limit))

    ratio("hit, 1 KB prompt: CPU to floor B", f"hit: {BASE}", f"floor B: {BASE}", 1.15)
    ratio("hit, 100 KB prompt: CPU to floor B", "hit: 100 KB prompt, 1.7 KB answer",
          "floor B: 100 KB prompt, 1.7 KB answer", 1.5)
    for peer, row, limit in (("nginx", f"nginx proxy_cache: {BASE}", 0.70),
                             ("LiteLLM", f"LiteLLM: {BASE}", 100)):
        ratio(f"hit, 1 KB prompt: throughput to {peer}", f"hit: {BASE}", row, limit,
              "per_second", True)
        # What the throughput is where nothing else runs on the core.
        ratio(f"hit, 1 KB prompt: requests per CPU to {peer}", row, f"hit: {BASE}", limit,
              at_least=True)
    ratio("stream passing: CPU per chunk to plain Envoy", "miss: stream, per chunk",
          "plain Envoy: stream, per chunk", 1.30)
    if all(row in results for row in ("miss: stream, per chunk", "plain Envoy: stream, per chunk")):
        added = statistics.median(a - b for a, b in zip(
            results["miss: stream, per chunk"]["p99_us"],
            results["plain Envoy: stream, per chunk"]["p99_us"], strict=True))
        found.append(Target("stream passing: latency added at p99", added, 100, unit=" us"))
    ratio("miss: CPU to proxying with floor B", "miss, store full", "floor B, proxying", 1.25)
    for kind, asked in (("JSON", "stream"), ("stream", "JSON")):
        ratio(f"20 KB {kind} as {asked}: CPU to the same form", f"hit: 20 KB {kind} as {asked}",
              f"hit: 20 KB {kind}", 2)
    ratio("store full: CPU of a hit to nearly empty", "hit: store 100 % full, 256 entries in turn",
          "hit: store 0 % full, 256 entries in turn", TOLERANCE)
    slope("prompt, CPU per byte: 100 KB..1 MB to 16..100 KB",
          [(f"hit: {size} prompt, 1.7 KB answer", count)
           for size, count in (("16 KB", 16_000), ("100 KB", 100_000), ("1 MB", 1_000_000))],
          TOLERANCE)
    slope("answer, CPU per byte: 20..200 KB to 1.7..20 KB",
          [(f"hit: {BASE}", 1_700), ("hit: 20 KB JSON", 20_000), ("hit: 200 KB JSON", 200_000)],
          TOLERANCE)
    if memory:
        found += [
            Target("wasm module", memory.module_bytes / 1000, 700, unit=" KB"),
            Target(f"linear memory, {memory.hits:,} hits to 1,000",
                   memory.linear_after_all / memory.linear_after_thousand, 1)]
        found += [Target(f"resident bytes per entry of {entry.answer_bytes:,} bytes",
                         entry.resident_bytes, 1.15 * entry.answer_bytes + 256, unit=" B")
                  for entry in memory.entries]
    return found

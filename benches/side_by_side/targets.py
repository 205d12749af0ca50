"""What the figures are held against, as information: nothing fails by them."""

import dataclasses
import math
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

    def growth(what: str, rows: list[tuple[str, str, int]], limit: float) -> None:
        """How much more each of the last bytes costs than each of the ones before them, of what a
        hit adds to floor B with the same bodies.

        Floor B's own growth is Envoy's, and not even: between answers of 20 and of 200 KB each
        byte costs it half as much again as between 1.7 and 20 KB. Added is what differs within a
        round, so that a slow round is slow for both; the ratio is taken of medians, because a
        single round's small difference would make it anything. Both intervals must add some
        microseconds more at their end than at their beginning, or the ratio is one of noise: so
        they begin at 16 KB of a prompt, and meet at 64 KB of an answer. A quadratic growth would
        give 9 and 4.
        """
        if all(row in results for hit, floor, _ in rows for row in (hit, floor)):
            added = [statistics.median(a - b for a, b in zip(
                results[hit]["cpu_us"], results[floor]["cpu_us"], strict=True))
                for hit, floor, _ in rows]
            per_byte = [(added[n + 1] - added[n]) / (rows[n + 1][2] - rows[n][2]) for n in (0, 1)]
            # Where the first bytes seem to cost nothing, those after them cost any number of times.
            found.append(Target(what, per_byte[1] / per_byte[0] if per_byte[0] > 0 else math.inf,
                                limit))

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
    growth("prompt, CPU added per byte: 100 KB..1 MB to 16..100 KB",
           [(f"hit: {size} prompt, 1.7 KB answer", f"floor B: {size} prompt, 1.7 KB answer", count)
            for size, count in (("16 KB", 16_000), ("100 KB", 100_000), ("1 MB", 1_000_000))],
           TOLERANCE)
    growth("answer, CPU added per byte: 64..200 KB to 1.7..64 KB",
           [(f"hit: {BASE}", f"floor B: {BASE}", 1_700),
            *((f"hit: {size} JSON", f"floor B: 1 KB prompt, {size} answer", count)
              for size, count in (("64 KB", 64_000), ("200 KB", 200_000)))],
           TOLERANCE)
    if memory:
        found += [
            Target("wasm module", memory.module_bytes / 1000, 1_000, unit=" KB"),
            Target(f"linear memory, after {memory.hits:,} hits to warmed up",
                   memory.linear_after_hits / memory.linear_warmed_up, 1)]
        found += [Target(f"resident bytes per entry of {entry.entry_bytes:,} bytes",
                         entry.resident_bytes, 1.15 * entry.entry_bytes + 256, unit=" B")
                  for entry in memory.entries]
    return found

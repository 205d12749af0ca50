"""`make bench-docs`: puts what the last `make bench` measured into docs/performance.md.

That page has a place for each table: it begins with a line `<!-- figures: NAME -->` and ends with
`<!-- end -->`. What stands around them is written by hand.
"""

import json
import re
import shutil
import sys

from harness.envoy import ROOT

from side_by_side import report

MEASURED = ROOT / "target" / "bench"
PAGE = ROOT / "docs" / "performance.md"
CHART = PAGE.with_suffix(".svg")
PLACE = re.compile(r"(<!-- figures: ([a-z ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


class NotForDocs(Exception):
    """What was measured cannot be put there; the message says why."""


def tables(tree: dict) -> dict[str, str]:
    """The tables, by the names of their places, from what `report.tree` has made."""
    groups: dict[str, list[dict]] = {}
    for row in tree["rows"]:
        groups.setdefault(row["group"], []).append(row)
    found = {"machine": machine(tree["about"]),
             "chart": f"![The processor time of the proxy as bars]({CHART.name})\n",
             **{group: figures(rows) for group, rows in groups.items()},
             "targets": targets(tree["targets"])}
    if tree["memory"]:
        found["memory"] = memory(tree["memory"])
    if tree["skipped"]:
        found["machine"] += "".join(f"\nNot measured: {name}: {why}\n"
                                    for name, why in tree["skipped"].items())
    return found


def machine(about: dict) -> str:
    return (f"Envoy {about['envoy']} on {about['cores']} cores of {about['processor']}, "
            f"{about['memory_gib']} GiB, Linux {about['kernel']}; medians of {about['rounds']} "
            f"rounds of {about['seconds']:g} s a row, {about['minutes']:.0f} minutes in all. "
            f"Meanwhile other processes took {about['others_share']:.0%} of a core.\n")


def figures(rows: list[dict]) -> str:
    unit = rows[0]["unit"]
    lines = [f"| row | CPU µs per {unit} | {unit}s/s | p50 µs | p99 µs | CPU beside |",
             "|---|--:|--:|--:|--:|---|"]
    for row in rows:
        beside = ""
        if row["cpu_ratios"]:
            beside = f"{report.ratio(row['cpu_ratios'])} × {row['against']}"
        rate = report.rate(row["per_second"], row["load_share"])
        lines.append(f"| {row['name']} | {row['cpu_us']:,.1f} | {rate} | {row['p50_us']:,.0f} | "
                     f"{row['p99_us']:,.0f} | {beside} |")
    return table(lines)


def targets(judged: list[dict]) -> str:
    lines = ["| what | measured | wanted | |", "|---|--:|--:|---|"]
    for target in judged:
        sign = "≥" if target["at_least"] else "≤"
        lines.append(f"| {target['what']} | {target['measured']:,.2f}{target['unit']} | "
                     f"{sign} {target['limit']:,.2f}{target['unit']} | "
                     f"{'met' if target['met'] else '**not met**'} |")
    return table(lines)


def memory(taken: dict) -> str:
    lines = ["| what | bytes |", "|---|--:|", f"| the wasm module | {taken['module_bytes']:,} |",
             f"| linear memory, warmed up | {taken['linear_warmed_up']:,} |",
             f"| linear memory after {taken['hits']:,} hits more | "
             f"{taken['linear_after_hits']:,} |"]
    lines += [f"| resident, per entry with an answer of {entry['answer_bytes']:,} bytes "
              f"({entry['count']:,} of them) | {entry['resident_bytes']:,.0f} |"
              for entry in taken["entries"]]
    return table(lines)


def table(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"


def text(tree: dict) -> str:
    """All of the tables, one under the other."""
    return "\n".join(f"## {name}\n\n{content}" for name, content in tables(tree).items())


def places(page: str) -> list[str]:
    return [name for _, name, _ in PLACE.findall(page)]


def put(page: str, found: dict[str, str]) -> str:
    """The page with every table in its place."""
    if sorted(places(page)) != sorted(found):
        raise NotForDocs(f"{PAGE.name} has places for {', '.join(sorted(places(page)))}; there are "
                         f"tables of {', '.join(sorted(found))}; `make bench` is to measure all")
    return PLACE.sub(lambda match: f"{match[1]}\n{found[match[2]]}\n{match[3]}", page)


def main() -> None:
    results = MEASURED / "results.json"
    if not results.exists():
        raise NotForDocs("nothing was measured; first: make bench")
    tree = json.loads(results.read_text())
    if only := tree["about"].get("only"):
        raise NotForDocs(f"not all was measured, but BENCH_ONLY={only}")
    PAGE.write_text(put(PAGE.read_text(), tables(tree)))
    shutil.copy(MEASURED / "chart.svg", CHART)
    print(f"written: {PAGE.relative_to(ROOT)}, {CHART.relative_to(ROOT)}")


if __name__ == "__main__":
    try:
        main()
    except NotForDocs as error:
        sys.exit(str(error))

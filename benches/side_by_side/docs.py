"""`make bench-docs`: puts what the last `make bench` measured into docs/performance.md, and the
gist of it into README.md.

A page has a place for each table: it begins with a line `<!-- figures: NAME -->` and ends with
`<!-- end -->`. What stands around them is written by hand.
"""

import json
import re
import shutil
import statistics
import sys

from harness.envoy import ROOT

from side_by_side import report

MEASURED = ROOT / "target" / "bench"
PAGE = ROOT / "docs" / "performance.md"
README = ROOT / "README.md"
EVICTION = MEASURED / "eviction.md"
CHART = PAGE.with_suffix(".svg")
BASE = "1 KB prompt, 1.7 KB answer"
# The rows that README.md shows, what it calls them, and what it calls those they are held against.
GIST = (
    (f"hit: {BASE}", f"hit, {BASE}", "a wasm filter that does nothing"),
    ("hit: 100 KB prompt, 1.7 KB answer", "hit, 100 KB prompt", "a wasm filter that does nothing"),
    ("hit: 20 KB JSON as stream", "hit, 20 KB of JSON as a stream", "the same hit as JSON"),
    ("miss, store full", "miss", "proxying with a wasm filter that does nothing"),
    ("miss: stream, per chunk", "streamed miss, per chunk", "plain Envoy"),
    (f"hit over Webdis: {BASE}", "hit over Webdis and Redis", "plain Envoy asking Webdis"),
    ("Envoy's own cache, GET, 1.7 KB answer", "Envoy's cache filter, for GET",
     "Envoy's `direct_response`"),
    (f"nginx proxy_cache: {BASE}", "nginx `proxy_cache`", "the first row"),
    (f"LiteLLM: {BASE}", "LiteLLM's proxy, its cache in memory", "the first row"),
)
PLACE = re.compile(r"(<!-- figures: ([a-z ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


class NotForDocs(Exception):
    """What was measured cannot be put there; the message says why."""


def tables(tree: dict) -> dict[str, str]:
    """The tables, by the names of their places, from what `report.tree` has made."""
    groups: dict[str, list[dict]] = {}
    for row in tree["rows"]:
        groups.setdefault(row["group"], []).append(row)
    found = {"machine": machine(tree["about"]),
             "chart": chart(CHART.name),
             **{group: figures(rows) for group, rows in groups.items()},
             "targets": targets(tree["targets"])}
    if tree["memory"]:
        found["memory"] = memory(tree["memory"])
    if tree["loading"]:
        found["loading"] = loading(tree["loading"])
    if tree["skipped"]:
        found["machine"] += "".join(f"\nNot measured: {name}: {why}\n"
                                    for name, why in tree["skipped"].items())
    return found


def page_tables(tree: dict) -> dict[str, str]:
    """What docs/performance.md has of it, and the table of `benches/eviction.rs`."""
    return tables(tree) | {"eviction": EVICTION.read_text()}


def gist(tree: dict) -> dict[str, str]:
    """What README.md has of it; the image's address is relative to that page."""
    measured = {row["name"]: row for row in tree["rows"]}
    lines = ["| | CPU µs | per second | relative CPU |", "|---|--:|--:|---|"]
    for name, called, beside in GIST:
        if row := measured.get(name):
            rate = report.rate(row["per_second"], row["load_share"])
            ratio = ""
            if row["cpu_ratios"]:
                ratio = f"{statistics.median(row['cpu_ratios']):,.2f} × {beside}"
            lines.append(f"| {called} | {row['cpu_us']:,.1f} | {rate} | {ratio} |")
    return {"machine": machine(tree["about"]), "gist": table(lines),
            "chart": chart(CHART.relative_to(ROOT).as_posix())}


def chart(address: str) -> str:
    return f"![The processor time of the proxy as bars]({address})\n"


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


def loading(taken: dict) -> str:
    lines = ["| Envoy with | bytes of wasm | CPU ms until it is ready |", "|---|--:|--:|",
             f"| no wasm | | {taken['plain_ms']:,.0f} |",
             f"| the filter that does nothing | {taken['noop_bytes']:,} | "
             f"{taken['noop_ms']:,.0f} |",
             f"| this filter | {taken['filter_bytes']:,} | {taken['filter_ms']:,.0f} |"]
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
        raise NotForDocs(f"it has places for {', '.join(sorted(places(page)))}; there are tables "
                         f"of {', '.join(sorted(found))}; `make bench` is to measure all")
    return PLACE.sub(lambda match: f"{match[1]}\n{found[match[2]]}\n{match[3]}", page)


def main() -> None:
    results = MEASURED / "results.json"
    if not (results.exists() and EVICTION.exists()):
        raise NotForDocs("nothing was measured; first: make bench")
    tree = json.loads(results.read_text())
    if only := tree["about"].get("only"):
        raise NotForDocs(f"not all was measured, but BENCH_ONLY={only}")
    pages = {}
    for path, tables_of in ((PAGE, page_tables), (README, gist)):
        try:
            pages[path] = put(path.read_text(), tables_of(tree))
        except KeyError as error:
            raise NotForDocs(f"{results.relative_to(ROOT)} has no {error}: an older benchmark "
                             "wrote it; first: make bench") from error
        except NotForDocs as error:
            raise NotForDocs(f"{path.name}: {error}") from error
    for path, page in pages.items():
        path.write_text(page)
    shutil.copy(MEASURED / "chart.svg", CHART)
    print("written:", ", ".join(str(path.relative_to(ROOT)) for path in (*pages, CHART)))


if __name__ == "__main__":
    try:
        main()
    except NotForDocs as error:
        sys.exit(str(error))

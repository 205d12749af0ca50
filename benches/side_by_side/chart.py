"""The figures as bars: an SVG that reads on light and on dark backgrounds."""

import html
import re
import statistics

from side_by_side.variants import Row

WIDTH = 900
NAME_WIDTH = 350
BAR_WIDTH = 330
LINE = 22
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328; }
.title { font-size: 16px; font-weight: 600; }
.quiet { fill: #59636e; font-size: 12px; }
.figure { font-variant-numeric: tabular-nums; }
.ours { fill: #0969da; } .floor { fill: #8c959f; } .peer { fill: #bc4c00; }
.axis { stroke: #d1d9e0; }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc; } .quiet { fill: #9198a1; }
  .ours { fill: #4493f8; } .floor { fill: #6e7681; } .peer { fill: #db6d28; }
  .axis { stroke: #3d444d; }
}"""
# A figure so many times the least has no bar: it would leave no room for the others.
OFF_THE_SCALE = 30
# What each part shows, and which rows; bars of one part have one scale.
BASE = "1 KB prompt, 1.7 KB answer"
PARTS = (
    ("A hit beside floors and peers", (
        f"floor A: {BASE}", f"floor B: {BASE}", f"floor C: {BASE}", f"hit: {BASE}",
        "Envoy's own cache, GET, 1.7 KB answer", f"nginx proxy_cache: {BASE}",
        f"hit over Webdis: {BASE}", "plain Envoy: GET from Webdis", f"LiteLLM: {BASE}")),
    ("A hit by the size of the prompt", (
        "floor B: 16 KB prompt, 1.7 KB answer", "hit: 16 KB prompt, 1.7 KB answer",
        "nginx proxy_cache: 16 KB prompt, 1.7 KB answer",
        "floor B: 100 KB prompt, 1.7 KB answer", "floor C: 100 KB prompt, 1.7 KB answer",
        "hit: 100 KB prompt, 1.7 KB answer")),
    ("A hit by the answer, in its form and in the other one", (
        "hit: 20 KB JSON", "hit: 20 KB stream", "hit: 20 KB JSON as stream",
        "hit: 20 KB stream as JSON")),
    ("A miss", ("plain Envoy, proxying", "floor B, proxying", "floor C, proxying",
                "miss, store full")),
    ("A chunk of a stream that passes", (
        "plain Envoy: stream, per chunk", "floor B: stream, per chunk",
        "miss: stream, per chunk")),
)


def svg(about: dict, rows: list[Row], results: dict) -> str:
    known = {row.name: row for row in rows}
    body: list[str] = []
    y = 28
    body.append(text(16, y, "Processor time of the proxy, microseconds", "title"))
    y += 20
    body.append(text(16, y, f"Envoy {about['envoy']}, one worker on one core, "
                            f"{about['processor']}; medians of {about['rounds']} rounds", "quiet"))
    for title, names in PARTS:
        shown = [known[name] for name in names if name in known]
        if not shown:
            continue
        y += 38
        body.append(text(16, y, title))
        y += 10
        top = y
        figures = {row.name: statistics.median(results[row.name]["cpu_us"]) for row in shown}
        limit = OFF_THE_SCALE * min(figures.values())
        scale = BAR_WIDTH / max(figure for figure in figures.values() if figure <= limit)
        for row in shown:
            y += LINE
            figure = figures[row.name]
            body.append(text(NAME_WIDTH, y, row.name, "quiet", anchor="end"))
            if figure > limit:
                body.append(text(NAME_WIDTH + 18, y, f"{figure:,.1f}, far off the scale", "figure"))
                continue
            body.append(f'<rect x="{NAME_WIDTH + 10}" y="{y - 12}" height="16" rx="2" '
                        f'width="{max(1.0, figure * scale):.1f}" class="{kind(row)}"/>')
            body.append(text(NAME_WIDTH + 18 + figure * scale, y,
                             f"{figure:,.1f}{against(row, known, results)}", "figure"))
        body.append(f'<line class="axis" x1="{NAME_WIDTH + 9.5}" x2="{NAME_WIDTH + 9.5}" '
                    f'y1="{top + 6}" y2="{y + 8}"/>')
    height = y + 28
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img" '
        f'aria-label="Processor time of the proxy per request">',
        f"<style>{STYLE}\n</style>", *body, "</svg>"])


def text(x: float, y: float, words: str, style: str = "", anchor: str = "start") -> str:
    return (f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" class="{style}">'
            f"{html.escape(words)}</text>")


def kind(row: Row) -> str:
    if row.name.startswith(("hit", "miss")):
        return "ours"
    return "floor" if row.name.startswith(("floor", "plain")) else "peer"


def against(row: Row, known: dict[str, Row], results: dict) -> str:
    """The ratio, where the row is ours."""
    if kind(row) != "ours" or row.against not in known:
        return ""
    pairs = zip(results[row.name]["cpu_us"], results[row.against]["cpu_us"], strict=True)
    ratio = statistics.median(a / b for a, b in pairs)
    name = re.split("[:,]", row.against)[0]
    return f"  ({ratio:.2f} x {name})"

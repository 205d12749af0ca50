"""Draws envoy/grafana/llm-cache.json without a Grafana:

    make picture

An Envoy runs under some minutes of traffic, a Prometheus scrapes it, and each panel is drawn from
what its queries return, at its place, with the colours and units that it names. It is a likeness:
the panels that Grafana draws have more to them.
"""

import datetime
import io
import math
import pathlib
import re
import sys
import time

import matplotlib
import matplotlib.pyplot as plt
from harness import dashboard
from harness.envoy import ROOT, Envoy
from harness.prometheus import Prometheus
from harness.standin import Standin
from PIL import Image
from traffic import Traffic, config, servers

SECONDS = 300
STEP = 2
INTERVAL = 16
PICTURE = ROOT / "docs" / "dashboard.png"
BYTES_AT_MOST = 200_000

# In pixels, but for the columns.
COLUMNS, COLUMN, UNIT, GAP, MARGIN, HEAD = 24, 58, 27, 6, 12, 44
LEGEND_ROWS = 4
BACKGROUND, PANEL, LINES, TEXT, FAINT = "#111217", "#181b1f", "#2c3235", "#d0d0da", "#8e8e99"
PALETTE = ["#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#705da0",
           "#37872d", "#fade2a", "#447ebc", "#c15c17"]
COLORS = {"green": "#73bf69", "light-green": "#96d98d", "dark-green": "#37872d", "blue": "#5794f2",
          "light-blue": "#8ab8ff", "purple": "#b877d9", "orange": "#ff9830", "yellow": "#fade2a",
          "red": "#f2495c", "dark-red": "#c4162a", "semi-dark-red": "#e02f44", "text": TEXT}


def figure(value: float, unit: str, decimals: int | None = None) -> str:
    """A value as Grafana would show it, about."""
    if math.isnan(value):
        return "-"
    if unit == "percentunit":
        return f"{value * 100:.{1 if decimals is None else decimals}f}%"
    if unit == "currencyUSD":
        return f"${value:.{2 if decimals is None else decimals}f}"
    steps = {"ms": [(3.6e6, "h"), (6e4, "min"), (1e3, "s"), (1, "ms")],
             "s": [(3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms")],
             "bytes": [(2 ** 30, "GiB"), (2 ** 20, "MiB"), (2 ** 10, "KiB"), (1, "B")]}.get(
                 unit, [(1e9, "Bil"), (1e6, "Mil"), (1e3, "K"), (1, "")])
    suffix = {"reqps": " req/s", "ops": " ops/s"}.get(unit, "")
    factor, name = next((step for step in steps if abs(value) >= step[0]), steps[-1])
    number = value / factor
    places = decimals if decimals is not None else 0 if number == int(number) else (
        2 if abs(number) < 10 else 1 if abs(number) < 100 else 0)
    return f"{number:.{places}f}{' ' if len(name) > 1 or unit == 'bytes' else ''}{name}{suffix}"


def named(target: dict, labels: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda name: labels.get(name[1], ""), target["legendFormat"])


class Page:
    """The dashboard as a picture."""

    def __init__(self, prometheus: Prometheus, start: float, end: float) -> None:
        self.prometheus, self.start, self.end = prometheus, start, end
        self.dashboard = dashboard.load()
        self.panels = list(dashboard.panels(self.dashboard))
        rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in self.panels)
        self.width, self.height = COLUMNS * COLUMN + 2 * MARGIN, rows * UNIT + 2 * MARGIN + HEAD
        self.figure = plt.figure(figsize=(self.width / 100, self.height / 100), dpi=100,
                                 facecolor=BACKGROUND)

    def draw(self) -> bytes:
        self.text(MARGIN, 26, self.dashboard["title"], size=14, weight="bold")
        chosen = [f"{variable['label']}: {'All' if variable['includeAll'] else 'Prometheus'}"
                  for variable in self.dashboard["templating"]["list"]]
        self.text(self.width - MARGIN, 26, "      ".join(chosen), color=FAINT, ha="right")
        for panel in self.panels:
            at = panel["gridPos"]
            box = (MARGIN + at["x"] * COLUMN, HEAD + MARGIN + at["y"] * UNIT,
                   at["w"] * COLUMN - GAP, at["h"] * UNIT - GAP)
            if panel["type"] == "row":
                self.text(box[0], box[1] + 15, "⌄  " + panel["title"], size=10.5, weight="bold")
                continue
            self.rectangle(box)
            self.text(box[0] + 9, box[1] + 17, panel["title"], size=8.5, weight="bold")
            getattr(self, panel["type"])(panel, box)
        drawn = io.BytesIO()
        self.figure.savefig(drawn, format="png", facecolor=BACKGROUND)
        small = io.BytesIO()
        Image.open(drawn).convert("RGB").quantize(160, dither=Image.Dither.NONE).save(
            small, "png", optimize=True)
        return small.getvalue()

    # -- what is asked --------------------------------------------------------------------------

    def asked(self, target: dict) -> str:
        return dashboard.with_everything(target["expr"], int(self.end - self.start), INTERVAL)

    def now(self, target: dict) -> list[tuple[dict[str, str], float]]:
        found = self.prometheus.api("query", query=self.asked(target), time=self.end)["result"]
        return [(series["metric"], float(series["value"][1])) for series in found]

    def over_time(self, panel: dict) -> list[tuple[str, list[tuple[float, float]]]]:
        found = []
        for target in panel["targets"]:
            series = self.prometheus.query_range(self.asked(target), self.start, self.end, STEP)
            found += [(named(target, labels) or panel["title"], points)
                      for labels, points in series]
        return sorted(found)

    # -- panels -----------------------------------------------------------------------------------

    def stat(self, panel: dict, box) -> None:
        defaults = panel["fieldConfig"]["defaults"]
        left, top, width, height = box
        found = self.now(panel["targets"][0])[:3]
        for number, (labels, value) in enumerate(found):
            color = COLORS.get(defaults["color"].get("fixedColor"))
            if color is None:
                steps = [step for step in defaults["thresholds"]["steps"]
                         if step["value"] is None or step["value"] <= value]
                color = COLORS[steps[-1]["color"]]
            shown = figure(value, defaults["unit"], defaults.get("decimals"))
            name = named(panel["targets"][0], labels) if "{{" in (
                panel["targets"][0]["legendFormat"]) else ""
            y = top + height * (number + 1) / (len(found) + 1) + 20
            self.text(left + width / 2, y, f"{name}   {shown}" if name else shown, color=color,
                      size=22 if not name else 16, weight="bold", ha="center")

    def timeseries(self, panel: dict, box) -> None:
        defaults = panel["fieldConfig"]["defaults"]
        unit, custom = defaults["unit"], defaults["custom"]
        left, top, width, height = box
        series = self.over_time(panel)
        shown = min(len(series), LEGEND_ROWS)
        axes = self.axes((left + 58, top + 26, width - 70, height - 52 - 16 * shown))
        colors = {}
        for number, (name, _) in enumerate(series):
            colors[name] = PALETTE[number % len(PALETTE)]
        dashed = set()
        for override in panel["fieldConfig"]["overrides"]:
            for entry in override["properties"]:
                if entry["id"] == "color":
                    colors[override["matcher"]["options"]] = COLORS[entry["value"]["fixedColor"]]
                if entry["id"] == "custom.lineStyle":
                    dashed.add(override["matcher"]["options"])
        times = [self.start + step * STEP
                 for step in range(int((self.end - self.start) / STEP) + 1)]
        clocks = [datetime.datetime.fromtimestamp(at) for at in times]
        base = [0.0] * len(times)
        for name, points in series:
            given = {round((at - self.start) / STEP): value for at, value in points}
            values = [given.get(number, math.nan) for number in range(len(times))]
            if custom["stacking"]["mode"] == "normal" and name not in dashed:
                above = [low + (0 if math.isnan(value) else value)
                         for low, value in zip(base, values, strict=True)]
                axes.fill_between(clocks, base, above, color=colors[name], alpha=0.45, linewidth=0)
                axes.plot(clocks, above, color=colors[name], linewidth=1)
                base = above
            else:
                axes.plot(clocks, values, color=colors[name], linewidth=1.2,
                          linestyle="--" if name in dashed else "-")
        top_value = max([axes.get_ylim()[1], 1e-9])
        axes.set_ylim(0, min(top_value, defaults.get("max", math.inf)))
        axes.set_xlim(clocks[0], clocks[-1])
        axes.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4))
        axes.yaxis.set_major_formatter(lambda value, _: figure(value, unit))
        axes.xaxis.set_major_locator(matplotlib.dates.MinuteLocator())
        axes.xaxis.set_major_formatter(matplotlib.dates.DateFormatter("%H:%M"))
        if not series:
            self.text(left + width / 2, top + height / 2, "No data", color=FAINT, ha="center")
        means = {name: [value for _, value in points if not math.isnan(value)]
                 for name, points in series}
        means = {name: sum(values) / len(values) if values else math.nan
                 for name, values in means.items()}
        order = sorted(means, key=lambda name: (not math.isnan(means[name]), means[name]),
                       reverse=True)
        for number, name in enumerate(order[:shown]):
            y = top + height - 16 * (shown - number) + 8
            self.rectangle((left + 12, y - 5, 12, 3), colors[name])
            more = f"   and {len(order) - shown} more" if (
                number == shown - 1 and len(order) > shown) else ""
            self.text(left + 30, y, name + more, size=7.5)
            self.text(left + width - 12, y, figure(means[name], unit), size=7.5, color=FAINT,
                      ha="right")

    def bargauge(self, panel: dict, box) -> None:
        left, top, width, height = box
        target, = panel["targets"]
        found = sorted(self.now(target), key=lambda series: -series[1])[:6]
        most = max([value for _, value in found], default=1)
        for number, (labels, value) in enumerate(found):
            y = top + 44 + number * min(30, (height - 50) / len(found))
            self.text(left + 12, y, named(target, labels), size=8)
            self.rectangle((left + width * 0.45, y - 10, width * 0.38 * value / most, 13),
                           COLORS["blue"])
            self.text(left + width - 12, y, figure(value, panel["fieldConfig"]["defaults"]["unit"]),
                      size=8, color=COLORS["blue"], ha="right")
        if not found:
            self.text(left + width / 2, top + height / 2, "none", color=FAINT, ha="center")

    def table(self, panel: dict, box) -> None:
        left, top, width, height = box
        organize, = [change["options"] for change in panel["transformations"]
                     if change["id"] == "organize"]
        units = {override["matcher"]["options"]: entry["value"]
                 for override in panel["fieldConfig"]["overrides"]
                 for entry in override["properties"] if entry["id"] == "unit"}
        rows: dict[tuple, dict[str, float]] = {}
        columns = [organize["renameByName"][f"Value #{target['refId']}"]
                   for target in panel["targets"]]
        for column, target in zip(columns, panel["targets"], strict=True):
            for labels, value in self.now(target):
                rows.setdefault(tuple(sorted(labels.items())), {})[column] = value
        sort = panel["options"]["sortBy"][0]["displayName"]
        labels = sorted({name for row in rows for name, _ in row})
        heads, first = [*labels, *columns], width * 0.28
        rest = (width - first - 16) / (len(heads) - 1)

        def line(y: float, cells: list[str], **style) -> None:
            self.text(left + 12, y, cells[0], size=8, **style)
            for number, cell in enumerate(cells[1:]):
                self.text(left + first + rest * (number + 1), y, cell, size=8, ha="right", **style)

        line(top + 42, heads, color=COLORS["blue"])
        ordered = sorted(rows.items(), key=lambda row: -row[1].get(sort, 0))
        for number, (row, values) in enumerate(ordered[:int((height - 50) / 20)]):
            y = top + 64 + 20 * number
            self.rectangle((left + 9, y - 14, width - 18, 1), LINES)
            line(y, [*(value for _, value in row),
                     *(figure(values.get(column, math.nan), units.get(column, "short"))
                       for column in columns)])

    # -- drawing ----------------------------------------------------------------------------------

    def text(self, x: float, y: float, said: str, size: float = 9, color: str = TEXT,
             **style) -> None:
        self.figure.text(x / self.width, 1 - y / self.height, said, fontsize=size * 0.86,
                         color=color, **style)

    def rectangle(self, box, color: str = PANEL) -> None:
        left, top, width, height = box
        self.figure.add_artist(matplotlib.patches.Rectangle(
            (left / self.width, 1 - (top + height) / self.height), width / self.width,
            height / self.height, facecolor=color, edgecolor="none", zorder=-1))

    def axes(self, box):
        left, top, width, height = box
        axes = self.figure.add_axes((left / self.width, 1 - (top + height) / self.height,
                                     width / self.width, height / self.height), facecolor=PANEL)
        axes.tick_params(colors=FAINT, labelsize=6.5, length=0)
        axes.grid(color=LINES, linewidth=0.6)
        axes.set_axisbelow(True)
        for spine in axes.spines.values():
            spine.set_visible(False)
        return axes


def main(picture: pathlib.Path = PICTURE, seconds: float = SECONDS) -> None:
    redis, webdis = servers()
    with redis, webdis, Standin() as standin:
        changed = config(standin, webdis)
        changed.tree["stats_flush_interval"] = "1s"
        with Envoy(changed, workers=2) as envoy, Prometheus(envoy.admin_port) as prometheus:
            while not prometheus.query("llm_cache_info"):
                time.sleep(0.1)
            start = time.time()
            with Traffic(envoy, standin, webdis, seconds):
                pass
            end = time.time()
            print(f"{envoy.admin('/stats?filter=downstream_rq_completed').strip()}")
            # The first rate needs as long.
            drawn = Page(prometheus, start + INTERVAL, end).draw()
    if len(drawn) > BYTES_AT_MOST:
        sys.exit(f"the picture has {len(drawn)} bytes")
    picture.write_bytes(drawn)
    print(f"{picture}: {len(drawn)} bytes")


if __name__ == "__main__":
    main(*(pathlib.Path(word) for word in sys.argv[1:2]),
         *(float(word) for word in sys.argv[2:3]))

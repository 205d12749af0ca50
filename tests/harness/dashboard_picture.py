"""`make dashboard-picture`: docs/dashboard.png, what envoy/grafana/llm-cache.json asks for.

It is not Grafana's drawing: a real Envoy is under traffic for two minutes, a real Prometheus
scrapes it and answers the dashboard's own queries, and matplotlib draws the panels in their places.
"""

import json
import random
import re
import threading
import time
import urllib.parse
import urllib.request

import matplotlib as mpl
from matplotlib import pyplot
from matplotlib.ticker import FuncFormatter

from harness.envoy import ROOT, Config, Envoy
from harness.http1 import fetch
from harness.prometheus import Prometheus
from harness.standin import Standin

DASHBOARD = json.loads((ROOT / "envoy" / "grafana" / "llm-cache.json").read_text())
RULES = ROOT / "envoy" / "prometheus"
SECONDS = 120
STEP = 2
# The rows of panels that are drawn.
ROWS = ("Savings", "Requests", "Answers", "Memory and limits")
UNITS = {"percentunit": lambda value: f"{100 * value:.0f} %",
         "bytes": lambda value: f"{value / 1024:.0f} KiB" if value < 1 << 20
         else f"{value / (1 << 20):.0f} MiB",
         "s": lambda value: f"{value:g} s", "ms": lambda value: f"{value:g} ms",
         "currencyUSD": lambda value: f"${value:.2f}", "reqps": lambda value: f"{value:.1f}/s"}


def traffic(envoy: Envoy, stop: threading.Event) -> None:
    """Questions of which some are asked again and again, in two models, with some faults."""
    chance = random.Random(1)
    while not stop.is_set():
        number = min(int(chance.paretovariate(0.7)), 400)
        body = {"model": chance.choice(["gpt-4o", "gpt-4o", "gpt-4o-mini"]),
                "stream": False, "messages": [{"role": "user", "content": f"question {number}"}]}
        headers = {"cache-control": "no-store"} if chance.random() < 0.05 else {}
        says = "err=500" if chance.random() < 0.04 else f"pace={chance.randint(50, 400)};split=200"
        fetch(envoy.port, body, headers=headers, standin=says)
        stop.wait(chance.expovariate(12))


def asked(prometheus: Prometheus, expression: str, start: float, end: float) -> list[dict]:
    for name, value in {"$__rate_interval": "20s", "$__range": f"{SECONDS}s", "$instance": ".*",
                        "$api": ".*", "$model": ".*", ":1m]": ":1s]"}.items():
        expression = expression.replace(name, value)
    query = urllib.parse.urlencode({"query": expression, "start": start, "end": end, "step": STEP})
    url = f"http://{prometheus.address}/api/v1/query_range?{query}"
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)["data"]["result"]


def named(legend: str, labels: dict) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend)


def draw(axes, panel: dict, prometheus: Prometheus, start: float, end: float) -> None:
    unit = UNITS.get(panel["fieldConfig"]["defaults"]["unit"], lambda value: f"{value:g}")
    axes.set_title(panel["title"], loc="left", fontsize=8, color="#d8d9da")
    if panel["type"] == "stat":
        axes.axis("off")
        found = asked(prometheus, panel["targets"][0]["expr"], end - STEP, end)
        value = float(found[0]["values"][-1][1]) if found else None
        if panel["title"] == "Dollars saved" and value is not None:
            # Its query adds up minutes, and this Prometheus has seconds.
            value /= 60
        axes.text(0, 0.35, "no data" if value is None else unit(round(value, 2)), fontsize=17,
                  color="#73bf69", transform=axes.transAxes)
        return
    stacked = panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "normal"
    lines = {}
    for target in panel["targets"]:
        for series in asked(prometheus, target["expr"], start, end):
            values = {float(at): float(value) for at, value in series["values"]}
            if any(value == value and value for value in values.values()) or not stacked:
                lines[named(target["legendFormat"], series["metric"])] = values
    times = [start + STEP * step for step in range(int((end - start) / STEP) + 1)]
    rows = [[values.get(at, float("nan")) for at in times] for values in lines.values()]
    offsets = [at - start for at in times]
    if stacked and rows:
        rows = [[0 if value != value else value for value in row] for row in rows]
        axes.stackplot(offsets, rows, labels=list(lines), alpha=0.75)
    else:
        for name, row in zip(lines, rows, strict=True):
            axes.plot(offsets, row, label=name or "value", linewidth=1.1)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: unit(value)))
    axes.tick_params(labelsize=6, colors="#8e9297")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} s"))
    axes.grid(color="#2c3235", linewidth=0.5)
    if lines:
        axes.legend(fontsize=5.5, loc="upper left", frameon=False, labelcolor="#d8d9da")


def panels() -> list[dict]:
    chosen, row = [], ""
    for panel in DASHBOARD["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
        elif row in ROWS:
            chosen.append(panel)
    return chosen


def picture(prometheus: Prometheus, start: float, end: float) -> None:
    mpl.rcParams.update({"axes.facecolor": "#181b1f", "figure.facecolor": "#111217",
                         "axes.edgecolor": "#2c3235", "font.family": "DejaVu Sans"})
    chosen = panels()
    places = [panel["gridPos"] for panel in chosen]
    rows = sorted({place["y"] for place in places})
    heights = [1 if next(place for place in places if place["y"] == y)["h"] < 6 else 2.3
               for y in rows]
    figure = pyplot.figure(figsize=(13, sum(heights) * 1.05), dpi=85)
    grid = figure.add_gridspec(len(rows), 24, height_ratios=heights, hspace=0.5, wspace=4.5,
                               left=0.045, right=0.99, top=0.965, bottom=0.035)
    for panel, place in zip(chosen, places, strict=True):
        columns = slice(place["x"], place["x"] + place["w"])
        axes = figure.add_subplot(grid[rows.index(place["y"]), columns])
        draw(axes, panel, prometheus, start, end)
    figure.savefig(ROOT / "docs" / "dashboard.png", pil_kwargs={"optimize": True})


def main() -> None:
    rules = {f"{name}.yaml": (RULES / f"{name}.yaml").read_text()
             .replace("interval: 1m", "interval: 1s").replace("[5m]", "[20s]")
             for name in ("prices", "rules")}
    with Standin() as standin:
        config = Config.for_tests(standin.port)
        config.settings["metrics"] = {"model": True}
        with Envoy(config, workers=2) as envoy, Prometheus(envoy.admin_port, rules) as prometheus:
            stop = threading.Event()
            askers = [threading.Thread(target=traffic, args=(envoy, stop)) for _ in range(2)]
            # Whole seconds are the same as text and as a number.
            start = int(time.time())
            for asker in askers:
                asker.start()
            time.sleep(SECONDS)
            stop.set()
            for asker in askers:
                asker.join()
            picture(prometheus, start, start + SECONDS)


if __name__ == "__main__":
    main()

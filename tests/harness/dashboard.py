"""Reads envoy/grafana/llm-cache.json, and asks what its panels ask."""

import json
import re
from collections.abc import Iterator

from harness.envoy_binary import ROOT

FILE = ROOT / "envoy" / "grafana" / "llm-cache.json"


def load() -> dict:
    return json.loads(FILE.read_text())


def panels(dashboard: dict) -> Iterator[dict]:
    """All panels in their order, those of collapsed rows too, and the rows."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


def variables(expression: str) -> set[str]:
    """The names of Grafana's variables in a text, `$name` or `${name}`."""
    return set(re.findall(r"\$\{?(\w+)\}?", expression))


def filled(expression: str, **values: str) -> str:
    """The expression as Grafana sends it."""
    return re.sub(r"\$\{?(\w+)\}?", lambda name: values[name[1]], expression)


def with_everything(expression: str, seconds: int, interval: int) -> str:
    """The expression with "All" chosen in each variable, and this long a time shown."""
    return filled(expression, instance=".*", api=".*", model=".*", __range=f"{seconds}s",
                  __rate_interval=f"{interval}s")

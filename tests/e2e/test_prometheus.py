"""envoy/prometheus/ and envoy/grafana/: rules, alerts and a dashboard, on a real Prometheus."""

import json
import re
import time

import pytest
import yaml
from chats import chat
from harness import debian
from harness.envoy import ROOT, Envoy
from harness.http1 import fetch
from harness.prometheus import Prometheus, promtool
from http_stores import on_webdis

RULES = ROOT / "envoy" / "prometheus"
UNIT_TESTS = ROOT / "tests" / "prometheus"
DASHBOARD = json.loads((ROOT / "envoy" / "grafana" / "llm-cache.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    try:
        debian.find_all("prometheus", "promtool")
    except debian.NoProgram as error:
        pytest.skip(str(error))


def groups(name: str) -> list[dict]:
    return yaml.safe_load((RULES / f"{name}.yaml").read_text())["groups"]


def test_prometheus_takes_the_configuration_and_all_its_rules():
    checked = promtool("check", "config", RULES / "prometheus.yaml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "3 rule files found" in checked.stdout


@pytest.mark.parametrize("name", ["rules", "alerts", "weeks"])
def test_rules_and_alerts_say_what_their_unit_tests_expect(name):
    tested = promtool("test", "rules", UNIT_TESTS / f"{name}.yaml")
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_rule_and_every_alert_has_a_unit_test():
    for file, kind in (("rules", "record"), ("alerts", "alert")):
        tests = "".join(path.read_text() for path in UNIT_TESTS.glob("*.yaml"))
        names = [rule[kind] for group in groups(file) for rule in group["rules"]]
        assert [name for name in names if name not in tests] == []


def test_every_alert_says_how_bad_it_is_and_leads_to_a_section_of_the_docs():
    for rule in groups("alerts")[0]["rules"]:
        assert rule["labels"]["severity"] in ("info", "warning")
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        headings = re.findall(r"^#+ (.*)$", (ROOT / page).read_text(), re.MULTILINE)
        anchors = [re.sub(r"[^a-z0-9 _-]", "", title.lower()).replace(" ", "-")
                   for title in headings]
        assert anchor in anchors, rule["alert"]


def test_the_page_lists_the_alerts_in_their_order():
    page = (ROOT / "docs" / "operations.md").read_text()
    listed = re.findall(r"^\| `(LlmCache[A-Za-z]+)` \|", page, re.MULTILINE)
    assert listed == [rule["alert"] for rule in groups("alerts")[0]["rules"]]


def test_each_price_is_for_a_direction_that_is_counted():
    prices = [rule for group in groups("prices") for rule in group["rules"]]
    assert {rule["record"] for rule in prices} == {"llm_cache:price_dollars_per_million_tokens"}
    for rule in prices:
        assert set(rule["labels"]) == {"model", "direction"}
        assert rule["labels"]["direction"] in ("input", "cached_input", "output")
        assert re.fullmatch(r"vector\([0-9.]+\)", rule["expr"])


def queries() -> list[tuple[str, str]]:
    return [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]


def test_the_dashboard_is_one_that_grafana_can_place():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    for panel in PANELS:
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert {source["uid"] for source in sources} == {"${datasource}"}, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]


def test_the_dashboard_knows_no_metric_that_there_is_not():
    page = (ROOT / "docs" / "operations.md").read_text()
    documented = set(re.findall(r"^\| `(llm_cache_[a-z_]+)` \|", page, re.MULTILINE))
    recorded = {rule["record"] for group in groups("rules") for rule in group["rules"]}
    shown = {name for _, expression in queries()
             for name in re.findall(r"llm_cache[_:][a-z0-9_:]+", expression)}
    known = documented | recorded | {f"{name}_bucket" for name in documented}
    assert shown - known == set()
    # What is not shown there is nowhere to be seen.
    assert documented - {name.removesuffix("_bucket") for name in shown} == {
        "llm_cache_saved_first_byte_milliseconds_total"}


def spelled(expression: str) -> str:
    """As Grafana would ask, with everything chosen."""
    for name, value in {"$__rate_interval": "10s", "$__range": "1m", "$instance": ".*",
                        "$api": ".*", "$model": ".*"}.items():
        expression = expression.replace(name, value)
    return expression


def traffic(envoy: Envoy, webdis, prompt) -> None:
    """Something of everything that the dashboard shows."""
    for model in ("gpt-4o", "without-a-price"):
        body = chat(prompt(), model=model)
        for user in ("ann", "ann", "bob"):
            fetch(envoy.port, {**body, "user": user})
    fetch(envoy.port, chat(prompt()), standin="err=500")
    fetch(envoy.port, chat(prompt()), headers={"cache-control": "no-store"})
    shadowed = chat(prompt())
    for _ in range(2):
        fetch(envoy.port, shadowed, headers={"x-rule": "shadow"})
    webdis.pause()
    fetch(envoy.port, chat(prompt()))
    webdis.resume()


def test_every_query_of_the_dashboard_has_data_where_there_is_traffic(
        envoys, webdis, prompt):
    config = on_webdis(envoys, webdis.port, memory={"max_bytes": "8MiB"}, plugin={
        "metrics": {"model": True}, "stale_while_revalidate": "1m",
        "rules": [{"match": {"header": {"x-rule": "shadow"}}, "mode": "shadow"}]},
        lookup_timeout="250ms")
    rules = {f"{name}.yaml": (RULES / f"{name}.yaml").read_text().replace("interval: 1m",
                                                                          "interval: 1s")
             for name in ("prices", "rules")}
    with Envoy(config) as envoy, Prometheus(envoy.admin_port, rules) as prometheus:
        missing = dict.fromkeys(queries())
        deadline = time.monotonic() + 60
        while missing and time.monotonic() < deadline:
            traffic(envoy, webdis, prompt)
            missing = {query: None for query in missing if not [
                series for series in prometheus.query(spelled(query[1]))
                if series["value"][1] != "NaN"]}
        assert list(missing) == []
        (saved,) = prometheus.query('llm_cache:saved_dollars:rate5m{model="gpt-4o"}')
        assert float(saved["value"][1]) > 0
        unpriced = prometheus.query("llm_cache:unpriced_tokens:rate5m")
        assert [series["metric"]["model"] for series in unpriced] == ["without-a-price"]

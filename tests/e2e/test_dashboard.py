"""envoy/grafana/llm-cache.json: what it asks a Prometheus that scrapes an Envoy under traffic."""

import contextlib
import json
import math
import time

import http_stores
import pytest
import yaml
from chats import chat
from documentation import series, series_named
from harness import dashboard
from harness.envoy import ROOT, Envoy
from harness.http1 import Http1Connection, fetch, request_bytes
from harness.prometheus import Prometheus
from harness.redis_server import Redis
from harness.webdis import Webdis

DASHBOARD = dashboard.load()
PANELS = list(dashboard.panels(DASHBOARD))
QUERIES = [(panel["title"], target["expr"]) for panel in PANELS
           for target in panel.get("targets", [])]
VARIABLES = {entry["name"]: entry for entry in DASHBOARD["templating"]["list"]}
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
# Series that stand at 0 as long as all goes well.
HEALTHY_AT_ZERO = {"Hits that reached the upstream"}
GUARD_SECONDS = 60
# Longer than the tests take: all that has happened is in the window.
WINDOW = 300
ALL_PIECES = 100_000

SHADOW = {"x-rule": "shadow"}
PRICED, UNPRICED = "gpt-4.1", "a-model-of-ours"


def test_ids_are_unique_and_panels_do_not_overlap():
    ids = [panel["id"] for panel in PANELS]
    assert len(set(ids)) == len(ids)
    taken = set()
    for panel in PANELS:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"])
                 for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("panel", [panel for panel in PANELS if panel["type"] != "row"],
                         ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_shows_in_which_unit_and_asks_the_chosen_data_source(panel):
    assert panel["description"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"] == DATASOURCE
    assert [target["datasource"] for target in panel["targets"]] == (
        [DATASOURCE] * len(panel["targets"]))
    refs = [target["refId"] for target in panel["targets"]]
    assert len(set(refs)) == len(refs)


def test_variables_are_defined_before_they_are_used():
    assert list(VARIABLES) == ["datasource", "instance", "api", "model"]
    assert VARIABLES["datasource"]["type"] == "datasource"
    known = {"__range", "__rate_interval"}
    for name, variable in VARIABLES.items():
        assert variable.get("datasource", DATASOURCE) == DATASOURCE
        assert dashboard.variables(str(variable["query"])) <= known
        known.add(name)
    for title, expression in QUERIES:
        assert dashboard.variables(expression) <= known, title
        assert "$instance" in expression, title


def test_queries_ask_for_series_that_there_are():
    for title, expression in QUERIES:
        assert series_named(expression) <= series(), title


def test_every_metric_of_the_filter_is_shown():
    shown = set().union(*(series_named(expression) for _, expression in QUERIES))
    one_of_each = {name for name in series() if not name.endswith(("_sum", "_count"))}
    assert shown == one_of_each


def test_compose_mounts_the_dashboard_where_grafana_looks_for_it():
    service = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["grafana"]
    mounted = {entry["source"]: entry["target"] for entry in service["volumes"]
               if isinstance(entry, dict)}
    inside = mounted[f"./{dashboard.FILE.relative_to(ROOT)}"]
    providers = dashboard.FILE.parent / "dashboards" / "llm-cache.yaml"
    (provider,) = yaml.safe_load(providers.read_text())["providers"]
    assert inside == f"{provider['options']['path']}/{dashboard.FILE.name}"
    assert mounted["./envoy/grafana/dashboards"] == "/etc/grafana/provisioning/dashboards"


@pytest.fixture(scope="module")
def webdis():
    with Redis() as redis, Webdis(redis.port) as webdis:
        yield webdis


@pytest.fixture(scope="module")
def envoy(envoys, webdis):
    config = http_stores.on_webdis(
        envoys, webdis.port, memory={"max_bytes": "1MiB", "max_entry_bytes": "256KiB"},
        breaker={"failures": 1, "min_open": "1h", "max_open": "1h"},
        plugin={"metrics": {"model": True}, "stale_while_revalidate": "1h",
                "collapse": {"max_wait": "50s"},
                "rules": [{"match": {"header": SHADOW}, "mode": "shadow"}]})
    # Histograms are told so often, and each five seconds by default.
    config.tree["stats_flush_interval"] = "0.5s"
    with Envoy(config) as envoy:
        yield envoy


@pytest.fixture(scope="module")
def prometheus(prometheus_programs, envoy, webdis, standin):
    """It has scraped the Envoy before, while and after something of everything happened to it."""
    with Prometheus(envoy.admin_port) as prometheus, contextlib.ExitStack() as stack:
        # Series with a model begin with their first event, which no rate shows: there are scrapes
        # between events of each kind.
        for time_around in range(1, 4):
            something_of_everything(envoy.port)
            wait_until(lambda seen=time_around: sum(values(
                prometheus, 'llm_cache_shadow_comparisons_total')) >= seen, "a scrape")
        hold_requests(envoy, standin, stack)
        wait_until(lambda: told(envoy, "llm_cache_store_lookup_milliseconds"), "the histograms")
        webdis.kill()
        fetch(envoy.port, chat("What if the store is gone?"))
        yield prometheus


def wait_until(holds, what: str):
    """Polls; the limit is a guard against hanging, never what a test is about."""
    deadline = time.monotonic() + GUARD_SECONDS
    while not (result := holds()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.1)
    return result


def told(envoy: Envoy, histogram: str) -> bool:
    lines = envoy.admin("/stats/prometheus").splitlines()
    return any(line.startswith(f"{histogram}_count") and not line.endswith(" 0") for line in lines)


def something_of_everything(port: int) -> None:
    for model in (PRICED, UNPRICED):
        for number in range(3):
            for _ in range(4):
                fetch(port, chat(f"Question {number}", model=model))
    # Larger than memory, all of them together.
    for number in range(40):
        fetch(port, chat(f"Long answer {number}"), standin="size=60000")
    for user in ("ann", "bob"):
        fetch(port, chat("Who asks?", user=user))
    for standin in ("err=500", "cut=50"):
        fetch(port, chat(f"What if {standin}?"), standin=standin)
    fetch(port, chat("Keep this to yourself."), headers={"cache-control": "no-store"})
    fetch(port, chat("Who am I?"), credential=None)
    for _ in range(3):
        fetch(port, chat("What if it had expired?"), headers={"x-llm-cache-ttl": "1ms"})
        fetch(port, chat("Would it hit?", model=PRICED), headers=SHADOW)


def hold_requests(envoy: Envoy, standin, stack: contextlib.ExitStack) -> None:
    """Two identical requests whose answer does not come, and one that does not end."""
    body = chat("Is anybody waiting?")
    before = standin.requests()
    for held in (lambda: standin.requests() > before,
                 lambda: envoy.cache_metrics()["llm_cache_waiting_requests"]):
        connection = stack.enter_context(Http1Connection(envoy.port))
        connection.send(request_bytes("POST", "/v1/chat/completions", body,
                                      standin="hold;step=held"))
        wait_until(held, "the request to be held")
    whole = request_bytes("POST", "/v1/chat/completions", chat("x" * 10_000))
    stack.enter_context(Http1Connection(envoy.port)).send(whole[:-1])


def values(prometheus: Prometheus, expression: str) -> list[float]:
    asked = dashboard.with_everything(expression, WINDOW, WINDOW)
    return [value for _, value in prometheus.query(asked) if not math.isnan(value)]


def test_every_query_has_an_answer_and_it_is_not_0(envoy, prometheus):
    def unanswered() -> set[tuple[str, str]]:
        # Memory is looked at while there are requests.
        something_of_everything(envoy.port)
        return {(title, expression) for title, expression in QUERIES
                if not any(values(prometheus, expression))
                and not (title in HEALTHY_AT_ZERO and values(prometheus, expression))}

    deadline = time.monotonic() + GUARD_SECONDS
    while missing := unanswered():
        assert time.monotonic() < deadline, json.dumps(sorted(missing), indent=1)
        time.sleep(0.5)


def test_every_rule_is_evaluated_and_every_recording_rule_has_a_value(prometheus):
    rules = [rule for group in prometheus.api("rules")["groups"] for rule in group["rules"]]
    assert [rule for rule in rules if rule["health"] != "ok"] == []
    for name in {rule["name"] for rule in rules if rule["type"] == "recording"}:
        wait_until(lambda name=name: any(values(prometheus, name)), name)


def test_what_has_a_price_costs_and_what_has_none_is_named(prometheus):
    priced = prometheus.query("llm_cache:saved_dollars:rate5m > 0")
    assert {labels["model"] for labels, _ in priced} == {PRICED}
    unpriced = prometheus.query("llm_cache:unpriced_tokens:rate5m")
    assert UNPRICED in {labels["model"] for labels, _ in unpriced}
    assert PRICED not in {labels["model"] for labels, _ in unpriced}


@pytest.mark.parametrize("name", [name for name in VARIABLES if name != "datasource"])
def test_a_variable_has_values_to_choose_from(prometheus, name):
    query = VARIABLES[name]["query"]["query"].removeprefix("label_values(").removesuffix(")")
    selector, _, label = query.rpartition(", ")
    found = prometheus.query(f"count by ({label}) ({dashboard.filled(selector, instance='.*')})")
    assert all(labels[label] for labels, _ in found) and found

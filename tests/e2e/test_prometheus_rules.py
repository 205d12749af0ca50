"""envoy/prometheus/: rules that Prometheus takes, and that do what tests/prometheus/ says."""

import re

import pytest
import yaml
from documentation import anchors, series, series_named
from harness.envoy import ROOT
from harness.prometheus import EXAMPLE, FOLDER, promtool

UNIT_TESTS = sorted((ROOT / "tests" / "prometheus").glob("*.yaml"))
RULE_FILES = [FOLDER / name for name in yaml.safe_load(EXAMPLE.read_text())["rule_files"]]
RULES = [rule for file in RULE_FILES for group in yaml.safe_load(file.read_text())["groups"]
         for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDS = {rule["record"] for rule in RULES if "record" in rule}
PRICE = "llm_cache:price_dollars_per_million_tokens"


def test_the_configuration_of_compose_and_all_rules_are_valid(prometheus_programs):
    ran = promtool("check", "config", "--lint=all", "--lint-fatal", EXAMPLE)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert {file.name for file in RULE_FILES} == {
        file.name for file in FOLDER.glob("*.yaml")} - {EXAMPLE.name}


@pytest.mark.parametrize("file", UNIT_TESTS, ids=lambda file: file.stem)
def test_rules_and_alerts_do_what_their_unit_tests_say(prometheus_programs, file):
    ran = promtool("test", "rules", file)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def expected() -> list[str]:
    """What unit tests expect to be there: an expression, and the labels of a sample."""
    cases = [case for file in UNIT_TESTS for test in yaml.safe_load(file.read_text())["tests"]
             for case in test["promql_expr_test"]]
    return [f"{case['expr']} {sample['labels']}" for case in cases
            for sample in case["exp_samples"]]


def test_every_rule_and_every_alert_has_a_unit_test_in_which_it_gives_something():
    found = expected()
    for record in RECORDS:
        assert any(record in case for case in found), record
    for alert in ALERTS:
        sign = f'ALERTS{{alertname="{alert}", alertstate="firing"'
        assert any(sign in case for case in found), alert


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_bad_it_is_what_it_is_about_and_where_to_read_on(name):
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    assert set(alert["annotations"]) == {"summary", "description", "runbook"}
    page, _, anchor = alert["annotations"]["runbook"].partition("#")
    assert anchor in anchors(page)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_is_in_the_table_of_alerts(name):
    page = (ROOT / "docs" / "operations.md").read_text()
    (severity,) = re.findall(rf"^\| `{name}` \| (\w+) \|", page, re.MULTILINE)
    assert severity == ALERTS[name]["labels"]["severity"]


def test_the_table_of_alerts_has_no_other():
    page = (ROOT / "docs" / "operations.md").read_text()
    assert set(re.findall(r"`(LlmCache\w+)`", page)) == set(ALERTS)


def test_rules_ask_for_metrics_and_rules_that_there_are():
    for rule in RULES:
        assert series_named(rule["expr"]) <= series(), rule
        assert set(re.findall(r"llm_cache:\w+(?::\w+)*", rule["expr"])) <= RECORDS, rule


def test_no_model_has_two_prices_in_one_direction():
    prices = [rule for rule in RULES if rule.get("record") == PRICE]
    priced = [(rule["labels"].get("model"), rule["labels"]["direction"]) for rule in prices]
    assert len(set(priced)) == len(priced) > 0
    assert {direction for _, direction in priced} == {"input", "cached_input", "output"}

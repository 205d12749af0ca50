"""compose.yaml, brought up as it stands but for the images, which are built from what is here."""

import json
import time
import urllib.parse
import urllib.request

import pytest
import yaml
from chats import chat
from harness.containers.compose import FILE, STAND_INS, Compose
from harness.http1 import fetch

GUARD_SECONDS = 120
CHECKED = [service for service in STAND_INS if service != "network"]


@pytest.fixture(scope="module")
def compose():
    with Compose() as compose:
        for service in CHECKED:
            wait_until(lambda service=service: compose.healthy(service), f"{service} to be healthy")
        yield compose
    mine = ("--filter", f"name={compose.project}")
    for kind in ("ps", "network", "volume"):
        command = ["ps", "--all"] if kind == "ps" else [kind, "ls"]
        assert compose.runtime.run(*command, "--quiet", *mine) == "", f"{kind}: not all is gone"


def wait_until(holds, what: str):
    """Polls; the limit is a guard against hanging, never what a test is about."""
    deadline = time.monotonic() + GUARD_SECONDS
    while not (result := holds()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.2)
    return result


def ready(compose: Compose) -> bool:
    try:
        answer = fetch(compose.ports["ADMIN_PORT"], b"", path="/ready", method="GET")
    except OSError:
        return False
    return answer.status == 200


def stored_keys(compose: Compose) -> set[str]:
    return set(compose.execute("redis", "redis-cli", "--raw", "keys", "*").split())


def scraped(compose: Compose, query: str) -> list[dict]:
    """The series that Prometheus has."""
    asked = urllib.parse.urlencode({"query": query})
    port = compose.ports["PROMETHEUS_PORT"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?{asked}") as answer:
        return json.load(answer)["data"]["result"]


def test_a_repeated_request_is_a_hit_and_its_answer_is_in_redis(compose):
    for stream in (False, True):
        body = chat(f"Is this in Redis? {stream}", stream)
        miss, hit = (fetch(compose.ports["GATEWAY_PORT"], body) for _ in range(2))
        assert [miss.cache, hit.cache] == ["MISS", "HIT"]
        assert miss.body == hit.body
        assert miss.status == 200
    wait_until(lambda: len(stored_keys(compose)) == 2, "two entries in Redis")
    assert all(key.startswith("llm-cache:") for key in stored_keys(compose))


def test_a_new_envoy_among_the_same_others_hits_in_redis(compose):
    """Envoy restarts alone, as after a crash: the others keep the network that they share."""
    port, body = compose.ports["GATEWAY_PORT"], chat("Does this outlive the Envoy?")
    before = stored_keys(compose)
    assert fetch(port, body).cache == "MISS"
    wait_until(lambda: stored_keys(compose) > before, "the answer to be written")
    compose.runtime.run("restart", compose.container("envoy"))
    wait_until(lambda: ready(compose), "the new Envoy")
    hit = fetch(port, body)
    assert hit.cache == "HIT"
    assert "detail=http" in hit.header("cache-status")


def test_prometheus_has_the_metrics_of_the_filter_with_labels(compose):
    body = chat("Is this counted?")
    assert [fetch(compose.ports["GATEWAY_PORT"], body).cache for _ in range(2)] == ["MISS", "HIT"]
    (series,) = wait_until(lambda: scraped(compose, 'llm_cache_requests_total{result="hit"} > 0'),
                           "Prometheus to scrape")
    assert series["metric"]["job"] == "envoy"
    written = 'llm_cache_store_operations_total{operation="write", result="done"} > 0'
    assert scraped(compose, written)


def test_the_published_ports_are_on_loopback(compose):
    published = compose.runtime.run("port", compose.container("network")).split("\n")
    addresses = {line.partition(" -> ")[2] for line in published if line}
    assert addresses == {f"127.0.0.1:{port}" for port in compose.ports.values()}


@pytest.mark.parametrize("path", [
    "/llm-cache/envoy/redis.yaml",
    "/llm-cache/target/wasm32-wasip1/release/envoy_llm_cache.wasm"])
def test_envoy_cannot_change_what_is_mounted(compose, path):
    refused = compose.runtime.attempt(
        "exec", compose.container("envoy"), "sh", "-c", f"echo >> {path}")
    assert refused.returncode != 0
    assert "Read-only file system" in refused.stderr


def test_every_service_but_grafana_is_run():
    services = set(yaml.safe_load(FILE.read_text())["services"])
    assert services - set(STAND_INS) == {"grafana"}
    pytest.skip("Grafana is not run: it is only in a registry of images")

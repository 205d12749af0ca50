"""A buffer filter that is missing, or stands before the cache, is told to operators."""

import time

import pytest
from chats import chat
from harness.envoy import Envoy
from harness.http1 import fetch

COUNTER = "llm_cache_upstream_asked_in_vain_total"
BUFFER = "envoy.filters.http.buffer"


@pytest.mark.parametrize(("place", "in_vain"),
                         [("behind", False), ("missing", True), ("before", True)])
def test_hits_that_open_a_request_to_the_upstream_are_counted_and_logged_once(
        envoys, prompt, place, in_vain):
    config = envoys.config()
    if place != "behind":
        buffer = next(entry for entry in config.http_filters if entry["name"] == BUFFER)
        config.without(BUFFER)
        if place == "before":
            config.http_filters.insert(0, buffer)
    with Envoy(config) as envoy:
        body = chat(prompt())
        found = [fetch(envoy.port, body).cache for _ in range(5)]
        assert found == ["MISS", "HIT", "HIT", "HIT", "HIT"]
        # Looked at were the first, the second and the fourth hit.
        assert envoy.cache_counters().get(COUNTER, 0) == (3 if in_vain else 0)
        told = envoy.log_path.read_text().count("a hit had opened a request to the upstream")
        assert told == (1 if in_vain else 0)


def test_an_answer_that_stands_in_for_a_failed_upstream_asked_it_rightly(envoys, prompt):
    with Envoy(envoys.config({"stale_if_error": "1h"})) as envoy:
        body = chat(prompt())
        assert fetch(envoy.port, body, headers={"x-llm-cache-ttl": "1ms"}).cache == "MISS"
        time.sleep(0.005)
        assert fetch(envoy.port, body, standin="err=503").cache == "STALE"
        assert COUNTER not in envoy.cache_counters()
        assert "opened a request to the upstream" not in envoy.log_path.read_text()

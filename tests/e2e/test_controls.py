"""What a client can ask of the cache."""

import pytest
from asserts import upstream_asked
from chats import chat
from harness.http1 import fetch


def ask(envoy, body, control: str = "", **headers):
    if control:
        headers["cache-control"] = control
    return fetch(envoy.port, body, headers=headers)


@pytest.mark.parametrize("control", [
    "no-store", "No-Store", 'x="a, b", no-store', "max-age=9,no-store"])
def test_no_store_neither_looks_up_nor_stores(envoy, standin, prompt, control):
    body = chat(prompt())
    with upstream_asked(standin, 2):
        answers = [ask(envoy, body, control) for _ in range(2)]
    assert {answer.cache for answer in answers} == {"BYPASS"}
    assert answers[0].header("cache-status").startswith("envoy-llm-cache; fwd=bypass")
    stored = ask(envoy, body)
    assert stored.cache == "MISS"
    assert ask(envoy, body, control).cache == "BYPASS"
    hit = ask(envoy, body)
    assert (hit.cache, hit.body) == ("HIT", stored.body)


def test_no_cache_asks_the_upstream_and_its_answer_replaces_the_entry(envoy, standin, prompt):
    body = chat(prompt())
    old = ask(envoy, body)
    with upstream_asked(standin, 1):
        new = ask(envoy, body, "no-cache")
    assert new.cache == "MISS"
    assert new.header("cache-status").startswith("envoy-llm-cache; fwd=request")
    assert new.body != old.body
    hit = ask(envoy, body)
    assert (hit.cache, hit.body) == ("HIT", new.body)


def test_max_age_accepts_only_entries_that_are_young_enough(envoy, standin, prompt):
    body = chat(prompt())
    ask(envoy, body)
    assert ask(envoy, body, "max-age=1000").cache == "HIT"
    envoy.wait_until(lambda: int(ask(envoy, body).header("age")) >= 1, "an entry of age 1")
    assert ask(envoy, body, "max-age=1000").cache == "HIT"
    with upstream_asked(standin, 1):
        too_old = ask(envoy, body, "max-age=0")
    assert too_old.cache == "MISS"
    assert too_old.header("cache-status").startswith("envoy-llm-cache; fwd=request")


def test_only_if_cached_never_asks_the_upstream(envoy, standin, prompt):
    for stream in (False, True):
        body = chat(prompt(), stream)
        with upstream_asked(standin, 0):
            refused = ask(envoy, body, "only-if-cached")
        assert (refused.status, refused.cache) == (504, "MISS")
        assert refused.header("content-type").startswith("application/json")
        assert refused.json()["error"]["message"]
        stored = fetch(envoy.port, body, standin="pace=0")
        assert stored.cache == "MISS"
        with upstream_asked(standin, 0):
            hit = ask(envoy, body, "only-if-cached")
        assert (hit.status, hit.cache, hit.body) == (200, "HIT", stored.body)


def test_a_lifetime_asked_for_is_kept_and_then_over(envoy, standin, prompt):
    body = chat(prompt())
    first = ask(envoy, body, **{"x-llm-cache-ttl": "1s"})
    assert first.cache == "MISS"
    last = envoy.wait_until(
        lambda: (answer := ask(envoy, body)).cache != "HIT" and answer, "the entry to expire")
    assert last.cache == "MISS"
    assert last.header("cache-status") == "envoy-llm-cache; fwd=stale"
    assert last.body != first.body
    hit = ask(envoy, body)
    assert (hit.cache, hit.body) == ("HIT", last.body)


def ttl_of(answer) -> int:
    return int(answer.header("cache-status").split("ttl=")[1].split(";")[0])


def test_a_lifetime_asked_for_is_no_longer_than_the_configured_bound(envoys, prompt):
    envoy = envoys.configured({"ttl": "1h", "client": {"max_ttl": "2h"}})
    for asked, at_most in (("10m", 600), ("90m", 5400), ("30d", 7200), (None, 3600)):
        body = chat(prompt())
        headers = {"x-llm-cache-ttl": asked} if asked else {}
        fetch(envoy.port, body, headers=headers)
        left = ttl_of(fetch(envoy.port, body))
        # The upper half: time passes while the test runs, but not as much as that.
        assert at_most / 2 < left <= at_most


def test_a_lifetime_that_is_no_duration_stores_nothing(envoy, prompt):
    body = chat(prompt())
    answers = [ask(envoy, body, **{"x-llm-cache-ttl": value}) for value in ("soon", "-1s", "5")]
    assert {answer.status for answer in answers} == {200}
    assert {answer.cache for answer in answers} == {"BYPASS"}
    assert ask(envoy, body).cache == "MISS"


def test_a_lifetime_of_zero_stores_nothing(envoy, prompt):
    body = chat(prompt())
    for _ in range(2):
        answer = ask(envoy, body, **{"x-llm-cache-ttl": "0s"})
        assert (answer.status, answer.cache) == (200, "MISS")
    assert ask(envoy, body).cache == "MISS"


def test_cache_control_can_be_ignored(envoys, standin, prompt):
    envoy = envoys.configured({"client": {"cache_control": "ignore"}})
    body = chat(prompt())
    with upstream_asked(standin, 1):
        answers = [ask(envoy, body, control) for control in
                   ("only-if-cached", "no-store", "no-cache", "max-age=0")]
    assert [answer.cache for answer in answers] == ["MISS", "HIT", "HIT", "HIT"]


def test_cache_control_of_the_upstream_does_not_matter(envoy, prompt):
    """Providers send no-cache and no-store with every answer, for browsers and proxies."""
    body = chat(prompt())
    standin = "header=cache-control:no-store, private"
    assert [fetch(envoy.port, body, standin=standin).cache for _ in range(2)] == ["MISS", "HIT"]

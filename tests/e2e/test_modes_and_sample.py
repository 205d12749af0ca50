"""How much of the cache is in use."""

from asserts import upstream_asked
from chats import chat
from harness.http1 import fetch

BY_HEADER = [{"match": {"header": {"x-mode": mode}}, "mode": mode}
             for mode in ("read_only", "write_only", "disabled")]


def test_read_only_serves_what_is_there_and_stores_nothing(envoys, workers, prompt):
    envoy = envoys.configured({"rules": BY_HEADER}, workers)
    body, mode = chat(prompt()), {"x-mode": "read_only"}
    assert [fetch(envoy.port, body, headers=mode).cache for _ in range(2)] == ["MISS", "MISS"]
    stored = fetch(envoy.port, body)
    assert stored.cache == "MISS"
    hit = fetch(envoy.port, body, headers=mode)
    assert (hit.cache, hit.body) == ("HIT", stored.body)


def test_write_only_stores_and_serves_nothing(envoys, workers, standin, prompt):
    envoy = envoys.configured({"rules": BY_HEADER}, workers)
    body, mode = chat(prompt()), {"x-mode": "write_only"}
    with upstream_asked(standin, 2):
        answers = [fetch(envoy.port, body, headers=mode) for _ in range(2)]
    assert "HIT" not in {answer.cache for answer in answers}
    assert "detail=write_only" in answers[0].header("cache-status")
    hit = fetch(envoy.port, body)
    assert (hit.cache, hit.body) == ("HIT", answers[1].body)


def test_disabled_leaves_requests_untouched(envoys, workers, prompt):
    by_rule = envoys.configured({"rules": BY_HEADER}, workers)
    altogether = envoys.configured({"mode": "disabled"}, workers)
    body = chat(prompt())
    for envoy, headers in ((by_rule, {"x-mode": "disabled"}), (altogether, {})):
        for _ in range(2):
            answer = fetch(envoy.port, body, headers=headers)
            assert (answer.status, answer.cache, answer.header("cache-status")) == (200, None, None)
    assert fetch(by_rule.port, body).cache == "MISS"


def test_a_sample_takes_some_keys_and_always_the_same(envoys, prompt):
    half = envoys.configured({"sample": 50})
    outcomes = []
    for _ in range(60):
        body = chat(prompt())
        outcomes.append(tuple(fetch(half.port, body).cache for _ in range(3)))
    assert set(outcomes) == {("MISS", "HIT", "HIT"), ("BYPASS", "BYPASS", "BYPASS")}


def test_a_sample_of_nothing_takes_nothing_and_says_why(envoys, prompt):
    none = envoys.configured({"sample": 0})
    body = chat(prompt())
    for _ in range(2):
        answer = fetch(none.port, body)
        assert answer.cache == "BYPASS"
        assert "detail=sample" in answer.header("cache-status")

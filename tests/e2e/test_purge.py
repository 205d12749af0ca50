"""Entries that do not expire together, and entries that are gone at once."""

import re

import pytest
from asserts import upstream_asked
from chats import chat
from harness.envoy import Envoy, validate
from harness.http1 import fetch

LIFETIME = 100_000
PLUGIN = {"ttl": f"{LIFETIME}s", "ttl_jitter": "50%", "rules": [
    {"match": {"path_prefix": "/exact/"}, "ttl_jitter": "0%"}]}


def lifetime(envoy: Envoy, body, **named) -> int:
    assert fetch(envoy.port, body, **named).cache == "MISS"
    hit = fetch(envoy.port, body, **named)
    assert hit.cache == "HIT"
    return int(re.search(r"; ttl=(\d+)", hit.header("cache-status")).group(1))


def test_jitter_spreads_lifetimes_and_makes_none_longer(envoys, workers, prompt):
    envoy = envoys.configured(PLUGIN, workers)
    lifetimes = [lifetime(envoy, chat(prompt())) for _ in range(40)]
    assert max(lifetimes) <= LIFETIME
    assert min(lifetimes) >= LIFETIME // 2 - 60
    assert len(set(lifetimes)) > 30
    assert max(lifetimes) - min(lifetimes) > LIFETIME // 10


def test_a_rule_takes_the_jitter_away(envoys, workers, prompt):
    envoy = envoys.configured(PLUGIN, workers)
    lifetimes = [lifetime(envoy, chat(prompt()), path="/exact/v1/chat/completions")
                 for _ in range(10)]
    assert min(lifetimes) > LIFETIME - 60


def test_a_jitter_of_more_than_half_is_refused(envoys):
    valid, said = validate(envoys.config({"ttl_jitter": "51%"}))
    assert not valid
    assert "ttl_jitter: " in said


def in_namespace(envoys, namespace: str) -> dict:
    # The key is exposed so that the test sees who answers.
    return envoys.config({"key": {"namespace": namespace}, "respond": {"expose_key": True}})


@pytest.mark.parametrize("workers", [1, 4], ids=["1-worker", "4-workers"])
def test_another_namespace_makes_every_entry_a_miss_and_the_first_one_finds_them_again(
        envoys, standin, prompt, workers):
    bodies = [chat(prompt(), number % 2 == 1) for number in range(20)]
    probe = chat(prompt())
    with Envoy(in_namespace(envoys, "one"), workers, listener_file=True) as envoy:
        keys = {}

        def move_to(namespace: str) -> None:
            """Returns when requests are answered under the new configuration."""
            old = fetch(envoy.port, probe).header("x-cache-key")
            envoy.write_listener(in_namespace(envoys, namespace))
            keys[namespace] = envoy.wait_until(
                lambda: (key := fetch(envoy.port, probe).header("x-cache-key")) != old and key,
                "the update")

        def ask_all() -> list:
            return [fetch(envoy.port, body, standin="pace=0") for body in bodies]
        first = ask_all()
        assert {answer.cache for answer in first} == {"MISS"}
        assert [answer.body for answer in ask_all()] == [answer.body for answer in first]
        move_to("two")
        with upstream_asked(standin, len(bodies)):
            second = ask_all()
        assert {answer.cache for answer in second} == {"MISS"}
        with upstream_asked(standin, 0):
            assert {answer.cache for answer in ask_all()} == {"HIT"}
        move_to("one")
        with upstream_asked(standin, 0):
            again = ask_all()
        assert {answer.cache for answer in again} == {"HIT"}
        assert [answer.body for answer in again] == [answer.body for answer in first]
        assert envoy.vm_failures() == []

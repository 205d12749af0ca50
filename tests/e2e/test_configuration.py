"""A wrong configuration is refused by Envoy, which says everything that is wrong, and where."""

import pytest
from chats import chat
from harness.envoy import Envoy, validate
from harness.http1 import Http1Connection, fetch, request_bytes


def test_the_example_and_an_empty_configuration_are_valid(envoys):
    for config in (envoys.config(), envoys.config({}), envoys.config().configure_text(""),
                   envoys.config().configure_text("{}")):
        valid, said = validate(config)
        assert valid, said
    config = envoys.config()
    del config.plugin["configuration"]
    valid, said = validate(config)
    assert valid, said


def test_all_problems_are_reported_at_once_each_with_its_path(envoys):
    valid, said = validate(envoys.config({
        "mode": "sometimes", "ttl": "fast", "sample": 101, "colour": "red",
        "key": {"tenant": "nobody", "exclude": ["no-pointer"]},
        "store": {"memory": {"max_bytes": "many"}, "redis": {}},
        "limits": {"max_request_bytes": -1},
        "rules": [{"match": {}, "mode": "read_write"}, {"match": {"hosts": "x"}, "ttl": True}]}))
    assert not valid
    for path in ("mode", "ttl", "sample", "colour", "key.tenant", "key.exclude[0]",
                 "store.memory.max_bytes", "store.redis", "limits.max_request_bytes",
                 "rules[1].match.hosts", "rules[1].ttl"):
        assert any(f"{path}: " in line for line in said.splitlines()), (path, said)


@pytest.mark.parametrize("text", ["{", "[]", "null", "ttl: 1h", '{"ttl": "1h",}', '"1h"'])
def test_a_configuration_that_is_no_json_object_is_refused(envoys, text):
    valid, said = validate(envoys.config().configure_text(text))
    assert not valid
    assert "must be a" in said


@pytest.mark.parametrize(("key", "value"), [
    ("semantic", {"threshold": 0.9}),
    ("store", {"http": {"cluster": "cache", "protocol": "redis"}}),
    ("store", {"http": {"cluster": "cache"}}), ("rules", [{"match": {}, "api": "soap"}])])
def test_what_the_filter_cannot_do_is_an_error_and_not_ignored(envoys, key, value):
    valid, said = validate(envoys.config({key: value}))
    assert not valid
    assert f"{key}" in said


def test_a_string_of_json_works_like_a_struct(envoys, prompt):
    envoy = envoys.shared(envoys.config().configure_text(
        '{"ttl": "100s", "limits": {"max_request_bytes": 5000}, "sample": 100}'))
    body = chat(prompt())
    assert [fetch(envoy.port, body).cache for _ in range(2)] == ["MISS", "HIT"]
    assert fetch(envoy.port, chat(prompt(), padding="p" * 5000)).cache == "BYPASS"


def test_sizes_as_numbers_survive_that_a_struct_makes_doubles_of_them(envoys, prompt):
    envoy = envoys.configured({"limits": {"max_request_bytes": 5000}, "sample": 100})
    assert [fetch(envoy.port, chat(prompt(), padding="p" * size)).cache
            for size in (100, 5000)] == ["MISS", "BYPASS"]


def listener_stats(envoy: Envoy) -> dict[str, int]:
    return envoy.stats("listener_manager")


@pytest.mark.parametrize("workers", [1, 4], ids=["1-worker", "4-workers"])
def test_a_live_update_that_is_wrong_is_rejected_and_the_old_configuration_goes_on_serving(
        envoys, prompt, workers):
    with Envoy(envoys.config({"ttl": "1h"}), workers, listener_file=True) as envoy:
        body = chat(prompt())
        assert [fetch(envoy.port, body).cache for _ in range(2)] == ["MISS", "HIT"]
        wrong = envoys.config({"ttl": "never", "nonsense": 1})
        wrong.listen(envoy.port)
        envoy.write_listener(wrong)
        rejected = "listener_manager.lds.update_rejected"
        envoy.wait_until(lambda: listener_stats(envoy)[rejected] == 1, "the rejection")
        said = envoy.log()
        for path in ("ttl: ", "nonsense: "):
            assert path in said
        assert fetch(envoy.port, body).cache == "HIT"
        assert [fetch(envoy.port, chat(prompt())).status for _ in range(10)] == 10 * [200]
        assert envoy.vm_failures() == []


@pytest.mark.parametrize("workers", [1, 4], ids=["1-worker", "4-workers"])
def test_a_live_update_that_overlaps_keeps_what_is_stored(envoys, prompt, workers):
    with Envoy(envoys.config({"ttl": "1h"}), workers, listener_file=True) as envoy:
        body = chat(prompt())
        stored = fetch(envoy.port, body).body
        updated = envoys.config({"ttl": "2h", "respond": {"expose_key": True}})
        updated.listen(envoy.config.listener["address"]["socket_address"]["port_value"])
        done = "listener_manager.listener_modified"
        envoy.write_listener(updated)
        envoy.wait_until(lambda: listener_stats(envoy)[done] == 1
                         and not listener_stats(envoy)["listener_manager.total_listeners_warming"],
                         "the update")
        # The old listener drains; what is new is taken by the new one, and it says its key.
        hit = envoy.wait_until(
            lambda: (answer := fetch(envoy.port, body)).header("x-cache-key") and answer,
            "an answer by the new listener")
        assert (hit.cache, hit.body) == ("HIT", stored)
        new = chat(prompt())
        assert [fetch(envoy.port, new).cache for _ in range(2)] == ["MISS", "HIT"]
        assert envoy.vm_failures() == []


def test_a_stream_in_flight_survives_a_live_update(envoys, standin, prompt):
    with Envoy(envoys.config({"ttl": "1h"}), listener_file=True) as envoy:
        body, step = chat(prompt(), True), f"update {prompt()}"
        with Http1Connection(envoy.port) as connection:
            connection.send(request_bytes("POST", "/v1/chat/completions", body,
                                          standin=f"step={step}"))
            answer = connection.read_head()
            first = connection.read_chunk()
            updated = envoys.config({"ttl": "2h", "respond": {"expose_key": True}})
            envoy.write_listener(updated)
            envoy.wait_until(
                lambda: listener_stats(envoy)["listener_manager.listener_modified"] == 1
                and fetch(envoy.port, chat("x")).header("x-cache-key"), "the update")
            standin.release(step, 1_000)
            connection.read_body(answer)
            assert answer.ending == "whole"
        hit = fetch(envoy.port, body)
        assert (hit.cache, hit.body) == ("HIT", first + answer.body)


def test_two_namespaces_do_not_see_each_other(envoys, prompt):
    """Also not over a live update: that is what makes every older entry unreachable."""
    with Envoy(envoys.config({}), listener_file=True) as envoy:
        body = chat(prompt())
        assert [fetch(envoy.port, body).cache for _ in range(2)] == ["MISS", "HIT"]
        envoy.write_listener(envoys.config({
            "key": {"namespace": "2"}, "respond": {"expose_key": True}}))
        first = envoy.wait_until(
            lambda: (answer := fetch(envoy.port, body)).header("x-cache-key") and answer,
            "an answer by the new listener")
        assert first.cache == "MISS"

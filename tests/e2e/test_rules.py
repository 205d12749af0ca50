"""Rules by host, path, model and header; the first that matches holds."""

from chats import chat
from harness.http1 import fetch

OFF = {"mode": "disabled"}


def outcomes(envoy, body, **named) -> list:
    return [fetch(envoy.port, body, **named).cache for _ in range(2)]


def test_a_rule_by_host(envoys, workers, prompt):
    envoy = envoys.configured({"rules": [{"match": {"host": "off.test"}, **OFF},
                                         {"match": {"host": "*.off.test"}, **OFF}]}, workers)
    body = chat(prompt())
    for host in ("off.test", "OFF.test:8443", "a.off.test"):
        assert outcomes(envoy, body, host=host) == [None, None]
    assert outcomes(envoy, body, host="on.test") == ["MISS", "HIT"]


def test_a_rule_by_path(envoys, workers, prompt):
    envoy = envoys.configured({"rules": [
        {"match": {"path": "/one/chat/completions"}, **OFF},
        {"match": {"path_prefix": "/two/"}, **OFF},
        {"match": {"path_suffix": "/private/chat/completions"}, **OFF},
        {"match": {"path": "/ask"}, "api": "openai_chat"}]}, workers)
    body = chat(prompt())
    for path in ("/one/chat/completions", "/one/chat/completions?x=1", "/two/chat/completions",
                 "/a/private/chat/completions"):
        assert outcomes(envoy, body, path=path) == [None, None]
    assert outcomes(envoy, body, path="/three/chat/completions") == ["MISS", "HIT"]
    assert outcomes(envoy, body, path="/three/ask") == [None, None]
    # The stand-in answers /ask with no chat, so there is an answer to look at but none to store.
    assert outcomes(envoy, body, path="/ask") == ["MISS", "MISS"]


def test_a_rule_names_the_api_of_a_path_that_does_not_tell(envoys, standin, prompt):
    envoy = envoys.configured({"rules": [{"match": {"path_prefix": "/ask"}, "api": "openai_chat"}]})
    fixture = standin.put_fixture("asked", (
        b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},'
        b'"finish_reason":"stop"}]}'))
    standin_says = f"{fixture};type=application/json"
    body = chat(prompt())
    assert [fetch(envoy.port, body, path="/ask/me", standin=standin_says).cache
            for _ in range(2)] == ["MISS", "HIT"]


def test_a_rule_by_model(envoys, workers, prompt):
    envoy = envoys.configured({"rules": [
        {"match": {"model": "private-*"}, **OFF},
        {"match": {"model": "short"}, "ttl": "60s"}]}, workers)
    text = prompt()
    assert outcomes(envoy, chat(text, padding="a") | {"model": "private-1"}) == [None, None]
    assert outcomes(envoy, chat(text) | {"model": "public"}) == ["MISS", "HIT"]
    short = chat(text) | {"model": "short"}
    assert outcomes(envoy, short) == ["MISS", "HIT"]
    status = fetch(envoy.port, short).header("cache-status")
    assert int(status.split("ttl=")[1].split(";")[0]) <= 60


def test_a_rule_by_header(envoys, workers, prompt):
    envoy = envoys.configured({"rules": [
        {"match": {"header": {"x-team": "red", "x-tier": "*"}}, **OFF}]}, workers)
    body = chat(prompt())
    assert outcomes(envoy, body, headers={"x-team": "red", "x-tier": "1"}) == [None, None]
    assert outcomes(envoy, body, headers={"x-team": "red"}) == ["MISS", "HIT"]


def test_the_first_rule_that_matches_holds(envoys, workers, prompt):
    envoy = envoys.configured({"mode": "disabled", "rules": [
        {"match": {"host": "a.test", "model": "stand-in"}, "mode": "read_write"},
        {"match": {"host": "a.test"}, "mode": "read_only"},
        {"match": {}, "mode": "disabled"}]}, workers)
    text = prompt()
    assert outcomes(envoy, chat(text), host="a.test") == ["MISS", "HIT"]
    assert outcomes(envoy, chat(text) | {"model": "m2"}, host="a.test") == ["MISS", "MISS"]
    assert outcomes(envoy, chat(text), host="b.test") == [None, None]

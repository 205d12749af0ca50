"""What the store, the log and the metrics must not learn, and a plugin that may not call out."""

import base64
import http.client
import json
import re

import pytest
from asserts import vm_survives
from chats import chat
from harness.envoy import GUARD_SECONDS, Envoy, validate
from harness.http1 import fetch
from harness.scripted_server import ScriptedServer
from harness.webdis import Webdis
from http_stores import (
    FOLDER,
    LOOKUP,
    MEMORY,
    PREFIX,
    PROBE,
    WRITE,
    RedisEntries,
    S3Entries,
    ask_and_store,
    counted,
    on_s3,
    on_webdis,
    tier,
)
from test_restricted_vms import exports, host_calls

USER, PASSWORD = "llm-cache", "hunter2-of-the-store"
BASIC = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
INTEGRITY_KEY = "integrity-key-that-nobody-may-see"
CALLER = "sk-the-callers-own-credentials"
SECRETS = (PASSWORD, BASIC.split()[1], INTEGRITY_KEY, CALLER, "token-of-the-store")


def set_log_level(envoy: Envoy, level: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", envoy.admin_port, timeout=GUARD_SECONDS)
    connection.request("POST", f"/logging?wasm={level}")
    assert connection.getresponse().status == 200
    connection.close()


def told(text: str) -> list[str]:
    """The secrets in a text."""
    return [secret for secret in SECRETS if secret in text]


@pytest.fixture
def locked(redis):
    """A Webdis that wants a password."""
    acl = [{"disabled": ["*"]},
           {"http_basic_auth": f"{USER}:{PASSWORD}", "enabled": ["GET", "SETEX", "DEL"]}]
    with Webdis(redis.port, acl=acl) as webdis:
        yield webdis


def test_no_secret_reaches_log_metrics_or_answers(envoys, redis, locked, prompt):
    """At the most talkative level, from the configuration on, in good times and in bad."""
    def config(ttl):
        config = on_webdis(
            envoys, locked.port, memory=MEMORY, integrity_key=INTEGRITY_KEY,
            headers={"authorization": BASIC, "x-token": "token-of-the-store"},
            plugin={"ttl": ttl, "respond": {"expose_key": True}},
            breaker={"failures": 2, "min_open": "10ms", "max_open": "20ms"})
        config.listen(port)
        return config
    port, caller = 0, {"authorization": f"Bearer {CALLER}"}
    with Envoy(config("1h"), listener_file=True) as envoy:
        set_log_level(envoy, "trace")
        envoy.write_listener(config("2h"))
        said = envoy.wait_until(
            lambda: (answer := fetch(envoy.port, chat(prompt()), headers=caller)).header(
                "x-cache-key") and envoy.stat("listener_manager.listener_modified") and answer,
            "the update")
        answers = [said, ask_and_store(envoy, chat(prompt()), headers=caller)]
        redis.kill()
        envoy.wait_until(
            lambda: fetch(envoy.port, chat(prompt()), headers=caller).status == 200
            and counted(envoy, PROBE), "the breaker to open")
        redis.start()
        locked.pause()
        answers.append(fetch(envoy.port, chat(prompt()), headers=caller))
        locked.resume()
        envoy.wait_until(lambda: "breaker of cluster" in envoy.log(), "the log")
        assert "llm-cache" in envoy.log()
        for text in (envoy.log(), envoy.access_log(), envoy.admin("/stats"),
                     envoy.admin("/stats/prometheus"), redis.log(), locked.log()):
            assert told(text) == []
        for answer in answers:
            assert answer.status == 200
            assert told(repr(answer)) == []


def test_a_configuration_that_is_refused_does_not_tell_its_secrets(envoys):
    headers = {"a": 1, "y": BASIC, "host": PASSWORD, "x-token": "token-of-the-store\r\n"}
    for wrong in ({"headers": headers, "nonsense": 1, "integrity_key": "hunter2-of-the-store"},
                  {"headers": [BASIC], "integrity_key": [INTEGRITY_KEY],
                   "lookup_timeout": "never"}):
        config = on_webdis(envoys, 1, **{"headers": {"authorization": BASIC},
                                         "integrity_key": INTEGRITY_KEY, **wrong})
        valid, said = validate(config)
        assert not valid
        assert "plugin configuration: store.http." in said
        # Envoy prints the configuration itself that it cannot use; what the filter says is ours.
        ours = [line for line in said.splitlines() if "llm-cache: plugin configuration" in line]
        assert told("\n".join(ours)) == []


def test_the_stores_credentials_go_to_the_store_and_the_callers_do_not(envoys, redis, prompt):
    def script(asked):
        asked.body()
        asked.connection.answer(404)
    body = chat(prompt())
    caller = {"authorization": f"Bearer {CALLER}", "x-api-key": CALLER, "cookie": CALLER,
              "x-other": CALLER}
    headers = {"authorization": BASIC, "x-token": "token-of-the-store"}
    with (ScriptedServer(script) as store,
          Envoy(on_webdis(envoys, store.port, headers=headers, authority="cache.test:7")) as envoy):
        answer = fetch(envoy.port, body, headers=caller)
        envoy.wait_until(lambda: len(store.asked) == 2, "a lookup and a write")
        for asked, method in zip(store.asked, ("GET", "PUT"), strict=True):
            assert asked.method == method
            assert asked.header("authorization") == BASIC.encode()
            assert asked.header("x-token") == b"token-of-the-store"
            assert asked.header("host") == b"cache.test:7"
            assert CALLER not in repr((asked.target, asked.headers))
            key = PREFIX.replace(":", "%3A") + answer.header("x-cache-key")
            assert asked.target.startswith(f"/{'GET' if method == 'GET' else 'SETEX'}/{key}")


def test_a_store_that_wants_credentials_is_used_with_them_only(envoys, locked, prompt):
    body = chat(prompt())
    with (Envoy(on_webdis(envoys, locked.port, headers={"authorization": BASIC})) as envoy,
          Envoy(on_webdis(envoys, locked.port)) as stranger):
        stored = ask_and_store(envoy, body)
        assert tier(fetch(envoy.port, body)) == "http"
        refused = fetch(stranger.port, body)
        assert (refused.status, refused.cache) == (200, "MISS")
        assert refused.body != stored.body
        assert counted(stranger, LOOKUP) == {"failed.reason.store_refused": 1}
        stranger.wait_until(
            lambda: counted(stranger, WRITE) == {"failed.reason.store_refused": 1}, "the write")


def test_keys_are_digests_and_values_hold_nothing_of_the_request(
        envoys, redis, webdis, s3, prompt):
    headers = {"authorization": f"Bearer {CALLER}", "x-api-key": CALLER, "openai-project": "p-7"}
    for config, entries, stored, name in (
            (on_webdis(envoys, webdis.port), RedisEntries(redis),
             lambda: [key.decode() for key in redis.stored_keys()], re.escape(PREFIX)),
            (on_s3(envoys, s3), S3Entries(s3), s3.stored_keys, re.escape(FOLDER))):
        before = set(stored())
        with Envoy(config) as envoy:
            keys = []
            for stream in (False, True):
                body = chat(prompt(), stream)
                # The stand-in repeats the end of the question.
                body["messages"].insert(0, {"role": "system", "content": "a secret prompt"})
                answer = ask_and_store(envoy, body, headers=headers, standin="pace=0")
                keys.append(answer.header("x-cache-key"))
        new = set(stored()) - before
        assert new == {entries.name(key) for key in keys}
        assert all(re.fullmatch(name + "[0-9a-f]{64}", key) for key in new)
        for key in keys:
            value = entries.read(key)
            for secret in (CALLER, "p-7", "secret prompt", "llm.test", "Bearer", "x-request-id"):
                assert secret.encode() not in value, secret


# -- a plugin that may not do all it wants to -----------------------------------------------------

# What the store needs, and what it can do without; proxy_on_queue_ready is what Envoy calls when
# the filter wants to be woken up.
CALLS = ["proxy_http_call", "proxy_register_shared_queue", "proxy_enqueue_shared_queue",
         "proxy_dequeue_shared_queue", "random_get", "proxy_get_header_map_pairs",
         "proxy_define_metric", "proxy_send_local_response"]
FAILS = "failed.reason.store_unavailable"
COUNTED = {
    "proxy_http_call": ({FAILS: 3}, {FAILS: 3}),
    "proxy_register_shared_queue": ({"absent": 3}, {FAILS: 3}),
    "proxy_enqueue_shared_queue": ({"absent": 3}, {FAILS: 3}),
    "random_get": ({"absent": 3}, {"done": 3}),
    "proxy_on_queue_ready": ({"absent": 3}, {}),
}


def restricted(config, missing: set[str]):
    allowed = [name for name in host_calls() + exports() if name not in missing]
    config.plugin["capability_restriction_config"] = {
        "allowed_capabilities": {name: {} for name in allowed}}
    return config


@pytest.mark.parametrize("missing", [*CALLS, "all of them", "proxy_on_queue_ready"])
def test_what_is_forbidden_to_the_plugin_costs_the_store_and_never_the_answer(
        envoys, webdis, prompt, missing):
    forbidden = set(CALLS) if missing == "all of them" else {missing}
    breaker = {"failures": 1000}
    config = restricted(on_webdis(envoys, webdis.port, memory=MEMORY, breaker=breaker), forbidden)
    with Envoy(config) as envoy, vm_survives(envoy):
        for body in (chat(prompt()), chat(prompt(), True)):
            for control in ("", "no-store", ""):
                answer = fetch(envoy.port, body, standin="pace=0",
                               headers={"cache-control": control} if control else {})
                assert (answer.status, answer.ending) == (200, "whole")
                assert b"Answer" in answer.body
        body = chat(prompt())
        answers = [fetch(envoy.port, body) for _ in range(2)]
        assert {answer.status for answer in answers} == {200}
        if missing in COUNTED:
            lookups, writes = COUNTED[missing]
            assert tier(answers[1]) == "memory"
            assert counted(envoy, LOOKUP) == lookups
            envoy.wait_until(lambda: counted(envoy, WRITE) == writes, f"writes: {writes}")


def test_the_tests_name_host_calls_that_there_are():
    assert set(CALLS) <= set(host_calls()), json.dumps(host_calls())

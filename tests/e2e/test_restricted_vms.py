"""The filter with less than it asks for: a host call forbidden, a store shared by plugins."""

import copy

import pytest
from chats import chat
from harness.envoy import WASM, Envoy, validate
from harness.http1 import fetch

IMPORTS_SECTION = 2
READS_CONFIGURATION = "proxy_get_buffer_bytes"


def host_calls() -> list[str]:
    """The functions that the filter imports from its host, read out of the module."""
    data, position = WASM.read_bytes(), 8

    def number() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def text() -> str:
        nonlocal position
        length = number()
        position += length
        return data[position - length:position].decode()

    while position < len(data):
        kind, length = number(), number()
        if kind != IMPORTS_SECTION:
            position += length
            continue
        names = []
        for _ in range(number()):
            text()
            names.append(text())
            position += 1
            number()
        return sorted(names)
    raise AssertionError("a module without imports")


def exports() -> list[str]:
    """What Envoy calls; all of it stays allowed."""
    return ["proxy_on_context_create", "proxy_on_vm_start", "proxy_on_configure", "proxy_on_tick",
            "proxy_on_request_headers", "proxy_on_request_body", "proxy_on_request_trailers",
            "proxy_on_response_headers", "proxy_on_response_body", "proxy_on_response_trailers",
            "proxy_on_log", "proxy_on_done", "proxy_on_delete", "proxy_on_queue_ready",
            "proxy_on_http_call_response"]


def plugin_calls() -> list[str]:
    if not WASM.exists():
        return []
    return [name for name in host_calls() if name != READS_CONFIGURATION]


def restricted(envoys, missing: set[str]):
    """The example with every host call allowed but these."""
    config = envoys.config()
    allowed = [name for name in host_calls() if name not in missing] + exports()
    config.plugin["capability_restriction_config"] = {
        "allowed_capabilities": {name: {} for name in allowed}}
    return config


@pytest.mark.parametrize("missing", [*plugin_calls(), "all"])
def test_what_is_forbidden_to_the_plugin_costs_the_cache_and_never_the_answer(
        envoys, prompt, missing):
    """`capability_restriction_config` makes host calls fail, one at a time and all together."""
    missing = set(plugin_calls()) if missing == "all" else {missing}
    with Envoy(restricted(envoys, missing)) as envoy:
        assert envoy.vm_stats()["wasm.envoy.wasm.runtime.v8.active"] > 0
        for body in (chat(prompt()), chat(prompt(), True), chat(prompt(), padding="p" * 2_000_000)):
            for _ in range(3):
                answer = fetch(envoy.port, body, standin="pace=0")
                assert (answer.status, answer.ending) == (200, "whole")
                assert b"Answer" in answer.body
        assert fetch(envoy.port, chat(prompt()), standin="err=429").status == 429
        assert envoy.vm_failures() == []


def test_a_plugin_that_may_not_read_its_configuration_is_refused_and_does_not_trap(envoys):
    """Running with another configuration than the one that was given would be worse."""
    valid, said = validate(restricted(envoys, {READS_CONFIGURATION}))
    assert not valid
    assert "configuration" in said
    assert "RuntimeError" not in said
    assert "panicked" not in said


def test_the_example_reloads_a_vm_that_fails(envoys):
    assert envoys.config().plugin["failure_policy"] == "FAIL_RELOAD"


def test_two_plugins_with_one_vm_id_share_one_store(envoys, prompt):
    """Two listeners of one Envoy, as an operator has them for two ports."""
    config = envoys.config()
    config.tree["static_resources"]["listeners"].append(
        {**copy.deepcopy(config.listener), "name": "second"})
    with Envoy(config) as envoy:
        ports = list(envoy.ports().values())
        assert len(ports) == 2
        body = chat(prompt())
        stored = fetch(ports[0], body)
        hit = fetch(ports[1], body)
        assert (stored.cache, hit.cache) == ("MISS", "HIT")
        assert hit.body == stored.body

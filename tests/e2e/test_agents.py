"""Requests of agents, which differ in what no answer depends on.

Runs of other agents, which take more room, are in tests/agents: `make test-agents`.
"""

import json
import os
import pathlib
import subprocess

import pytest
from asserts import upstream_asked
from chats import chat
from harness.http1 import fetch

AI_SDK = pathlib.Path(__file__).parents[1] / "agents" / "run_ai_sdk.mjs"
KEY = {"authorization": "Bearer sk-test"}


def ask(envoy, body, path="/v1/chat/completions", **headers):
    return fetch(envoy.port, body, path, headers={**KEY, **headers})


def run(kind: str, call: str, when: str, mail: str) -> tuple[str, dict]:
    """The second request of a run in an API: its path and its body."""
    if kind == "chat":
        return "/agent/v1/chat/completions", {
            "model": "m", "user": mail, "metadata": {"trace": when}, "messages": [
                {"role": "system", "content": f"Today's date is {when}.\nBe kind."},
                {"role": "assistant", "tool_calls": [{"id": call, "type": "function", "function": {
                    "name": "f", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": call, "content": "sunny"}]}
    if kind == "anthropic":
        return "/agent/v1/messages", {
            "model": "m", "max_tokens": 9, "metadata": {"user_id": mail}, "system": [
                {"type": "text", "text": f"x-anthropic-billing-header: cch={when};"},
                {"type": "text", "text": "Be kind."}],
            "messages": [
                {"role": "assistant", "content": [
                    {"type": "tool_use", "id": call, "name": "f", "input": {}}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": call, "content": "sunny"}]}]}
    if kind == "responses":
        return "/agent/v1/responses", {
            "model": "m", "prompt_cache_key": when, "client_metadata": {"turn": mail}, "input": [
                {"type": "message", "id": f"msg_{call}", "role": "user", "content": "Hi"},
                {"type": "function_call", "call_id": call, "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": call, "output": "sunny"}]}
    return "/agent/v1beta/models/m:generateContent", {
        "labels": {"who": mail.partition("@")[0]}, "contents": [
            {"role": "model", "parts": [{"functionCall": {"id": call, "name": "f", "args": {}}}]},
            {"role": "user", "parts": [{"functionResponse": {
                "id": call, "name": "f", "response": {"when": "sunny"}}}]}]}


@pytest.mark.parametrize("kind", ["chat", "anthropic", "responses", "gemini"])
def test_a_run_that_is_repeated_with_other_ids_names_and_dates_hits(envoys, standin, kind):
    envoy = envoys.configured({"key": {
        "exclude": ["attribution", "call_ids"],
        "mask": [{"at": "/messages/*/content", "line": "Today's date is *."}]}})
    path, body = run(kind, "call_0000aaaa", "2026-11-30", "a@example.com")
    first = ask(envoy, body, path)
    with upstream_asked(standin, 0):
        again = ask(envoy, run(kind, "toolu_9999zz", "2026-12-01", "b@example.com")[1], path)
    assert (first.status, first.cache, again.cache) == (200, "MISS", "HIT")
    assert again.body == first.body
    for changed in ("Be kind.", "sunny", "Hi"):
        text = json.dumps(body)
        if changed in text:
            other = ask(envoy, json.loads(text.replace(changed, "else")), path)
            assert (other.status, other.cache) == (200, "MISS"), changed


def test_which_result_belongs_to_which_call_takes_part(envoys, prompt):
    envoy = envoys.configured({"key": {"exclude": ["call_ids"]}})
    question = prompt()

    def body(first: str, second: str, results: tuple[str, str]) -> dict:
        calls = [{"id": call, "type": "function", "function": {"name": "f", "arguments": place}}
                 for call, place in ((first, '"Berlin"'), (second, '"Paris"'))]
        return {"model": "m", "messages": [
            {"role": "user", "content": question}, {"role": "assistant", "tool_calls": calls},
            *({"role": "tool", "tool_call_id": call, "content": said}
              for call, said in zip(results, ("rain", "sun"), strict=True))]}

    one, two = "call_0000aaaa", "call_0000bbbb"
    assert ask(envoy, body(one, two, (one, two))).cache == "MISS"
    assert ask(envoy, body("x-11111111", "x-22222222", ("x-11111111", "x-22222222"))).cache == "HIT"
    assert ask(envoy, body(two, one, (two, one))).cache == "HIT"
    assert ask(envoy, body(one, two, (two, one))).cache == "MISS"


def test_an_element_that_is_excluded_leaves_a_trace(envoys, prompt):
    envoy = envoys.configured({"key": {"exclude": ["/stop/0"]}})
    question = prompt()
    assert ask(envoy, chat(question, stop=["a"])).cache == "MISS"
    assert ask(envoy, chat(question, stop=["b"])).cache == "HIT"
    assert ask(envoy, chat(question, stop=[])).cache == "MISS"


def test_stream_options_that_no_api_knows_take_part(single, prompt):
    question = prompt()
    assert ask(single, chat(question)).cache == "MISS"
    assert ask(single, chat(question, stream_options={"include_usage": True})).cache == "HIT"
    assert ask(single, chat(question, stream_options={"include_quotes": True})).cache == "MISS"


def test_a_rule_ignores_what_some_clients_send_with_every_request(envoys, prompt):
    envoy = envoys.configured({"rules": [{
        "match": {"header": {"user-agent": "langchain*"}},
        "client": {"cache_control": "ignore"}}]})
    body = chat(prompt())
    agent = {"user-agent": "langchain/1.0"}
    for control, detail in [("no-store", "fwd=bypass; detail=no_store"),
                            ("no-cache", "fwd=request; detail=no_cache"),
                            ("max-age=0", "fwd=request; detail=max_age")]:
        answer = ask(envoy, body, **{"cache-control": control})
        assert answer.header("cache-status") == f"envoy-llm-cache; {detail}"
        if control == "no-store":
            assert ask(envoy, body, **agent, **{"cache-control": control}).cache == "MISS"
        assert ask(envoy, body, **agent, **{"cache-control": control}).cache == "HIT"
        envoy.wait_until(lambda: int(ask(envoy, body).header("age")) >= 1, "an entry of age 1")
    stored_nothing = ask(envoy, chat(prompt()), **{"x-llm-cache-ttl": "0s"})
    assert stored_nothing.header("cache-status") == "envoy-llm-cache; fwd=uri-miss; detail=zero_ttl"


@pytest.mark.parametrize("options", [(), ("--stream",), ("--chat",), ("--anthropic",)], ids=str)
def test_a_repeated_run_of_the_ai_sdk_asks_the_provider_nothing(envoys, standin, options):
    envoy = envoys.configured({"key": {"namespace": f"AI SDK {options}"}})

    def said() -> str:
        ran = subprocess.run(["node", AI_SDK, f"{envoy.url}/agent", *options], capture_output=True,
                             text=True, timeout=60,
                             env={**os.environ, "LLM_CACHE_PACKAGES": "node"})
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    with upstream_asked(standin, 2):
        first = said()
    assert first.startswith("All done, says answer ")
    with upstream_asked(standin, 0):
        assert said() == first

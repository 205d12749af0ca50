"""The official clients make the same of a hit as of the miss before it."""

import json
import pathlib
import subprocess

import openai
import pytest
from asserts import upstream_asked
from chats import chat

NODE_CLIENT = pathlib.Path(__file__).parents[1] / "clients" / "chat.mjs"
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {
    "type": "object", "properties": {"query": {"type": "string"}}}}}
VARIANTS = {
    "plain": {}, "usage": {"stream_options": {"include_usage": True}}, "choices": {"n": 2},
    "tool": {"tools": [TOOL], "tool_choice": "required"},
}


def requests(prompt) -> list[dict]:
    return [chat(prompt() + " Grüße, 世界", stream,
                 **{name: value for name, value in members.items()
                    if stream or name != "stream_options"})
            for members in VARIANTS.values() for stream in (False, True)]


def checked(miss: list, hit: list, request: dict) -> None:
    assert miss == hit
    whole = json.dumps(miss)
    assert ("look_up" if "tools" in request else "Answer") in whole
    if request["stream"]:
        assert len(miss) > 4


@pytest.fixture
def client(envoy):
    with openai.OpenAI(base_url=f"{envoy.url}/v1", api_key="sk-python", max_retries=0) as client:
        yield client


def test_the_python_client_parses_a_hit_as_it_parsed_the_miss(client, standin, prompt):
    for request in requests(prompt):
        outcomes = []
        with upstream_asked(standin, 1):
            for _ in range(2):
                raw = client.chat.completions.with_raw_response.create(
                    **request, extra_headers={"x-stainless-standin": "pace=1"})
                parsed = raw.parse()
                chunks = list(parsed) if request["stream"] else [parsed]
                outcomes.append((raw.headers["x-cache"], [chunk.model_dump() for chunk in chunks]))
        (first, miss), (second, hit) = outcomes
        assert (first, second) == ("MISS", "HIT")
        checked(miss, hit, request)


def test_the_node_client_parses_a_hit_as_it_parsed_the_miss(envoy, standin, prompt):
    asked = requests(prompt)
    with upstream_asked(standin, len(asked)):
        ran = subprocess.run(["node", NODE_CLIENT, f"{envoy.url}/v1", json.dumps(asked)],
                             capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr
    for request, (miss, hit) in zip(asked, json.loads(ran.stdout), strict=True):
        assert (miss["cache"], hit["cache"]) == ("MISS", "HIT")
        checked(miss["parsed"], hit["parsed"], request)


def test_the_python_client_raises_the_same_error_with_and_without_the_filter(
        envoy, bare, standin, prompt):
    text = prompt()
    for directive, stream in (("err=429", False), ("err=500", True), ("err=event;pace=0", True),
                              ("cut=150;pace=0", True)):
        kinds = []
        for port in (bare.port, envoy.port, envoy.port):
            with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="sk-error",
                               max_retries=0) as client:
                with pytest.raises(Exception) as raised:
                    answer = client.chat.completions.create(
                        **chat(text, stream), extra_headers={"x-stainless-standin": directive})
                    list(answer)
                kinds.append(type(raised.value))
        assert len(set(kinds)) == 1, (directive, kinds)

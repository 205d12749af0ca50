"""Which requests share an answer: the same question of the same tenant, however it is written."""

import json

import pytest
from asserts import upstream_asked
from chats import chat
from harness.http1 import fetch


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "api-key", "x-goog-api-key"])
def test_two_tenants_with_the_same_body_are_two_upstream_calls(envoy, standin, prompt, header):
    body = chat(prompt())
    with upstream_asked(standin, 3):
        first = fetch(envoy.port, body, headers={header: "Bearer one"})
        second = fetch(envoy.port, body, headers={header: "Bearer two"})
        nobody = fetch(envoy.port, body)
    assert len({first.body, second.body, nobody.body}) == 3
    with upstream_asked(standin, 0):
        assert fetch(envoy.port, body, headers={header: "Bearer one"}).body == first.body
        assert fetch(envoy.port, body, headers={header: "Bearer two"}).body == second.body
        assert fetch(envoy.port, body).body == nobody.body


def test_member_order_and_white_space_make_no_difference(envoy, standin, prompt):
    body = chat(prompt(), temperature=0.5, metadata={"b": [1, {"z": 1, "a": 2}], "a": None})
    turned = json.loads(json.dumps(body), object_pairs_hook=lambda pairs: dict(pairs[::-1]))
    spaced = json.dumps(turned, indent=3).replace("\n", "\r\n\t").encode()
    assert json.loads(spaced) == body
    escaped = json.dumps(body).replace("user", "\\u0075ser").encode()
    with upstream_asked(standin, 1):
        answers = [fetch(envoy.port, written)
                   for written in (body, turned, spaced, b"  " + spaced + b"\n", escaped)]
    assert [answer.cache for answer in answers] == ["MISS"] + 4 * ["HIT"]
    assert len({answer.body for answer in answers}) == 1


@pytest.mark.parametrize(("one", "other"), [
    ('"temperature": 1', '"temperature": 1.0'),
    ('"seed": 9007199254740993', '"seed": 9007199254740992'),
    ('"user": null', '"user": "null"'),
    ('"stop": ["a", "b"]', '"stop": ["b", "a"]'),
    ('"seed": 1, "seed": 2', '"seed": 2'),
    ('"user": "a\\u0000b"', '"user": "ab"'),
    ('"user": "\\ud800"', '"user": "\\ufffd"'),
    ('"user": "\\u00e9"', '"user": "e\\u0301"'),
    ('"user": ""', '"metadata": {}'),
])
def test_bodies_that_a_parser_tells_apart_have_answers_of_their_own(
        single, standin, prompt, one, other):
    start = json.dumps(chat(prompt()))[:-1]
    with upstream_asked(standin, 2):
        for member in (one, other):
            assert fetch(single.port, f"{start}, {member}}}".encode()).cache == "MISS"


def test_long_prompts_that_differ_in_one_byte_have_answers_of_their_own(single, standin, prompt):
    body = json.dumps(chat(prompt() + 20_000 * "a")).encode()
    # What was answered from a store and comes again, a worker keeps to compare it with what comes.
    assert [fetch(single.port, body).cache for _ in range(4)] == ["MISS", "HIT", "HIT", "HIT"]
    with upstream_asked(standin, 64):
        for at in range(5_100, 5_164):
            other = body[:at] + b"b" + body[at + 1:]
            assert fetch(single.port, other).cache == "MISS", at
    assert fetch(single.port, body).cache == "HIT"


def test_usage_is_in_a_stream_from_the_cache_exactly_if_it_was_asked_for(single, standin, prompt):
    text = prompt()
    silent, telling = chat(text, True), chat(text, True, stream_options={"include_usage": True})
    with upstream_asked(standin, 1):
        answers = [fetch(single.port, body, standin="pace=0")
                   for body in (telling, telling, silent, silent)]
    assert [answer.cache for answer in answers] == ["MISS", "HIT", "HIT", "HIT"]
    assert [b'"usage":' in answer.body for answer in answers] == [True, True, False, False]
    assert answers[1].body == answers[0].body


def test_what_came_without_usage_gives_way_to_what_has_it(single, standin, prompt):
    text = prompt()
    silent, telling = chat(text, True), chat(text, True, stream_options={"include_usage": True})
    whole = chat(text)
    with upstream_asked(standin, 2):
        answers = [fetch(single.port, body, standin="pace=0")
                   for body in (silent, silent, whole, whole, telling, silent)]
    assert [answer.cache for answer in answers] == ["MISS", "HIT", "MISS", "HIT", "HIT", "HIT"]
    assert "detail=form_no_usage" in answers[2].header("cache-status")
    assert answers[1].body == answers[0].body
    assert answers[3].body == answers[2].body
    # The stream that was stored first is gone: this is another answer.
    assert answers[5].body != answers[0].body
    assert b'"usage":' not in answers[5].body


@pytest.mark.parametrize("change", [
    {"path": "/v2/chat/completions"}, {"path": "/v1/chat/completions?api-version=2"},
    {"host": "other.test"}, {"headers": {"openai-organization": "org-2"}},
    {"headers": {"openai-project": "project-2"}}, {"headers": {"openai-beta": "assistants=v2"}}])
def test_what_steers_the_upstream_takes_part_in_the_key(single, standin, prompt, change):
    body = chat(prompt())
    with upstream_asked(standin, 2):
        assert fetch(single.port, body).cache == "MISS"
        assert fetch(single.port, body, **change).cache == "MISS"
        assert fetch(single.port, body).cache == "HIT"
        assert fetch(single.port, body, **change).cache == "HIT"


def test_what_varies_from_call_to_call_takes_no_part_in_the_key(single, standin, prompt):
    body = chat(prompt())
    with upstream_asked(standin, 1):
        fetch(single.port, body, headers={"user-agent": "one", "x-request-id": "1",
                                          "x-stainless-retry-count": "0"})
        hit = fetch(single.port, body, headers={"user-agent": "two", "x-request-id": "2",
                                                "x-stainless-retry-count": "1"})
    assert hit.cache == "HIT"


def test_the_key_can_be_configured(envoys, standin, prompt):
    envoy = envoys.configured({"key": {"headers": ["x-team"], "exclude": ["/metadata/trace"],
                                       "tenant": {"header": "x-tenant"}}})
    tenant = {"x-tenant": "a"}
    text = prompt()
    with upstream_asked(standin, 1):
        fetch(envoy.port, chat(text, metadata={"trace": 1}), headers=tenant)
        hit = fetch(envoy.port, chat(text, metadata={"trace": 2}),
                    headers={**tenant, "authorization": "Bearer other"})
    assert hit.cache == "HIT"
    for headers in ({"x-tenant": "b"}, {**tenant, "x-team": "red"}, {**tenant, "x-team": "blue"}):
        assert fetch(envoy.port, chat(text, metadata={"trace": 1}), headers=headers).cache == "MISS"
    unknown = fetch(envoy.port, chat(text), headers={})
    assert (unknown.status, unknown.cache) == (200, "BYPASS")
    assert "no_tenant" in unknown.header("cache-status")


def test_tenants_share_answers_only_when_told_to(envoys, standin, prompt):
    envoy = envoys.configured({"key": {"tenant": "shared"}})
    body = chat(prompt())
    with upstream_asked(standin, 1):
        fetch(envoy.port, body, headers={"authorization": "Bearer one"})
        assert fetch(envoy.port, body, headers={"authorization": "Bearer two"}).cache == "HIT"

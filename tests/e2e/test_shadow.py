"""`mode: shadow`: the cache is tried on live traffic, and no client can tell."""

import pytest
from answers import chat_text
from asserts import upstream_asked, vm_survives, without_serial
from chats import chat
from crowds import Counted
from harness.envoy import Envoy
from harness.http1 import fetch
from harness.http2 import Http2Connection

PLUGIN = {"mode": "shadow", "rules": [
    {"match": {"header": {"x-rule": "live"}}, "mode": "read_write"}]}
OURS = ("x-cache", "cache-status", "age", "x-accel-buffering", "x-cache-key")


@pytest.fixture
def envoy(envoys, workers) -> Envoy:
    return envoys.configured(PLUGIN, workers)


def shadow_saved(envoy: Envoy) -> dict[str, int]:
    """What hits would have saved in chats."""
    metrics, api = envoy.cache_metrics(), "_total.api.openai_chat"
    names = {"milliseconds": api, **{f"tokens.{direction}": f"{api}.direction.{direction}"
                                     for direction in ("input", "output")}}
    return {name: metrics[f"llm_cache_shadow_saved_{name.split('.')[0]}{labels}"]
            for name, labels in names.items()}


@pytest.mark.parametrize("standin_says", [
    "", "pace=0;split=7", "size=300000;pace=0", "err=500", "err=429", "header=x-cache:theirs",
    "trailers;pace=0"])
@pytest.mark.parametrize("streams", [False, True], ids=["json", "streams"])
def test_a_client_sees_what_it_would_see_without_the_filter(
        envoy, bare, standin, prompt, standin_says, streams):
    body = chat(prompt(), streams)
    seen = []
    for port in (bare.port, envoy.port, envoy.port, envoy.port):
        with upstream_asked(standin, 1):
            answer = fetch(port, body, standin=standin_says)
        ours = [field for field in answer.headers if field[0] in OURS]
        seen.append((without_serial(answer, standin.stats()["serial"]), ours))
    assert seen[1:] == 3 * seen[:1]


def test_an_answer_that_says_the_same_is_counted_and_what_a_hit_would_have_saved(
        envoy, standin, prompt):
    body = chat(prompt())
    fixture = standin.put_fixture("same.json", fetch(envoy.port, chat(prompt())).body)
    with vm_survives(envoy):
        counted = Counted(envoy)
        fetch(envoy.port, body, standin=f"{fixture};type=application/json")
        assert counted.since() == {"requests.result.miss.reason.absent": 1,
                                  "answers.result.stored": 1}
        counted, before = Counted(envoy), shadow_saved(envoy)
        for _ in range(3):
            fetch(envoy.port, body, standin=f"{fixture};type=application/json;split=50;pace=5")
        since = counted.since()
        envoy.wait_until(
            lambda: shadow_saved(envoy)["tokens.input"] == before["tokens.input"] + 3 * 7,
            "what was saved to be told")
    saved = shadow_saved(envoy)
    assert saved["tokens.output"] == before["tokens.output"] + 3 * 5
    assert saved["milliseconds"] > before["milliseconds"]
    assert since["requests.result.shadow_hit"] == since["shadow_comparisons.result.agreed"] == 3


def test_an_answer_that_says_something_else_is_counted_as_disagreeing(envoy, prompt):
    body = chat(prompt())
    fetch(envoy.port, body)
    counted = Counted(envoy)
    fetch(envoy.port, body)
    assert counted.since() == {"requests.result.shadow_hit": 1,
                               "shadow_comparisons.result.disagreed": 1}


@pytest.mark.parametrize("failing", ["err=500", "err=400", "cut=50", "finish=length", "empty"])
def test_an_answer_that_would_not_be_stored_is_not_compared(envoy, prompt, failing):
    body = chat(prompt())
    fetch(envoy.port, body)
    counted = Counted(envoy)
    fetch(envoy.port, body, standin=failing)
    envoy.wait_until(lambda: "shadow_comparisons.result.not_whole" in counted.since(),
                     "the end of the answer")
    assert counted.since() == {"requests.result.shadow_hit": 1,
                               "shadow_comparisons.result.not_whole": 1}


@pytest.mark.parametrize("first", [False, True], ids=["json-first", "stream-first"])
def test_a_stream_and_a_whole_answer_that_say_the_same_agree(envoy, standin, prompt, first):
    pair, text = chat_text(), prompt()
    counted = Counted(envoy)
    for streams in (first, not first):
        fetch(envoy.port, pair.body(text, streams), standin=pair.standin(standin, streams))
    since = counted.since()
    assert since["requests.result.shadow_hit"] == 1
    assert since["shadow_comparisons.result.agreed"] == 1


def test_what_was_compared_does_not_replace_what_is_stored(envoy, prompt):
    body, live = chat(prompt()), {"x-rule": "live"}
    stored = fetch(envoy.port, body)
    assert fetch(envoy.port, body).body != stored.body
    hit = fetch(envoy.port, body, headers=live)
    assert (hit.cache, hit.body) == ("HIT", stored.body)


def test_http2_streams_are_compared_each_for_itself(envoy, standin, prompt):
    body = chat(prompt(), True)
    fetch(envoy.port, body, standin="pace=0")
    counted = Counted(envoy)
    with vm_survives(envoy), Http2Connection(envoy.port) as connection, \
            upstream_asked(standin, 30):
        ids = [connection.start(body, standin="pace=1") for _ in range(30)]
        answers = [connection.finish(stream) for stream in ids]
    assert {(answer.status, answer.cache, answer.ending) for answer in answers} == {
        (200, None, "whole")}
    assert len({answer.body for answer in answers}) == 30
    assert counted.since() == {"requests.result.shadow_hit": 30,
                               "shadow_comparisons.result.disagreed": 30}

"""The one that asked gets no answer that the others could have: each gets the upstream's own."""

import time

import pytest
from asserts import vm_survives
from chats import chat
from crowds import Crowd, active, first_to_ask, is_collapsed, outcome, wait_for_active
from harness.envoy import Envoy
from harness.http1 import fetch

# As long as can be: where a test waits for this, it waits for a fault of the filter's.
COLLAPSE = {"max_wait": "50s", "streams": True}
PLUGIN = {"collapse": COLLAPSE, "limits": {"max_response_bytes": "64KiB"}, "rules": [
    {"match": {"header": {"x-rule": "impatient"}}, "collapse": {**COLLAPSE, "max_wait": "300ms"}},
    {"match": {"header": {"x-rule": "no-streams-stored"}}, "store_if": {"streams": False}}]}
LEADER_FAILED = "envoy-llm-cache; fwd=miss; collapsed=?0; detail=collapse_leader_failed"
TIMEOUT = "envoy-llm-cache; fwd=miss; collapsed=?0; detail=collapse_timeout"
ALL_PIECES = 100_000

# What the leader gets, as directives, and whether that proves anything about the next answer.
FAILURES = {
    "cut": ("cut=80", False),
    "reset": ("reset=80", False),
    "cut-before-its-body": ("cut=0", False),
    "500": ("err=500", True),
    "429": ("err=429", True),
    "error-in-a-200": ("err=200", True),
    "finish-length": ("finish=length", True),
    "too-large": ("size=100000", True),
    "too-large-in-chunks": ("size=100000;chunked;split=5000;pace=0", True),
    "empty": ("empty", True),
}


@pytest.fixture
def envoy(envoys, workers) -> Envoy:
    return envoys.configured(PLUGIN, workers)


def held(step: str, directive: str = "") -> str:
    """The upstream's answer begins when the test says so."""
    return f"hold;step={step};{directive}"


def all_at_the_upstream(standin, before: int, count: int) -> None:
    """While none of their answers is released: they came all at once, not one by one."""
    standin.wait_for(lambda stats: stats["requests"] == before + count, f"{count} requests")


@pytest.mark.parametrize("streams", [False, True], ids=["json", "streams"])
@pytest.mark.parametrize("failure", FAILURES)
def test_all_waiters_are_released_at_once_and_get_answers_of_their_own(
        envoy, standin, prompt, protocol, failure, streams):
    directive, proves = FAILURES[failure]
    first, second, third = prompt(), prompt(), prompt()
    body = chat(prompt(), streams)
    with vm_survives(envoy), Crowd(envoy.port, protocol) as crowd:
        leader = first_to_ask(crowd, standin, body, standin=held(first, directive))
        before = standin.requests()
        waiters = crowd.ask(body, 60, standin=held(second))
        wait_for_active(envoy, 61)
        standin.release(first, ALL_PIECES)
        all_at_the_upstream(standin, before, 60)
        failed, = crowd.answers([leader])
        assert (failed.status, failed.ending) != (200, "whole") or proves
        # What has proved not to be storable is not waited for by the next ones either.
        later = crowd.ask(body, 20, standin=held(third)) if proves else []
        all_at_the_upstream(standin, before, 60 + len(later))
        standin.release(second, ALL_PIECES)
        answers = crowd.answers(waiters)
        standin.release(third, ALL_PIECES)
        last = crowd.answers(later)
    assert {outcome(answer) for answer in answers} == {(200, "MISS", "whole")}
    assert {answer.header("cache-status") for answer in answers} == {LEADER_FAILED}
    assert len({answer.body for answer in answers + last}) == 60 + len(last)
    assert {answer.header("cache-status") for answer in last} <= {"envoy-llm-cache; fwd=uri-miss"}


@pytest.mark.parametrize("begun", [False, True], ids=["before-its-answer", "in-its-answer"])
def test_when_the_client_that_asked_leaves_the_others_are_released(
        envoy, standin, prompt, protocol, begun):
    """Which says nothing about the next answer, so that the next ones wait for each other."""
    first, second, third, body = prompt(), prompt(), prompt(), chat(prompt(), True)
    with vm_survives(envoy), Crowd(envoy.port, protocol) as crowd:
        leader = first_to_ask(crowd, standin, body,
                              standin=f"step={first}" if begun else held(first))
        if begun:
            envoy.wait_until(lambda: standin.written(first) == 1, "the first piece")
        before = standin.requests()
        waiters = crowd.ask(body, 60, standin=held(second))
        wait_for_active(envoy, 61)
        crowd.leave([leader])
        all_at_the_upstream(standin, before, 60)
        standin.release(second, ALL_PIECES)
        answers = crowd.answers(waiters)
    assert {outcome(answer) for answer in answers} == {(200, "MISS", "whole")}
    assert {answer.header("cache-status") for answer in answers} == {LEADER_FAILED}
    assert len({answer.body for answer in answers}) == 60
    with Crowd(envoy.port, protocol) as crowd:
        other = chat(prompt())
        leader = first_to_ask(crowd, standin, other, standin=held(third))
        wait_for_active(envoy, 1)
        crowd.leave([leader])
        wait_for_active(envoy, 0)
        before = standin.requests()
        fourth = prompt()
        crowd.ask(other, 20, standin=held(fourth))
        wait_for_active(envoy, 20)
        all_at_the_upstream(standin, before, 1)
        standin.release(fourth, ALL_PIECES)
        assert sum(map(is_collapsed, crowd.answers())) == 19


def test_a_request_that_has_waited_long_enough_asks_the_upstream_as_well(
        envoy, standin, prompt, protocol):
    first, second, body, rule = prompt(), prompt(), chat(prompt()), {"x-rule": "impatient"}
    with vm_survives(envoy), Crowd(envoy.port, protocol) as crowd:
        leader = first_to_ask(crowd, standin, body, headers=rule, standin=held(first))
        before = standin.requests()
        waiters = crowd.ask(body, 60, headers=rule, standin=held(second))
        all_at_the_upstream(standin, before, 60)
        assert active(envoy) == 61
        standin.release(second, ALL_PIECES)
        answers = crowd.answers(waiters)
        standin.release(first, ALL_PIECES)
        assert outcome(*crowd.answers([leader])) == (200, "MISS", "whole")
    assert {outcome(answer) for answer in answers} == {(200, "MISS", "whole")}
    # Who came after the lease had ended by its age has not waited, and may even have led.
    assert {answer.header("cache-status") for answer in answers} <= {
        TIMEOUT, "envoy-llm-cache; fwd=uri-miss"}
    assert TIMEOUT in {answer.header("cache-status") for answer in answers}
    assert len({answer.body for answer in answers}) == 60


def test_an_upstream_that_stalls_in_its_answer_costs_the_waiters_their_patience_only(
        envoy, standin, prompt, protocol):
    body, rule = chat(prompt(), True), {"x-rule": "impatient"}
    with Crowd(envoy.port, protocol) as crowd:
        leader = first_to_ask(crowd, standin, body, headers=rule, standin="stall=100")
        waiters = crowd.ask(body, 20, headers=rule, standin="pace=0")
        answers = crowd.answers(waiters)
        assert {(answer.status, answer.ending) for answer in answers} == {(200, "whole")}
        crowd.leave([leader])
        wait_for_active(envoy, 0)


def test_what_is_never_stored_is_waited_for_once(envoy, standin, prompt):
    """A rule that stores no streams: the first proves it to all the others."""
    first, second, body = prompt(), prompt(), chat(prompt(), True)
    rule = {"x-rule": "no-streams-stored"}
    with Crowd(envoy.port, "http1") as crowd:
        leader = first_to_ask(crowd, standin, body, headers=rule, standin=f"step={first}")
        envoy.wait_until(lambda: "answers_total.result.not_stored.reason.streams" in str(
            envoy.cache_counters()), "the first answer to begin")
        before = standin.requests()
        crowd.ask(body, 20, headers=rule, standin=held(second))
        all_at_the_upstream(standin, before, 20)
        standin.release(first, ALL_PIECES)
        standin.release(second, ALL_PIECES)
        crowd.answers()
    assert outcome(leader.answer) == (200, "MISS", "whole")


def test_a_key_is_known_as_unstorable_for_five_seconds_only(envoys, standin, prompt):
    envoy = envoys.configured(PLUGIN, 4)
    body, step = chat(prompt()), prompt()
    fetch(envoy.port, body, standin="finish=length")
    time.sleep(5.1)
    with Crowd(envoy.port, "http1") as crowd:
        before = standin.requests()
        crowd.ask(body, 20, standin=held(step))
        wait_for_active(envoy, 20)
        all_at_the_upstream(standin, before, 1)
        standin.release(step, ALL_PIECES)
        assert sum(map(is_collapsed, crowd.answers())) == 19

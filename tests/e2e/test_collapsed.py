"""Of identical requests in flight one asks the upstream, and the others get its answer."""

import json
import pathlib
import re

import http_stores
import pytest
from asserts import upstream_asked, vm_survives
from chats import chat
from crowds import Counted, Crowd, active, first_to_ask, is_collapsed, outcome, wait_for_active
from harness.envoy import Envoy
from harness.http1 import fetch

# As long as can be: where a test waits for this, it waits for a fault of the filter's.
COLLAPSE = {"max_wait": "50s", "streams": True}
PLUGIN = {"collapse": COLLAPSE, "rules": [
    {"match": {"header": {"x-rule": "no-streams"}}, "collapse": {**COLLAPSE, "streams": False}},
    {"match": {"header": {"x-rule": "off"}}, "collapse": {"max_wait": "0s"}},
    {"match": {"path_prefix": "/never/"}, "collapse": {"max_wait": "0s"}},
    {"match": {"header": {"x-rule": "never-streams"}}, "store_if": {"streams": False}}]}
ALL_PIECES = 100_000


@pytest.fixture
def envoy(envoys, workers) -> Envoy:
    return envoys.configured(PLUGIN, workers)


def asks(text: str, streams: bool) -> dict:
    """With its usage, a stream of the stand-in says all that its JSON says."""
    return chat(text, streams, **({"stream_options": {"include_usage": True}} if streams else {}))


def held(step: str) -> str:
    """The upstream's answer begins when the test says so."""
    return f"hold;step={step}"


def text_of(body: bytes) -> str:
    """What an answer of the stand-in says, in either form."""
    if not body.startswith(b"data: "):
        return json.loads(body)["choices"][0]["message"]["content"]
    events = [json.loads(line[6:]) for line in body.split(b"\n\n") if line.startswith(b"data: {")]
    return "".join(choice["delta"].get("content") or "" for event in events
                   for choice in event["choices"])


def show_delay(crowd: Crowd) -> None:
    """Measured and shown, not asserted: when the last waiter had its answer."""
    leader = next(member for member in crowd.members if not is_collapsed(member.answer))
    last = max(member.ended for member in crowd.members)
    delay = (last - leader.ended) * 1000
    print(f"\nthe last waiter had its answer {delay:.1f} ms after the leader")


@pytest.mark.parametrize("kind", ["json", "streams", "mixed"])
def test_of_200_identical_requests_one_asks_the_upstream_and_all_get_its_answer(
        envoy, standin, prompt, protocol, kind):
    """Nothing but one answer is ever released, so nobody else can have asked."""
    step, text = prompt(), prompt()
    with vm_survives(envoy), Crowd(envoy.port, protocol) as crowd:
        counted = Counted(envoy)
        with upstream_asked(standin, 1):
            for number in range(200):
                streams = {"json": False, "streams": True}.get(kind, number % 2 == 1)
                crowd.ask(asks(text, streams), standin=held(step))
            wait_for_active(envoy, 200)
            standin.release(step, ALL_PIECES)
            answers = crowd.answers()
        grown = counted.since()
    assert {(answer.status, answer.ending) for answer in answers} == {(200, "whole")}
    leaders = [answer for answer in answers if not is_collapsed(answer)]
    assert [(leader.cache, leader.header("cache-status")) for leader in leaders] == [
        ("MISS", "envoy-llm-cache; fwd=uri-miss")]
    assert {text_of(answer.body) for answer in answers} == {text_of(leaders[0].body)}
    forms = {(answer.header("content-type"), answer.body) for answer in answers}
    assert len(forms) == (2 if kind == "mixed" else 1)
    assert grown == {"requests.result.collapsed": 199, "requests.result.miss.reason.absent": 1,
                     "answers.result.stored": 1}
    show_delay(crowd)


def test_the_leader_streams_on_while_the_others_wait_for_the_whole(envoy, standin, prompt,
                                                                   protocol):
    step, body = prompt(), chat(prompt(), True)
    with Crowd(envoy.port, protocol) as crowd, upstream_asked(standin, 1):
        leader, = crowd.ask(body, standin=f"step={step}")
        envoy.wait_until(lambda: standin.written(step) == 1, "the first piece")
        waiters = crowd.ask(body, 20)
        wait_for_active(envoy, 21)
        standin.release(step, 1)
        envoy.wait_until(lambda: standin.written(step) == 2, "the second piece")
        assert active(envoy) == 21
        standin.release(step, ALL_PIECES)
        leading, = crowd.answers([leader])
        answers = crowd.answers(waiters)
    assert outcome(leading) == (200, "MISS", "whole")
    assert all(is_collapsed(answer) and answer.body == leading.body for answer in answers)


def test_streams_ask_the_upstream_unless_they_may_wait(envoy, standin, prompt, protocol):
    """`collapse.streams: false`. What is no stream waits for theirs, whoever leads."""
    step, later, text, rule = prompt(), prompt(), prompt(), {"x-rule": "no-streams"}
    with Crowd(envoy.port, protocol) as crowd, upstream_asked(standin, 10):
        before = standin.requests()
        leader = first_to_ask(crowd, standin, asks(text, True), headers=rule, standin=held(step))
        streams = crowd.ask(asks(text, True), 9, headers=rule, standin=held(later))
        standin.wait_for(lambda stats: stats["requests"] == before + 10, "all of them")
        others = crowd.ask(asks(text, False), 30, headers=rule, standin=held(later))
        wait_for_active(envoy, 40)
        standin.release(step, ALL_PIECES)
        waited = crowd.answers(others)
        standin.release(later, ALL_PIECES)
        asked = crowd.answers([leader, *streams])
    assert {outcome(answer) for answer in asked} == {(200, "MISS", "whole")}
    assert len({answer.body for answer in asked}) == 10
    assert all(is_collapsed(answer) for answer in waited)
    assert {text_of(answer.body) for answer in waited} == {text_of(asked[0].body)}


def test_waiters_for_another_form_ask_the_upstream_if_the_answer_cannot_be_converted(
        envoy, standin, prompt, protocol):
    """A stream without its usage is no JSON answer."""
    step, later, text = prompt(), prompt(), prompt()
    with Crowd(envoy.port, protocol) as crowd:
        before = standin.requests()
        leader = first_to_ask(crowd, standin, chat(text, True), standin=held(step))
        waiters = crowd.ask(chat(text), 20, standin=held(later))
        alike = crowd.ask(chat(text, True), 20, standin=held(later))
        wait_for_active(envoy, 41)
        standin.release(step, ALL_PIECES)
        standin.wait_for(lambda stats: stats["requests"] == before + 21, "all of them at once")
        assert all(map(is_collapsed, crowd.answers(alike)))
        standin.release(later, ALL_PIECES)
        answers = crowd.answers([leader, *waiters])
    assert {outcome(answer) for answer in answers} == {(200, "MISS", "whole")}
    assert len({answer.body for answer in answers}) == 21
    assert {answer.header("cache-status") for answer in answers[1:]} == {
        "envoy-llm-cache; fwd=miss; collapsed=?0; detail=collapse_unusable"}


@pytest.mark.parametrize("how", ["header", "path"])
def test_a_rule_turns_collapsing_off(envoy, standin, prompt, how):
    step, body = prompt(), chat(prompt())
    named = {"header": {"headers": {"x-rule": "off"}},
             "path": {"path": "/never/v1/chat/completions"}}[how]
    with Crowd(envoy.port, "http1") as crowd:
        before = standin.requests()
        crowd.ask(body, 10, standin=held(step), **named)
        standin.wait_for(lambda stats: stats["requests"] == before + 10, "all of them")
        standin.release(step, ALL_PIECES)
        answers = crowd.answers()
    assert {outcome(answer) for answer in answers} == {(200, "MISS", "whole")}
    assert len({answer.body for answer in answers}) == 10


def test_only_identical_requests_wait_for_each_other(envoy, standin, prompt, protocol):
    """Ten requests of each of four tenants with each of five questions."""
    step, questions = prompt(), [prompt() for _ in range(5)]
    groups = [(f"Bearer {tenant}", question) for tenant in range(4) for question in questions]
    with vm_survives(envoy), Crowd(envoy.port, protocol) as crowd:
        counted = Counted(envoy)
        with upstream_asked(standin, 20):
            asked = [crowd.ask(chat(question), headers={"authorization": tenant},
                               standin=held(step))[0]
                     for _ in range(10) for tenant, question in groups]
            wait_for_active(envoy, 200)
            standin.release(step, ALL_PIECES)
            answers = crowd.answers(asked)
        assert counted.since()["requests.result.collapsed"] == 180
    bodies = {}
    for (tenant, question), answer in zip(10 * groups, answers, strict=True):
        assert outcome(answer) in {(200, "HIT", "whole"), (200, "MISS", "whole")}
        assert text_of(answer.body).endswith(question[-60:])
        bodies.setdefault((tenant, question), set()).add(answer.body)
    assert [len(same) for same in bodies.values()] == 20 * [1]
    assert len(set.union(*bodies.values())) == 20


def test_requests_that_may_not_wait_ask_the_upstream(envoy, standin, prompt):
    """`no-cache` wants a new answer, `no-store` none of the cache's, `only-if-cached` none else."""
    step, body = prompt(), chat(prompt())
    with Crowd(envoy.port, "http1") as crowd, upstream_asked(standin, 3):
        leader = first_to_ask(crowd, standin, body, standin=held(step))
        refused = fetch(envoy.port, body, headers={"cache-control": "only-if-cached"})
        fresh = fetch(envoy.port, body, headers={"cache-control": "no-cache"})
        apart = fetch(envoy.port, body, headers={"cache-control": "no-store"})
        standin.release(step, ALL_PIECES)
        crowd.answers()
    assert (refused.status, refused.cache) == (504, "MISS")
    assert (fresh.cache, apart.cache) == ("MISS", "BYPASS")
    assert len({fresh.body, apart.body, leader.answer.body}) == 3


def test_a_request_whose_answer_is_stored_is_a_hit_at_once(envoy, standin, prompt):
    """Also while somebody is asking anew."""
    step, body = prompt(), chat(prompt())
    stored = fetch(envoy.port, body)
    with Crowd(envoy.port, "http1") as crowd:
        first_to_ask(crowd, standin, body, headers={"cache-control": "no-cache"},
                     standin=held(step))
        hit = fetch(envoy.port, body)
        assert (hit.cache, hit.body) == ("HIT", stored.body)
        standin.release(step, ALL_PIECES)
        crowd.answers()


# -- who leaves ---------------------------------------------------------------------------------

def test_half_of_the_waiters_leave_and_the_others_are_answered(envoy, standin, prompt, protocol):
    step, body = prompt(), chat(prompt())
    with vm_survives(envoy), Crowd(envoy.port, protocol) as crowd:
        counted = Counted(envoy)
        with upstream_asked(standin, 1):
            first_to_ask(crowd, standin, body, standin=held(step))
            waiters = crowd.ask(body, 199, standin=held(step))
            wait_for_active(envoy, 200)
            crowd.leave(waiters[::2])
            wait_for_active(envoy, 100)
            standin.release(step, ALL_PIECES)
            answers = crowd.answers()
        assert len(answers) == 100
        assert sum(map(is_collapsed, answers)) == 99
        assert {answer.body for answer in answers} == {answers[0].body}
        assert counted.since()["requests.result.collapsed"] == 99
        wait_for_active(envoy, 0)
        with upstream_asked(standin, 0):
            assert fetch(envoy.port, body).cache == "HIT"


def test_all_waiters_leave_and_nothing_is_left_of_them(envoy, standin, prompt, protocol):
    """The leader goes on for the cache's sake; who comes then waits for it."""
    step, body = prompt(), chat(prompt())
    with Crowd(envoy.port, protocol) as crowd, upstream_asked(standin, 1):
        first_to_ask(crowd, standin, body, standin=held(step))
        waiters = crowd.ask(body, 20, standin=held(step))
        wait_for_active(envoy, 21)
        crowd.leave(waiters)
        wait_for_active(envoy, 1)
        crowd.ask(body, 5, standin=held(step))
        wait_for_active(envoy, 6)
        standin.release(step, ALL_PIECES)
        answers = crowd.answers()
    assert sum(map(is_collapsed, answers)) == 5


def wakeups(envoy: Envoy) -> int:
    """How often the workers' threads have been woken up."""
    count = 0
    for task in pathlib.Path(f"/proc/{envoy.pid}/task").iterdir():
        if (task / "comm").read_text().startswith("wrk:"):
            said = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", (task / "status").read_text(),
                             re.MULTILINE)
            count += int(said.group(1))
    return count


def test_the_worker_ticks_only_while_requests_wait(envoys, standin, prompt):
    """The admin port is served by the main thread, so the worker has nothing else to do.

    Counted against Envoy's own timers: by the time that those have woken the worker up ten times,
    ticks have done so more often, or never.
    """
    def per_own_timers() -> float:
        """Wake-ups of this Envoy's worker for each of an Envoy's that has nothing to do."""
        start, start_idle = wakeups(envoy), wakeups(idle)
        envoy.wait_until(lambda: wakeups(idle) >= start_idle + 10, "the idle Envoy's timers")
        return (wakeups(envoy) - start) / (wakeups(idle) - start_idle)

    with Envoy(envoys.config(PLUGIN)) as envoy, Envoy(envoys.config(PLUGIN)) as idle:
        step, body = prompt(), chat(prompt())
        with Crowd(envoy.port, "http1") as crowd:
            before = per_own_timers()
            crowd.ask(body, 2, standin=held(step))
            wait_for_active(envoy, 2)
            during = per_own_timers()
            standin.release(step, ALL_PIECES)
            crowd.answers()
        after = per_own_timers()
        print(f"\nwake-ups: {before:.1f} before, {during:.1f} while one waits, {after:.1f} after")
        assert during > 2 * max(before, after)


# -- with a store over HTTP ---------------------------------------------------------------------

STORES = {
    "both": ({"max_bytes": "64MiB", "max_entry_bytes": "1MiB"}, 0),
    "http-only": (None, 0),
    "too-large-for-memory": ({"max_bytes": "64MiB", "max_entry_bytes": "64KiB"}, 200_000)}


@pytest.mark.parametrize("stores", STORES)
def test_waiters_find_the_answer_in_whichever_store_has_it(
        envoys, webdis, redis, standin, prompt, workers, stores):
    memory, size = STORES[stores]
    config = http_stores.on_webdis(envoys, webdis.port, memory, plugin={"collapse": COLLAPSE})
    step, text = prompt(), prompt()
    with Envoy(config, workers) as envoy, vm_survives(envoy), \
            Crowd(envoy.port, "http1") as crowd:
        with upstream_asked(standin, 1):
            for number in range(200):
                crowd.ask(asks(text, number % 2 == 1), standin=f"{held(step)};size={size}")
            http_stores.wait_for_count(envoy, http_stores.LOOKUP + "absent", 200)
            standin.release(step, ALL_PIECES)
            answers = crowd.answers()
        assert sum(map(is_collapsed, answers)) == 199
        assert len({answer.body for answer in answers}) == 2
        assert len({text_of(answer.body) for answer in answers}) == 1
        assert envoy.cache_counters()["llm_cache_requests_total.result.collapsed"] == 199
        show_delay(crowd)


def test_where_the_store_is_remote_waiters_are_answered_after_the_write(
        envoys, webdis, redis, standin, prompt, workers):
    """And the client that asked has its answer before it."""
    config = http_stores.on_webdis(envoys, webdis.port, plugin={"collapse": COLLAPSE})
    step, body = prompt(), chat(prompt())
    with Envoy(config, workers) as envoy, Crowd(envoy.port, "http1") as crowd:
        leader, = crowd.ask(body, standin=held(step))
        http_stores.wait_for_count(envoy, http_stores.LOOKUP + "absent", 1)
        waiters = crowd.ask(body, 50, standin=held(step))
        http_stores.wait_for_count(envoy, http_stores.LOOKUP + "absent", 51)
        webdis.pause()
        with upstream_asked(standin, 0):
            standin.release(step, ALL_PIECES)
            assert outcome(*crowd.answers([leader])) == (200, "MISS", "whole")
            wait_for_active(envoy, 50)
            webdis.resume()
            answers = crowd.answers(waiters)
        assert all(map(is_collapsed, answers))
        assert {answer.body for answer in answers} == {leader.answer.body}


def test_waiters_ask_the_upstream_where_the_only_store_refuses_the_answer(
        envoys, webdis, redis, standin, prompt, workers):
    config = http_stores.on_webdis(envoys, webdis.port, plugin={"collapse": COLLAPSE})
    step, later, body = prompt(), prompt(), chat(prompt())
    with Envoy(config, workers) as envoy, Crowd(envoy.port, "http1") as crowd:
        before = standin.requests()
        leader, = crowd.ask(body, standin=held(step))
        http_stores.wait_for_count(envoy, http_stores.LOOKUP + "absent", 1)
        waiters = crowd.ask(body, 20, standin=held(later))
        http_stores.wait_for_count(envoy, http_stores.LOOKUP + "absent", 21)
        webdis.kill()
        standin.release(step, ALL_PIECES)
        standin.wait_for(lambda stats: stats["requests"] == before + 21, "all of them at once")
        standin.release(later, ALL_PIECES)
        answers = crowd.answers([leader, *waiters])
        assert {outcome(answer) for answer in answers} == {(200, "MISS", "whole")}
        assert len({answer.body for answer in answers}) == 21
        assert {answer.header("cache-status") for answer in answers[1:]} == {
            "envoy-llm-cache; fwd=miss; collapsed=?0; detail=collapse_leader_failed"}


# -- other ways to hold requests, and a change of the configuration -------------------------------

def test_it_works_with_held_headers_too(envoys, standin, prompt, protocol, workers):
    config = envoys.config({**PLUGIN, "hold_headers": True})
    config.without("envoy.filters.http.buffer")
    config.plugin["allow_on_headers_stop_iteration"] = True
    envoy = envoys.shared(config, workers)
    step, body = prompt(), chat(prompt())
    length = {"content-length": str(len(json.dumps(body)))}
    with vm_survives(envoy), Crowd(envoy.port, protocol) as crowd, upstream_asked(standin, 1):
        crowd.ask(body, 100, headers=length, standin=held(step))
        wait_for_active(envoy, 100)
        standin.release(step, ALL_PIECES)
        assert sum(map(is_collapsed, crowd.answers())) == 99


def test_no_request_fails_in_a_configuration_update(envoys, standin, prompt, workers,
                                                    protocol):
    """Those of the old listener and those of the new one wait for the same answer."""
    step, body = prompt(), chat(prompt())
    config = envoys.config(PLUGIN)
    with Envoy(config, workers, listener_file=True) as envoy, upstream_asked(standin, 2), \
            Crowd(envoy.port, protocol) as old:
        old.ask(body, 50, standin=held(step))
        wait_for_active(envoy, 50)
        envoy.write_listener(envoys.config({**PLUGIN, "respond": {"expose_key": True}}))
        other = chat(prompt())
        envoy.wait_until(lambda: fetch(envoy.port, other).header("x-cache-key"), "the update")
        with Crowd(envoy.port, protocol) as new:
            new.ask(body, 50, standin=held(step))
            wait_for_active(envoy, 100)
            standin.release(step, ALL_PIECES)
            answers = old.answers() + new.answers()
        assert {(answer.status, answer.ending) for answer in answers} == {(200, "whole")}
        assert len({answer.body for answer in answers}) == 1
        assert sum(map(is_collapsed, answers)) == 99
        assert fetch(envoy.port, body).cache == "HIT"
        assert envoy.vm_failures() == []

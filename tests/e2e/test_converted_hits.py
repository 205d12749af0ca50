"""One entry answers both forms: what the official client makes of a hit that was converted is
what it makes of the answer that the provider gave in that form.
"""

import dataclasses
import json
import pathlib
import subprocess

import pytest
from answers import PAIRS, Pair, chat_choices, chat_text, completions_text
from asserts import upstream_asked
from harness.http1 import fetch
from official import append_part, ask

NODE_CLIENTS = pathlib.Path(__file__).parents[1] / "clients" / "forms.mjs"
FORMS = {False: "json", True: "stream"}
every_pair = pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair.api}-{pair.name}")
either_form = pytest.mark.parametrize("streams", FORMS, ids=FORMS.get)


def originals(pair: Pair, envoy, standin, text: str) -> dict[bool, dict]:
    """What the client makes of either form as the provider sends it."""
    return {streams: ask(envoy.url, pair, text, streams, pair.standin(standin, streams)).made
            for streams in FORMS}


def said(value):
    """The same without what is empty, and without what only the client's accumulator adds."""
    if isinstance(value, dict):
        if "function" in value:
            value = {name: item for name, item in value.items() if name != "index"}
        return {name: kept for name, item in value.items()
                if name not in ("parsed", "parsed_arguments", "steps")
                and (kept := said(item)) not in (None, "", [], {})}
    return [said(item) for item in value] if isinstance(value, list) else value


@every_pair
def test_the_client_is_told_the_same_by_both_forms_of_a_pair(bare, standin, prompt, pair):
    made = originals(pair, bare, standin, prompt())
    assert said(made[True]) == said(made[False])


@every_pair
@either_form
def test_a_hit_in_the_other_form_is_to_the_client_what_the_provider_would_have_sent(
        single, bare, standin, prompt, pair, streams):
    text = prompt()
    told = {form: pair.standin(standin, form) for form in FORMS}
    expected = originals(pair, bare, standin, text)
    stored = ask(single.url, pair, text, not streams, told[not streams])
    assert (stored.cache, stored.made) == ("MISS", expected[not streams])
    with upstream_asked(standin, 0):
        converted, same = (ask(single.url, pair, text, form, told[form])
                           for form in (streams, not streams))
        assert converted.cache == "HIT", converted.status
    assert converted.made == expected[streams]
    assert (same.cache, same.made) == ("HIT", stored.made)


@every_pair
@either_form
def test_a_hit_in_the_form_that_was_stored_has_the_same_bytes(
        single, standin, prompt, pair, streams):
    text = prompt()
    body, path = pair.body(text, streams), pair.path(streams)
    miss = fetch(single.port, body, path, standin=pair.standin(standin, streams))
    other = fetch(single.port, pair.body(text, not streams), pair.path(not streams))
    hit = fetch(single.port, body, path)
    assert [answer.cache for answer in (miss, other, hit)] == ["MISS", "HIT", "HIT"]
    assert hit.body == miss.body == (pair.stream if streams else pair.whole)
    assert hit.header("content-type") == miss.header("content-type")


@every_pair
@either_form
def test_what_is_converted_from_a_compressed_answer_is_not_compressed(
        single, bare, standin, prompt, pair, streams):
    text = prompt()
    told = {form: pair.standin(standin, form) for form in FORMS}
    expected = ask(bare.url, pair, text, streams, told[streams])
    assert ask(single.url, pair, text, not streams, f"{told[not streams]};gzip").cache == "MISS"
    hit = ask(single.url, pair, text, streams, told[streams])
    assert hit.cache == "HIT", hit.status
    assert hit.made == expected.made
    assert hit.coding is None


@every_pair
@either_form
def test_a_converted_hit_says_what_it_is(single, standin, prompt, pair, streams):
    text = prompt()
    fetch(single.port, pair.body(text, not streams), pair.path(not streams),
          standin=pair.standin(standin, not streams))
    hit = fetch(single.port, pair.body(text, streams), pair.path(streams))
    media_type = hit.header("content-type").partition(";")[0]
    assert media_type == (pair.stream_type if streams else "application/json")
    assert hit.header("x-accel-buffering") == ("no" if streams else None)
    assert hit.header("content-length") == str(len(hit.body))
    assert int(hit.header("age")) >= 0


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair.api == "gemini"],
                         ids=lambda pair: pair.name)
@either_form
def test_gemini_streams_as_an_array_where_no_events_are_asked_for(
        single, standin, prompt, pair, streams):
    text, whole = prompt(), json.loads(pair.whole)
    fetch(single.port, pair.body(text, streams), pair.path(streams),
          standin=pair.standin(standin, streams))
    with upstream_asked(standin, 0):
        hit = fetch(single.port, pair.body(text, True), pair.path(True).partition("?")[0])
    assert (hit.cache, hit.header("content-type")) == ("HIT", "application/json")
    pieces = json.loads(hit.body)
    for number, candidate in enumerate(whole["candidates"]):
        given = [one for piece in pieces for one in piece["candidates"]
                 if one["index"] == number]
        parts = []
        for piece in given:
            for part in piece["content"]["parts"]:
                append_part(parts, part)
        assert parts == candidate["content"]["parts"]
        assert given[-1]["finishReason"] == "STOP"
    assert pieces[-1]["usageMetadata"] == whole["usageMetadata"]


with_usage_and_without = pytest.mark.parametrize("build", [chat_text, completions_text],
                                                 ids=lambda build: build.__name__)
SILENT = {"stream_options": {"include_usage": False}}


@with_usage_and_without
def test_a_stream_stored_with_usage_serves_one_without(single, bare, standin, prompt, build):
    pair, silent, text = build(), build(usage=False), prompt()
    expected = ask(bare.url, silent, text, True, silent.standin(standin, True), **SILENT)
    assert ask(single.url, pair, text, True, pair.standin(standin, True)).cache == "MISS"
    with upstream_asked(standin, 0):
        hit = ask(single.url, pair, text, True, **SILENT)
    assert (hit.cache, hit.made) == ("HIT", expected.made)
    assert hit.made["usage"] is None


@with_usage_and_without
def test_json_serves_streams_with_usage_and_without(single, bare, standin, prompt, build):
    pair, silent, text = build(), build(usage=False), prompt()
    expected = [
        ask(bare.url, pair, text, True, pair.standin(standin, True)).made,
        ask(bare.url, silent, text, True, silent.standin(standin, True), **SILENT).made]
    assert ask(single.url, pair, text, False, pair.standin(standin, False)).cache == "MISS"
    with upstream_asked(standin, 0):
        hits = [ask(single.url, pair, text, True), ask(single.url, pair, text, True, **SILENT)]
    assert [hit.cache for hit in hits] == ["HIT", "HIT"]
    assert [hit.made for hit in hits] == expected
    assert [hit.made["usage"] is None for hit in hits] == [False, True]


@with_usage_and_without
def test_a_stream_without_usage_has_no_member_for_it(single, standin, prompt, build):
    """As from the API, where only a request for usage makes it null in the other chunks."""
    pair = build()
    for stored in FORMS:
        text = prompt()
        fetch(single.port, pair.body(text, stored), pair.path(stored),
              standin=pair.standin(standin, stored))
        body = pair.body(text, True)
        del body["stream_options"]
        hit = fetch(single.port, body, pair.path(True))
        assert hit.cache == "HIT"
        assert b'"usage"' not in hit.body
        assert hit.body.endswith(b"data: [DONE]\n\n")


@with_usage_and_without
@either_form
def test_usage_that_was_never_sent_is_not_made_up(single, standin, prompt, build, streams):
    pair, silent, text = build(), build(usage=False), prompt()
    stored = ask(single.url, silent, text, True, silent.standin(standin, True), **SILENT)
    with upstream_asked(standin, 1):
        answer = ask(single.url, pair, text, streams, pair.standin(standin, streams))
    assert (stored.cache, answer.cache) == ("MISS", "MISS")
    assert "detail=form_no_usage" in answer.status
    assert answer.made["usage"] is not None
    # What came with usage serves everybody, so it has taken the place of what did not.
    with upstream_asked(standin, 0):
        assert ask(single.url, pair, text, False).made["usage"] is not None
        assert ask(single.url, pair, text, True).made["usage"] is not None
        assert ask(single.url, pair, text, True, **SILENT).made["usage"] is None


def test_of_two_entries_that_serve_different_forms_the_first_stays(single, standin, prompt):
    """Nobody knows in which pieces a stream would have the audio, and the stream has no usage."""
    pair, silent, text = chat_text(), chat_text(usage=False), prompt()
    whole = json.loads(pair.whole)
    whole["choices"][0]["message"]["audio"] = {"id": "audio_1", "data": "UklGRg=="}
    pair = dataclasses.replace(pair, name="audio", whole=json.dumps(whole).encode())
    asked = pair.body(text, False), {**pair.question(text), "stream": True}
    assert fetch(single.port, asked[0], standin=pair.standin(standin, False)).cache == "MISS"
    for _ in range(2):
        stream = fetch(single.port, asked[1], standin=silent.standin(standin, True))
        assert (stream.cache, stream.body) == ("MISS", silent.stream)
        assert "detail=form_content" in stream.header("cache-status")
    hit = fetch(single.port, asked[0])
    assert (hit.cache, hit.body) == ("HIT", pair.whole)


COUNTS = {"prompt_eval_count", "eval_count"}


def unused(value, name: str = "", inside: bool = False):
    """The same with every count of tokens, and every cost, at zero."""
    inside = inside or name in ("usage", "usage_metadata", "cost") or name in COUNTS
    if isinstance(value, dict):
        return {name: unused(item, name, inside) for name, item in value.items()}
    if isinstance(value, list):
        return [unused(item, "", inside) for item in value]
    if inside and name == "cost" and isinstance(value, str):
        return "0"
    counts = isinstance(value, (int, float)) and not isinstance(value, bool)
    return 0 if inside and counts else value


@every_pair
@pytest.mark.parametrize("stored", FORMS, ids=lambda stored: f"stored-{FORMS[stored]}")
def test_a_hit_costs_nothing_where_usage_is_to_be_zero(
        envoys, bare, standin, prompt, pair, stored):
    envoy = envoys.configured({"respond": {"usage": "zero"}})
    text = prompt()
    expected = originals(pair, bare, standin, text)
    miss = ask(envoy.url, pair, text, stored, pair.standin(standin, stored))
    assert (miss.cache, miss.made) == ("MISS", expected[stored])
    hits = {form: ask(envoy.url, pair, text, form, pair.standin(standin, form)) for form in FORMS}
    for streams, hit in hits.items():
        assert hit.cache == "HIT", hit.status
        assert hit.made == unused(expected[streams])
        assert hit.made != expected[streams]


# Vercel's SDK reads one choice.
VERCEL = [(pair.api, pair) for pair in PAIRS if pair.name != "two-choices" and pair.api in
          ("openai_chat", "openai_responses", "anthropic_messages")]


@pytest.mark.parametrize(("client", "pair"), [*VERCEL, ("openai", chat_choices())],
                         ids=lambda value: getattr(value, "name", value))
@either_form
def test_a_converted_hit_is_to_the_node_client_what_the_provider_would_have_sent(
        single, standin, prompt, client, pair, streams):
    text = prompt()

    def question(text, streams, directive=""):
        return {"client": client, "text": text, "streams": streams, "standin": directive}
    asked = [question(text, not streams, pair.standin(standin, not streams)),
             question(text, streams, pair.standin(standin, streams)),
             question(prompt(), streams, pair.standin(standin, streams))]
    before = standin.requests()
    ran = subprocess.run(["node", NODE_CLIENTS, single.url, json.dumps(asked)],
                         capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr
    stored, hit, original = json.loads(ran.stdout)
    assert [answer["cache"] for answer in (stored, hit, original)] == ["MISS", "HIT", "MISS"]
    assert hit["made"] == original["made"]
    assert standin.requests() - before == 2

"""What access logs and traces tell of each request, and docs/access-logs.md."""

import copy
import json
import re
import threading

import jq
import pytest
import werkzeug
import werkzeug.serving
from chats import chat
from documentation import blocks, envoy_block
from harness.envoy import ROOT, Envoy, validate
from harness.http1 import fetch

PAGE = "access-logs.md"


def records(envoy: Envoy, count: int) -> list[dict | None]:
    """What the filter says of each request, once there are so many lines."""
    envoy.wait_until(lambda: len(envoy.access_log().splitlines()) == count, "the access log")
    lines = [line["llm_cache"] for line in envoy.log_lines()]
    return [line and line["value"] for line in lines]


def test_each_outcome_is_told_with_what_it_cost_or_saved(envoys, prompt):
    with Envoy(envoys.config()) as envoy:
        body, streamed = chat(prompt()), chat(prompt(), True)
        for ask in (body, body, streamed, streamed):
            fetch(envoy.port, ask, standin="pace=5")
        fetch(envoy.port, chat(prompt()), standin="err=500")
        fetch(envoy.port, chat(prompt(), True), standin="cut=100;pace=0")
        fetch(envoy.port, body, headers={"cache-control": "no-store"})
        fetch(envoy.port, None, "/v1/models", "GET")
        miss, hit, stream, again, failed, cut, bypassed, other = records(envoy, 8)
    for record in (miss, hit, stream, again, failed, cut):
        assert (record["api"], record["model"]) == ("openai_chat", "stand-in")
        assert re.fullmatch("[0-9a-f]{16}", record["key"])
        record.pop("near_miss", None)
    tokens = {"input_tokens": 7, "cached_input_tokens": 0, "output_tokens": 5}
    assert miss.pop("upstream_ms") >= miss.pop("upstream_first_byte_ms")
    base = {"api": "openai_chat", "model": "stand-in", "stream": False, "key": miss["key"]}
    assert miss == {**base, **tokens, "result": "miss", "reason": "absent", "chunks": 1,
                    "answer": "stored"}
    assert hit.pop("saved_ms") >= 0
    assert hit == {**base, **tokens, "result": "hit", "age": 0}
    assert (stream["stream"], stream["answer"], again["result"]) == (True, "stored", "hit")
    assert stream["chunks"] > 1
    # The stand-in reports no usage in a stream that was not asked for it.
    assert "output_tokens" not in stream | again
    assert again["saved_ms"] == stream["upstream_ms"] > 0
    assert again["key"] == stream["key"] != hit["key"]
    assert (failed["answer"], failed["answer_reason"]) == ("not_stored", "status")
    assert "chunks" not in failed
    assert (cut["answer"], cut["answer_reason"]) == ("not_stored", "aborted")
    assert cut["chunks"] >= 1
    assert bypassed == {"result": "bypass", "reason": "no_store", "api": "openai_chat"}
    assert other is None


def test_an_exchange_without_a_record_is_logged_all_the_same(envoys, prompt):
    config = envoys.config({"ttl": "1h"})
    with Envoy(config) as envoy:
        body = chat(prompt())
        assert [fetch(envoy.port, body).cache for _ in range(2)] == ["MISS", "HIT"]
        assert records(envoy, 2) == [None, None]
        assert [line["x_cache"] for line in envoy.log_lines()] == ["MISS", "HIT"]


def test_a_key_in_the_query_is_not_logged(envoys, prompt):
    with Envoy(envoys.config()) as envoy:
        ask = {"contents": [{"parts": [{"text": prompt()}]}]}
        path = "/v1beta/models/gemini-2.5-flash:generateContent"
        fetch(envoy.port, ask, f"{path}?key=AIza-secret")
        (record,) = records(envoy, 1)
        (line,) = envoy.log_lines()
    assert (line["path"], record["model"]) == (path, "gemini-2.5-flash")
    assert "AIza" not in json.dumps(line)


def test_a_text_format_reads_single_fields(envoys, prompt):
    config = envoys.config()
    text = envoy_block(PAGE, "tracing")["access_log"][0]["typed_config"]["log_format"]
    config.manager["access_log"][0]["typed_config"]["log_format"] = text
    with Envoy(config) as envoy:
        body = chat(prompt())
        for _ in range(2):
            fetch(envoy.port, body)
        envoy.wait_until(lambda: len(envoy.access_log().splitlines()) == 2, "the access log")
        words = [line.split() for line in envoy.access_log().splitlines()]
    assert [line[1:3] for line in words] == [["200", "miss"], ["200", "hit"]]


@pytest.fixture
def collector():
    """Takes what a Zipkin collector would: the spans' tags, and its port."""
    spans = []

    @werkzeug.Request.application
    def collect(request: werkzeug.Request) -> werkzeug.Response:
        spans.extend(span["tags"] for span in json.loads(request.get_data()))
        return werkzeug.Response(status=202)

    server = werkzeug.serving.make_server("127.0.0.1", 0, collect, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.port, spans
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_trace_has_the_tags_of_the_page(envoys, collector, prompt):
    port, spans = collector
    config = envoys.config()
    config.add_cluster("zipkin", port)
    config.manager["tracing"] = {
        **copy.deepcopy(envoy_block(PAGE, "tracing")["tracing"]),
        "random_sampling": {"value": 100},
        "provider": {"name": "envoy.tracers.zipkin", "typed_config": {
            "@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig",
            "collector_cluster": "zipkin", "collector_endpoint": "/api/v2/spans",
            "collector_endpoint_version": "HTTP_JSON"}}}
    valid, said = validate(config)
    if not valid and "CustomTag" in said:
        pytest.skip("custom tags take no formats before Envoy 1.37")
    # Without this, spans are sent every five seconds.
    config.tree["layered_runtime"] = {"layers": [{"name": "tests", "static_layer": {
        "tracing.zipkin.min_flush_spans": 1}}]}
    with Envoy(config) as envoy:
        body = chat(prompt())
        for _ in range(2):
            fetch(envoy.port, body)
        envoy.wait_until(lambda: len(spans) == 2, "the spans")
    tags = [(span["llm_cache.result"], span["llm_cache.model"]) for span in spans]
    assert sorted(tags) == [("hit", "stand-in"), ("miss", "stand-in")]


def questions() -> dict[str, str]:
    """The programs of the page, by the questions that they answer."""
    text = (ROOT / "docs" / PAGE).read_text()
    asked = re.findall(r"^([^\n]*\?)\n\n```console\n\$ jq -s '(.*?)' access\.log\n```", text,
                       re.MULTILINE | re.DOTALL)
    return dict(asked)


def test_the_questions_of_the_page_are_answered_from_the_log(envoys, prompt):
    (shown,) = [block for page, block in blocks("yaml envoy")
                if page == PAGE and "tracing" not in block]
    format_shown = shown["access_log"][0]["typed_config"]["log_format"]
    config = envoys.config()
    config.manager["access_log"][0]["typed_config"]["log_format"] = format_shown
    with Envoy(config) as envoy:
        shared, slow, quick = (chat(prompt()), chat(prompt(), True), chat(prompt(), True))
        for user in ("ann", "bob"):
            headers = {"x-user": user}
            for _ in range(2):
                fetch(envoy.port, {**shared, "model": f"{user}s-model"}, headers=headers)
            fetch(envoy.port, chat(prompt(), model="another"), headers=headers)
        fetch(envoy.port, slow, standin="pace=60")
        fetch(envoy.port, quick, standin="pace=1")
        envoy.wait_until(lambda: len(envoy.access_log().splitlines()) == 8, "the access log")
        log = envoy.log_lines()
    tokens, days, streams = (jq.compile(program).input_value(log).first()
                             for program in questions().values())
    assert tokens == [
        {"user": user, "model": model, "tokens": 12 * times, "from_cache": 12 * (times - 1)}
        for user in ("ann", "bob")
        for model, times in sorted({f"{user}s-model": 2, "another": 1}.items())]
    assert [(day["hits"], day["output_tokens"]) for day in days] == [(2, 10)]
    assert days[0]["seconds"] >= 0
    assert [stream["answer"] for stream in streams] == ["stored", "stored"]
    assert streams[0]["upstream_ms"] >= streams[1]["upstream_ms"]
    assert all(stream["chunks"] > 1 for stream in streams)


def test_the_page_names_every_field_and_no_other():
    text = (ROOT / "docs" / PAGE).read_text()
    table = re.search(r"^\| field .*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)[1]
    named = [name for row in table.splitlines() for name in re.findall("`([a-z_]+)`",
                                                                     row.split("|")[1])]
    source = (ROOT / "src" / "report" / "log_record.rs").read_text()
    pushed = re.findall(r'push\(\s*"([a-z_]+)"', source)
    assert sorted(named) == sorted(set(pushed))

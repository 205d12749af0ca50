"""What the filter counts, and how Prometheus gets it."""

import http.client
import json
import re
import tomllib

from chats import chat
from harness.envoy import Envoy
from harness.envoy_binary import ROOT
from harness.http1 import Http1Connection, fetch, request_bytes

VERSION = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]


def test_each_outcome_is_counted_once_with_its_reason(envoys, workers, prompt):
    with Envoy(envoys.config(), workers) as envoy:
        one = chat(prompt())
        for _ in range(3):
            fetch(envoy.port, one)
        fetch(envoy.port, chat(prompt()), standin="err=500")
        fetch(envoy.port, chat(prompt(), True), standin="cut=100;pace=0")
        fetch(envoy.port, one, headers={"cache-control": "no-store"})
        fetch(envoy.port, one, headers={"cache-control": "no-cache"})
        fetch(envoy.port, None, "/v1/models", "GET")
        # Which requests a worker has seen before is up to Envoy.
        counted = {name: value for name, value in envoy.cache_counters().items()
                   if "near_misses" not in name}
        assert counted == {
            f"llm_cache_info.version.{VERSION}": 1,
            "llm_cache_requests_total.result.hit": 2,
            "llm_cache_requests_total.result.miss.reason.absent": 3,
            "llm_cache_requests_total.result.miss.reason.no_cache": 1,
            "llm_cache_requests_total.result.bypass.reason.no_store": 1,
            "llm_cache_answers_total.result.stored": 2,
            "llm_cache_answers_total.result.not_stored.reason.status": 1,
            "llm_cache_answers_total.result.not_stored.reason.aborted": 1,
        }
        lines = envoy.admin("/stats/prometheus").splitlines()
        for line in (f'llm_cache_info{{version="{VERSION}"}} 1',
                     # Nobody has asked for this yet, and a rate needs where it begins.
                     series("requests", "bypass", "no_tenant", 0),
                     series("requests", "hit", None, 0, api="anthropic_messages"),
                     series("requests", "hit", None, 2),
                     series("requests", "miss", "absent", 3),
                     series("requests", "bypass", "no_store", 1),
                     series("answers", "stored", None, 2),
                     series("answers", "not_stored", "status", 1)):
            assert any(sorted_labels(other) == line for other in lines), line


def test_what_the_store_does_and_where_its_breaker_stands_can_be_seen(envoys, prompt):
    config = envoys.config({"store": {"http": {
        "cluster": "no.such-cluster", "protocol": "webdis",
        "breaker": {"failures": 2, "min_open": "1h", "max_open": "1h"}}}})
    with Envoy(config) as envoy:
        for _ in range(3):
            assert fetch(envoy.port, chat(prompt())).status == 200
        lines = [sorted_labels(line) for line in envoy.admin("/stats/prometheus").splitlines()]
        for line in (
                store_failed("lookup", "store_unavailable", 1),
                store_failed("write", "store_unavailable", 1),
                store_failed("write", "breaker_open", 2),
                series("requests", "miss", "breaker_open", 2),
                'llm_cache_breakers{cluster="no.such-cluster",state="open"} 1'):
            assert line in lines, line
        told = [line for line in envoy.log().splitlines() if "breaker of cluster" in line]
        assert len(told) == 1 and "no.such-cluster: closed -> open" in told[0]


CHAT = ".api.openai_chat"


def wait_for(envoy: Envoy, **expected: int) -> None:
    """Until metrics that come late have these values; their names are without the prefix."""
    def met():
        metrics = envoy.cache_metrics()
        return all(metrics.get(f"llm_cache_{name.replace('__', '.')}") == value
                   for name, value in expected.items())
    envoy.wait_until(met, f"{expected}")


def test_what_hits_save_is_counted_by_api(envoys, standin, prompt):
    gemini = standin.put_fixture("gemini", json.dumps({
        "candidates": [{"content": {"role": "model", "parts": [{"text": "Answer"}]},
                        "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 100, "cachedContentTokenCount": 60,
                          "candidatesTokenCount": 20, "thoughtsTokenCount": 5,
                          "totalTokenCount": 125}}).encode())
    with Envoy(envoys.config()) as envoy:
        ask = {"contents": [{"parts": [{"text": prompt()}]}]}
        path = "/v1beta/models/gemini-2.5-flash:generateContent"
        says = f"{gemini};type=application/json"
        assert [fetch(envoy.port, ask, path, standin=says).cache for _ in range(3)] == [
            "MISS", "HIT", "HIT"]
        body = chat(prompt(), True, stream_options={"include_usage": True})
        # The second hit is converted.
        for again in (body, body, {**body, "stream": False}):
            fetch(envoy.port, again, standin="pace=20")
        wait_for(envoy, saved_tokens_total__api__gemini__direction__input=2 * 40,
                 saved_tokens_total__api__gemini__direction__cached_input=2 * 60,
                 saved_tokens_total__api__gemini__direction__output=2 * 25,
                 saved_tokens_total__api__openai_chat__direction__input=2 * 7,
                 saved_tokens_total__api__openai_chat__direction__output=2 * 5)
        metrics = envoy.cache_metrics()
        whole = metrics[f"llm_cache_saved_milliseconds_total{CHAT}"]
        first_byte = metrics[f"llm_cache_saved_first_byte_milliseconds_total{CHAT}"]
        assert 0 <= first_byte < whole
        spread = {"hit_age_seconds": 4, "upstream_milliseconds": 2,
                  "upstream_first_byte_milliseconds": 2}
        lines = {f"llm_cache_{name}_count{{}} {count}" for name, count in spread.items()}
        # Envoy shows histograms once it has flushed its stats, every five seconds.
        envoy.wait_until(lambda: lines <= set(envoy.admin("/stats/prometheus").splitlines()),
                         "the histograms")


def test_stale_answers_save_as_hits_do(envoys, prompt):
    config = envoys.config({"stale_if_error": "1h"})
    with Envoy(config, workers=1) as envoy:
        body = chat(prompt())
        fetch(envoy.port, body, headers={"x-llm-cache-ttl": "1s"})
        envoy.wait_until(lambda: fetch(envoy.port, body, standin="err=503").cache == "STALE",
                         "a stale answer")
        stale = envoy.cache_counters()[
            "llm_cache_requests_total.result.stale.reason.upstream_failed"]
        hits = envoy.cache_counters().get("llm_cache_requests_total.result.hit", 0)
        wait_for(envoy, saved_tokens_total__api__openai_chat__direction__output=5 * (stale + hits))


def test_a_model_is_a_label_once_an_answer_of_it_is_stored(envoys, workers, prompt):
    config = envoys.config({"metrics": {"model": True, "max_models": 2}})
    models = ["gpt-4.1", "us.anthropic.claude.reason.x:0", "one-too-many"]
    with Envoy(config, workers) as envoy:
        for model in models:
            fetch(envoy.port, chat(prompt(), model=model), standin="err=500")
            body = chat(prompt(), model=model)
            for _ in range(3):
                fetch(envoy.port, body)
        hits = {}
        for line in envoy.admin("/stats/prometheus").splitlines():
            found = re.fullmatch(r'llm_cache_requests_total\{api="openai_chat",result="hit",'
                                 r'model="([^"]+)"\} (\d+)', line)
            if found:
                hits[found[1]] = int(found[2])
    # Other workers learn of a label within a second.
    assert set(hits) == {*models[:2], "other"}
    assert sum(hits.values()) == 6
    if workers == 1:
        assert hits == {models[0]: 2, models[1]: 2, "other": 2}


def test_how_full_it_is_can_be_seen(envoys, prompt):
    config = envoys.config({"collapse": {"max_wait": "60s"},
                            "store": {"memory": {"max_bytes": "8MiB"}}})
    with Envoy(config, workers=1) as envoy:
        wait_for(envoy, memory_limit_bytes=8 << 20, memory_entries=0, held_requests=0)
        body = chat(prompt())
        fetch(envoy.port, body)
        leader, follower, half = (Http1Connection(envoy.port) for _ in range(3))
        with leader, follower, half:
            slow = request_bytes("POST", "/v1/chat/completions", chat("slow"),
                                 standin="stall=0")
            leader.send(slow)
            follower.send(slow)
            half.send(slow[:-5])
            wait_for(envoy, held_requests=2, waiting_requests=1)
            metrics = envoy.cache_metrics()
            assert 0 < metrics["llm_cache_capture_bytes"] < 1 << 20
            assert metrics["llm_cache_capture_limit_bytes"] == 64 << 20
        wait_for(envoy, held_requests=0, waiting_requests=0, capture_bytes=0)
        fetch(envoy.port, body)

        def is_seen():
            fetch(envoy.port, body)
            return envoy.cache_metrics()["llm_cache_memory_entries"] == 1
        envoy.wait_until(is_seen, "the memory store to be looked at")
        assert 300 < envoy.cache_metrics()["llm_cache_memory_bytes"] < 3_000


def test_a_miss_because_of_one_member_is_counted_by_its_name(envoys, prompt):
    with Envoy(envoys.config()) as envoy:
        text = prompt()
        for more in ({}, {"user": "ann"}, {"user": "bob"}, {"user": "bob"}, {"made_up": 1},
                     {"user": "ann", "seed": 1, "n": 1}):
            fetch(envoy.port, chat(text, **more))
        # Gemini's names have capitals.
        for temperature in (0, 1):
            fetch(envoy.port, json.dumps({
                "contents": [{"parts": [{"text": text}]}],
                "generationConfig": {"temperature": temperature}}).encode(),
                "/v1beta/models/gemini-2.5-flash:generateContent")
        lines = [sorted_labels(line) for line in envoy.admin("/stats/prometheus").splitlines()]
        assert [line for line in lines if line.startswith("llm_cache_near_misses_total{")] == [
            'llm_cache_near_misses_total{member="generationConfig"} 1',
            'llm_cache_near_misses_total{member="other"} 1',
            'llm_cache_near_misses_total{member="user"} 2']


def series(family: str, result: str, reason: str | None, value: int,
           api: str = "openai_chat") -> str:
    """A line of Prometheus's format, its labels sorted."""
    because = f'reason="{reason}",' if reason else ""
    return f'llm_cache_{family}_total{{api="{api}",{because}result="{result}"}} {value}'


def store_failed(operation: str, reason: str, value: int) -> str:
    labels = f'operation="{operation}",reason="{reason}",result="failed"'
    return f"llm_cache_store_operations_total{{{labels}}} {value}"


def sorted_labels(line: str) -> str:
    name, brace, rest = line.partition("{")
    if not brace:
        return line
    labels, _, value = rest.rpartition("}")
    return name + "{" + ",".join(sorted(labels.split(","))) + "}" + value


def test_prompts_answers_and_credentials_reach_no_log_and_no_metric(envoys, prompt):
    """Also not when everything is logged."""
    secrets = ("sk-very-secret", "very secret prompt")
    with Envoy(envoys.config()) as envoy:
        envoy_log_level(envoy, "trace")
        body = chat(secrets[1])
        for standin in ("", "", "err=500", "cut=50"):
            fetch(envoy.port, body, standin=standin,
                  headers={"authorization": f"Bearer {secrets[0]}"})
        ours = [line for line in envoy.log().splitlines() if "[wasm]" in line or "wasm log" in line]
        for text in ["\n".join(ours), envoy.admin("/stats"), envoy.access_log()]:
            for secret in secrets:
                assert secret not in text


def envoy_log_level(envoy: Envoy, level: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", envoy.admin_port, timeout=60)
    connection.request("POST", f"/logging?wasm={level}")
    assert connection.getresponse().status == 200
    connection.close()

"""What docs/filter-order.md says of filters before and behind the cache, on a real Envoy."""

import gzip

import pytest
from chats import chat
from documentation import envoy_block
from harness import aws_events
from harness.envoy import Config, Envoy
from harness.http1 import fetch
from harness.standin import Standin

TYPED = "type.googleapis.com/envoy.extensions.filters.http."
BUFFER = "envoy.filters.http.buffer"

BEFORE, BEHIND = "before", "behind"
each_place = pytest.mark.parametrize("place", [BEFORE, BEHIND])


def with_filter(envoys, place: str, name: str, kind: str, **settings) -> Config:
    """The example with one more filter: first of all, or behind the buffer filter."""
    config = envoys.config()
    added = {"name": f"envoy.filters.http.{name}", "typed_config": {"@type": TYPED + kind,
                                                                    **settings}}
    names = [entry["name"] for entry in config.http_filters]
    config.http_filters.insert(0 if place == BEFORE else names.index(BUFFER) + 1, added)
    return config


def always(numerator: int = 100) -> dict:
    return {"default_value": {"numerator": numerator, "denominator": "HUNDRED"}}


# -- rate limits ----------------------------------------------------------------------------------

@each_place
def test_a_rate_limit_counts_hits_if_it_stands_before_the_cache(envoys, prompt, place):
    config = with_filter(
        envoys, place, "local_ratelimit", "local_ratelimit.v3.LocalRateLimit",
        stat_prefix="limit", filter_enabled=always(), filter_enforced=always(),
        token_bucket={"max_tokens": 2, "tokens_per_fill": 1, "fill_interval": "3600s"})
    body = chat(prompt())
    with Envoy(config) as envoy:
        answers = [fetch(envoy.port, body) for _ in range(5)]
        found = [(answer.status, answer.cache) for answer in answers]
        other = [fetch(envoy.port, chat(prompt())).status for _ in range(2)]
    if place == BEFORE:
        assert found == [(200, "MISS"), (200, "HIT"), *[(429, None)] * 3]
        assert other == [429, 429]
    else:
        assert found == [(200, "MISS"), *[(200, "HIT")] * 4]
        assert other == [200, 429]


# -- authentication -------------------------------------------------------------------------------

@each_place
def test_what_is_refused_before_the_cache_is_not_answered_from_it(envoys, prompt, place):
    denied = {"header": {"name": "x-blocked", "present_match": True}}
    config = with_filter(envoys, place, "rbac", "rbac.v3.RBAC", rules={
        "action": "DENY", "policies": {"blocked": {
            "permissions": [denied], "principals": [{"any": True}]}}})
    body = chat(prompt())
    with Envoy(config) as envoy:
        assert fetch(envoy.port, body, headers={"x-blocked": "1"}).status == 403
        assert fetch(envoy.port, body).cache == "MISS"
        refused = fetch(envoy.port, body, headers={"x-blocked": "1"})
    assert (refused.status, refused.cache) == ((403, None) if place == BEFORE else (200, "HIT"))


# -- credentials ----------------------------------------------------------------------------------

@each_place
def test_credentials_of_the_gateway_make_all_callers_one_before_the_cache(envoys, prompt, place):
    config = with_filter(
        envoys, place, "header_mutation", "header_mutation.v3.HeaderMutation",
        mutations={"request_mutations": [{"append": {
            "header": {"key": "authorization", "value": "Bearer the-gateway-s"},
            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}]})
    body = chat(prompt())
    with Envoy(config) as envoy:
        found = [fetch(envoy.port, body, credential=f"Bearer {caller}").cache
                 for caller in ("one", "other")]
    assert found == ["MISS", "HIT" if place == BEFORE else "MISS"]


# -- filters of answers ---------------------------------------------------------------------------

# Marks each answer once more each time.
MARKING = """
function envoy_on_response(handle)
  local body = handle:body()
  body:setBytes((body:getBytes(0, body:length()):gsub("Answer", "Answer!")))
end
"""


@each_place
def test_a_filter_of_answers_sees_hits_wherever_it_stands(envoys, prompt, place):
    """Envoy takes a local reply through all filters, those behind the one that replied too."""
    config = with_filter(envoys, place, "lua", "lua.v3.Lua",
                         default_source_code={"inline_string": MARKING})
    body = chat(prompt())
    with Envoy(config) as envoy:
        answers = [fetch(envoy.port, body) for _ in range(3)]
    assert [answer.cache for answer in answers] == ["MISS", "HIT", "HIT"]
    marks = [answer.body.count(b"!") for answer in answers]
    # What was stored behind the filter has its mark already, and gets another one.
    assert marks == ([1, 1, 1] if place == BEFORE else [1, 2, 2])


@each_place
@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_a_compressor_compresses_hits_if_it_stands_before_the_cache(
        envoys, prompt, stream, place):
    config = with_filter(envoys, place, "compressor", "compressor.v3.Compressor",
                         response_direction_config={"common_config": {
                             "min_content_length": 30,
                             "content_type": ["application/json", "text/event-stream"]}},
                         compressor_library={"name": "gzip", "typed_config": {
                             "@type": "type.googleapis.com/"
                                      "envoy.extensions.compression.gzip.compressor.v3.Gzip"}})
    body = chat(prompt(), stream)
    with Envoy(config) as envoy:
        plain = fetch(envoy.port, body, standin="pace=0")
        coded = fetch(envoy.port, body, headers={"accept-encoding": "gzip"})
        again = fetch(envoy.port, body)
    assert [answer.cache for answer in (plain, coded, again)] == ["MISS", "HIT", "HIT"]
    if place == BEFORE:
        assert coded.header("content-encoding") == "gzip"
        assert gzip.decompress(coded.body) == plain.body == again.body
    else:
        assert coded.header("content-encoding") is None
        assert coded.body == plain.body == again.body


@each_place
def test_the_cors_filter_sets_its_headers_on_hits_before_the_cache(envoys, prompt, place):
    config = with_filter(envoys, place, "cors", "cors.v3.Cors")
    config.configure({"respond": {"cors": "envoy"}})
    route = config.manager["route_config"]["virtual_hosts"][0]["routes"][0]
    route["typed_per_filter_config"] = {"envoy.filters.http.cors": {
        "@type": TYPED + "cors.v3.CorsPolicy",
        "allow_origin_string_match": [{"exact": "https://page.test"}]}}
    body = chat(prompt())
    with Envoy(config) as envoy:
        answers = [fetch(envoy.port, body, headers={"origin": "https://page.test"})
                   for _ in range(2)]
    assert [answer.cache for answer in answers] == ["MISS", "HIT"]
    allowed = [answer.header("access-control-allow-origin") for answer in answers]
    assert allowed == ["https://page.test", "https://page.test" if place == BEFORE else None]


# -- mirrors --------------------------------------------------------------------------------------

def test_hits_are_not_mirrored(envoys, standin, prompt):
    with Standin() as mirror:
        config = envoys.config()
        config.add_cluster("mirror", mirror.port)
        route = config.manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"]
        route["request_mirror_policies"] = [{"cluster": "mirror"}]
        with Envoy(config) as envoy:
            body = chat(prompt())
            assert [fetch(envoy.port, body).cache for _ in range(3)] == ["MISS", "HIT", "HIT"]
            other = chat(prompt())
            assert fetch(envoy.port, other).cache == "MISS"
            mirror.wait_for(lambda stats: stats["requests"] >= 2, "the second miss")
            assert mirror.requests() == 2


# -- local replies --------------------------------------------------------------------------------

# An AWS event stream: it has zeros, and bytes that are not UTF-8.
CONVERSE = b"".join(aws_events.message(*event) for event in (
    ("messageStart", {"role": "assistant"}),
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Answer"}}),
    ("contentBlockStop", {"contentBlockIndex": 0}),
    ("messageStop", {"stopReason": "end_turn"}),
    ("metadata", {"usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5},
                  "metrics": {"latencyMs": 275}})))


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/model/m/converse-stream"],
                         ids=["text", "binary"])
@pytest.mark.parametrize("mapped", [True, False], ids=["with-mapper", "without"])
def test_a_mapper_keeps_hits_from_being_rewritten(envoys, standin, prompt, mapped, path):
    documented = envoy_block("filter-order.md", "local_reply_config")["local_reply_config"]
    config = envoys.config()
    config.manager["local_reply_config"] = {
        "mappers": documented["mappers"] if mapped else [],
        "body_format": {"json_format": {"error": "%LOCAL_REPLY_BODY%", "code": "%RESPONSE_CODE%"}}}
    answer = "pace=0"
    if "converse" in path:
        answer = standin.put_fixture("converse", CONVERSE) \
            + ";type=application/vnd.amazon.eventstream"
    with Envoy(config) as envoy:
        body = chat(prompt(), stream="chat" in path)
        miss, hit, again = (fetch(envoy.port, body, path, standin=answer) for _ in range(3))
        refused = fetch(envoy.port, chat(prompt()), headers={"cache-control": "only-if-cached"})
        logged = '"details":"llm_cache_hit"'
        envoy.wait_until(lambda: logged in envoy.access_log(), "the access log")
    assert [answer.cache for answer in (miss, hit, again)] == ["MISS", "HIT", "HIT"]
    assert (hit.body == again.body == miss.body) == mapped
    assert (hit.header("content-type") == miss.header("content-type")) == mapped
    # Other local replies are rewritten as before.
    assert (refused.status, refused.json()["code"]) == (504, 504)

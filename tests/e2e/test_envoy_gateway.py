"""The Envoy that the files of envoy/envoy-gateway/ lead to, on a real Envoy.

`harness.envoy_gateway` is the port of what Envoy Gateway and Envoy AI Gateway do with them; neither
of the two runs here.
"""

import copy
import json
import re

import pytest
import yaml
from asserts import upstream_asked
from chats import chat
from harness.envoy import ROOT, Config, Envoy
from harness.envoy_gateway import (
    AI_GATEWAY,
    FILTER,
    ModuleServer,
    ai_gateway_route,
    cluster,
    of_kind,
    translate,
)
from harness.http1 import fetch
from harness.rate_limit_service import REFUSED_WORD, RateLimitService
from harness.websocket_upstream import WebSocketUpstream, spoken_to

FOLDER = ROOT / "envoy" / "envoy-gateway"
TYPE = "type.googleapis.com/envoy.extensions.filters.http."
# Filters that other policies would add, and that do nothing.
IDLE = [{"name": FILTER + "rbac", "typed_config": {"@type": TYPE + "rbac.v3.RBAC"}},
        {"name": FILTER + "local_ratelimit", "typed_config": {
            "@type": TYPE + "local_ratelimit.v3.LocalRateLimit", "stat_prefix": "local"}}]


def documents(name: str) -> list[dict]:
    return list(yaml.safe_load_all((FOLDER / f"{name}.yaml").read_text()))


@pytest.fixture(scope="module")
def modules():
    with ModuleServer() as modules:
        yield modules


@pytest.fixture
def started(envoys, standin, modules):
    """Starts the proxy that these resources lead to, or finds the one that runs already."""
    def start(resources: list[dict], upstream: int | None = None, change=None, **named) -> Envoy:
        proxy = translate(resources, upstream or standin.port, modules, **named)
        if change:
            change(proxy)
        return envoys.shared(proxy)
    return start


def wasm_of(resources: list[dict]) -> dict:
    (policy,) = of_kind(resources, "EnvoyExtensionPolicy")
    return policy["spec"]["wasm"][0]


def without_order(resources: list[dict]) -> list[dict]:
    for proxy in of_kind(resources, "EnvoyProxy"):
        del proxy["spec"]["filterOrder"]
    return resources


# -- the cache on a rule of an HTTPRoute ----------------------------------------------------------

def test_a_gateway_misses_then_hits(started, standin, prompt):
    envoy = started(documents("cache"))
    body = chat(prompt())
    with upstream_asked(standin, 1):
        assert [fetch(envoy.port, body).cache for _ in range(3)] == ["MISS", "HIT", "HIT"]
    assert envoy.cache_counters().get("llm_cache_upstream_asked_in_vain_total", 0) == 0


def test_a_prompt_may_exceed_the_limit_of_the_connection(started, prompt):
    envoy = started(documents("cache"))
    body = chat(prompt() + " x" * 50_000)
    assert [fetch(envoy.port, body).cache for _ in range(2)] == ["MISS", "HIT"]


def test_the_filters_stand_where_filter_order_puts_them(standin, modules):
    filters = [*IDLE, {"name": FILTER + "ratelimit"}, {"name": FILTER + "jwt_authn"},
               {"name": FILTER + "compressor"}]
    by_default = translate(without_order(documents("cache")), standin.port, modules, filters)
    assert by_default.order == ["jwt_authn", "buffer", "wasm", "rbac", "local_ratelimit",
                                "ratelimit", "compressor", "router"]
    moved = translate(documents("cache"), standin.port, modules, filters)
    assert moved.order == ["jwt_authn", "rbac", "local_ratelimit", "ratelimit", "wasm", "buffer",
                           "compressor", "router"]
    # Whichever of them there are.
    for present in ([], IDLE[:1], IDLE[1:], [{"name": FILTER + "ratelimit"}]):
        order = translate(documents("cache"), standin.port, modules, present).order
        assert order[-3:] == ["wasm", "buffer", "router"]


def test_websockets_of_the_same_host_pass(started):
    with WebSocketUpstream() as upstream:
        envoy = started(documents("cache"), upstream.port)
        assert spoken_to(envoy.port, "/v1/responses") == "/v1/responses hello"


@pytest.mark.parametrize(("path", "kind"), [
    ("/v1/files", "multipart/form-data; boundary=x"), ("/v1/chat/completions", "text/plain"),
    ("/v1/files", "application/json")])
def test_other_requests_are_not_buffered_whatever_their_length(started, standin, path, kind):
    """The buffer filter would refuse them with 413."""
    resources = documents("cache")
    of_kind(resources, "BackendTrafficPolicy")[0]["spec"]["requestBuffer"]["limit"] = "1Mi"
    envoy = started(resources)
    body = b"x" * (2 << 20)
    with upstream_asked(standin, 1):
        answer = fetch(envoy.port, body, path=path, headers={"content-type": kind})
    assert (answer.status, answer.cache) == (200, None)
    too_long = chat("x" * (2 << 20))
    assert fetch(envoy.port, too_long).status == 413


def test_the_rule_matches_the_paths_for_which_the_whole_envoy_buffers():
    (route,) = of_kind(documents("cache"), "HTTPRoute")
    path = re.compile(route["spec"]["rules"][0]["matches"][0]["path"]["value"])
    whole = re.search(r'"regex": "(\(\?i\)\[\^\?\]\*[^"]*)"', json.dumps(
        Config(ROOT / "envoy" / "envoy.yaml").tree))
    expected = re.compile(whole.group(1))
    paths = ["/v1/chat/completions", "/v1/completions", "/openai/v1/responses", "/v1/embeddings",
             "/v1/messages", "/V1/Messages/", "/v1beta/models/g:generateContent",
             "/v1beta/models/g:streamGenerateContent", "/v1/m:embedContent", "/api/chat",
             "/api/generate", "/api/embed", "/v2/chat", "/model/a.b/converse-stream",
             "/model/a.b/invoke", "/accounts/1/ai/run/@cf/meta/llama", "/", "/v1/files",
             "/v1/models", "/chat", "/api/chats", "/v1/messages/batches", "/model/converse",
             "/v1/audio/transcriptions", "/completions/1"]
    found = {text: bool(path.fullmatch(text)) for text in paths}
    assert found == {text: bool(expected.fullmatch(text)) for text in paths}
    assert set(found.values()) == {True, False}


# -- what a filter after the cache refuses --------------------------------------------------------

def rate_limited(proxy, service: RateLimitService) -> None:
    """A BackendTrafficPolicy with a global rate limit, per value of a header."""
    for route in proxy.manager["route_config"]["virtual_hosts"][0]["routes"]:
        route["route"]["rate_limits"] = [{"actions": [{"request_headers": {
            "header_name": "x-plan", "descriptor_key": "plan"}}]}]
    entry = cluster("ratelimit_cluster", service.port)
    entry["typed_extension_protocol_options"] = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}}}}
    proxy.tree["static_resources"]["clusters"].append(entry)


RATE_LIMIT = {"name": FILTER + "ratelimit", "typed_config": {
    "@type": TYPE + "ratelimit.v3.RateLimit", "domain": "llm", "failure_mode_deny": True,
    "rate_limit_service": {"transport_api_version": "V3", "grpc_service": {
        "envoy_grpc": {"cluster_name": "ratelimit_cluster"}}}}}


@pytest.mark.parametrize(("ordered", "status"), [(True, 429), (False, 200)])
def test_what_a_rate_limit_refuses_is_answered_from_the_cache_in_the_default_order(
        started, standin, prompt, ordered, status):
    resources = documents("cache")
    if not ordered:
        without_order(resources)
    with RateLimitService() as service:
        envoy = started(resources, filters=[RATE_LIMIT],
                        change=lambda proxy: rate_limited(proxy, service))
        body = chat(prompt())
        within, over = ({"x-plan": plan} for plan in ("within", REFUSED_WORD.decode()))
        with upstream_asked(standin, 1):
            assert fetch(envoy.port, body, headers=within).cache == "MISS"
            answer = fetch(envoy.port, body, headers=over)
            assert answer.status == status
            assert answer.cache == (None if ordered else "HIT")
            assert fetch(envoy.port, body, headers=within).cache == "HIT"
        # Nothing that is not answered from the cache gets past it either way.
        assert fetch(envoy.port, chat(prompt()), headers=over).status == 429
        assert service.asked


# -- failures -------------------------------------------------------------------------------------

@pytest.mark.parametrize(("fail_open", "status"), [(True, 200), (False, 503)])
def test_a_wrong_configuration_passes_requests_without_a_metric_or_fails_them(
        started, prompt, fail_open, status):
    resources = documents("cache")
    assert wasm_of(resources)["failOpen"] is True
    wasm_of(resources).update(failOpen=fail_open, config={"tll": "1h"})
    envoy = started(resources)
    body = chat(prompt())
    answers = [fetch(envoy.port, body) for _ in range(2)]
    assert [(answer.status, answer.cache) for answer in answers] == [(status, None)] * 2
    assert envoy.cache_counters() == {}
    assert "llm-cache: plugin configuration: tll: unknown key" in envoy.log()
    # The rest of the host goes on.
    assert fetch(envoy.port, None, method="GET", path="/v1/models").status == 200


# -- metrics and a shared store -------------------------------------------------------------------

def bootstrap_of(name: str) -> dict:
    (proxy,) = of_kind(documents(name), "EnvoyProxy")
    return yaml.safe_load(proxy["spec"]["bootstrap"]["value"])


def test_metrics_have_the_labels_of_the_whole_envoy(started, prompt):
    whole = Config(ROOT / "envoy" / "envoy.yaml").tree["stats_config"]
    for name in ("cache", "store", "ai-gateway"):
        assert bootstrap_of(name)["stats_config"] == whole
    envoy = started(documents("cache"))
    fetch(envoy.port, chat(prompt()))
    labels = 'api="openai_chat",result="miss",reason="absent"'
    assert f"llm_cache_requests_total{{{labels}}} " in envoy.admin("/stats/prometheus")


def test_the_file_with_a_store_is_the_one_without_and_the_store():
    cache, store = documents("cache"), documents("store")
    whole = Config(ROOT / "envoy" / "redis.yaml")
    (entry,) = of_kind(store, "EnvoyProxy")
    bootstrap = bootstrap_of("store")
    (found,) = bootstrap.pop("static_resources")["clusters"]
    assert bootstrap == bootstrap_of("cache")
    expected = whole.cluster_named("cache")
    for settings in (found, expected):
        del settings["type"], settings["load_assignment"]["endpoints"]
    assert found == expected
    entry["spec"]["bootstrap"] = of_kind(cache, "EnvoyProxy")[0]["spec"]["bootstrap"]
    http = wasm_of(store)["config"].pop("store")["http"]
    expected = whole.settings["store"]["http"]
    assert http == {**expected, "authority": http["authority"]}
    assert store == [*of_kind(cache, "EnvoyProxy"), *of_kind(cache, "EnvoyExtensionPolicy")]


def test_two_gateways_share_a_store(started, prompt, webdis):
    applied = {(document["kind"], document["metadata"]["name"]): document
               for document in [*documents("cache"), *documents("store")]}
    resources = copy.deepcopy(list(applied.values()))
    wasm_of(resources)["config"]["store"]["http"]["lookup_timeout"] = "10s"

    def here(proxy):
        proxy.at("cache", webdis.port)
    first = started(resources, change=here)
    body = chat(prompt())
    assert fetch(first.port, body).cache == "MISS"
    first.wait_until(lambda: first.cache_counters().get(
        "llm_cache_store_operations_total.operation.write.result.done"), "the write")
    with Envoy(first.config) as second:
        assert fetch(second.port, body).header("cache-status").endswith("detail=http")


# -- Envoy AI Gateway -----------------------------------------------------------------------------

MODEL = "claude-stand-in"
# What the AI Gateway's filter does in the listener: it finds the model, has the route chosen by it,
# and makes an OpenAI answer of the provider's own. (It translates the request in the cluster's
# filters, which comes later than all that is tested here.)
TRANSLATOR = {"disabled": False, "typed_config": {
    "@type": TYPE + "lua.v3.Lua", "default_source_code": {"inline_string": """
function envoy_on_request(handle)
  local body = handle:body()
  local text = body:getBytes(0, body:length())
  handle:headers():replace("x-ai-eg-model", text:match('"model": *"([^"]*)"'))
  handle:clearRouteCache()
end
function envoy_on_response(handle)
  local body = handle:body()
  local text = body:getBytes(0, body:length())
  local said = text:match('"text": *"([^"]*)"')
  if said then
    local length = body:setBytes('{"id":"x","object":"chat.completion","created":1,' ..
      '"model":"claude-stand-in","choices":[{"index":0,"finish_reason":"stop","message":' ..
      '{"role":"assistant","content":"' .. said .. '"}}],"usage":{"prompt_tokens":1,' ..
      '"completion_tokens":1,"total_tokens":2}}')
    handle:headers():replace("content-length", length)
  end
end
"""}}}
CLAUDE = {"id": "msg_1", "type": "message", "role": "assistant", "model": MODEL,
          "content": [{"type": "text", "text": "Hello from Claude"}], "stop_reason": "end_turn",
          "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}}


@pytest.fixture
def claude(standin) -> dict:
    """The headers that have the stand-in answer as Anthropic does."""
    standin.control("PUT", "/_standin/fixture/claude", json.dumps(CLAUDE).encode())
    return {"x-stainless-standin": "fixture=@claude;type=application/json"}


def of_the_ai_gateway(resources: list[dict]) -> list[dict]:
    return [*resources, ai_gateway_route([MODEL, "another"])]


def said(answer) -> str:
    return answer.json()["choices"][0]["message"]["content"]


def test_before_the_ai_gateway_the_cache_sees_one_format_and_hits(
        started, standin, prompt, claude):
    envoy = started(of_the_ai_gateway(documents("ai-gateway")), ai_gateway=TRANSLATOR)
    assert [entry["name"].removeprefix(FILTER).partition("/")[0]
            for entry in envoy.config.http_filters] == [
        "lua", "wasm", "buffer", "ext_proc", "router"]
    assert envoy.config.http_filters[3]["name"] == AI_GATEWAY
    body = chat(prompt(), model=MODEL)
    with upstream_asked(standin, 1):
        answers = [fetch(envoy.port, body, headers=claude) for _ in range(2)]
    assert [answer.cache for answer in answers] == ["MISS", "HIT"]
    assert [said(answer) for answer in answers] == ["Hello from Claude"] * 2


def test_behind_the_ai_gateway_nothing_is_stored(started, standin, prompt, claude):
    """As up to 0.7, whatever filterOrder says."""
    envoy = started(of_the_ai_gateway(documents("ai-gateway")), ai_gateway=TRANSLATOR,
                    after_the_buffer=False)
    order = envoy.config.order
    assert order.index("ext_proc") < order.index("wasm")
    body = chat(prompt(), model=MODEL)
    with upstream_asked(standin, 2):
        answers = [fetch(envoy.port, body, headers=claude) for _ in range(2)]
    assert [answer.cache for answer in answers] == ["MISS", "MISS"]
    assert [said(answer) for answer in answers] == ["Hello from Claude"] * 2
    counters = envoy.cache_counters()
    assert not counters.get("llm_cache_answers_total.result.stored")
    assert [name for name in counters if "not_stored" in name]


def test_without_the_script_the_cache_leaves_requests_of_the_ai_gateway_alone(
        started, standin, prompt, claude):
    resources = documents("ai-gateway")
    (policy,) = of_kind(resources, "EnvoyExtensionPolicy")
    del policy["spec"]["lua"]
    envoy = started(of_the_ai_gateway(resources), ai_gateway=TRANSLATOR)
    body = chat(prompt(), model=MODEL)
    with upstream_asked(standin, 2):
        answers = [fetch(envoy.port, body, headers=claude) for _ in range(2)]
    assert [answer.header("cache-status") for answer in answers] == [
        "envoy-llm-cache; fwd=bypass; detail=no_cluster"] * 2


def test_the_ai_gateway_still_refuses_unknown_models(started, standin, prompt):
    envoy = started(of_the_ai_gateway(documents("ai-gateway")), ai_gateway=TRANSLATOR)
    with upstream_asked(standin, 0):
        answer = fetch(envoy.port, chat(prompt(), model="unheard-of"))
    assert (answer.status, answer.body) == (404, b"No matching route found.")


def test_a_model_named_in_a_prompt_is_not_taken_for_the_requests(started, prompt, claude):
    envoy = started(of_the_ai_gateway(documents("ai-gateway")), ai_gateway=TRANSLATOR)
    messages = chat(prompt() + ' {"model": "another"}')["messages"]
    body = {"messages": messages, "model": MODEL}
    assert [fetch(envoy.port, body, headers=claude).cache for _ in range(2)] == ["MISS", "HIT"]


@pytest.mark.parametrize(("limited", "status"), [(True, 413), (False, 200)])
def test_the_script_needs_a_larger_limit_of_the_connection(
        started, prompt, claude, limited, status):
    resources = documents("ai-gateway")
    if limited:
        resources = [document for document in resources
                     if document["kind"] != "ClientTrafficPolicy"]
    envoy = started(of_the_ai_gateway(resources), ai_gateway=TRANSLATOR)
    body = chat(prompt() + " x" * 50_000, model=MODEL)
    assert fetch(envoy.port, body, headers=claude).status == status

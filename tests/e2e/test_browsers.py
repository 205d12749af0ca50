"""Apps in a browser: pages of other origins call the gateway with `fetch` in a real Chromium."""

import json

import pytest
from harness import browser, debian
from harness.cors_upstream import CorsUpstream
from harness.envoy import Config, Envoy
from harness.http1 import fetch

AUTHORIZATION = {"authorization": "Bearer key-of-a-page"}
CORS_FILTER = {
    "name": "envoy.filters.http.cors",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors"}}
CORS_POLICY = {
    "@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy",
    "allow_origin_string_match": [{"safe_regex": {"regex": ".*"}}],
    "allow_methods": "POST", "allow_headers": "authorization,content-type",
    "expose_headers": "x-cache,cache-status"}


@pytest.fixture(scope="module", autouse=True)
def chromium():
    try:
        browser.find()
    except debian.NoProgram as missing:
        pytest.skip(f"no Chromium: {missing}")


@pytest.fixture(scope="module")
def upstream():
    with CorsUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(upstream):
    with Envoy(Config.for_tests(upstream.port)) as envoy:
        yield envoy


def with_cors_filter(upstream, plugin: dict | None = None) -> Config:
    config = Config.for_tests(upstream.port)
    if plugin:
        config.configure(plugin)
    config.http_filters.insert(0, CORS_FILTER)
    route = config.manager["route_config"]["virtual_hosts"][0]["routes"][0]
    route["typed_per_filter_config"] = {"envoy.filters.http.cors": CORS_POLICY}
    return config


def chat(prompt: str, stream: bool = False) -> dict:
    body = {"model": "m", "messages": [{"role": "user", "content": prompt}]}
    usage = {"include_usage": True}
    return {**body, "stream": True, "stream_options": usage} if stream else body


def see(upstream, envoy, host: str, bodies: list[dict]) -> list[dict]:
    """What a page of this host sees of these chats; its origin is never the gateway's."""
    url = f"http://127.0.0.1:{envoy.port}/v1/chat/completions"
    headers = {"content-type": "application/json", **AUTHORIZATION}
    upstream.page = browser.page([
        (url, {"method": "POST", "headers": headers, "body": json.dumps(body)})
        for body in bodies])
    return browser.visit(f"http://{host}:{upstream.port}/")


def ask(envoy, body: dict, **headers: str):
    """The same request as a page's, by a program."""
    return fetch(envoy.port, body, headers={**AUTHORIZATION, **headers},
                 host=f"127.0.0.1:{envoy.port}")


def caches(seen: list[dict]) -> list[str]:
    return [answer.get("error") or answer["headers"]["x-cache"] for answer in seen]


ONE, OTHER = "127.0.0.1", "localhost"


def test_a_page_reads_the_miss_the_hit_and_the_stream_that_was_made_of_it(
        upstream, gateway, prompt):
    upstream.policy = "star"
    text = prompt()
    preflights = upstream.count("OPTIONS")
    seen = see(upstream, gateway, ONE,
               [chat(text), chat(text), chat(text, stream=True), chat(text, stream=True)])
    assert caches(seen) == ["MISS", "HIT", "HIT", "HIT"]
    assert seen[1]["body"] == seen[0]["body"]
    content = json.loads(seen[0]["body"])["choices"][0]["message"]["content"]
    assert content in seen[2]["body"]
    assert seen[2]["body"].endswith("data: [DONE]\n\n")
    assert seen[3]["body"] == seen[2]["body"]
    # Preflights go to the upstream, hit or not.
    assert upstream.count("OPTIONS") > preflights
    assert caches(see(upstream, gateway, OTHER, [chat(text)])) == ["HIT"]


def test_a_page_reads_the_stream_and_the_document_that_was_made_of_it(upstream, gateway, prompt):
    upstream.policy = "star"
    text = prompt()
    seen = see(upstream, gateway, ONE,
               [chat(text, stream=True), chat(text, stream=True), chat(text)])
    assert caches(seen) == ["MISS", "HIT", "HIT"]
    assert seen[1]["body"] == seen[0]["body"]
    content = json.loads(seen[2]["body"])["choices"][0]["message"]["content"]
    assert content in seen[0]["body"]


def test_what_a_page_may_read_does_not_come_from_what_no_page_asked_for(
        upstream, gateway, prompt):
    upstream.policy = "star"
    body = chat(prompt())
    assert ask(gateway, body).cache == "MISS"
    assert ask(gateway, body).cache == "HIT"
    assert caches(see(upstream, gateway, ONE, [body, body])) == ["MISS", "HIT"]
    script = ask(gateway, body)
    assert (script.cache, script.header("access-control-allow-origin")) == ("HIT", "*")


def test_an_answer_for_one_origin_is_asked_for_again_by_another(upstream, gateway, prompt):
    upstream.policy = "echo"
    body = chat(prompt())
    assert caches(see(upstream, gateway, ONE, [body, body])) == ["MISS", "HIT"]
    seen = see(upstream, gateway, OTHER, [body, body])
    assert caches(seen) == ["MISS", "HIT"]
    assert seen[0]["headers"]["cache-status"] == "envoy-llm-cache; fwd=miss; detail=origin"
    script = ask(gateway, body)
    assert (script.cache, script.header("access-control-allow-origin")) == ("HIT", None)


def test_with_envoy_s_cors_filter_nothing_is_doubled(upstream, prompt):
    with Envoy(with_cors_filter(upstream)) as envoy:
        for policy in ("none", "star", "echo"):
            upstream.policy = policy
            text = prompt()
            preflights = upstream.count("OPTIONS")
            seen = see(upstream, envoy, ONE, [chat(text), chat(text), chat(text, stream=True)])
            assert caches(seen) == ["MISS", "HIT", "HIT"], policy
            # The filter has answered them.
            assert upstream.count("OPTIONS") == preflights
            origin = f"http://{ONE}:{upstream.port}"
            raw = ask(envoy, chat(text), origin=origin)
            assert raw.cache == "HIT"
            for name in ("access-control-allow-origin", "access-control-expose-headers"):
                values = [value for key, value in raw.headers if key == name]
                assert len(values) == 1, f"{policy}: {name}: {values}"
            assert raw.header("access-control-allow-origin") == origin


def test_where_envoy_speaks_to_browsers_all_pages_share(upstream, prompt):
    upstream.policy = "none"
    with Envoy(with_cors_filter(upstream, {"respond": {"cors": "envoy"}})) as envoy:
        body = chat(prompt())
        assert ask(envoy, body).cache == "MISS"
        for host in (ONE, OTHER):
            assert caches(see(upstream, envoy, host, [body])) == ["HIT"]


def test_a_preflight_passes_untouched(upstream, gateway):
    upstream.policy = "star"
    asked = {"origin": "http://page.example", "access-control-request-method": "POST",
             "access-control-request-headers": "authorization"}
    answer = fetch(gateway.port, None, method="OPTIONS", headers=asked)
    assert answer.status == 200
    assert answer.header("access-control-allow-origin") == "*"
    assert answer.header("access-control-allow-headers") == "authorization"
    assert (answer.cache, answer.header("cache-status")) == (None, None)

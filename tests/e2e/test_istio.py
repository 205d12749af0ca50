"""The Envoy that the files of envoy/istio/ lead to, on a real Envoy. `harness.istio` is the port of
what Istio does with them; Istio itself does not run here.
"""

import copy
import hashlib
import json
import pathlib
import time

import pytest
import yaml
from asserts import upstream_asked
from chats import chat
from harness import istio
from harness.certificates import Issuer
from harness.envoy import ROOT, WASM, Config, Envoy
from harness.http1 import fetch
from harness.websocket_upstream import WebSocketUpstream, spoken_to

FOLDER = ROOT / "envoy" / "istio"
WAYS = ("image", "image-with-vm-id", "file")
# The name of the filter, and what comes between it and the buffer filter.
ORDERS = {
    "image": ["istio-system.envoy-llm-cache", "envoy.filters.http.grpc_stats",
              "envoy.filters.http.fault", "envoy.filters.http.cors", "envoy.filters.http.buffer"],
    "image-with-vm-id": ["envoy-llm-cache", "envoy.filters.http.buffer"],
    "file": ["envoy_llm_cache", "envoy.filters.http.buffer"]}
# What authorization would add: it refuses a word, and stands for all that belongs before the cache.
REFUSES = {
    "name": "envoy.filters.http.rbac",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
        "rules": {"action": "DENY", "policies": {"refused": {
            "permissions": [{"header": {"name": "x-refuse", "present_match": True}}],
            "principals": [{"any": True}]}}}}}


def documents(*names: str) -> list[dict]:
    return [document for name in names
            for document in yaml.safe_load_all((FOLDER / f"{name}.yaml").read_text())]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> pathlib.Path:
    return tmp_path_factory.mktemp("istio")


@pytest.fixture
def made(envoys, files):
    """Makes the configuration that these resources lead to."""
    def make(resources: list[dict], filters: list[dict] = (), fetches: bool = True,
             upstream: int | None = None) -> Config:
        config = envoys.config().without("envoy_llm_cache").without("envoy.filters.http.buffer")
        if upstream:
            config.upstream_address["port_value"] = upstream
        said = json.dumps([resources, fetches], sort_keys=True)
        folder = files / hashlib.sha256(said.encode()).hexdigest()[:16]
        folder.mkdir(exist_ok=True)
        istio.gateway(resources, config, folder, istio.Agent(fetches), list(filters))
        for entry in config.http_filters:
            code = entry.get("typed_config", {}).get("config", {}).get("vm_config", {}).get("code")
            if code:
                assert code == {"local": {"filename": "/var/local/wasm/plugin.wasm"}}
                code["local"]["filename"] = str(WASM)
        return config
    return make


@pytest.fixture
def started(envoys, made):
    """Starts the gateway that these resources lead to, or finds the one that runs already."""
    def start(*arguments, **named) -> Envoy:
        return envoys.shared(made(*arguments, **named))
    return start


@pytest.mark.parametrize("way", WAYS)
def test_a_gateway_misses_then_hits(started, standin, prompt, way):
    envoy = started(documents(way), [REFUSES])
    body = chat(prompt())
    with upstream_asked(standin, 1):
        assert [fetch(envoy.port, body).cache for _ in range(3)] == ["MISS", "HIT", "HIT"]
    assert fetch(envoy.port, body, headers={"x-refuse": "1"}).status == 403
    assert envoy.cache_counters().get("llm_cache_upstream_asked_in_vain_total", 0) == 0


@pytest.mark.parametrize("way", WAYS)
def test_the_buffer_filter_comes_after_the_cache_in_whatever_order_the_resources_come(made, way):
    for resources in (documents(way), documents(way)[::-1]):
        names = [entry["name"] for entry in made(resources, [REFUSES]).http_filters]
        start = names.index(ORDERS[way][0])
        assert names[start:] == [*ORDERS[way], "envoy.filters.http.router"]
        assert names.index("envoy.filters.http.rbac") < start


@pytest.mark.parametrize("way", WAYS)
def test_websockets_of_the_same_gateway_pass(started, way):
    with WebSocketUpstream() as upstream:
        envoy = started(documents(way), upstream=upstream.port)
        assert spoken_to(envoy.port, "/v1/responses") == "/v1/responses hello"


@pytest.mark.parametrize("way", WAYS)
def test_the_buffer_filter_is_that_of_the_whole_envoy(envoys, way):
    (found,) = [patch["patch"]["value"] for resource in istio.of_kind(documents(way), "EnvoyFilter")
                for patch in resource["spec"]["configPatches"]
                if patch["patch"]["value"]["name"] == "envoy.filters.http.buffer"]
    (expected,) = [entry for entry in envoys.config().http_filters
                   if entry["name"] == "envoy.filters.http.buffer"]
    assert found == expected


@pytest.mark.parametrize("way", ["image", "image-with-vm-id"])
def test_without_the_image_requests_pass_uncached(started, prompt, way):
    envoy = started(documents(way), fetches=False)
    body = chat(prompt())
    answers = [fetch(envoy.port, body) for _ in range(2)]
    assert [(answer.status, answer.cache) for answer in answers] == [(200, None)] * 2


def test_without_the_image_any_other_strategy_refuses_what_goes_to_other_services_too(started):
    resources = documents("image")
    (plugin,) = istio.of_kind(resources, "WasmPlugin")
    plugin["spec"]["failStrategy"] = "FAIL_RELOAD"
    envoy = started(resources, fetches=False)
    answer = fetch(envoy.port, None, method="GET", path="/another/service")
    assert (answer.status, answer.body) == (403, b"RBAC: access denied")


def wrong(resources: list[dict]) -> list[dict]:
    """The same with a configuration that the filter refuses."""
    for resource in resources:
        if resource["kind"] == "WasmPlugin":
            resource["spec"]["pluginConfig"] = {"tll": "1h"}
        else:
            for patch in resource["spec"]["configPatches"]:
                if patch["applyTo"] == "EXTENSION_CONFIG":
                    config = patch["patch"]["value"]["typed_config"]["config"]
                    config["configuration"]["value"] = {"tll": "1h"}
    return resources


@pytest.mark.parametrize(("way", "status"), [("image", 500), ("image-with-vm-id", 200)])
def test_what_a_wrong_first_configuration_costs(started, prompt, way, status):
    """A WasmPlugin cannot say what runs meanwhile; config_discovery can."""
    envoy = started(wrong(documents(way)))
    body = chat(prompt())
    answers = [fetch(envoy.port, body) for _ in range(2)]
    assert [(answer.status, answer.cache) for answer in answers] == [(status, None)] * 2
    assert fetch(envoy.port, None, method="GET", path="/another/service").status == status
    assert "llm-cache: plugin configuration: tll: unknown key" in envoy.log()


def test_a_wrong_later_configuration_is_refused_and_the_gateway_keeps_the_one_it_has(
        envoys, prompt, tmp_path):
    config = envoys.config().without("envoy_llm_cache").without("envoy.filters.http.buffer")
    body = chat(prompt())
    with Envoy(istio.gateway(documents("image"), config, tmp_path)) as envoy:
        assert fetch(envoy.port, body).cache == "MISS"
        (plugin,) = istio.of_kind(wrong(documents("image")), "WasmPlugin")
        istio.deliver(istio.Agent().convert(istio.extension_of(plugin)), tmp_path)
        envoy.wait_until(lambda: any(envoy.stats("extension_config_discovery.*update_rejected")
                                     .values()), "the refusal")
        assert fetch(envoy.port, body).cache == "HIT"


@pytest.mark.parametrize(("same_vm", "outcomes"), [(True, ["MISS", "HIT"]),
                                                    (False, ["MISS", "MISS"])])
def test_plugins_without_a_vm_id_share_one_memory(started, prompt, same_vm, outcomes):
    """Two plugins of one proxy, each of which takes part for one value of a header."""
    resources = documents("image")
    (plugin,) = istio.of_kind(resources, "WasmPlugin")
    other = copy.deepcopy(plugin)
    other["metadata"]["name"] = "another"
    for each, value in ((plugin, "1"), (other, "2")):
        each["spec"]["pluginConfig"] = {"mode": "disabled", "rules": [
            {"match": {"header": {"x-which": value}}, "mode": "read_write"}]}
    if not same_vm:
        resources = [*documents("image-with-vm-id"), other]
        (configuration,) = [patch["patch"]["value"]["typed_config"]["config"]["configuration"]
                            for patch in resources[0]["spec"]["configPatches"]
                            if patch["applyTo"] == "EXTENSION_CONFIG"]
        configuration["value"] = plugin["spec"]["pluginConfig"]
    else:
        resources.append(other)
    envoy = started(resources)
    body = chat(prompt())
    assert [fetch(envoy.port, body, headers={"x-which": value}).cache
            for value in ("1", "2")] == outcomes


def test_metrics_have_the_labels_of_the_whole_envoy(envoys, started, prompt):
    (patch,) = documents("metrics")[0]["spec"]["configPatches"]
    assert patch["patch"]["value"]["stats_config"] == envoys.config().tree["stats_config"]
    envoy = started(documents("image", "metrics"))
    fetch(envoy.port, chat(prompt()))
    labels = 'api="openai_chat",result="miss",reason="absent"'
    assert f"llm_cache_requests_total{{{labels}}} " in envoy.admin("/stats/prometheus")


@pytest.mark.parametrize("model", ["gpt-4.1", "tag.x;.cache.y.response_code.200.reason.z"])
def test_the_name_of_a_model_is_one_label(started, prompt, model):
    resources = documents("image", "metrics")
    plugin = istio.of_kind(resources, "WasmPlugin")[0]
    plugin["spec"].setdefault("pluginConfig", {})["metrics"] = {"model": True}
    envoy = started(resources)
    body = chat(prompt(), model=model)
    for _ in range(2):
        fetch(envoy.port, body)
    label = model.replace(";", "_")
    # Istio's own tags make labels of their own out of some words, and leave the rest as it is.
    lines = [line for line in envoy.admin("/stats/prometheus").splitlines()
             if 'result="hit"' in line and f'model="{label}"' in line]
    assert [line.rpartition(" ")[2] for line in lines] == ["1"]
    assert all(line.startswith("llm_cache_requests_total{") for line in lines)
    assert not any('reason="z"' in line for line in lines)


@pytest.mark.parametrize(("namespace", "stray"), [("llm-store", ""), ("llm-cache", 'cache="svc",')])
def test_the_cluster_of_a_store_is_one_label(started, prompt, namespace, stray):
    """Istio's own tags make a label of their own out of `cache.` and the next word."""
    resources = documents("image", "metrics")
    (plugin,) = istio.of_kind(documents("store"), "WasmPlugin")
    store = plugin["spec"]["pluginConfig"]["store"]["http"]
    store["cluster"] = store["cluster"].replace("llm-store", namespace)
    store["breaker"] = {"failures": 1}
    istio.of_kind(resources, "WasmPlugin")[0]["spec"] = plugin["spec"]
    envoy = started(resources)
    # There is no such cluster here, so that the breaker opens.
    fetch(envoy.port, chat(prompt()))
    expected = f'llm_cache_breakers{{{stray}cluster="{store["cluster"]}",state="open"}} 1'
    envoy.wait_until(lambda: expected in envoy.admin("/stats/prometheus"), expected)


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


def jwt_authn(resource: dict, issuer: Issuer) -> dict:
    """`RequestAuthentication` as pilot/pkg/security/authn/policy_applier.go makes it a filter."""
    providers = {}
    for number, rule in enumerate(resource["spec"]["jwtRules"]):
        providers[f"origins-{number}"] = {
            "issuer": rule["issuer"], "forward": rule.get("forwardOriginalToken", False),
            "payload_in_metadata": "payload",
            "local_jwks": {"inline_string": issuer.jwks()},
            "claim_to_headers": [{"header_name": entry["header"], "claim_name": entry["claim"]}
                                 for entry in rule.get("outputClaimToHeaders", [])]}
    any_of = [*({"provider_name": name} for name in providers), {"allow_missing": {}}]
    return {"name": "envoy.filters.http.jwt_authn", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3."
                 "JwtAuthentication",
        "providers": providers, "rules": [{"match": {"prefix": "/"}, "requires": {
            "requires_any": {"requirements": any_of}}}]}}


def token(issuer: Issuer, subject: str, **claims) -> dict:
    """A new token each time."""
    return {"authorization": "Bearer " + issuer.token(
        iss="https://issuer.example", sub=subject, exp=int(time.time()) + 3600,
        jti=str(time.monotonic_ns()), **claims)}


@pytest.mark.parametrize(("key", "outcomes"), [
    # The metadata that Istio keeps: the issuer and the subject.
    (None, ["MISS", "HIT", "MISS"]),
    # The claim that it puts into a header.
    ({"tenant": {"header": "x-org"}}, ["MISS", "HIT", "HIT"])], ids=["metadata", "claim"])
def test_callers_are_told_apart_by_what_istio_leaves_of_their_tokens(
        started, prompt, issuer, key, outcomes):
    resources = documents("image")
    if key:
        (plugin,) = istio.of_kind(resources, "WasmPlugin")
        plugin["spec"]["pluginConfig"]["key"] = key
    (authentication,) = istio.of_kind(documents("callers"), "RequestAuthentication")
    envoy = started(resources, [jwt_authn(authentication, issuer)])
    body = chat(prompt())
    seen = [fetch(envoy.port, body, credential=None,
                  headers=token(issuer, subject, org_id="acme")).cache
            for subject in ("one", "one", "two")]
    assert seen == outcomes

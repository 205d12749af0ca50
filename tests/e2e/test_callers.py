"""Nobody gets what was answered to somebody else, also where a filter before the cache has taken
away what told them apart."""

import copy
import http.client
import itertools
import json
import ssl
import time

import boto3
import botocore.config
import pytest
from answers import PAIRS
from asserts import upstream_asked
from chats import chat
from harness.certificates import Authority, Files, Issuer
from harness.envoy import Config, Envoy
from harness.http1 import fetch

TYPE = "type.googleapis.com/envoy.extensions"
PATH = "/v1/chat/completions"
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


def with_jwt(config: Config, issuer: Issuer, **provider) -> Config:
    """Tokens are verified before the cache, and taken away, as is the default of `jwt_authn`."""
    provider = {"issuer": "https://issuer.test", "payload_in_metadata": "payload",
                "local_jwks": {"inline_string": issuer.jwks()}, **provider}
    config.http_filters.insert(0, {
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": f"{TYPE}.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": {"test": provider},
            "rules": [{"match": {"prefix": "/"}, "requires": {"requires_any": {"requirements": [
                {"provider_name": "test"}, {"allow_missing": {}}]}}}]}})
    return config


def token(issuer: Issuer, subject: str, **claims) -> dict:
    """The headers of a caller with a token that no other has."""
    claims = {"iss": "https://issuer.test", "sub": subject, "exp": int(time.time()) + 3600,
              "jti": str(next(numbers)), "groups": ["all", None], **claims}
    claims = {name: value for name, value in claims.items() if value is not ...}
    return {"authorization": f"Bearer {issuer.token(**claims)}"}


def caches(port: int, body, *headers: dict) -> list:
    return [fetch(port, body, headers=each, credential=None).cache for each in headers]


def detail(answer) -> str | None:
    return answer.header("cache-status").partition("detail=")[2] or None


def test_callers_whose_verified_tokens_are_gone_have_answers_of_their_own(
        envoys, standin, prompt, issuer, workers):
    envoy = envoys.shared(with_jwt(envoys.config(), issuer), workers)
    body = chat(prompt())
    with upstream_asked(standin, 2):
        assert caches(envoy.port, body, token(issuer, "one"), token(issuer, "two")) \
            == ["MISS", "MISS"]
        # Each token is a new one.
        for subject in ("one", "two", "one", "two"):
            assert caches(envoy.port, body, token(issuer, subject)) == ["HIT"]
    same_subject = token(issuer, "one", name="other", groups=[])
    assert caches(envoy.port, body, same_subject) == ["HIT"]


@pytest.mark.parametrize("extra", [{"x-user-id": "alice"}, {"x-forwarded-email": "a1@example.test"},
                                   {"x-api-key": "EMPTY"}, {"api-key": "sk-no-key-required"}],
                         ids=str)
def test_a_header_that_any_client_may_send_does_not_replace_a_verified_token(
        envoys, prompt, issuer, extra):
    envoy = envoys.shared(with_jwt(envoys.config(), issuer))
    body = chat(prompt())
    alice, bob = ({**token(issuer, name), **extra} for name in ("alice", "bob"))
    again = {**token(issuer, "alice"), **extra}
    assert caches(envoy.port, body, alice, bob, again) == ["MISS", "MISS", "HIT"]


def test_a_token_without_a_subject_is_its_own_caller(envoys, prompt, issuer):
    envoy = envoys.shared(with_jwt(envoys.config(), issuer))
    body = chat(prompt())
    one, two = (token(issuer, ..., email=f"{name}@test") for name in ("one", "two"))
    assert caches(envoy.port, body, one, two, one, two) == ["MISS", "MISS", "HIT", "HIT"]


def test_a_request_without_a_valid_token_has_no_caller(envoys, standin, prompt, issuer):
    config = with_jwt(envoys.config(), issuer, failed_status_in_metadata="failed",
                      header_in_metadata="header")
    requires = config.http_filters[0]["typed_config"]["rules"][0]["requires"]["requires_any"]
    requires["requirements"][1] = {"allow_missing_or_failed": {}}
    envoy = envoys.shared(config)
    body = chat(prompt())
    bad = {"authorization": token(issuer, "one")["authorization"][:-8] + "AAAAAAAA",
           "x-note": "refused"}
    with upstream_asked(standin, 2):
        for headers in ({}, {"cookie": "theme=dark"}):
            answer = fetch(envoy.port, body, headers=headers, credential=None)
            assert (answer.cache, detail(answer)) == ("BYPASS", "no_tenant")
    # What was refused may stay where it is, and then it stands for who sent it.
    assert fetch(envoy.port, body, headers=bad, credential=None).cache in ("BYPASS", "MISS")
    assert caches(envoy.port, body, token(issuer, "one")) == ["MISS"]


def test_a_request_whose_key_was_verified_and_removed_has_no_caller(envoys, standin, prompt):
    config = envoys.config()
    config.http_filters.insert(0, {
        "name": "envoy.filters.http.api_key_auth",
        "typed_config": {
            "@type": f"{TYPE}.filters.http.api_key_auth.v3.ApiKeyAuth",
            "credentials": [{"key": "key-one", "client": "one"}, {"key": "key-two",
                                                                  "client": "two"}],
            "key_sources": [{"header": "x-key"}],
            "forwarding": {"hide_credentials": True}}})
    envoy = envoys.shared(config)
    body = chat(prompt())
    with upstream_asked(standin, 4):
        for _ in range(2):
            for key in ("key-one", "key-two"):
                answer = fetch(envoy.port, body, headers={"x-key": key}, credential=None)
                assert (answer.status, answer.cache, detail(answer)) \
                    == (200, "BYPASS", "no_tenant")


def test_the_clients_that_the_filter_before_names_have_answers_of_their_own(envoys, prompt):
    config = envoys.config({"key": {"tenant": {"header": "x-client"}}})
    config.http_filters.insert(0, {
        "name": "envoy.filters.http.api_key_auth",
        "typed_config": {
            "@type": f"{TYPE}.filters.http.api_key_auth.v3.ApiKeyAuth",
            "credentials": [{"key": f"key-{n}", "client": str(n % 2)} for n in range(4)],
            "key_sources": [{"header": "x-key"}],
            "forwarding": {"header": "x-client", "hide_credentials": True}}})
    envoy = envoys.shared(config)
    body = chat(prompt())
    keys = [{"x-key": f"key-{n}"} for n in range(4)]
    assert caches(envoy.port, body, *keys) == ["MISS", "MISS", "HIT", "HIT"]


@pytest.mark.parametrize("claim", ["header", "metadata"])
def test_a_claim_tells_tenants_apart_whatever_token_they_have(envoys, prompt, issuer, claim):
    tenant = {"header": {"header": "x-team"}, "metadata": {
        "metadata": ["envoy.filters.http.jwt_authn", "payload", "team"]}}[claim]
    config = with_jwt(envoys.config({"key": {"tenant": tenant}}), issuer,
                      claim_to_headers=[{"header_name": "x-team", "claim_name": "team"}])
    envoy = envoys.shared(config)
    body = chat(prompt())
    red, blue = (lambda subject, team=team: token(issuer, subject, team=team)
                 for team in ("red", "blue"))
    assert caches(envoy.port, body, red("one"), red("two"), blue("three"), blue("one")) \
        == ["MISS", "HIT", "MISS", "HIT"]
    # The filter before takes away what a client says of itself, or what it says is not looked at.
    without = fetch(envoy.port, body, headers={**token(issuer, "four"), "x-team": "red"})
    assert (without.cache, detail(without)) == ("BYPASS", "no_tenant")


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def with_mtls(config: Config, authority: Authority) -> Config:
    server = authority.issue("llm.test")
    certificate = {"certificate_chain": {"filename": str(server.certificate)},
                   "private_key": {"filename": str(server.key)}}
    config.listener["filter_chains"][0]["transport_socket"] = {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{TYPE}.transport_sockets.tls.v3.DownstreamTlsContext",
            "require_client_certificate": True,
            "common_tls_context": {
                "tls_certificates": [certificate],
                "validation_context": {"trusted_ca": {"filename": str(authority.path)}}}}}
    return config


def over_tls(port: int, body, authority: Authority, client: Files, headers=None):
    context = ssl.create_default_context(cafile=str(authority.path))
    context.check_hostname = False
    context.load_cert_chain(client.certificate, client.key)
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=60)
    headers = {"content-type": "application/json", "host": "llm.test", **(headers or {})}
    connection.request("POST", PATH, json.dumps(body), headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.headers["x-cache"]


def test_clients_that_only_a_certificate_tells_apart_have_answers_of_their_own(
        envoys, standin, prompt, authority, workers):
    envoy = envoys.shared(with_mtls(envoys.config(), authority), workers)
    body = chat(prompt())
    one, two = authority.issue("one.test"), authority.issue("two.test")
    with upstream_asked(standin, 2):
        found = [over_tls(envoy.port, body, authority, client) for client in (one, two, one, two)]
    assert found == ["MISS", "MISS", "HIT", "HIT"]


def test_a_placeholder_does_not_replace_a_certificate(envoys, prompt, authority):
    envoy = envoys.shared(with_mtls(envoys.config(), authority))
    body = chat(prompt())
    placeholder = {"authorization": "Bearer EMPTY"}
    one, two = authority.issue("one.test"), authority.issue("two.test")
    found = [over_tls(envoy.port, body, authority, client, placeholder)
             for client in (one, two, one, two)]
    assert found == ["MISS", "MISS", "HIT", "HIT"]


@pytest.mark.parametrize("field", ["sha256", "uri_san", "dns_san", "subject"])
def test_a_field_of_the_certificate_tells_tenants_apart(envoys, prompt, authority, field):
    config = envoys.config({"key": {"tenant": {"certificate": field}}})
    envoy = envoys.shared(with_mtls(config, authority))
    body = chat(prompt())
    first, renewed = (authority.issue("one.test", "spiffe://test/one") for _ in range(2))
    other = authority.issue("two.test", "spiffe://test/two")
    found = [over_tls(envoy.port, body, authority, client,
                      {"authorization": f"Bearer {next(numbers)}"})
             for client in (first, other, first, renewed)]
    assert found == ["MISS", "MISS", "HIT", "MISS" if field == "sha256" else "HIT"]


def test_all_of_several_distinctions_must_be_there_and_be_the_same(envoys, prompt, issuer):
    tenant = [{"metadata": ["envoy.filters.http.jwt_authn", "payload", "team"]},
              {"header": "x-project"}]
    envoy = envoys.shared(with_jwt(envoys.config({"key": {"tenant": tenant}}), issuer))
    body = chat(prompt())

    def headers(team, project) -> dict:
        return {**token(issuer, "one", team=team), **({"x-project": project} if project else {})}
    assert caches(envoy.port, body, headers("red", "a"), headers("red", "a"), headers("red", "b"),
                  headers("blue", "a"), headers("red", ""), headers(..., "a")) \
        == ["MISS", "HIT", "MISS", "MISS", "BYPASS", "BYPASS"]


@pytest.mark.parametrize("name", ["authorization", "proxy-authorization", "x-auth-request-user",
                                  "x-goog-authenticated-user-id", "cf-access-jwt-assertion",
                                  "x-amzn-oidc-data", "x-ms-client-principal", "apikey",
                                  "x-consumer-username", "ocp-apim-subscription-key",
                                  "x-litellm-api-key", "x-portkey-api-key", "helicone-auth",
                                  "cf-aig-authorization", "x-rapidapi-key", "cookie"])
def test_a_header_that_stands_for_its_caller_tells_callers_apart(single, prompt, name):
    body = chat(prompt())
    one, two = ({name: f"session={number}-0123456789abcdef"} for number in (1, 2))
    assert caches(single.port, body, one, two, one, two) == ["MISS", "MISS", "HIT", "HIT"]


def test_a_key_in_the_query_stands_for_its_caller(single, standin, prompt):
    pair = next(pair for pair in PAIRS if pair.api == "gemini")
    directive = pair.standin(standin, streams=False)
    body = {"contents": [{"role": "user", "parts": [{"text": prompt()}]}]}
    path = "/v1beta/models/gemini-2.0-flash:generateContent?key="
    keys = [f"{name}-0123456789abcdef" for name in ("one", "two", "one", "two")]
    found = [fetch(single.port, body, path + key, credential=None, standin=directive).cache
             for key in keys]
    assert found == ["MISS", "MISS", "HIT", "HIT"]


def test_local_models_without_credentials_share_if_the_configuration_says_so(
        envoys, standin, prompt):
    envoy = envoys.configured({"key": {"anonymous": "share"}})
    body = chat(prompt())
    with upstream_asked(standin, 2):
        assert caches(envoy.port, body, {}, {"cookie": "theme=dark"}, {"x-api-key": "k"}, {}) \
            == ["MISS", "HIT", "MISS", "HIT"]


def test_requests_that_clients_sign_pass_uncached_with_a_reason(single, standin, prompt):
    events = []
    client = boto3.client(
        "bedrock-runtime", region_name="us-east-1", endpoint_url=single.url,
        aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="secret",
        config=botocore.config.Config(retries={"max_attempts": 1}))
    client.meta.events.register(
        "after-call.bedrock-runtime.Converse",
        lambda http_response, **_: events.append(dict(http_response.headers)))
    question = [{"role": "user", "content": [{"text": prompt()}]}]
    with upstream_asked(standin, 2):
        for _ in range(2):
            client.converse(modelId="anthropic.claude-3", messages=question)
    for headers in events:
        assert headers["cache-status"] == "envoy-llm-cache; fwd=bypass; detail=signed_request"


def test_requests_that_envoy_signs_behind_the_cache_hit(envoys, standin, prompt):
    config = envoys.config()
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    config.cluster["typed_extension_protocol_options"] = {options: {
        "@type": f"type.googleapis.com/{options}",
        "explicit_http_config": {"http_protocol_options": {}},
        "http_filters": [
            {"name": "envoy.filters.http.aws_request_signing", "typed_config": {
                "@type": f"{TYPE}.filters.http.aws_request_signing.v3.AwsRequestSigning",
                "service_name": "bedrock", "region": "us-east-1",
                "use_unsigned_payload": True,
                "credential_provider": {"inline_credential": {
                    "access_key_id": "AKIDEXAMPLE", "secret_access_key": "secret"}}}},
            {"name": "envoy.filters.http.upstream_codec", "typed_config": {
                "@type": f"{TYPE}.filters.http.upstream_codec.v3.UpstreamCodec"}}]}}
    envoy = envoys.shared(config)
    body = chat(prompt())
    client = {"x-api-key": "of-the-client"}
    with upstream_asked(standin, 1):
        assert caches(envoy.port, body, client, client) == ["MISS", "HIT"]
    assert dict(standin.last()["headers"])["authorization"].startswith("AWS4-")


def other_upstream(config: Config, name: str, **match) -> Config:
    """A second cluster, and a route to it before all others."""
    cluster = copy.deepcopy(config.cluster)
    cluster["name"] = cluster["load_assignment"]["cluster_name"] = name
    config.tree["static_resources"]["clusters"].append(cluster)
    routes = config.manager["route_config"]["virtual_hosts"][0]["routes"]
    route = copy.deepcopy(routes[0])
    route["match"].update(match)
    route["route"]["cluster"] = name
    routes.insert(0, route)
    return config


def test_a_route_by_a_header_that_is_in_no_key_leads_to_answers_of_its_own(
        envoys, standin, prompt, workers):
    config = other_upstream(envoys.config(), "other", headers=[
        {"name": "x-provider", "string_match": {"exact": "other"}}])
    envoy = envoys.shared(config, workers)
    body = chat(prompt())
    with upstream_asked(standin, 2):
        here, there = (fetch(envoy.port, body, headers={"x-provider": name})
                       for name in ("here", "other"))
        assert (here.cache, there.cache) == ("MISS", "MISS")
        # From the second time on, requests take the short way.
        for _ in range(3):
            for first in (here, there):
                name = "here" if first is here else "other"
                again = fetch(envoy.port, body, headers={"x-provider": name})
                assert (again.cache, again.body) == ("HIT", first.body)


def lua(code: str) -> dict:
    return {"name": "lua", "typed_config": {
        "@type": f"{TYPE}.filters.http.lua.v3.Lua", "default_source_code": {"inline_string":
            "function envoy_on_request(handle)\n" + code + "\nend"}}}


def by_provider(envoys) -> Config:
    return other_upstream(envoys.config(), "other", headers=[
        {"name": "x-provider", "string_match": {"exact": "other"}}])


TO_THE_OTHER = """
    if handle:headers():get("x-elsewhere") then
        handle:headers():replace("x-provider", "other")
    end"""


@pytest.mark.parametrize("place", [0, 1], ids=["before", "after"])
def test_the_key_knows_the_cluster_that_a_filter_has_chosen(envoys, standin, prompt, place):
    """Whether it stands before the cache, or between it and the buffer filter."""
    config = by_provider(envoys)
    config.http_filters.insert(place, lua(TO_THE_OTHER))
    envoy = envoys.shared(config)
    body = chat(prompt())
    with upstream_asked(standin, 2):
        found = [fetch(envoy.port, body, headers=headers).cache
                 for headers in 2 * ({"x-elsewhere": "yes"}, {})]
    assert found == ["MISS", "MISS", "HIT", "HIT"]


def test_an_answer_of_a_cluster_that_is_chosen_when_the_key_is_made_is_not_stored(envoys, prompt):
    config = by_provider(envoys)
    config.http_filters.insert(2, lua(TO_THE_OTHER))
    with Envoy(config) as envoy:
        body = chat(prompt())
        found = [fetch(envoy.port, body, headers=headers).cache
                 for headers in ({"x-elsewhere": "yes"}, {}, {"x-elsewhere": "yes"})]
        # The last one has the key of the second: that it would go elsewhere can nobody know.
        assert found == ["MISS", "MISS", "HIT"]
        rerouted = "llm_cache_answers_total.result.not_stored.reason.rerouted"
        assert envoy.cache_counters()[rerouted] == 1


def test_the_key_knows_the_route_that_holds_once_codings_are_narrowed(envoys, standin, prompt):
    """A filter has changed what the route is chosen by, and has not said so; Envoy looks once more
    when a plugin changes a header."""
    config = by_provider(envoys)
    config.http_filters.insert(0, lua("handle:headers():replace('x-provider', 'other')"))
    config.http_filters[0]["typed_config"]["clear_route_cache"] = False
    envoy = envoys.shared(config)
    body = chat(prompt())
    with upstream_asked(standin, 2):
        found = [fetch(envoy.port, body, headers={"accept-encoding": codings}).cache
                 for codings in ("gzip, br", "gzip", "gzip, br", "gzip")]
        assert found == ["MISS", "MISS", "HIT", "HIT"]


def test_routes_to_one_cluster_are_told_apart_by_their_names(envoys, prompt):
    config = envoys.config()
    routes = config.manager["route_config"]["virtual_hosts"][0]["routes"]
    for name in ("one", "two"):
        route = copy.deepcopy(routes[-1])
        route["name"] = name
        route["match"]["headers"] = [{"name": "x-route", "string_match": {"exact": name}}]
        route["request_headers_to_add"] = [{"header": {"key": "x-variant", "value": name}}]
        routes.insert(0, route)
    envoy = envoys.shared(config)
    body = chat(prompt())
    found = [fetch(envoy.port, body, headers={"x-route": name}).cache
             for name in ("one", "two", "one", "two")]
    assert found == ["MISS", "MISS", "HIT", "HIT"]


def test_listeners_with_one_vm_and_different_upstreams_do_not_share(envoys, standin, prompt):
    config = envoys.config()
    second = copy.deepcopy(config.listener)
    second["name"] = "second"
    cluster = copy.deepcopy(config.cluster)
    cluster["name"] = cluster["load_assignment"]["cluster_name"] = "other"
    config.tree["static_resources"]["clusters"].append(cluster)
    manager = second["filter_chains"][0]["filters"][0]["typed_config"]
    manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"]["cluster"] = "other"
    config.tree["static_resources"]["listeners"].append(second)
    envoy = envoys.shared(config)
    body = chat(prompt())
    with upstream_asked(standin, 2):
        found = [fetch(envoy.ports()[name], body).cache
                 for name in ("llm", "second", "llm", "second")]
    assert found == ["MISS", "MISS", "HIT", "HIT"]

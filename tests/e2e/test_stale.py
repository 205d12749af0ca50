"""What has expired is served while it is refreshed, or because the upstream fails."""

import copy
import http.client
import json
import re
import time

import http_stores
import pytest
from asserts import upstream_asked, vm_survives
from chats import chat
from crowds import Counted, Crowd, outcome
from harness.envoy import Envoy
from harness.http1 import Http1Connection, fetch, request_bytes
from harness.http2 import Http2Connection
from harness.standin import Standin

WINDOW = "1h"
PLUGIN = {"rules": [
    {"match": {"header": {"x-rule": "revalidate"}}, "stale_while_revalidate": WINDOW},
    {"match": {"header": {"x-rule": "if-error"}}, "stale_if_error": WINDOW},
    {"match": {"header": {"x-rule": "both"}}, "stale_while_revalidate": "1ms",
     "stale_if_error": WINDOW},
    {"match": {"path_prefix": "/stale/"}, "stale_while_revalidate": WINDOW},
    {"match": {"header": {"x-rule": "over"}}, "stale_while_revalidate": "1ms",
     "stale_if_error": "1ms"}]}
REVALIDATE = {"x-rule": "revalidate"}
IF_ERROR = {"x-rule": "if-error"}
SHORT = {"x-llm-cache-ttl": "1ms"}
STALE = re.compile(r"envoy-llm-cache; hit; ttl=-[1-9]\d*; detail=memory")
ALL_PIECES = 100_000


def ask(port: int, body, standin: str = "pace=0", **named):
    """A request that says how to be answered, as all do here: what a worker has seen of one holds
    for others that have headers of the same names."""
    return fetch(port, body, standin=standin, **named)


def route(config, **changed) -> dict:
    """A route to take with the header `x-route`, which is no part of any key."""
    routes = config.manager["route_config"]["virtual_hosts"][0]["routes"]
    last = copy.deepcopy(routes[-1])
    name = changed.pop("name")
    last["match"]["headers"] = [{"name": "x-route", "string_match": {"exact": name}}]
    last["route"].update(changed.pop("action", {}))
    last.update(changed)
    routes.insert(0, last)
    return last


def with_routes(config):
    """Routes that have less patience, or more."""
    route(config, name="hurried", action={"timeout": "0.2s"})
    route(config, name="retried", action={"retry_policy": {
        "retry_on": "5xx", "num_retries": 2,
        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.002s"}}})
    return config


@pytest.fixture(scope="module")
def taught(envoys, workers) -> Envoy:
    envoy = envoys.shared(with_routes(envoys.config(PLUGIN)), workers)
    teach(envoy, headers=REVALIDATE)
    teach(envoy, "/stale/v1/chat/completions")
    return envoy


@pytest.fixture
def envoy(taught) -> Envoy:
    return taught


class Endpoints:
    """Of the upstream, which come and go while Envoy runs."""

    def __init__(self, config, folder, port: int):
        self.file, self.new = folder / "endpoints.yaml", folder / "new.yaml"
        self.known = config.cluster.pop("load_assignment")
        address = self.known["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]
        address["socket_address"]["port_value"] = port
        config.cluster.update(type="EDS", eds_cluster_config={"eds_config": {
            "path_config_source": {"path": str(self.file)}, "resource_api_version": "V3"}})
        config.tree["node"] = {"id": "test", "cluster": "test"}

    def tell(self) -> None:
        self._tell(self.known)

    def tell_none(self) -> None:
        self._tell({"cluster_name": self.known["cluster_name"]})

    def _tell(self, assignment: dict) -> None:
        """Envoy looks at what is moved to the place."""
        self.new.write_text(json.dumps({"resources": [{
            "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            **assignment}]}))
        self.new.rename(self.file)


def teach(envoy: Envoy, path: str = "/v1/chat/completions", headers=None) -> None:
    """Has every worker see a request that its route leaves alone: before that, none refreshes in
    the background. Which worker a connection comes to is chance, so there are many."""
    for number in range(1 if envoy.workers == 1 else 16 * envoy.workers):
        ask(envoy.port, chat(f"Lesson {number} on {path}"), path=path, headers=headers or {})


def store_expired(envoy: Envoy, body, headers=REVALIDATE, **named):
    """An answer that is stored, and has expired when this returns."""
    answer = ask(envoy.port, body, headers={**headers, **SHORT}, **named)
    assert outcome(answer) == (200, "MISS", "whole")
    time.sleep(0.005)
    return answer


def until_fresh(envoy: Envoy, body, headers=REVALIDATE, **named):
    """The first answer that is not stale."""
    return envoy.wait_until(
        lambda: (answer := ask(envoy.port, body, headers=headers, **named)).cache != "STALE"
        and answer, "the refresh")


def is_stale(answer) -> bool:
    return (outcome(answer) == (200, "STALE", "whole") and answer.header("age").isdigit()
            and bool(STALE.fullmatch(answer.header("cache-status"))))


# -- while it is refreshed ------------------------------------------------------------------------

@pytest.mark.parametrize("protocol", ["http1", "http2"])
@pytest.mark.parametrize("streams", [False, True], ids=["json", "streams"])
def test_many_get_what_has_expired_at_once_and_one_refresh_asks_for_all(
        envoy, standin, prompt, protocol, streams):
    """None of them waits for the refresh, whose answer is held until all have theirs."""
    step, body = prompt(), chat(prompt(), streams)
    old = store_expired(envoy, body, standin="pace=0")
    with vm_survives(envoy), upstream_asked(standin, 1), Crowd(envoy.port, protocol) as crowd:
        counted = Counted(envoy)
        crowd.ask(body, 100, headers=REVALIDATE, standin=f"hold;step={step}")
        answers = crowd.answers()
        assert all(map(is_stale, answers))
        assert {answer.body for answer in answers} == {old.body}
        assert counted.since() == {"requests.result.stale.reason.revalidating": 100,
                                   "refreshes.result.sent": 1}
        standin.release(step, ALL_PIECES)
        new = until_fresh(envoy, body)
        assert outcome(new) == (200, "HIT", "whole")
        assert new.body != old.body
        assert len(new.body) > len(old.body) / 2


def test_age_and_lifetime_say_how_old_it_is(envoys, prompt):
    envoy = envoys.shared(with_routes(envoys.config(PLUGIN)), 1)
    body = chat(prompt())
    ask(envoy.port, body, headers={**REVALIDATE, "x-llm-cache-ttl": "1s"})
    time.sleep(1.1)
    stale = ask(envoy.port, body, headers=REVALIDATE)
    assert is_stale(stale)
    assert int(stale.header("age")) >= 1


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_the_upstream_sees_a_refresh_as_it_sees_the_request(envoy, standin, prompt, chunked):
    """But for what belongs to a connection, and the coding that suits one client."""
    body = chat(prompt(), padding="p" * 30_000)
    headers = {**REVALIDATE, "authorization": "Bearer secret", "openai-organization": "org",
               "user-agent": "tests/1.0", "x-custom": "kept", "accept": "*/*", "te": "trailers",
               "accept-encoding": "gzip", "keep-alive": "timeout=5"}
    teach(envoy, headers=headers)
    store_expired(envoy, body, headers, chunked=chunked)
    first = standin.last()
    before = standin.requests()
    assert is_stale(ask(envoy.port, body, headers=headers, chunked=chunked))
    second = standin.wait_for(lambda stats: stats["requests"] == before + 1, "the refresh")["last"]
    assert {key: second[key] for key in ("method", "target", "body_bytes", "body_sha256")} == {
        key: first[key] for key in ("method", "target", "body_bytes", "body_sha256")}
    one, two = dict(first["headers"]), dict(second["headers"])
    for name in ("accept-encoding", "x-llm-cache-ttl", "x-request-id",
                 "x-envoy-expected-rq-timeout-ms", "transfer-encoding", "content-length",
                 "x-envoy-internal", "te", "keep-alive"):
        one.pop(name, None)
        two.pop(name, None)
    assert "accept-encoding" not in dict(second["headers"])
    assert one == two
    assert two["authorization"] == "Bearer secret"
    assert second["body_sha256"]
    assert until_fresh(envoy, body, headers).cache == "HIT"


@pytest.mark.parametrize("failing", ["err=500", "err=429", "err=503", "cut=20", "finish=length"])
def test_a_refresh_that_fails_leaves_what_there_is(envoy, standin, prompt, failing):
    body = chat(prompt())
    old = store_expired(envoy, body)
    before = standin.requests()
    assert is_stale(ask(envoy.port, body, headers=REVALIDATE, standin=failing))
    standin.wait_for(lambda stats: stats["requests"] == before + 1, "the refresh")
    # Also when the next one asks anew.
    again = ask(envoy.port, body, headers=REVALIDATE, standin=failing)
    assert is_stale(again)
    assert again.body == old.body


def test_while_a_refresh_hangs_what_has_expired_is_served_on(envoy, standin, prompt):
    body = chat(prompt())
    old = store_expired(envoy, body)
    before = standin.requests()
    with upstream_asked(standin, 1):
        assert is_stale(ask(envoy.port, body, headers=REVALIDATE,
                              standin=f"hold;step={prompt()}"))
        standin.wait_for(lambda stats: stats["requests"] == before + 1, "the refresh")
        for _ in range(20):
            stale = ask(envoy.port, body, headers=REVALIDATE)
            assert is_stale(stale)
            assert stale.body == old.body


def test_a_rule_says_for_which_paths(envoy, prompt):
    for path, expected in (("/stale/v1/chat/completions", "STALE"),
                           ("/v1/chat/completions", "MISS")):
        body = chat(prompt())
        store_expired(envoy, body, {}, path=path)
        assert ask(envoy.port, body, path=path).cache == expected


def test_beyond_the_window_it_is_a_miss(envoy, standin, prompt):
    body, over = chat(prompt()), {"x-rule": "over"}
    old = store_expired(envoy, body, over)
    time.sleep(0.01)
    with upstream_asked(standin, 1):
        answer = ask(envoy.port, body, headers=over)
    assert outcome(answer) == (200, "MISS", "whole")
    assert answer.body != old.body
    store_expired(envoy, other := chat(prompt()), over)
    assert ask(envoy.port, other, headers=over, standin="err=500").status == 500


@pytest.mark.parametrize("how", ["path", "host", "header"])
def test_where_the_route_changes_requests_a_live_one_goes_in_place_of_the_refresh(
        envoys, standin, prompt, how):
    """A callout goes past the route, and would be another request."""
    config = envoys.config({"stale_while_revalidate": WINDOW})
    last = config.manager["route_config"]["virtual_hosts"][0]["routes"][-1]
    wants = {"path": "path=/up/v1/chat/completions", "host": "needs=host:up.test",
             "header": "needs=x-added:yes"}[how]
    if how == "path":
        last["route"]["prefix_rewrite"] = "/up/"
    elif how == "host":
        last["route"]["host_rewrite_literal"] = "up.test"
    else:
        last["request_headers_to_add"] = [{"header": {"key": "x-added", "value": "yes"}}]
    with Envoy(config) as envoy:
        body = chat(prompt())
        counted = Counted(envoy)
        store_expired(envoy, body, {}, standin=wants)
        with upstream_asked(standin, 1):
            live = ask(envoy.port, body, standin=wants)
            assert outcome(live) == (200, "MISS", "whole")
            assert live.header("cache-status") == "envoy-llm-cache; fwd=stale"
            hit = ask(envoy.port, body)
        assert (hit.cache, hit.body) == ("HIT", live.body)
        grown = counted.since()
        assert grown["refreshes.result.by_request"] == 1
        assert "refreshes.result.sent" not in grown


def test_a_header_that_the_route_takes_away_keeps_a_refresh_in_the_background(
        envoys, standin, prompt):
    """A request without it has passed as it came; one with it would not."""
    config = envoys.config({"stale_while_revalidate": WINDOW})
    last = config.manager["route_config"]["virtual_hosts"][0]["routes"][-1]
    last["request_headers_to_remove"] = ["cookie"]
    with Envoy(config) as envoy:
        teach(envoy)
        body = chat(prompt())
        store_expired(envoy, body, {})
        with upstream_asked(standin, 1):
            live = ask(envoy.port, body, headers={"cookie": "session=0123456789abcdef"})
        assert (live.cache, live.header("cache-status")) \
            == ("MISS", "envoy-llm-cache; fwd=stale")
        assert "cookie" not in dict(standin.last()["headers"])


def test_what_one_of_two_unnamed_routes_changes_is_known_of_both(envoys, standin, prompt):
    """They lead to one cluster, and nothing tells them apart: what one adds, the other may."""
    config = envoys.config({"stale_while_revalidate": WINDOW})
    route(config, name="adding", request_headers_to_add=[
        {"header": {"key": "x-added", "value": "yes"}}])
    with Envoy(config) as envoy:
        teach(envoy)
        for way, cache in (({}, "STALE"), ({"x-route": "adding"}, "MISS"), ({}, "MISS")):
            body = chat(prompt())
            store_expired(envoy, body, {})
            with upstream_asked(standin, 1):
                before = standin.requests()
                assert ask(envoy.port, body, headers=way).cache == cache
                standin.wait_for(lambda stats, before=before: stats["requests"] > before, "it")


def test_a_refresh_carries_no_header_of_envoys_that_the_client_sent(envoys, standin, prompt):
    with Envoy(envoys.config({"stale_while_revalidate": WINDOW})) as envoy:
        headers = {"x-envoy-original-path": "/other", "x-envoy-decorator-operation": "o",
                   "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                   "cookie": "session=0123456789abcdef"}
        body = chat(prompt())
        store_expired(envoy, body, headers)
        before = standin.requests()
        assert is_stale(ask(envoy.port, body, headers=headers))
        last = standin.wait_for(lambda stats: stats["requests"] == before + 1, "it")["last"]
        sent = dict(last["headers"])
        assert sent["cookie"] == headers["cookie"]
        assert not {"x-envoy-original-path", "x-envoy-decorator-operation", "traceparent",
                    "x-llm-cache-ttl"} & set(sent)


def test_one_callers_slow_refreshes_keep_no_other_callers_answers_stale(envoys, standin, prompt):
    """Who has its share of them under way goes to the upstream itself; the others have theirs."""
    share = 16
    slow, other = ({**REVALIDATE, "authorization": f"Bearer {name}"} for name in ("slow", "other"))
    with Envoy(envoys.config(PLUGIN)) as envoy, vm_survives(envoy):
        teach(envoy, headers=REVALIDATE)
        bodies = [chat(prompt()) for _ in range(share + 3)]
        counted, step = Counted(envoy), prompt()
        for body in bodies:
            store_expired(envoy, body, slow)
        for body in bodies[:share]:
            assert is_stale(ask(envoy.port, body, headers=slow, standin=f"hold;step={step}"))
        for body in bodies[share:]:
            live = ask(envoy.port, body, headers=slow)
            assert live.header("cache-status") == "envoy-llm-cache; fwd=stale"
            assert ask(envoy.port, body, headers=slow).cache == "HIT"
        mine = chat(prompt())
        store_expired(envoy, mine, other)
        assert is_stale(ask(envoy.port, mine, headers=other))
        assert until_fresh(envoy, mine, other).cache == "HIT"
        grown = counted.since()
        assert grown["refreshes.result.sent"] == share + 1
        assert grown["refreshes.result.busy"] == 3
        standin.release(step, ALL_PIECES)
        assert until_fresh(envoy, bodies[0], slow).cache == "HIT"


@pytest.mark.parametrize("removed", [False, True])
def test_what_envoy_adds_to_callouts_an_upstream_filter_takes_away(
        envoys, standin, prompt, removed):
    config = envoys.config({"stale_while_revalidate": WINDOW})
    if removed:
        options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        filters = "type.googleapis.com/envoy.extensions.filters.http"
        config.cluster["typed_extension_protocol_options"] = {options: {
            "@type": f"type.googleapis.com/{options}",
            "explicit_http_config": {"http_protocol_options": {}},
            "http_filters": [
                {"name": "envoy.filters.http.header_mutation", "typed_config": {
                    "@type": f"{filters}.header_mutation.v3.HeaderMutation",
                    "mutations": {"request_mutations": [{"remove": "x-envoy-internal"}]}}},
                {"name": "envoy.filters.http.upstream_codec", "typed_config": {
                    "@type": f"{filters}.upstream_codec.v3.UpstreamCodec"}}]}}
    with Envoy(config) as envoy:
        body = chat(prompt())
        store_expired(envoy, body, {})
        before = standin.requests()
        assert is_stale(ask(envoy.port, body))
        last = standin.wait_for(lambda stats: stats["requests"] == before + 1, "it")["last"]
        assert ("x-envoy-internal" in dict(last["headers"])) != removed


def test_it_works_with_held_headers_too(envoys, standin, prompt, workers):
    config = envoys.config({"stale_while_revalidate": WINDOW, "hold_headers": True})
    config.without("envoy.filters.http.buffer")
    config.plugin["allow_on_headers_stop_iteration"] = True
    with Envoy(config, workers) as envoy:
        teach(envoy)
        for body in (chat(prompt()), chat(prompt(), True, padding="p" * 100_000)):
            old = store_expired(envoy, body, {}, standin="pace=0")
            with upstream_asked(standin, 1):
                assert is_stale(ask(envoy.port, body, standin="pace=0"))
                new = until_fresh(envoy, body, {})
            assert outcome(new) == (200, "HIT", "whole")
            assert new.body != old.body
        assert envoy.vm_failures() == []


def test_with_a_store_over_http_the_refresh_reaches_it(envoys, webdis, redis, standin, prompt):
    config = http_stores.on_webdis(envoys, webdis.port,
                                    plugin={"stale_while_revalidate": WINDOW})
    with Envoy(config) as envoy:
        body = chat(prompt())
        old = http_stores.ask_and_store(envoy, body, headers=SHORT, standin="pace=0")
        with upstream_asked(standin, 1):
            stale = ask(envoy.port, body)
            assert (stale.cache, stale.body) == ("STALE", old.body)
            assert stale.header("cache-status").endswith("; detail=http")
            new = until_fresh(envoy, body, {})
        assert (http_stores.tier(new), new.body != old.body) == ("http", True)


def test_a_request_that_the_router_turned_away_tells_nothing_of_its_route(
        envoys, webdis, redis, standin, prompt):
    """In maintenance Envoy answers before it has rewritten the request for the route."""
    def config():
        config = http_stores.on_webdis(envoys, webdis.port,
                                        plugin={"stale_while_revalidate": WINDOW})
        routes = config.manager["route_config"]["virtual_hosts"][0]["routes"]
        routes[-1]["request_headers_to_add"] = [{"header": {"key": "x-added", "value": "yes"}}]
        config.tree["layered_runtime"] = {"layers": [{"name": "admin", "admin_layer": {}}]}
        return config
    body = chat(prompt())
    with Envoy(config()) as envoy:
        http_stores.ask_and_store(envoy, body, headers=SHORT, standin="pace=0")
    with Envoy(config()) as envoy:
        maintain(envoy, 100)
        assert "; fwd-status=503; " in ask(envoy.port, body).header("cache-status")
        maintain(envoy, 0)
        live = until_fresh(envoy, body, {})
        assert outcome(live) == (200, "MISS", "whole")
        assert "llm_cache_refreshes_total.result.sent" not in envoy.cache_counters()


def maintain(envoy: Envoy, percent: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", envoy.admin_port, timeout=60)
    connection.request("POST", f"/runtime_modify?upstream.maintenance_mode.upstream={percent}")
    assert connection.getresponse().read() == b"OK\n"
    connection.close()


# -- because the upstream fails -------------------------------------------------------------------

FAILURES = {
    "429": ({}, "err=429", 429), "500": ({}, "err=500", 500), "503": ({}, "err=503", 503),
    "529": ({}, "err=529", 529),
    "no-answer": ({}, "die", 503),
    "timeout": ({"x-route": "hurried"}, "hold;step=never released", 504)}


@pytest.mark.parametrize("streams", [False, True], ids=["json", "streams"])
@pytest.mark.parametrize("failure", FAILURES)
def test_what_has_expired_answers_when_the_upstream_fails(envoy, prompt, failure, streams):
    way, directive, status = FAILURES[failure]
    body = chat(prompt(), streams)
    old = store_expired(envoy, body, IF_ERROR, standin="pace=0")
    counted = Counted(envoy)
    with vm_survives(envoy):
        stale = ask(envoy.port, body, headers={**IF_ERROR, **way}, standin=directive)
    assert outcome(stale) == (200, "STALE", "whole")
    assert (stale.body, stale.header("content-type")) == (old.body, old.header("content-type"))
    assert re.fullmatch(rf"envoy-llm-cache; fwd=stale; fwd-status={status}; ttl=-[1-9]\d*; "
                        "detail=stale_if_error", stale.header("cache-status"))
    assert stale.header("age").isdigit()
    assert counted.since()["requests.result.stale.reason.upstream_failed"] == 1
    again = ask(envoy.port, body, headers=IF_ERROR, standin="pace=0")
    assert outcome(again) == (200, "MISS", "whole")
    assert again.body != old.body


@pytest.mark.parametrize("how", ["connection-refused", "no-host"])
def test_what_has_expired_answers_when_there_is_no_upstream(envoys, prompt, tmp_path, how):
    config = envoys.config({"stale_if_error": WINDOW})
    with Standin() as standin:
        endpoints = Endpoints(config, tmp_path, standin.port)
        endpoints.tell()
        with Envoy(config) as envoy:
            body = chat(prompt())
            old = store_expired(envoy, body, {})
            if how == "no-host":
                endpoints.tell_none()
                envoy.wait_until(lambda: "::127.0.0.1" not in envoy.admin("/clusters"), "no host")
            standin.stop()
            stale = ask(envoy.port, body)
            assert outcome(stale) == (200, "STALE", "whole")
            assert stale.body == old.body
            assert "; fwd-status=503; " in stale.header("cache-status")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_response_about_the_request_itself_is_passed_on(envoy, prompt, status):
    body = chat(prompt())
    store_expired(envoy, body, IF_ERROR)
    answer = ask(envoy.port, body, headers=IF_ERROR, standin=f"err={status}")
    assert outcome(answer) == (status, "MISS", "whole")
    assert b"stand-in error" in answer.body


@pytest.mark.parametrize("ending", ["cut", "reset"])
@pytest.mark.parametrize("streams", [False, True], ids=["json", "streams"])
def test_nothing_is_served_in_place_of_an_answer_that_has_begun(envoy, prompt, ending, streams):
    body = chat(prompt(), streams)
    store_expired(envoy, body, IF_ERROR, standin="pace=0")
    answer = ask(envoy.port, body, headers=IF_ERROR, standin=f"{ending}=100;pace=0")
    assert (answer.cache, answer.status) == ("MISS", 200)
    assert answer.ending != "whole"


def test_retries_of_the_route_come_first(envoy, standin, prompt):
    body, way = chat(prompt()), {**IF_ERROR, "x-route": "retried"}
    old = store_expired(envoy, body, IF_ERROR)
    with upstream_asked(standin, 3):
        stale = ask(envoy.port, body, headers=way, standin="err=503")
    assert (stale.cache, stale.body) == ("STALE", old.body)
    with upstream_asked(standin, 2):
        answer = ask(envoy.port, body, headers=way, standin=f"err=503;once={prompt()}")
    assert outcome(answer) == (200, "MISS", "whole")
    assert answer.body != old.body


def test_large_answers_and_http2_streams_too(envoy, prompt):
    body = chat(prompt(), True)
    old = store_expired(envoy, body, IF_ERROR, standin="size=600000;pace=0")
    with vm_survives(envoy), Http2Connection(envoy.port) as connection:
        streams = [connection.start(body, headers=IF_ERROR, standin="err=500") for _ in range(10)]
        for stream in streams:
            stale = connection.finish(stream)
            assert outcome(stale) == (200, "STALE", "whole")
            assert stale.body == old.body
        assert connection.ask(chat(prompt()), headers=IF_ERROR, standin="err=500").status == 500


def test_a_connection_goes_on_after_what_was_served_in_place_of_an_error(envoy, prompt):
    body = chat(prompt())
    store_expired(envoy, body, IF_ERROR)
    with Http1Connection(envoy.port) as connection:
        for standin, cache in (("err=500", "STALE"), ("err=503", "STALE"), ("", "MISS")):
            connection.send(request_bytes("POST", "/v1/chat/completions", body,
                                          headers=IF_ERROR, standin=standin))
            assert connection.read_answer().cache == cache


def test_while_the_window_for_errors_is_the_longer_one_a_request_goes_and_falls_back(
        envoy, standin, prompt):
    body, both = chat(prompt()), {"x-rule": "both"}
    old = store_expired(envoy, body, both)
    time.sleep(0.01)
    with upstream_asked(standin, 1):
        stale = ask(envoy.port, body, headers=both, standin="err=500")
    assert (stale.cache, stale.body) == ("STALE", old.body)
    assert "fwd-status=500" in stale.header("cache-status")

"""What the store over HTTP stands on, without the filter: Envoy, by the files of envoy/, in front
of a real Redis, Redis Cluster and S3. What is asserted here of Webdis and S3 the protocols rely on.
"""

import hashlib
import http.client
import os

import pytest
from harness import s3 as s3_credentials
from harness.envoy import EXAMPLE, GUARD_SECONDS, Config, Envoy
from harness.redis_server import Redis
from harness.server_process import free_port
from harness.webdis import Webdis

FOLDER = EXAMPLE.parent
RAW = "?type=application/octet-stream"
STORED = b'{"SETEX":[true,"OK"]}'
CREDENTIALS = {"AWS_ACCESS_KEY_ID": s3_credentials.ACCESS_KEY_ID,
               "AWS_SECRET_ACCESS_KEY": s3_credentials.SECRET_ACCESS_KEY,
               # Nothing of the machine's, should it have any.
               "AWS_SESSION_TOKEN": "", "AWS_EC2_METADATA_DISABLED": "true"}
BUCKET_HOST = "llm-cache.s3.us-east-1.amazonaws.com"
LUA = """
function envoy_on_request(handle)
  local asked = {}
  for _, name in ipairs({":method", ":path", ":authority"}) do
    asked[name] = handle:headers():get(name)
  end
  local body = handle:body()
  local sent = nil
  if body then sent = body:getBytes(0, body:length()) end
  local headers, answer = handle:httpCall("cache", asked, sent, 60000)
  handle:respond({[":status"] = headers[":status"]}, answer)
end
"""


def straight_to(example: str, cluster: str = "cache") -> Config:
    """The file without the filter, every request going to the store's cluster."""
    config = Config.for_tests(1, FOLDER / example).without("envoy_llm_cache")
    for host in config.manager["route_config"]["virtual_hosts"]:
        for route in host["routes"]:
            route["route"]["cluster"] = cluster
    return config


def by_callout(config: Config) -> Config:
    """Requests reach the cluster the way the filter's do: as callouts, never through the route."""
    for host in config.manager["route_config"]["virtual_hosts"]:
        host["routes"] = [{"match": {"prefix": "/"}, "direct_response": {"status": 418}}]
    # The script holds a body as a whole.
    config.listener["per_connection_buffer_limit_bytes"] = 64 << 20
    config.http_filters.insert(-1, {"name": "lua", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
        "default_source_code": {"inline_string": LUA}}})
    return config


def ask(port: int, method: str, path: str, body: bytes | None = None,
        host: str = BUCKET_HOST) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=GUARD_SECONDS)
    try:
        connection.request(method, path, body, {"host": host})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


# -- Redis behind Webdis --------------------------------------------------------------------------

def test_ten_mebibytes_come_back_from_redis_byte_for_byte(redis, webdis):
    body = os.urandom(10 << 20)
    with Envoy(straight_to("redis.yaml").at("cache", webdis.port)) as envoy:
        assert ask(envoy.port, "PUT", "/SETEX/llm-cache:k/60", body) == (200, STORED)
        assert ask(envoy.port, "GET", "/GET/llm-cache:k" + RAW) == (200, body)
        assert ask(envoy.port, "GET", "/GET/llm-cache:other" + RAW) == (404, b"")
        assert envoy.stat("cluster.cache.upstream_cx_total") == 1, "connections are kept"
    assert redis.stored_keys() == [b"llm-cache:k"]
    assert 0 < redis.client.ttl("llm-cache:k") <= 60


def test_webdis_lets_through_what_the_filter_needs_and_refuses_the_rest(redis, webdis):
    assert ask(webdis.port, "PUT", "/SETEX/k/60", b"value") == (200, STORED)
    assert ask(webdis.port, "GET", "/GET/k" + RAW) == (200, b"value")
    assert ask(webdis.port, "GET", "/DEL/k") == (200, b'{"DEL":1}')
    assert ask(webdis.port, "DELETE", "/DEL/k") == (405, b"")
    for command in ["FLUSHALL", "KEYS/*", "CONFIG/GET/*", "EVAL/return%201/0", "GETDEL/k"]:
        assert ask(webdis.port, "GET", f"/{command}{RAW}") == (403, b""), command


def test_an_error_of_redis_is_an_answer_of_200_from_webdis(redis, webdis):
    redis.client.lpush("list", "x")
    status, body = ask(webdis.port, "GET", "/GET/list" + RAW)
    assert (status, body[:10]) == (200, b"-WRONGTYPE")
    redis.client.config_set("maxmemory", 1)
    status, body = ask(webdis.port, "PUT", "/SETEX/k/60", b"value")
    assert (status, body[:20]) == (200, b'{"SETEX":[false,"OOM')


def test_webdis_has_503_while_redis_is_gone_and_comes_back_by_itself(redis, webdis):
    assert ask(webdis.port, "GET", "/GET/k" + RAW) == (404, b"")
    redis.kill()
    assert ask(webdis.port, "GET", "/GET/k" + RAW) == (503, b"")
    redis.start()
    webdis.wait_until(lambda: ask(webdis.port, "GET", "/GET/k" + RAW) == (404, b""), "Redis")


def test_a_full_redis_that_may_evict_takes_what_is_new():
    with Redis(maxmemory="4mb", maxmemory_policy="allkeys-lru") as redis, \
            Webdis(redis.port) as webdis:
        for number in range(40):
            assert ask(webdis.port, "PUT", f"/SETEX/{number}/60", bytes(200_000)) == (200, STORED)
        assert redis.client.info("stats")["evicted_keys"] > 0
        assert ask(webdis.port, "GET", "/GET/39" + RAW) == (200, bytes(200_000))


# -- A cluster behind redis_proxy behind Webdis ---------------------------------------------------

def test_a_redis_cluster_loses_a_node_and_keeps_every_key(redis_cluster):
    proxy_port = free_port()
    keys = [f"llm-cache:{hashlib.sha256(bytes([number])).hexdigest()}" for number in range(60)]
    # Webdis starts before the proxy it talks to, as it may on a host that comes up.
    with Webdis(proxy_port) as webdis:
        config = straight_to("redis-cluster.yaml").at("cache", webdis.port)
        config.at("redis", *redis_cluster.ports[:3]).listen(proxy_port, "redis")
        with Envoy(config) as envoy:
            def get(key: str) -> tuple[int, bytes]:
                return ask(envoy.port, "GET", f"/GET/{key}{RAW}")

            envoy.wait_until(lambda: get("none") == (404, b""), "Webdis to reach the cluster")
            for key in keys:
                assert ask(envoy.port, "PUT", f"/SETEX/{key}/600", key.encode()) == (200, STORED)
            assert len(redis_cluster.stored_keys()) == len(keys)
            assert all(node.stored_keys() for node in redis_cluster.masters()), "each has some"
            redis_cluster.wait_until(
                lambda: all(node.client.wait(1, 100) for node in redis_cluster.masters()), "copies")

            redis_cluster.lose(redis_cluster.master_of(keys[0].encode()))

            envoy.wait_until(lambda: all(get(key) == (200, key.encode()) for key in keys),
                             "every key to be read again")
            envoy.wait_until(
                lambda: all(ask(envoy.port, "PUT", f"/SETEX/{key}/600", b"new") == (200, STORED)
                            for key in keys), "every key to be written again")
            assert all(get(key) == (200, b"new") for key in keys)


def test_an_envoy_starts_while_the_redis_cluster_is_away():
    proxy_port = free_port()
    with Webdis(proxy_port) as webdis:
        config = straight_to("redis-cluster.yaml").at("cache", webdis.port)
        config.at("redis", free_port()).listen(proxy_port, "redis")
        with Envoy(config) as envoy:
            status, body = ask(envoy.port, "GET", f"/GET/k{RAW}")
            assert status == 503 or body.startswith(b"-")


# -- S3 -------------------------------------------------------------------------------------------

@pytest.fixture(scope="module", params=["routed", "callout"])
def signing(request, s3):
    config = straight_to("s3.yaml").at("cache", s3.port)
    with Envoy(by_callout(config) if request.param == "callout" else config,
               environment=CREDENTIALS) as envoy:
        yield envoy


def test_envoy_signs_what_goes_to_s3(signing, s3):
    body = os.urandom(3 << 20)
    path = f"/entries/{hashlib.sha256(body).hexdigest()}"
    assert ask(signing.port, "GET", path)[0] == 404
    assert ask(signing.port, "PUT", path, body) == (200, b"")
    assert ask(signing.port, "GET", path) == (200, body)
    assert s3.read(path[1:]) == body
    assert ask(signing.port, "DELETE", path)[0] == 204
    assert ask(signing.port, "GET", path)[0] == 404


def test_s3_refuses_what_is_not_signed_or_signed_by_others(s3):
    unsigned = straight_to("s3.yaml").at("cache", s3.port)
    options = unsigned.cluster_named("cache")["typed_extension_protocol_options"]
    next(iter(options.values())).pop("http_filters")
    signed = straight_to("s3.yaml").at("cache", s3.port)
    for config, changed, code in [
            (unsigned, {}, b"AccessDenied"),
            (signed, {"AWS_SECRET_ACCESS_KEY": "wrong"}, b"SignatureDoesNotMatch"),
            (signed, {"AWS_ACCESS_KEY_ID": "AKIAUNKNOWN000000000"}, b"InvalidAccessKeyId")]:
        with Envoy(config, environment={**CREDENTIALS, **changed}) as envoy:
            for method, body in [("GET", None), ("PUT", b"x"), ("DELETE", None)]:
                status, said = ask(envoy.port, method, "/entries/refused", body)
                assert (status, code in said) == (403, True), (method, status, said)
    assert "entries/refused" not in s3.stored_keys()


def test_the_payload_may_be_signed_as_well(s3):
    config = by_callout(straight_to("s3.yaml").at("cache", s3.port))
    options = config.cluster_named("cache")["typed_extension_protocol_options"]
    signer = next(iter(options.values()))["http_filters"][0]["typed_config"]
    signer["use_unsigned_payload"] = False
    body = os.urandom(10 << 20)
    with Envoy(config, environment=CREDENTIALS) as envoy:
        assert ask(envoy.port, "PUT", "/entries/signed", body) == (200, b"")
        assert ask(envoy.port, "GET", "/entries/signed") == (200, body)

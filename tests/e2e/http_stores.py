"""Envoys with a store over HTTP, and what tests read and write in it."""

import dataclasses
import re
import struct
import zlib
from collections.abc import Iterator

from harness import s3 as s3_credentials
from harness.envoy import Config, Envoy
from harness.http1 import Answer, fetch
from harness.redis_server import Redis
from harness.s3 import S3

CLUSTER = "cache"
PREFIX = "llm-cache:"
FOLDER = "entries/"
MEMORY = {"max_bytes": "64MiB", "max_entry_bytes": "8MiB"}

# As long as can be: where a test waits for one of these, it waits for a fault of the filter's.
PATIENT = {"lookup_timeout": "10s", "store_timeout": "60s"}

LOOKUP = "llm_cache_store_operations_total.operation.lookup.result."
PROBE = "llm_cache_store_operations_total.operation.probe.result."
WRITE = "llm_cache_store_operations_total.operation.write.result."
DELETE = "llm_cache_store_operations_total.operation.delete.result."
OPEN = f"llm_cache_breakers.cluster.{CLUSTER}.state.open"
HALF_OPEN = f"llm_cache_breakers.cluster.{CLUSTER}.state.half_open"


def cluster(*ports: int) -> dict:
    endpoints = [{"endpoint": {"address": {"socket_address": {
        "address": "127.0.0.1", "port_value": port}}}} for port in ports]
    return {"name": CLUSTER, "type": "STATIC", "connect_timeout": "5s",
            "load_assignment": {"cluster_name": CLUSTER,
                                "endpoints": [{"lb_endpoints": endpoints}]}}


def signing(cluster: dict) -> dict:
    """Envoy signs what goes to this cluster, as S3 wants it."""
    typed = "type.googleapis.com/envoy.extensions."
    cluster["typed_extension_protocol_options"] = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": typed + "upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http_protocol_options": {}},
            "http_filters": [
                {"name": "envoy.filters.http.aws_request_signing", "typed_config": {
                    "@type": typed + "filters.http.aws_request_signing.v3.AwsRequestSigning",
                    "service_name": "s3", "region": s3_credentials.REGION,
                    "use_unsigned_payload": True,
                    "match_excluded_headers": [{"prefix": "x-envoy"}, {"prefix": "x-forwarded"}],
                    "credential_provider": {"inline_credential": {
                        "access_key_id": s3_credentials.ACCESS_KEY_ID,
                        "secret_access_key": s3_credentials.SECRET_ACCESS_KEY}}}},
                {"name": "envoy.filters.http.upstream_codec", "typed_config": {
                    "@type": typed + "filters.http.upstream_codec.v3.UpstreamCodec"}}]}}
    return cluster


def with_cluster(config: Config, cluster: dict | None) -> Config:
    if cluster:
        config.tree["static_resources"]["clusters"].append(cluster)
    return config


def on_webdis(envoys, port: int, memory: dict | None = None, plugin: dict | None = None,
              **http) -> Config:
    """The example with a store over HTTP; nothing is kept in memory unless the test says so."""
    settings = {"cluster": CLUSTER, "protocol": "webdis", "path_prefix": PREFIX, **PATIENT, **http}
    config = envoys.config({"respond": {"expose_key": True}, **(plugin or {}),
                            "store": {"memory": memory, "http": settings}})
    return with_cluster(config, cluster(port))


def on_s3(envoys, s3: S3, memory: dict | None = None, **http) -> Config:
    settings = {"cluster": CLUSTER, "protocol": "rest", "path_prefix": f"/{s3.bucket}/{FOLDER}",
                "authority": s3.address, **PATIENT, **http}
    config = envoys.config({"store": {"memory": memory, "http": settings},
                            "respond": {"expose_key": True}})
    return with_cluster(config, signing(cluster(s3.port)))


def counted(envoy: Envoy, start: str) -> dict[str, int]:
    """The counters whose names begin so, without that."""
    return {name.removeprefix(start): value for name, value in envoy.cache_counters().items()
            if name.startswith(start) and value}


def gauge(envoy: Envoy, name: str) -> int:
    return envoy.cache_counters().get(name, 0)


def wait_for_count(envoy: Envoy, name: str, at_least: int) -> None:
    envoy.wait_until(lambda: envoy.cache_counters().get(name, 0) >= at_least,
                     f"{name} to be {at_least}; there are {envoy.cache_counters()}")


def ask_and_store(envoy: Envoy, body, **named) -> Answer:
    """A question that nobody has asked, and its answer when it is in the store over HTTP."""
    before = envoy.cache_counters().get(WRITE + "done", 0)
    answer = fetch(envoy.port, body, **named)
    assert (answer.status, answer.cache, answer.ending) == (200, "MISS", "whole")
    wait_for_count(envoy, WRITE + "done", before + 1)
    return answer


def tier(answer: Answer) -> str | None:
    """The store that a hit came from."""
    said = re.fullmatch(r"envoy-llm-cache; hit; ttl=\d+; detail=(\w+)",
                        answer.header("cache-status"))
    assert (answer.status, answer.cache, answer.ending) == (200, "HIT", "whole") or not said
    return said and said.group(1)


def detail(answer: Answer) -> str | None:
    """Why a request went to the upstream, as far as it says."""
    said = re.search(r"; detail=(\w+)", answer.header("cache-status"))
    return said and said.group(1)


class RedisEntries:
    """The entries in a Redis, by the keys that answers expose."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.client = redis.client

    @staticmethod
    def name(key: str) -> str:
        return PREFIX + key

    def read(self, key: str) -> bytes:
        return self.client.get(self.name(key))

    def write(self, key: str, value: bytes) -> None:
        """For good: it is the entry's head that says when it expires."""
        self.client.set(self.name(key), value)


class S3Entries:
    """The same in a bucket."""

    def __init__(self, s3: S3) -> None:
        self.s3 = s3

    @staticmethod
    def name(key: str) -> str:
        return FOLDER + key

    def read(self, key: str) -> bytes:
        return self.s3.read(self.name(key))

    def write(self, key: str, value: bytes) -> None:
        self.s3.client.put_object(Bucket=self.s3.bucket, Key=self.name(key), Body=value)


@dataclasses.dataclass(frozen=True)
class EntryField:
    """A number in an entry's head (src/cache/entry.rs)."""

    offset: int
    layout: str


VERSION = EntryField(4, "<B")
FRAMING = EntryField(5, "<B")
STATUS = EntryField(6, "<H")
CREATED = EntryField(8, "<Q")
LIFETIME = EntryField(16, "<Q")
HEAD = 56 + 21


def changed(entry: bytes, field: EntryField, change) -> bytes:
    """The entry with `change(number)` in the place of a number, under a checksum that fits."""
    sealed = bytearray(entry[:-4])
    number, = struct.unpack_from(field.layout, sealed, field.offset)
    struct.pack_into(field.layout, sealed, field.offset, change(number))
    return resealed(bytes(sealed))


def fields(data: bytes) -> Iterator[bytes]:
    """Byte strings, each with its length before it."""
    at = 0
    while at < len(data):
        length, = struct.unpack_from("<I", data, at)
        yield data[at + 4:at + 4 + length]
        at += 4 + length


def field(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


def rebuilt(entry: bytes, *, options: bytes | None = None, body=None, headers=None,
            status: int = 200) -> bytes:
    """The entry with other parts, under a checksum that fits; `body` and `headers` are functions of
    what was there."""
    old_options = next(fields(entry[HEAD:-4]))
    at = HEAD + 4 + len(old_options)
    count, = struct.unpack_from("<I", entry, at)
    *flat, old_body = fields(entry[at + 4:-4])
    assert len(flat) == 2 * count
    pairs = list(zip(flat[::2], flat[1::2], strict=True))
    pairs = headers(pairs) if headers else pairs
    options = old_options if options is None else options
    sealed = entry[:HEAD] + field(options) + struct.pack("<I", len(pairs))
    sealed += b"".join(field(name) + field(value) for name, value in pairs)
    sealed += field(body(old_body) if body else old_body)
    return changed(resealed(sealed), STATUS, lambda _: status)


def resealed(without_checksum: bytes) -> bytes:
    return without_checksum + struct.pack("<I", zlib.crc32(without_checksum))

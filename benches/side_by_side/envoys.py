"""Envoys to compare, each made from envoy/envoy.yaml. None writes an access log."""

from harness.envoy import ROOT, Config, Envoy

from side_by_side import machine

FILTERS = ROOT / "target" / "bench-build" / "wasm32-wasip1" / "release"
TYPE = "type.googleapis.com/"
LARGEST_DIRECT_RESPONSE = 1 << 20
MIB = 1 << 20


def start(config: Config, workers: int = 1) -> Envoy:
    del config.manager["access_log"]
    with machine.pinned(machine.proxy_cores(workers)):
        return Envoy(config, workers)


def cache(upstream_port: int, store: dict | None = None) -> Config:
    """The filter, as the example has it."""
    return Config.for_tests(upstream_port).configure({
        "ttl": "24h", "store": store or {"memory": {"max_bytes": "64MiB"}}})


def with_cluster(config: Config, name: str, port: int) -> Config:
    config.tree["static_resources"]["clusters"].append({
        "name": name, "type": "STATIC", "connect_timeout": "5s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [
            {"endpoint": {"address": {"socket_address": {
                "address": "127.0.0.1", "port_value": port}}}}]}]}})
    return config


def noop(upstream_port: int) -> Config:
    """A wasm filter that does nothing in the place of the filter."""
    return other_filter(upstream_port, "noop")


def hit_calls(upstream_port: int, answer: bytes) -> Config:
    """A wasm filter that makes the host calls of a hit, and always the same answer."""
    return other_filter(upstream_port, "calls").configure_text(answer.decode())


def miss_calls(upstream_port: int) -> Config:
    """A wasm filter that makes the host calls of a miss."""
    return other_filter(upstream_port, "calls")


def other_filter(upstream_port: int, name: str) -> Config:
    config = Config.for_tests(upstream_port)
    config.plugin["vm_config"] |= {
        "vm_id": name, "code": {"local": {"filename": str(FILTERS / f"{name}.wasm")}}}
    del config.plugin["configuration"]
    return config


def plain(upstream_port: int) -> Config:
    return Config.for_tests(upstream_port).without("envoy_llm_cache").without(
        "envoy.filters.http.buffer")


def buffered(upstream_port: int) -> Config:
    return Config.for_tests(upstream_port).without("envoy_llm_cache")


def answering(config: Config, bodies: dict[str, tuple[bytes, str]]) -> Config:
    """Answers by itself, by path: a body and its content type each."""
    routes = config.manager["route_config"]
    routes["max_direct_response_body_size_bytes"] = LARGEST_DIRECT_RESPONSE
    routes["virtual_hosts"][0]["routes"] = [
        {"match": {"path": path},
         "direct_response": {"status": 200, "body": {"inline_string": body.decode()}},
         "response_headers_to_add": [{
             "header": {"key": "content-type", "value": content_type},
             "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]}
        for path, (body, content_type) in bodies.items()]
    return config


def http_cache(upstream_port: int) -> Config:
    """Envoy's own cache, which takes GET only."""
    config = plain(upstream_port)
    config.http_filters.insert(0, {
        "name": "envoy.filters.http.cache",
        "typed_config": {
            "@type": TYPE + "envoy.extensions.filters.http.cache.v3.CacheConfig",
            "typed_config": {
                "@type": TYPE + "envoy.extensions.http.cache.simple_http_cache.v3."
                                "SimpleHttpCacheConfig"}}})
    return config

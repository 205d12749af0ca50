"""What Envoy Gateway makes of its resources for a proxy: a port of the parts that the filter meets.

Ported from envoyproxy/gateway, by hand, file by file:

    internal/xds/translator/httpfilters.go      the order of the filters, and filterOrder
    internal/xds/translator/wasm.go             a disabled filter, enabled on its routes
    internal/xds/translator/lua.go              the same, by the name of a script
    internal/xds/translator/request_buffer.go   the same for the buffer filter
    internal/xds/bootstrap/                     what a proxy starts with, and EnvoyProxy's bootstrap

and from envoyproxy/ai-gateway:

    internal/extensionserver/post_translate_modify.go   where its filter goes
    internal/controller/ai_gateway_route.go             the HTTPRoute of an AIGatewayRoute

Left out: TLS, and xDS, in whose place everything is static. Policies have an HTTPRoute for target.
"""

import copy
import hashlib
import http.server
import json
import threading

import yaml

from harness.envoy import WASM, Config

TYPE = "type.googleapis.com/"
FILTER = "envoy.filters.http."
NAMESPACE = "default"
LISTENER = "default/llm/http"
WEBSOCKET = [{"upgrade_type": "websocket"}]
# A filter's place if no filterOrder moves it; those with a number in their names come in its order.
ORDER = {"custom_response": 0, "health_check": 1, "fault": 2, "cors": 3, "csrf": 4,
         "header_mutation": 5, "ext_authz": 6, "api_key_auth": 7, "basic_auth": 8, "oauth2": 9,
         "jwt_authn": 10, "stateful_session": 11, "buffer": 12, "lua": 13, "ext_proc": 100,
         "wasm": 200, "dynamic_modules": 250, "geoip": 300, "rbac": 301, "local_ratelimit": 302,
         "ratelimit": 303, "bandwidth_limit": 304, "grpc_web": 305, "grpc_stats": 306,
         "credential_injector": 307, "compressor": 308, "dynamic_forward_proxy": 309,
         "router": 310}
# What the AI Gateway's filter goes before, wherever the first of them is.
AI_GATEWAY = FILTER + "ext_proc/aigateway"
AFTER_AI_GATEWAY = [FILTER + name for name in (
    "ext_proc", "wasm", "lua", "rbac", "local_ratelimit", "ratelimit", "custom_response",
    "credential_injector", "compressor", "router")]


class ModuleServer:
    """Serves the module as the control plane's wasm server does. A context manager."""

    def __init__(self) -> None:
        module = WASM.read_bytes()
        self.sha256 = hashlib.sha256(module).hexdigest()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("content-length", str(len(module)))
                self.end_headers()
                self.wfile.write(module)

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self) -> "ModuleServer":
        return self

    def __exit__(self, *_) -> None:
        self.server.shutdown()
        self.server.server_close()


class Proxy(Config):
    """The configuration of a proxy, with the listener's filters where `Config` looks for them."""

    def __init__(self, tree: dict) -> None:
        self.tree = tree

    @property
    def manager(self) -> dict:
        return self.listener["default_filter_chain"]["filters"][0]["typed_config"]

    @property
    def order(self) -> list[str]:
        """The filters by their types."""
        return [entry["name"].removeprefix(FILTER).partition("/")[0]
                for entry in self.http_filters]


def translate(resources: list[dict], upstream_port: int, modules: ModuleServer,
              filters: list[dict] = (), ai_gateway: dict | None = None,
              after_the_buffer: bool = True) -> Proxy:
    """The proxy of the Gateway `llm`. All backends are this port of loopback.

    `filters` are those of other policies. `ai_gateway` stands for the AI Gateway's filter, which
    its extension server adds when all others have their places: from 1.0 `after_the_buffer`.
    """
    resources = copy.deepcopy(resources)
    routes = [route for resource in of_kind(resources, "HTTPRoute")
              for route in routes_of(resource)]
    http_filters = [*filters, router()]
    for policy in of_kind(resources, "EnvoyExtensionPolicy"):
        extend(policy, http_filters, routes, modules)
    for policy in of_kind(resources, "BackendTrafficPolicy"):
        buffer(policy, http_filters, routes)
    proxies = of_kind(resources, "EnvoyProxy")
    moves = [move for proxy in proxies for move in proxy["spec"].get("filterOrder", [])]
    http_filters = in_order(http_filters, moves)
    if ai_gateway:
        insert_ai_gateway(http_filters, {**ai_gateway, "name": AI_GATEWAY}, after_the_buffer)
    limits = [policy["spec"]["connection"]["bufferLimit"]
              for policy in of_kind(resources, "ClientTrafficPolicy")]
    routes.sort(key=lambda route: precedence(route["match"]), reverse=True)
    clusters = sorted({route["route"]["cluster"] for route in routes if "route" in route})
    proxy = Proxy({
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        # Without it Envoy refuses longer regular expressions.
        "layered_runtime": {"layers": [{"name": "global_config", "static_layer": {
            "re2.max_program_size.error_level": 4294967295,
            "re2.max_program_size.warn_level": 1000}}]},
        "static_resources": {
            "listeners": [listener(http_filters, routes, [quantity(limit) for limit in limits])],
            "clusters": [*(cluster(name, upstream_port) for name in clusters),
                         cluster("wasm_cluster", modules.port)]}})
    for resource in proxies:
        bootstrap = resource["spec"].get("bootstrap")
        if bootstrap:
            assert bootstrap["type"] == "Merge"
            merge(proxy.tree, yaml.safe_load(bootstrap["value"]))
    return proxy


def of_kind(resources: list[dict], kind: str) -> list[dict]:
    return [resource for resource in resources if resource["kind"] == kind]


def ai_gateway_route(models: list[str]) -> dict:
    """The HTTPRoute of an AIGatewayRoute `llm`: a rule for each model, and one for all others."""
    rules = [{"matches": [{"path": {"type": "PathPrefix", "value": "/"}, "headers": [
        {"type": "Exact", "name": "x-ai-eg-model", "value": model}]}],
        "backendRefs": [{"name": "llm", "port": 8000}]} for model in models]
    rules.append({"name": "route-not-found",
                  "matches": [{"path": {"type": "PathPrefix", "value": "/"}}]})
    return {"kind": "HTTPRoute", "metadata": {"name": "llm"}, "spec": {"rules": rules}}


def routes_of(resource: dict) -> list[dict]:
    name = resource["metadata"]["name"]
    found = []
    for number, rule in enumerate(resource["spec"]["rules"]):
        for position, match in enumerate(rule.get("matches", [{}])):
            prefix = f"httproute/{NAMESPACE}/{name}/rule/{number}"
            origin = {"kind": "HTTPRoute", "name": name, "namespace": NAMESPACE,
                      "sectionName": rule.get("name", "")}
            route = {"name": f"{prefix}/match/{position}/*", "match": match_of(match),
                     "metadata": {"filter_metadata": {"envoy-gateway": {"resources": [origin]}}},
                     "typed_per_filter_config": {}}
            if "backendRefs" in rule:
                route["route"] = {"cluster": prefix, "upgrade_configs": WEBSOCKET,
                                  "timeout": rule.get("timeouts", {}).get("request", "15s")}
            else:
                # An HTTPRouteFilter of the AI Gateway's.
                route["direct_response"] = {"status": 404, "body": {
                    "inline_string": "No matching route found."}}
            found.append(route)
    return found


def match_of(match: dict) -> dict:
    path = match.get("path", {"type": "PathPrefix", "value": "/"})
    headers = [{"name": ":method", "string_match": {"exact": match["method"]}}] \
        if "method" in match else []
    for header in match.get("headers", []):
        kind = header.get("type", "Exact")
        value = {"exact": header["value"]} if kind == "Exact" \
            else {"safe_regex": {"regex": header["value"]}}
        headers.append({"name": header["name"], "string_match": value})
    by_path = {"Exact": {"path": path["value"]},
               "RegularExpression": {"safe_regex": {"regex": path["value"]}},
               "PathPrefix": {"prefix": "/"} if path["value"] == "/"
               else {"path_separated_prefix": path["value"]}}[path["type"]]
    return {**by_path, **({"headers": headers} if headers else {})}


def precedence(match: dict) -> tuple:
    """internal/gatewayapi/sort.go: the path's kind, its length, the method, the other headers."""
    kind = 2 if "path" in match else 1 if "safe_regex" in match else 0
    text = match.get("path") or match.get("safe_regex", {}).get("regex") \
        or match.get("path_separated_prefix") or match.get("prefix")
    headers = match.get("headers", [])
    return kind, len(text), any(header["name"] == ":method" for header in headers), len(headers)


def targets(policy: dict, routes: list[dict]) -> list[dict]:
    """The routes of the HTTPRoutes, or of the rules of these, that a policy names."""
    found = []
    for target in policy["spec"]["targetRefs"]:
        assert target["kind"] == "HTTPRoute"
        of_target = [
            route for route in routes
            for origin in route["metadata"]["filter_metadata"]["envoy-gateway"]["resources"]
            if origin["name"] == target["name"]
            and target.get("sectionName") in (None, origin["sectionName"])]
        assert of_target, f"no route of {target['name']}"
        found += of_target
    return found


def extend(policy: dict, http_filters: list[dict], routes: list[dict],
           modules: ModuleServer) -> None:
    prefix = f"envoyextensionpolicy/{NAMESPACE}/{policy['metadata']['name']}"
    for slot, script in enumerate(policy["spec"].get("lua", [])):
        name, filter_name = f"{prefix}/lua/{slot}", f"{FILTER}lua/{LISTENER}/{slot}"
        http_filters.append({"name": filter_name, "disabled": True, "typed_config": {
            "@type": f"{TYPE}envoy.extensions.filters.http.lua.v3.Lua",
            "source_codes": {name: {"inline_string": script["inline"]}}}})
        for route in targets(policy, routes):
            route["typed_per_filter_config"][filter_name] = {
                "@type": f"{TYPE}envoy.extensions.filters.http.lua.v3.LuaPerRoute", "name": name}
    for number, wasm in enumerate(policy["spec"].get("wasm", [])):
        name = f"{prefix}/wasm/{number}"
        http_filters.append(wasm_filter(name, wasm, modules))
        for route in targets(policy, routes):
            route["typed_per_filter_config"][f"{FILTER}wasm/{name}"] = {
                "@type": f"{TYPE}envoy.config.route.v3.FilterConfig", "config": {}}


def wasm_filter(name: str, wasm: dict, modules: ModuleServer) -> dict:
    assert wasm["code"]["type"] == "Image"
    text = json.dumps(wasm["config"]) if "config" in wasm else ""
    return {"name": f"{FILTER}wasm/{name}", "disabled": True, "typed_config": {
        "@type": f"{TYPE}envoy.extensions.filters.http.wasm.v3.Wasm",
        "config": {
            "name": wasm["name"], "fail_open": wasm.get("failOpen", False),
            "configuration": {"@type": f"{TYPE}google.protobuf.StringValue", "value": text},
            "vm_config": {
                "vm_id": name, "runtime": "envoy.wasm.runtime.v8",
                "code": {"remote": {
                    "http_uri": {"uri": f"http://127.0.0.1:{modules.port}/plugin.wasm",
                                 "cluster": "wasm_cluster", "timeout": "10s"},
                    "sha256": modules.sha256}}}}}}


def buffer(policy: dict, http_filters: list[dict], routes: list[dict]) -> None:
    limit = {"max_request_bytes": quantity(policy["spec"]["requestBuffer"]["limit"])}
    kind = f"{TYPE}envoy.extensions.filters.http.buffer.v3."
    http_filters.append({"name": FILTER + "buffer", "disabled": True,
                         "typed_config": {"@type": kind + "Buffer", **limit}})
    for route in targets(policy, routes):
        route["typed_per_filter_config"][FILTER + "buffer"] = {
            "@type": kind + "BufferPerRoute", "buffer": limit}


def quantity(text: str) -> int:
    return int(text.removesuffix("Mi")) << 20


def is_of(entry: dict, kind: str) -> bool:
    return entry["name"].startswith(kind)


def in_order(http_filters: list[dict], moves: list[dict]) -> list[dict]:
    """`sortHTTPFilters`."""
    def place(entry: dict) -> tuple:
        kind, _, rest = entry["name"].removeprefix(FILTER).partition("/")
        number = rest.rpartition("/")[2]
        return ORDER[kind] + (int(number) if number.isdigit() else 0), entry["name"]
    ordered = sorted(http_filters, key=place)
    for move in moves:
        assert set(move) == {"name", "after"}
        moved = [entry for entry in ordered if is_of(entry, move["name"])]
        anchors = [entry for entry in ordered if is_of(entry, move["after"])]
        if moved and anchors:
            ordered = [entry for entry in ordered if entry not in moved]
            position = ordered.index(anchors[-1]) + 1
            ordered[position:position] = moved
    return ordered


def insert_ai_gateway(http_filters: list[dict], entry: dict, after_the_buffer: bool) -> None:
    """`insertAIGatewayExtProcFilter`."""
    place = next(number for number, other in enumerate(http_filters)
                 if any(is_of(other, kind) for kind in AFTER_AI_GATEWAY))
    buffers = [number for number, other in enumerate(http_filters)
               if is_of(other, FILTER + "buffer")]
    if after_the_buffer and buffers and buffers[-1] >= place:
        place = buffers[-1] + 1
    http_filters.insert(place, entry)


def router() -> dict:
    return {"name": FILTER + "router", "typed_config": {
        "@type": f"{TYPE}envoy.extensions.filters.http.router.v3.Router",
        "suppress_envoy_headers": True}}


def listener(http_filters: list[dict], routes: list[dict], limits: list[int]) -> dict:
    kind = f"{TYPE}envoy.extensions.filters.network.http_connection_manager.v3."
    return {
        "name": LISTENER,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "per_connection_buffer_limit_bytes": limits[0] if limits else 32768,
        "default_filter_chain": {"name": LISTENER, "filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": kind + "HttpConnectionManager", "stat_prefix": "http",
                "normalize_path": True, "merge_slashes": True, "use_remote_address": True,
                "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
                "common_http_protocol_options": {
                    "headers_with_underscores_action": "REJECT_REQUEST"},
                "http_filters": http_filters,
                "route_config": {"name": LISTENER, "ignore_port_in_host_matching": True,
                                 "virtual_hosts": [{"name": LISTENER, "domains": ["*"],
                                                    "routes": routes}]}}}]}}


def cluster(name: str, port: int) -> dict:
    return {"name": name, "type": "STATIC", "connect_timeout": "10s", "load_assignment": {
        "cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {
            "socket_address": {"address": "127.0.0.1", "port_value": port}}}}]}]}}


def merge(into: dict, value: dict) -> None:
    """As protobuf merges messages: lists are joined."""
    for name, element in value.items():
        if isinstance(element, dict):
            merge(into.setdefault(name, {}), element)
        elif isinstance(element, list):
            into.setdefault(name, []).extend(copy.deepcopy(element))
        else:
            into[name] = element

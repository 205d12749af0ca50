"""What Istio makes of its resources for a gateway: a port of the parts that the filter meets.

Ported from istio/istio, by hand, file by file:

    pilot/pkg/networking/core/listener_builder.go        the HTTP filters and their order
    pilot/pkg/model/extensions.go                        a WasmPlugin as Envoy's configuration
    pilot/pkg/networking/core/extension/wasmplugin.go    and as a filter with config_discovery
    pilot/pkg/networking/core/envoyfilter/               patches, applied after all of the above
    pkg/wasm/convert.go                                  what the agent makes of a remote module

Left out: TLS, routes (those of the example), and xDS, in whose place are files.
"""

import copy
import json
import pathlib

import yaml

from harness.envoy import WASM, Config

TYPE = "type.googleapis.com/"
WASM_TYPE = TYPE + "envoy.extensions.filters.http.wasm.v3.Wasm"
RBAC_TYPE = TYPE + "envoy.extensions.filters.http.rbac.v3.RBAC"
MANAGER = "envoy.filters.network.http_connection_manager"
# The one of Istio's own tags that can hit the filter's names (tools/packaging/common/
# envoy_bootstrap.json).
TAGS = [{"tag_name": "cache", "regex": r"(cache\.(.+?)\.)"}]
POLICIES = {"FAIL_CLOSE": "FAIL_CLOSED", "FAIL_OPEN": "FAIL_OPEN", "FAIL_RELOAD": "FAIL_RELOAD"}


class Agent:
    """The pilot agent of a pod. Every image has this module in it, or cannot be fetched."""

    def __init__(self, fetches: bool = True) -> None:
        self.fetches = fetches
        self.fetched: list[str] = []

    def convert(self, extension: dict) -> dict:
        plugin = extension["typed_config"]["config"]
        remote = plugin["vm_config"]["code"].get("remote")
        if remote is None:
            return extension
        if not self.fetches:
            policy = plugin.get("failure_policy")
            is_open = policy == "FAIL_OPEN" if policy else plugin.get("fail_open", False)
            rbac = {"@type": RBAC_TYPE, **({} if is_open else {"rules": {}})}
            return {**extension, "typed_config": rbac}
        assert remote["http_uri"]["uri"].startswith("oci://")
        self.fetched.append(remote["http_uri"]["uri"])
        extension = copy.deepcopy(extension)
        plugin = extension["typed_config"]["config"]
        plugin["vm_config"]["code"] = {"local": {"filename": str(WASM)}}
        variables = plugin["vm_config"].pop("environment_variables", {}).get("key_values", {})
        kept = {name: value for name, value in variables.items()
                if not name.startswith("ISTIO_META_")}
        if kept:
            plugin["vm_config"]["environment_variables"] = {"key_values": kept}
        return extension


def gateway(resources: list[dict], config: Config, files: pathlib.Path,
            agent: Agent | None = None, filters: list[dict] = ()) -> Config:
    """`config`, an example without the filter, as the gateway that these resources lead to.

    `filters` are those that authentication and authorization would add. `files` is a folder for
    what xDS would deliver.
    """
    plugins = of_kind(resources, "WasmPlugin")
    patches = [patch for resource in of_kind(resources, "EnvoyFilter")
               for patch in resource["spec"]["configPatches"]]
    extensions = [extension_of(plugin) for plugin in plugins]
    config.http_filters[:] = [
        *filters,
        *(discovered(extension["name"]) for extension in extensions),
        plain("grpc_stats.v3.FilterConfig", "grpc_stats"), plain("fault.v3.HTTPFault", "fault"),
        plain("cors.v3.Cors", "cors"), plain("router.v3.Router", "router")]
    config.tree["stats_config"] = {"stats_tags": copy.deepcopy(TAGS)}
    # Istio turns this on for all connections.
    config.manager["upgrade_configs"] = [{"upgrade_type": "websocket"}]
    for patch in patches:
        if patch["applyTo"] == "HTTP_FILTER":
            insert(config, patch)
        elif patch["applyTo"] == "EXTENSION_CONFIG":
            assert patch["patch"]["operation"] == "ADD"
            extensions.append(copy.deepcopy(patch["patch"]["value"]))
        elif patch["applyTo"] == "BOOTSTRAP":
            assert patch["patch"]["operation"] == "MERGE"
            merge(config.tree, patch["patch"]["value"])
        else:
            raise NotImplementedError(patch["applyTo"])
    # A file as a source of configuration needs a name of the node.
    config.tree["node"] = {"id": "test", "cluster": "test"}
    for extension in extensions:
        path = deliver((agent or Agent()).convert(extension), files)
        for entry in config.http_filters:
            if entry["name"] == extension["name"]:
                source = entry["config_discovery"]["config_source"]
                assert source.pop("ads") == {}
                source["path_config_source"] = {"path": str(path)}
    return config


def of_kind(resources: list[dict], kind: str) -> list[dict]:
    return [resource for resource in resources if resource["kind"] == kind]


def plain(message: str, name: str) -> dict:
    return {"name": f"envoy.filters.http.{name}",
            "typed_config": {"@type": f"{TYPE}envoy.extensions.filters.http.{message}"}}


def extension_of(plugin: dict) -> dict:
    """`convertToWasmPluginWrapper`, `buildVMConfig`: there is no vm_id."""
    spec, meta = plugin["spec"], plugin["metadata"]
    assert "phase" not in spec, "only the place before the router is ported"
    name = f"{meta['namespace']}.{meta['name']}"
    variables = {"ISTIO_META_WASM_PLUGIN_RESOURCE_VERSION": "1"}
    if "imagePullPolicy" in spec:
        variables["ISTIO_META_WASM_IMAGE_PULL_POLICY"] = spec["imagePullPolicy"]
    config = {
        "name": name, "root_id": spec.get("pluginName", ""),
        "failure_policy": POLICIES[spec.get("failStrategy", "FAIL_CLOSE")],
        "vm_config": {
            "runtime": "envoy.wasm.runtime.v8",
            "code": {"remote": {"http_uri": {"uri": spec["url"], "timeout": "30s", "cluster": "_"},
                                "sha256": spec.get("sha256", "")}},
            "environment_variables": {"key_values": variables}}}
    if spec.get("pluginConfig"):
        config["configuration"] = {"@type": TYPE + "google.protobuf.StringValue",
                                   "value": json.dumps(spec["pluginConfig"])}
    return {"name": name, "typed_config": {"@type": WASM_TYPE, "config": config}}


def discovered(name: str) -> dict:
    return {"name": name, "config_discovery": {
        "config_source": {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
        "type_urls": [WASM_TYPE, RBAC_TYPE]}}


def insert(config: Config, patch: dict) -> None:
    """`patchHTTPFilters`: INSERT_BEFORE a filter by its name."""
    assert patch["patch"]["operation"] == "INSERT_BEFORE"
    assert patch["match"]["context"] == "GATEWAY"
    network = patch["match"]["listener"]["filterChain"]["filter"]
    assert network["name"] == MANAGER
    names = [entry["name"] for entry in config.http_filters]
    config.http_filters.insert(names.index(network["subFilter"]["name"]),
                               copy.deepcopy(patch["patch"]["value"]))


def merge(into: dict, value: dict) -> None:
    """As protobuf merges messages: lists are joined."""
    for name, element in value.items():
        if isinstance(element, dict):
            merge(into.setdefault(name, {}), element)
        elif isinstance(element, list):
            into.setdefault(name, []).extend(copy.deepcopy(element))
        else:
            into[name] = element


def deliver(extension: dict, files: pathlib.Path) -> pathlib.Path:
    """A filter's configuration in a file, where Istio would send it over ADS. Again, an update."""
    path = files / f"{extension['name']}.yaml"
    # The move makes an update one event.
    draft = path.with_suffix(".draft")
    draft.write_text(yaml.safe_dump({"resources": [
        {"@type": TYPE + "envoy.config.core.v3.TypedExtensionConfig", **extension}]}))
    draft.rename(path)
    return path

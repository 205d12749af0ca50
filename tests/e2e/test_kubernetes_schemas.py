"""Every Kubernetes resource of envoy/ and docs/ is what an API server would take, and has no field
that it would drop.
"""

import copy
import pathlib
import shutil

import jsonschema
import pytest
import yaml
from harness import kubectl, kubernetes_schemas
from harness.envoy import ROOT
from test_documentation import blocks

ENVOY = ROOT / "envoy"
# Values of a chart, no resource.
VALUES = "gateway-values.yaml"
STORE = ENVOY / "kubernetes-store"


def resources_of_files() -> list:
    return [pytest.param(document, id=f"{path.relative_to(ENVOY)}-{document['kind']}")
            for folder in ("istio", "envoy-gateway")
            for path in sorted((ENVOY / folder).glob("*.yaml")) if path.name != VALUES
            for document in yaml.safe_load_all(path.read_text())]


def resources_of_docs() -> list:
    return [pytest.param(document, id=f"{page}-{document['kind']}")
            for page, document in blocks("yaml kubernetes")]


@pytest.fixture(scope="module")
def crds() -> pathlib.Path | None:
    return kubernetes_schemas.folder()


def checked(resource: dict, crds: pathlib.Path | None) -> None:
    if crds is None and not kubernetes_schemas.is_core(resource):
        pytest.skip("no folder of CRDs; LLM_CACHE_CRDS names it")
    kubernetes_schemas.check(resource, crds)


@pytest.mark.parametrize("resource", [*resources_of_files(), *resources_of_docs()])
def test_a_resource_is_as_its_schema_says(resource, crds):
    checked(resource, crds)


@pytest.mark.parametrize("name", ["valkey", "valkey-cluster", "istio", "envoy-gateway"])
def test_what_kustomize_renders_is_as_its_schemas_say(tmp_path, name, crds):
    shutil.copytree(STORE, tmp_path / "store", dirs_exist_ok=True)
    for store in ("valkey", "valkey-cluster"):
        (tmp_path / "store" / store / "password.env").write_text("password=abc")
    resources = kubectl.render(tmp_path / "store" / name)
    assert {"Deployment", "Service", "NetworkPolicy", "Secret", "ConfigMap"} <= {
        resource["kind"] for resource in resources}
    for resource in resources:
        checked(resource, crds)


def test_the_charts_values_are_volumes_as_a_pod_has_them():
    values = yaml.safe_load((ENVOY / "istio" / VALUES).read_text())
    assert set(values) == {"volumes", "volumeMounts"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "gateway"}, "spec": {
        "volumes": values["volumes"],
        "containers": [{"name": "istio-proxy", "volumeMounts": values["volumeMounts"]}]}}
    kubernetes_schemas.check(pod, None)
    (mount,) = values["volumeMounts"]
    (istio,) = yaml.safe_load_all((ENVOY / "istio" / "file.yaml").read_text())
    plugin = istio["spec"]["configPatches"][0]["patch"]["value"]["typed_config"]["config"]
    assert plugin["vm_config"]["code"]["local"]["filename"] == mount["mountPath"] + "/plugin.wasm"


@pytest.mark.parametrize("resource", resources_of_files())
def test_a_field_that_nobody_knows_would_be_found(resource, crds):
    if crds is None:
        pytest.skip("no folder of CRDs; LLM_CACHE_CRDS names it")
    resource = copy.deepcopy(resource)
    resource["spec"]["unheardOf"] = 1
    with pytest.raises(jsonschema.ValidationError, match="unheardOf"):
        kubernetes_schemas.check(resource, crds)


def test_a_field_that_nobody_knows_would_be_found_in_a_pod_too():
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"},
           "spec": {"containers": [{"name": "x", "unheardOf": 1}]}}
    with pytest.raises(jsonschema.ValidationError, match="unheardOf"):
        kubernetes_schemas.check(pod, None)

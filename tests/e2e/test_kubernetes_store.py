"""The shared store of envoy/kubernetes-store/: rendered by kustomize, and its commands run here.

The schemas are looked at in test_kubernetes_schemas.py. Nothing here runs Kubernetes.
"""

import base64
import re
import shutil
import subprocess

import pytest
import redis as redis_client
import yaml
from chats import chat
from harness import kubectl
from harness.envoy import ROOT, Config, Envoy
from harness.http1 import fetch
from harness.pod import Container
from http_stores import PATIENT, cluster, with_cluster

FOLDER = ROOT / "envoy" / "kubernetes-store"
PASSWORD = "3f1d0a9c5b7e24688642e7b5c9a0d1f3"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A copy in which both stores have their password, as an operator would make it."""
    copy = tmp_path_factory.mktemp("store") / "kubernetes-store"
    shutil.copytree(FOLDER, copy, ignore=shutil.ignore_patterns("password.env"))
    for store in ("valkey", "valkey-cluster"):
        (copy / store / "password.env").write_text(f"password={PASSWORD}\n")
    return copy


@pytest.fixture(scope="module", params=["valkey", "valkey-cluster", "istio", "envoy-gateway"])
def rendered(folder, request) -> list[dict]:
    return kubectl.render(folder / request.param)


@pytest.fixture(scope="module")
def store(folder) -> list[dict]:
    return kubectl.render(folder / "istio")


@pytest.fixture(scope="module")
def behind_a_cluster(folder) -> list[dict]:
    return kubectl.render(folder / "valkey-cluster")


def named(resources: list[dict], kind: str, name: str) -> dict:
    """A resource by its name, without the digest that kustomize adds to what it generates."""
    (found,) = [resource for resource in resources if resource["kind"] == kind
                and re.sub(r"-[a-z0-9]{10}$", "", resource["metadata"]["name"]) == name]
    return found


def container(resources: list[dict], deployment: str, name: str) -> dict:
    pod = named(resources, "Deployment", deployment)["spec"]["template"]["spec"]
    return next(entry for entry in pod["containers"] if entry["name"] == name)


def test_a_store_without_a_password_is_not_rendered(tmp_path):
    shutil.copytree(FOLDER, tmp_path / "store", ignore=shutil.ignore_patterns("password.env"))
    with pytest.raises(AssertionError, match=r"password\.env"):
        kubectl.render(tmp_path / "store" / "istio")


def test_webdis_has_the_configuration_that_it_has_outside_of_kubernetes(rendered):
    (text,) = named(rendered, "ConfigMap", "webdis")["data"].values()
    assert text == (ROOT / "envoy" / "webdis.json").read_text()


def test_pods_may_do_nothing_that_they_need_not(rendered):
    deployments = [entry for entry in rendered if entry["kind"] == "Deployment"]
    assert deployments
    for deployment in deployments:
        pod = deployment["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        for entry in pod["containers"]:
            rights = entry["securityContext"]
            assert rights["readOnlyRootFilesystem"] and not rights["allowPrivilegeEscalation"]
            assert rights["capabilities"] == {"drop": ["ALL"]}
            assert entry["resources"]["limits"]["memory"]
            assert re.search(r":[v0-9]", entry["image"])
            written = [mount["mountPath"] for mount in entry["volumeMounts"]
                       if not mount.get("readOnly")]
            assert all(path.startswith("/run/") for path in written)


def test_only_the_gateways_reach_webdis_and_only_webdis_the_store(folder):
    alone = kubectl.render(folder / "valkey")
    assert named(alone, "NetworkPolicy", "webdis")["spec"]["ingress"] == []
    for gateway, namespace in (("istio", "istio-system"),
                               ("envoy-gateway", "envoy-gateway-system")):
        resources = kubectl.render(folder / gateway)
        (rule,) = named(resources, "NetworkPolicy", "webdis")["spec"]["ingress"]
        (peer,) = rule["from"]
        assert peer["namespaceSelector"]["matchLabels"] == {
            "kubernetes.io/metadata.name": namespace}
        assert peer["podSelector"]["matchLabels"]
        assert rule["ports"] == [{"port": 7379, "protocol": "TCP"}]
        (rule,) = named(resources, "NetworkPolicy", "valkey")["spec"]["ingress"]
        assert rule["from"] == [{"podSelector": {"matchLabels": {"app": "webdis"}}}]


def test_the_service_leads_to_the_pods(store):
    for name in ("webdis", "valkey"):
        service = named(store, "Service", name)["spec"]
        template = named(store, "Deployment", name)["spec"]["template"]
        assert service["selector"].items() <= template["metadata"]["labels"].items()
        (port,) = service["ports"]
        (listening,) = template["spec"]["containers"][0]["ports"]
        assert port["targetPort"] == listening["name"]
        assert port["port"] == listening["containerPort"]


@pytest.fixture
def valkey(store):
    secret = base64.b64decode(named(store, "Secret", "valkey")["data"]["password"]).decode()
    entry = container(store, "valkey", "valkey")
    with Container(entry, {"/etc/valkey/password": secret},
                   {"exec valkey-server": "exec valkey-server --port PORT --bind 127.0.0.1"}
                   ) as process:
        yield process


def webdis_files(resources: list[dict], redis_port: int) -> dict[str, str]:
    (text,) = named(resources, "ConfigMap", "webdis")["data"].values()
    assert '"http_port": 7379' in text and '"redis_port": 6379' in text
    text = text.replace('"http_port": 7379', '"http_port": PORT')
    secret = base64.b64decode(named(resources, "Secret", "valkey")["data"]["password"]).decode()
    return {"/etc/webdis/webdis.json": text.replace('"redis_port": 6379',
                                                    f'"redis_port": {redis_port}'),
            "/etc/valkey/password": secret}


LOOPBACK = {"0.0.0.0": "127.0.0.1"}


@pytest.fixture
def webdis(store, valkey):
    entry = container(store, "webdis", "webdis")
    with Container(entry, webdis_files(store, valkey.port), LOOPBACK,
                   {"REDIS_HOST": "localhost"}) as process:
        yield process


def gateway(envoys, port: int) -> Config:
    """With the store and no memory, so that a hit is one of the store's."""
    config = envoys.config({"store": {"memory": None, "http": {
        "cluster": "cache", "protocol": "webdis", "path_prefix": "llm-cache:", **PATIENT}}})
    return with_cluster(config, cluster(port))


def test_a_gateway_hits_through_the_commands_of_the_pods(envoys, prompt, webdis, valkey):
    body = chat(prompt())
    with Envoy(gateway(envoys, webdis.port)) as envoy:
        assert fetch(envoy.port, body).cache == "MISS"
        envoy.wait_until(lambda: envoy.cache_counters().get(
            "llm_cache_store_operations_total.operation.write.result.done"), "the write")
        assert fetch(envoy.port, body).header("cache-status").endswith("detail=http")


def test_the_store_lets_nobody_in_without_the_password(valkey):
    client = redis_client.Redis(port=valkey.port)
    with pytest.raises(redis_client.exceptions.AuthenticationError):
        client.get("llm-cache:x")


@pytest.mark.parametrize(("password", "ready"), [(PASSWORD, True), ("another", False)])
def test_the_store_is_ready_when_it_takes_the_password(valkey, password, ready):
    shell, flag, probe = valkey.container["readinessProbe"]["exec"]["command"]
    probe = valkey.outside(probe).replace("valkey-cli", f"valkey-cli -p {valkey.port}")
    (valkey.path / "etc/valkey/password").write_text(password)
    ran = subprocess.run([shell, flag, probe], env=valkey.environment(), check=False,
                         capture_output=True)
    assert (ran.returncode == 0) is ready


@pytest.mark.parametrize(("command", "allowed"), [
    (("GET", "llm-cache:x"), True), (("SETEX", "llm-cache:x", "60", "v"), True),
    (("DEL", "llm-cache:x"), True), (("GET", "other"), False), (("SET", "llm-cache:x", "v"), False),
    (("FLUSHALL",), False), (("CONFIG", "GET", "*"), False), (("KEYS", "*"), False)],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "")
def test_the_password_allows_what_the_filter_does_and_no_more(valkey, command, allowed):
    client = redis_client.Redis(port=valkey.port, password=PASSWORD)
    if allowed:
        client.execute_command(*command)
    else:
        with pytest.raises(redis_client.exceptions.NoPermissionError):
            client.execute_command(*command)


def test_the_proxy_beside_webdis_is_the_one_of_the_whole_envoy(behind_a_cluster):
    """But for the nodes' addresses and their password, for which that one has a comment."""
    (text,) = named(behind_a_cluster, "ConfigMap", "redis-proxy")["data"].values()
    beside = yaml.safe_load(text)["static_resources"]
    whole = Config(ROOT / "envoy" / "redis-cluster.yaml")
    assert beside["listeners"] == [whole.listener_named("redis")]
    (cluster,) = beside["clusters"]
    password = cluster.pop("typed_extension_protocol_options")
    assert "REDIS_PASSWORD" in str(password)
    expected = whole.cluster_named("redis")
    for entry in (cluster, expected):
        del entry["load_assignment"]["endpoints"]
    assert cluster == expected
    variables = container(behind_a_cluster, "webdis", "redis-proxy")["env"]
    assert [entry["name"] for entry in variables] == ["REDIS_PASSWORD"]


def test_a_gateway_hits_through_the_proxy_and_a_cluster(
        envoys, prompt, behind_a_cluster, redis_cluster):
    """The nodes here have no password, so that the tests of others can share them."""
    (text,) = named(behind_a_cluster, "ConfigMap", "redis-proxy")["data"].values()
    proxy = Config(ROOT / "envoy" / "envoy.yaml")
    proxy.tree = yaml.safe_load(text)
    proxy.tree["admin"] = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}}
    proxy.at("redis", *redis_cluster.ports).listen(0)
    del proxy.cluster_named("redis")["typed_extension_protocol_options"]
    entry = container(behind_a_cluster, "webdis", "webdis")
    body = chat(prompt())
    with Envoy(proxy) as beside:
        files = webdis_files(behind_a_cluster, 6379)
        changes = {**LOOPBACK, '"redis_port": 6380': f'"redis_port": {beside.port}'}
        with (Container(entry, files, changes) as webdis,
              Envoy(gateway(envoys, webdis.port)) as envoy):
            assert fetch(envoy.port, body).cache == "MISS"
            envoy.wait_until(lambda: envoy.cache_counters().get(
                "llm_cache_store_operations_total.operation.write.result.done"), "the write")
            assert fetch(envoy.port, body).header("cache-status").endswith("detail=http")
    assert redis_cluster.stored_keys()

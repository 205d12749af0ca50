"""What compose.yaml promises, read from the file. tests/containers/ brings it up."""

import json
import re
import subprocess

import pytest
import yaml
from harness.containers.compose import FILE, PORTS
from harness.envoy import EXAMPLE, ROOT, WASM, Config, validate
from harness.envoy_binary import PINNED

COMPOSE = yaml.safe_load(FILE.read_text())
SERVICES = COMPOSE["services"]


def by_default(text: str) -> str:
    """With each variable at its default."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_is_pinned(service):
    image = by_default(SERVICES[service]["image"])
    assert re.fullmatch(r"[a-z0-9./-]+:v?\d+(\.\d+)+(-[a-z]+)?", image)
    if service == "envoy":
        assert image == f"envoyproxy/envoy:v{PINNED}"


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_restarts_and_gains_no_privileges(service):
    assert SERVICES[service]["restart"] == "unless-stopped"
    assert SERVICES[service]["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in SERVICES[service]
    assert "cap_add" not in SERVICES[service]


@pytest.mark.parametrize("service", [name for name in SERVICES if name != "network"])
def test_a_service_shares_the_network_and_has_a_health_check(service):
    assert SERVICES[service]["network_mode"] == "service:network"
    assert "ports" not in SERVICES[service]
    assert SERVICES[service]["healthcheck"]["test"][0] == "CMD"
    for other, wanted in SERVICES[service]["depends_on"].items():
        checked = "healthcheck" in SERVICES[other]
        assert wanted == {"condition": "service_healthy" if checked else "service_started"}


def test_the_published_ports_are_on_loopback_and_can_be_changed():
    published = SERVICES["network"]["ports"]
    assert [re.search(r"\$\{(\w+)", entry).group(1) for entry in published] == list(PORTS)
    for entry in published:
        address, outside, inside = by_default(entry).split(":")
        assert (address, outside) == ("127.0.0.1", inside)


def test_what_is_mounted_is_there_and_read_only():
    volumes = [entry for service in SERVICES.values() for entry in service.get("volumes", [])]
    mounted = [entry for entry in volumes if isinstance(entry, dict)]
    named = [entry for entry in volumes if isinstance(entry, str)]
    assert {entry.partition(":")[0] for entry in named} == set(COMPOSE["volumes"])
    assert WASM in [ROOT / entry["source"] for entry in mounted]
    for entry in mounted:
        assert (ROOT / entry["source"]).exists(), entry
        assert entry["read_only"], entry


def test_envoy_runs_the_file_of_the_examples_on_other_interfaces(tmp_path):
    shell, option, script = SERVICES["envoy"]["command"]
    assert (shell, option) == ("sh", "-c")
    changed = subprocess.run([shell, option, script.partition(" > ")[0]], capture_output=True,
                             text=True, check=True, cwd=ROOT).stdout
    (tmp_path / "envoy.yaml").write_text(changed)
    expected, config = Config(EXAMPLE.with_name("redis.yaml")), Config(tmp_path / "envoy.yaml")
    for address in (expected.listener["address"], expected.tree["admin"]["address"]):
        address["socket_address"]["address"] = "0.0.0.0"
    assert config.tree == expected.tree
    valid, said = validate(config)
    assert valid, said


def test_every_port_that_is_asked_for_on_loopback_is_one_that_a_service_has():
    """The addresses of the clusters of Envoy, of Webdis, Prometheus and Grafana."""
    config = Config(EXAMPLE.with_name("redis.yaml"))
    webdis = json.loads(EXAMPLE.with_name("webdis.json").read_text())
    provider = SERVICES["provider"]["command"]
    assert [endpoint_port(config, name) for name in ("upstream", "cache")] == [
        int(provider[provider.index("--port") + 1]), webdis["http_port"]]
    assert webdis["redis_port"] == 6379
    scraped = yaml.safe_load((EXAMPLE.parent / "prometheus" / "prometheus.yaml").read_text())
    (targets,) = scraped["scrape_configs"][0]["static_configs"]
    admin = config.tree["admin"]["address"]["socket_address"]["port_value"]
    assert targets["targets"] == [f"127.0.0.1:{admin}"]
    sources = EXAMPLE.parent / "grafana" / "datasources" / "prometheus.yaml"
    (source,) = yaml.safe_load(sources.read_text())["datasources"]
    assert source["url"] in " ".join(SERVICES["prometheus"]["healthcheck"]["test"])


def endpoint_port(config: Config, cluster: str) -> int:
    (group,) = config.cluster_named(cluster)["load_assignment"]["endpoints"]
    (endpoint,) = group["lb_endpoints"]
    address = endpoint["endpoint"]["address"]["socket_address"]
    assert address["address"] == "127.0.0.1"
    return address["port_value"]

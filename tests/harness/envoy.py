"""Runs Envoys from envoy/envoy.yaml with what a test changes in it."""

import atexit
import collections
import contextlib
import copy
import ctypes
import http.client
import json
import pathlib
import re
import signal
import subprocess
import tempfile
import time

import yaml

from harness import envoy_program
from harness.envoy_binary import ROOT

EXAMPLE = ROOT / "envoy" / "envoy.yaml"
WASM = ROOT / "target" / "wasm32-wasip1" / "release" / "envoy_llm_cache.wasm"
GUARD_SECONDS = 60
PR_SET_PDEATHSIG = 1

# Metrics that come about a second late.
LATE = re.compile("llm_cache_(shadow_)?saved_|llm_cache_(memory|capture|held|waiting)_")
# The labels that tell APIs and models apart.
OF_SUBJECT = re.compile(r"(?<=_total)\.api\.[a-z_]+|\.model\..*$")


class Config:
    """A file of envoy/, as it stands but for the changes made here."""

    def __init__(self, example: pathlib.Path = EXAMPLE) -> None:
        self.tree = yaml.safe_load(example.read_text())

    @classmethod
    def for_tests(cls, upstream_port: int, example: pathlib.Path = EXAMPLE) -> "Config":
        config = cls(example)
        config.listen(0)
        config.tree["admin"]["address"]["socket_address"]["port_value"] = 0
        config.upstream_address["port_value"] = upstream_port
        config.plugin["vm_config"]["code"]["local"]["filename"] = str(WASM)
        return config

    @property
    def listener(self) -> dict:
        return self.tree["static_resources"]["listeners"][0]

    @property
    def manager(self) -> dict:
        """The HTTP connection manager."""
        return self.listener["filter_chains"][0]["filters"][0]["typed_config"]

    @property
    def http_filters(self) -> list[dict]:
        return self.manager["http_filters"]

    @property
    def plugin(self) -> dict:
        return next(entry for entry in self.http_filters
                    if entry["name"] == "envoy_llm_cache")["typed_config"]["config"]

    @property
    def settings(self) -> dict:
        """The plugin's configuration, as the example gives it."""
        return self.plugin["configuration"]["value"]

    @property
    def cluster(self) -> dict:
        return self.tree["static_resources"]["clusters"][0]

    @property
    def upstream_address(self) -> dict:
        endpoint = self.cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
        return endpoint["address"]["socket_address"]

    def listener_named(self, name: str) -> dict:
        return next(entry for entry in self.tree["static_resources"]["listeners"]
                    if entry["name"] == name)

    def cluster_named(self, name: str) -> dict:
        return next(entry for entry in self.tree["static_resources"]["clusters"]
                    if entry["name"] == name)

    def listen(self, port: int, listener: str | None = None) -> None:
        entry = self.listener_named(listener) if listener else self.listener
        entry["address"]["socket_address"]["port_value"] = port

    def at(self, cluster: str, *ports: int) -> "Config":
        """A cluster's endpoints are these ports of loopback, without TLS and without DNS."""
        entry = self.cluster_named(cluster)
        entry.pop("transport_socket", None)
        if "cluster_type" not in entry:
            entry["type"] = "STATIC"
        endpoints = [{"endpoint": {"address": {"socket_address": {
            "address": "127.0.0.1", "port_value": port}}}} for port in ports]
        entry["load_assignment"]["endpoints"] = [{"lb_endpoints": endpoints}]
        return self

    def add_cluster(self, name: str, port: int, http2: bool = False) -> None:
        """One more cluster, with one endpoint on loopback."""
        cluster = {"name": name, "connect_timeout": "5s", "load_assignment": {"cluster_name": name}}
        self.tree["static_resources"]["clusters"].append(cluster)
        self.at(name, port)
        if http2:
            cluster["typed_extension_protocol_options"] = protocol({"http2_protocol_options": {}})

    def configure(self, value: dict) -> "Config":
        """The plugin's configuration, the way the example gives it: as a Struct."""
        self.plugin["configuration"] = {
            "@type": "type.googleapis.com/google.protobuf.Struct", "value": value}
        return self

    def configure_text(self, text: str) -> "Config":
        """The plugin's configuration as a string, which need not be JSON at all."""
        self.plugin["configuration"] = {
            "@type": "type.googleapis.com/google.protobuf.StringValue", "value": text}
        return self

    def without(self, name: str) -> "Config":
        self.http_filters[:] = [entry for entry in self.http_filters if entry["name"] != name]
        return self

    def with_http1_trailers(self) -> "Config":
        """Envoy drops HTTP/1.1 trailers on both sides unless told not to."""
        self.manager["http_protocol_options"] = {"enable_trailers": True}
        return self.asking({"http_protocol_options": {"enable_trailers": True}})

    def with_http2_upstream(self) -> "Config":
        """The upstream speaks HTTP/2, with prior knowledge."""
        return self.asking({"http2_protocol_options": {}})

    def asking(self, explicit_http_config: dict) -> "Config":
        """The upstream is asked over this protocol."""
        self.cluster["typed_extension_protocol_options"] = protocol(explicit_http_config)
        return self

    def text(self) -> str:
        return yaml.safe_dump(self.tree, sort_keys=False)


def protocol(explicit_http_config: dict) -> dict:
    """The `typed_extension_protocol_options` of a cluster that is asked over this protocol."""
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {options: {"@type": f"type.googleapis.com/{options}",
                      "explicit_http_config": explicit_http_config}}


def die_with_parent() -> None:
    """Envoy must not outlive the test run, also when that is killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Envoy:
    """A running Envoy. A context manager: leaving it ends the process."""

    options: tuple[str, ...] = ()

    def __init__(self, config: Config, workers: int = 1, listener_file: bool = False,
                 environment: dict[str, str] | None = None):
        self.config = config
        self.workers = workers
        self.folder = tempfile.TemporaryDirectory(prefix="envoy-llm-cache-")
        path = pathlib.Path(self.folder.name)
        self.log_path = path / "envoy.log"
        self.access_path = path / "access.log"
        self.listener_path = path / "listeners.yaml"
        tree = copy.deepcopy(config.tree)
        if listener_file:
            self.write_listener(config)
            tree["static_resources"]["listeners"] = []
            tree["node"] = {"id": "test", "cluster": "test"}
            tree["dynamic_resources"] = {"lds_config": {"path_config_source": {
                "path": str(self.listener_path), "watched_directory": {"path": str(path)}}}}
        (path / "envoy.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
        self.program = envoy_program.chosen()
        self.process = subprocess.Popen(
            self.program.command(
                "-c", path / "envoy.yaml", "--concurrency", str(workers), "--disable-hot-restart",
                "--admin-address-path", path / "admin", "--file-flush-interval-msec", "20",
                "--log-level", "info", *self.options, environment=environment),
            stdout=self.access_path.open("wb"), stderr=self.log_path.open("wb"),
            stdin=subprocess.DEVNULL, cwd=ROOT, preexec_fn=die_with_parent)
        atexit.register(self.stop)
        self.wait_until(lambda: (path / "admin").exists() and (path / "admin").read_text(),
                        "the admin port")
        self.admin_port = int((path / "admin").read_text().rpartition(":")[2])
        self.wait_until(lambda: self.admin("/ready", check=False).startswith("LIVE")
                        and config.listener["name"] in self.ports(), "a listener")
        self.port = self.ports()[config.listener["name"]]

    def __enter__(self) -> "Envoy":
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self.program.pid(self.process)

    def stop(self) -> None:
        atexit.unregister(self.stop)
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(GUARD_SECONDS)
        self.program.end(self.process)
        self.folder.cleanup()

    def wait_until(self, holds, what: str):
        """Polls; the limit is a guard against hanging, never what a test is about."""
        deadline = time.monotonic() + GUARD_SECONDS
        while True:
            if result := holds():
                return result
            if self.process.poll() is not None or time.monotonic() > deadline:
                state = "ended" if self.process.poll() is not None else "runs"
                log = self.log()[-6000:]
                if self.process.poll() is None and not hasattr(self, "port"):
                    self.stop()
                raise AssertionError(f"waiting for {what}, but Envoy {state}; its log:\n{log}")
            time.sleep(0.01)

    # -- admin ----------------------------------------------------------------------------------

    def admin(self, path: str, check: bool = True) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port,
                                                timeout=GUARD_SECONDS)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read().decode()
        except OSError as error:
            # Envoy opens its admin port before it knows whether it can start.
            raise AssertionError(f"admin {path}: {error}; Envoy's log:\n{self.log()}") from error
        finally:
            connection.close()
        if check and response.status != 200:
            raise AssertionError(f"admin {path}: {response.status} {body}")
        return body

    def ports(self) -> dict[str, int]:
        """Where each listener listens, by its name."""
        listeners = json.loads(self.admin("/listeners?format=json")).get("listener_statuses", [])
        return {entry["name"]: entry["local_address"]["socket_address"]["port_value"]
                for entry in listeners}

    def stats(self, pattern: str) -> dict[str, int]:
        lines = self.admin(f"/stats?filter={pattern}").splitlines()
        pairs = (line.rpartition(": ") for line in lines)
        return {name: int(value) for name, _, value in pairs if value.isdigit()}

    def stat(self, name: str) -> int:
        return self.stats("^" + re.escape(name).replace("\\", "%5C") + "$").get(name, 0)

    def cache_metrics(self) -> dict[str, int]:
        """The filter's own counters and gauges, without Envoy's namespace."""
        found = self.stats("wasmcustom")
        return {name.removeprefix("wasmcustom."): value for name, value in found.items()}

    def cache_counters(self) -> dict[str, int]:
        """How often each thing has happened, over all APIs and models. What comes late, and
        what the filter holds, is left out."""
        counters = collections.Counter()
        for name, value in self.cache_metrics().items():
            if value and not LATE.match(name):
                counters[OF_SUBJECT.sub("", name)] += value
        return dict(counters)

    # -- the wasm VM ------------------------------------------------------------------------------

    def vm_stats(self) -> dict[str, int]:
        """VMs made, living, reloaded: the same before and after means that none has died."""
        return self.stats("^wasm%5C.")

    def vm_failures(self) -> list[str]:
        """What Envoy logs when a VM traps; a VM that never did leaves none of it."""
        signs = ("Uncaught RuntimeError", "panicked at", "in-VM backtrace", "wasm_fail_stream")
        return [line for line in (self.log() + self.access_log()).splitlines()
                if any(sign in line for sign in signs)]

    # -- files ------------------------------------------------------------------------------------

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def access_log(self) -> str:
        return self.access_path.read_text(errors="replace")

    def log_lines(self) -> list[dict]:
        """The access log, where it is JSON."""
        return [json.loads(line) for line in self.access_log().splitlines()]

    def write_listener(self, config: Config) -> None:
        """Hands Envoy a listener over the file it watches; the move makes it one event."""
        resource = {**config.listener,
                    "@type": "type.googleapis.com/envoy.config.listener.v3.Listener"}
        draft = self.listener_path.with_name(".listeners.yaml")
        draft.write_text(yaml.safe_dump({"resources": [resource]}, sort_keys=False))
        draft.rename(self.listener_path)

    def resident_bytes(self) -> int:
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * 1024


def validate(config: Config) -> tuple[bool, str]:
    """What `envoy --mode validate` says of a configuration: whether it is good, and its log."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "envoy.yaml"
        path.write_text(config.text())
        ran = subprocess.run(
            envoy_program.chosen().command(
                "-c", path, "--mode", "validate", "--log-level", "info"),
            capture_output=True, text=True, cwd=ROOT, check=False, timeout=GUARD_SECONDS)
    return ran.returncode == 0, ran.stdout + ran.stderr

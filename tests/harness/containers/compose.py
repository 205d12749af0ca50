"""Brings compose.yaml up with images built here, on free ports, and takes it down again."""

import os
import pathlib
import subprocess
import sys
import tempfile

import yaml

from harness.containers import images, runtime
from harness.envoy_binary import ROOT
from harness.server_process import free_port

FILE = ROOT / "compose.yaml"
# Which image stands in for which service's. There is no Grafana outside of a registry of images.
STAND_INS = {"network": "pause", "envoy": "envoy", "redis": "redis", "webdis": "webdis",
             "provider": "python", "prometheus": "prometheus"}
PORTS = ("GATEWAY_PORT", "ADMIN_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT")


class Compose:
    """A context manager: leaving it removes the containers, the network and the volumes."""

    def __init__(self) -> None:
        self.runtime = runtime.find()
        self.project = f"envoy-llm-cache-{os.getpid()}"
        self.ports = {name: free_port() for name in PORTS}
        self.folder = tempfile.TemporaryDirectory(prefix="envoy-llm-cache-compose-")
        services = {name: {"image": images.built(image, self.runtime), "pull_policy": "never"}
                    for name, image in STAND_INS.items()}
        self.override = pathlib.Path(self.folder.name, "override.yaml")
        self.override.write_text(yaml.safe_dump({"services": services}))

    def __enter__(self) -> "Compose":
        try:
            self.run("up", "--detach", *STAND_INS)
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.down()

    def down(self) -> None:
        self.run("down", "--volumes", "--timeout", "5")
        self.folder.cleanup()

    def run(self, *words: str) -> str:
        if self.runtime.kind == "docker":
            command = [self.runtime.program, "compose"]
        else:
            command = [sys.executable, "-m", "podman_compose", "--podman-path",
                       self.runtime.program]
        given = {name: str(port) for name, port in self.ports.items()}
        ran = subprocess.run(
            [*command, "--project-name", self.project, "--file", FILE, "--file", self.override,
             *words], capture_output=True, text=True, check=False, cwd=ROOT,
            stdin=subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if name != "ENVOY_IMAGE"}
            | given)
        if ran.returncode != 0:
            raise AssertionError(f"{' '.join(words)}: {ran.stdout[-3000:]}{ran.stderr[-3000:]}")
        return ran.stdout

    def container(self, service: str) -> str:
        """The id of a service's container."""
        found = self.runtime.run(
            "ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.service={service}",
            "--filter", f"label=com.docker.compose.project={self.project}").split()
        return found[0]

    def execute(self, service: str, *words: str) -> str:
        return self.runtime.run("exec", self.container(service), *words)

    def healthy(self, service: str) -> bool:
        """What the service's own health check says now. docker runs it by itself."""
        if self.runtime.kind == "docker":
            state = "{{.State.Health.Status}}"
            return self.runtime.run("inspect", "--format", state,
                                    self.container(service)).strip() == "healthy"
        return self.runtime.attempt("healthcheck", "run", self.container(service)).returncode == 0

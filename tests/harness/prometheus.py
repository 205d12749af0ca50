"""Runs Prometheus with envoy/prometheus/, and promtool."""

import http.client
import json
import os
import subprocess
import urllib.parse

import yaml

from harness import debian
from harness.envoy_binary import ROOT
from harness.server_process import GUARD_SECONDS, ServerProcess

FOLDER = ROOT / "envoy" / "prometheus"
EXAMPLE = FOLDER / "prometheus.yaml"


def promtool(*words: str | os.PathLike) -> subprocess.CompletedProcess:
    binary = debian.find("promtool")
    return subprocess.run([binary, *words], env=debian.environment(binary), capture_output=True,
                          text=True, check=False, cwd=ROOT, timeout=GUARD_SECONDS)


class Prometheus(ServerProcess):
    """Scrapes the Envoys whose admin ports are given, and evaluates all rules, every second."""

    def __init__(self, *admin_ports: int, seconds: int = 1) -> None:
        self.config = yaml.safe_load(EXAMPLE.read_text())
        every = f"{seconds}s"
        self.config["global"] = {"scrape_interval": every, "scrape_timeout": every,
                                 "evaluation_interval": every}
        self.config["rule_files"] = [str(FOLDER / name) for name in self.config["rule_files"]]
        (targets,) = self.config["scrape_configs"][0]["static_configs"]
        targets["targets"] = [f"127.0.0.1:{port}" for port in admin_ports]
        self.binary = debian.find("prometheus")
        super().__init__()

    def command(self) -> list:
        path = self.path / "prometheus.yaml"
        path.write_text(yaml.safe_dump(self.config))
        return [self.binary, f"--config.file={path}", f"--storage.tsdb.path={self.path / 'data'}",
                f"--web.listen-address={self.address}", "--log.level=warn"]

    def environment(self) -> dict[str, str]:
        return debian.environment(self.binary)

    def is_ready(self) -> bool:
        try:
            status, _ = self.get("/-/ready")
        except OSError:
            return False
        return status == 200 and self.process.poll() is None

    def get(self, path: str, **parameters: str | float) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=GUARD_SECONDS)
        try:
            connection.request("GET", f"{path}?{urllib.parse.urlencode(parameters)}")
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def api(self, name: str, **parameters: str | float) -> dict:
        _, body = self.get(f"/api/v1/{name}", **parameters)
        answer = json.loads(body)
        assert answer["status"] == "success", (parameters, answer)
        return answer["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """The labels and the value of each series, now."""
        return [(series["metric"], float(series["value"][1]))
                for series in self.api("query", query=expression)["result"]]

    def query_range(self, expression: str, start: float, end: float,
                    step: float) -> list[tuple[dict[str, str], list[tuple[float, float]]]]:
        """The labels and the values over time of each series."""
        result = self.api("query_range", query=expression, start=start, end=end, step=step)
        return [(series["metric"], [(at, float(value)) for at, value in series["values"]])
                for series in result["result"]]

"""Runs a Prometheus on loopback, and promtool."""

import json
import pathlib
import subprocess
import urllib.parse
import urllib.request

from harness import debian
from harness.server_process import GUARD_SECONDS, ServerProcess


class Prometheus(ServerProcess):
    """Debian's prometheus, which scrapes this port every second and evaluates these rules."""

    def __init__(self, scraped_port: int, rules: dict[str, str]) -> None:
        self.scraped_port = scraped_port
        self.rules = rules
        self.binary = debian.find("prometheus")
        super().__init__()

    def command(self) -> list:
        for name, text in self.rules.items():
            (self.path / name).write_text(text)
        path = self.path / "prometheus.yaml"
        # JSON is YAML.
        path.write_text(json.dumps({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": list(self.rules),
            "scrape_configs": [{
                "job_name": "envoy", "metrics_path": "/stats/prometheus",
                "static_configs": [{"targets": [f"127.0.0.1:{self.scraped_port}"]}]}]}))
        return [self.binary, f"--config.file={path}", f"--storage.tsdb.path={self.path / 'data'}",
                f"--web.listen-address={self.address}"]

    def environment(self) -> dict[str, str]:
        return debian.environment(self.binary)

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=GUARD_SECONDS):
                return True
        except OSError:
            return False

    def query(self, expression: str) -> list[dict]:
        """What an instant query gives: each series with its labels and its value."""
        query = urllib.parse.urlencode({"query": expression})
        url = f"http://{self.address}/api/v1/query?{query}"
        with urllib.request.urlopen(url, timeout=GUARD_SECONDS) as answer:
            return json.load(answer)["data"]["result"]


def promtool(*arguments: str | pathlib.Path) -> subprocess.CompletedProcess:
    binary = debian.find("promtool")
    return subprocess.run([binary, *arguments], env=debian.environment(binary),
                          capture_output=True, text=True, check=False)

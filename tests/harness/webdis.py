"""Runs webdis with envoy/webdis.json and what a test changes in it."""

import json

from harness import debian
from harness.envoy_binary import ROOT
from harness.server_process import ServerProcess

EXAMPLE = ROOT / "envoy" / "webdis.json"


class Webdis(ServerProcess):
    """A Webdis in front of the Redis on `redis_port`, which need not be there yet."""

    def __init__(self, redis_port: int, **settings) -> None:
        self.redis_port = redis_port
        self.settings = settings
        self.binary = debian.find("webdis")
        super().__init__()

    def command(self) -> list:
        config = {**json.loads(EXAMPLE.read_text()), "redis_host": "127.0.0.1",
                  "redis_port": self.redis_port, "http_host": "127.0.0.1",
                  "http_port": self.port, **self.settings, "daemonize": False,
                  "logfile": str(self.path / "webdis.log")}
        path = self.path / "webdis.json"
        path.write_text(json.dumps(config))
        return [self.binary, path]

    def environment(self) -> dict[str, str]:
        return debian.environment(self.binary)

    def is_ready(self) -> bool:
        # It binds before it writes this, so nobody else can be listening then.
        said = self.path / "webdis.log"
        return said.exists() and "up and running" in said.read_text() and self.accepts()

    def start(self) -> None:
        (self.path / "webdis.log").unlink(missing_ok=True)
        super().start()

    def log(self) -> str:
        said = self.path / "webdis.log"
        return super().log() + (said.read_text() if said.exists() else "")

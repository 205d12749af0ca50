"""What is not Envoy: nginx, LiteLLM's proxy, Redis and Webdis, each on a loopback port."""

import atexit
import json
import os
import pathlib
import socket
import subprocess
import tempfile
import time

from harness.envoy import die_with_parent
from harness.envoy_binary import ROOT

from side_by_side import debian, machine
from side_by_side.debian import NotFound

GUARD_SECONDS = 120
LITELLM_VENV = ROOT / "target" / "bench-litellm"


class Peer:
    """A server with a folder of its own. Ends with this process at the latest."""

    def __init__(self, name: str, cores: set[int]) -> None:
        self.name = name
        self.cores = cores
        self.folder = tempfile.TemporaryDirectory(prefix=f"envoy-llm-cache-bench-{name}-")
        self.path = pathlib.Path(self.folder.name)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    def start(self, command: list, environment: dict[str, str]) -> None:
        with machine.pinned(self.cores), (self.path / "log").open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=self.path, env=environment, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, preexec_fn=die_with_parent)
        atexit.register(self.stop)
        deadline = time.monotonic() + GUARD_SECONDS
        while not self.accepts():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                said = (self.path / "log").read_text(errors="replace")[-600:]
                raise NotFound(f"{self.name} did not start: {said}")
            time.sleep(0.05)

    def accepts(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    @property
    def pids(self) -> list[int]:
        """The process and its children, one of which does the work."""
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [self.process.pid, *map(int, children.read_text().split())]

    def stop(self) -> None:
        atexit.unregister(self.stop)
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.folder.cleanup()


class Nginx(Peer):
    """Caches POST by path and body. The body must be in memory to be a key, and the key must fit
    into the buffer that a stored answer is read with, and into 64 KB, because nginx notes in 16
    bits where the answer begins behind it."""

    def __init__(self, upstream_port: int, buffer_kib: int = 4) -> None:
        program = debian.find("nginx", "nginx")
        super().__init__("nginx", machine.proxy_cores())
        (self.path / "nginx.conf").write_text(f"""
daemon off;
worker_processes 1;
pid {self.path}/pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_max_body_size 64m;
  client_body_buffer_size 64m;
  client_body_temp_path {self.path}/body;
  proxy_temp_path {self.path}/proxy;
  fastcgi_temp_path {self.path}/fastcgi;
  uwsgi_temp_path {self.path}/uwsgi;
  scgi_temp_path {self.path}/scgi;
  proxy_cache_path {self.path}/cache keys_zone=answers:10m inactive=1h;
  server {{
    listen 127.0.0.1:{self.port};
    location / {{
      proxy_pass http://127.0.0.1:{upstream_port};
      proxy_http_version 1.1;
      proxy_buffer_size {buffer_kib}k;
      proxy_buffers 8 {buffer_kib}k;
      proxy_busy_buffers_size {2 * buffer_kib}k;
      proxy_cache answers;
      proxy_cache_methods POST;
      proxy_cache_key "$http_authorization|$request_uri|$request_body";
      proxy_cache_valid 200 1h;
      add_header x-cache $upstream_cache_status;
    }}
  }}
}}
""")
        # Of root's nginx the worker changes its user, who may not enter this folder.
        user = ["-g", "user root;"] if os.geteuid() == 0 else []
        self.start([program, "-p", self.path, "-c", self.path / "nginx.conf", *user],
                   debian.environment(program))


class Litellm(Peer):
    """LiteLLM's proxy with its cache in memory, one worker."""

    def __init__(self, upstream_port: int, model: str, key: str) -> None:
        program = LITELLM_VENV / "bin" / "litellm"
        if not program.exists():
            raise NotFound("LiteLLM could not be installed from PyPI")
        super().__init__("litellm", machine.proxy_cores())
        # JSON is YAML.
        (self.path / "config.yaml").write_text(json.dumps({
            "model_list": [{"model_name": model, "litellm_params": {
                "model": f"openai/{model}", "api_key": "none",
                "api_base": f"http://127.0.0.1:{upstream_port}/v1"}}],
            "litellm_settings": {"cache": True, "cache_params": {"type": "local"},
                                 "telemetry": False}}))
        self.start([program, "--config", self.path / "config.yaml", "--host", "127.0.0.1",
                    "--port", str(self.port), "--num_workers", "1"],
                   {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR",
                    # It does not start without one; the requests carry it.
                    "LITELLM_MODE": "PRODUCTION", "LITELLM_MASTER_KEY": key})


class Redis(Peer):
    def __init__(self) -> None:
        program = debian.find("redis-server", "redis-server")
        super().__init__("redis", {machine.LOAD_CORE})
        self.start([program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                    "--dir", self.path], debian.environment(program))


class Webdis(Peer):
    def __init__(self, redis_port: int) -> None:
        program = debian.find("webdis", "webdis")
        super().__init__("webdis", {machine.LOAD_CORE})
        (self.path / "webdis.json").write_text(json.dumps({
            "redis_host": "127.0.0.1", "redis_port": redis_port, "http_host": "127.0.0.1",
            "http_port": self.port, "threads": 1, "pool_size": 1, "daemonize": False,
            "http_max_request_size": 16 << 20, "verbosity": 1, "database": 0,
            "logfile": str(self.path / "webdis.log")}))
        self.start([program, self.path / "webdis.json"], debian.environment(program))

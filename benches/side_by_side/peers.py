"""What is measured and not Envoy: nginx and LiteLLM's proxy, each on a loopback port."""

import json
import os
import pathlib
import subprocess

from harness import debian
from harness.debian import NoProgram
from harness.envoy import die_with_parent
from harness.envoy_binary import ROOT
from harness.server_process import GUARD_SECONDS, ServerProcess

from side_by_side import machine

LITELLM_VENV = ROOT / "target" / "bench-litellm"


class Peer(ServerProcess):
    """On the proxy's core. It may have processes of its own, which it ends when told to end."""

    ends_with_parent = staticmethod(die_with_parent)

    def __init__(self) -> None:
        with machine.pinned(machine.proxy_cores()):
            super().__init__()

    def is_ready(self) -> bool:
        return self.accepts()

    @property
    def pids(self) -> list[int]:
        """The process and its children, one of which does the work."""
        children = pathlib.Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [self.pid, *map(int, children.read_text().split())]

    def kill(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(GUARD_SECONDS)
        except subprocess.TimeoutExpired:
            super().kill()


class Nginx(Peer):
    """Caches POST by path and body. The body must be in memory to be a key, and the key must fit
    into the buffer that a stored answer is read with, and into 64 KB, because nginx notes in 16
    bits where the answer begins behind it."""

    def __init__(self, upstream_port: int, buffer_kib: int = 4) -> None:
        self.upstream_port = upstream_port
        self.buffer_kib = buffer_kib
        self.program = debian.find("nginx")
        super().__init__()

    def command(self) -> list:
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
  proxy_cache_path {self.path}/cache keys_zone=answers:10m inactive=24h;
  server {{
    listen 127.0.0.1:{self.port};
    location / {{
      proxy_pass http://127.0.0.1:{self.upstream_port};
      proxy_http_version 1.1;
      proxy_buffer_size {self.buffer_kib}k;
      proxy_buffers 8 {self.buffer_kib}k;
      proxy_busy_buffers_size {2 * self.buffer_kib}k;
      proxy_cache answers;
      proxy_cache_methods POST;
      proxy_cache_key "$http_authorization|$request_uri|$request_body";
      proxy_cache_valid 200 24h;
      add_header x-cache $upstream_cache_status;
    }}
  }}
}}
""")
        # Of root's nginx the worker changes its user, who may not enter this folder.
        user = ["-g", "user root;"] if os.geteuid() == 0 else []
        return [self.program, "-p", self.path, "-c", self.path / "nginx.conf", *user]

    def environment(self) -> dict[str, str]:
        return debian.environment(self.program)


class Litellm(Peer):
    """LiteLLM's proxy with its cache in memory, one worker."""

    def __init__(self, upstream_port: int, model: str, key: str) -> None:
        self.upstream_port = upstream_port
        self.model = model
        self.key = key
        self.program = LITELLM_VENV / "bin" / "litellm"
        if not self.program.exists():
            raise NoProgram("LiteLLM could not be installed from PyPI")
        super().__init__()

    def command(self) -> list:
        # JSON is YAML.
        (self.path / "config.yaml").write_text(json.dumps({
            "model_list": [{"model_name": self.model, "litellm_params": {
                "model": f"openai/{self.model}", "api_key": "none",
                "api_base": f"http://127.0.0.1:{self.upstream_port}/v1"}}],
            "litellm_settings": {"cache": True, "telemetry": False,
                                 # Its default is less than a run may take.
                                 "cache_params": {"type": "local", "ttl": 86400}}}))
        return [self.program, "--config", self.path / "config.yaml", "--host", "127.0.0.1",
                "--port", str(self.port), "--num_workers", "1"]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR",
                # It does not start without one; the requests carry it.
                "LITELLM_MODE": "PRODUCTION", "LITELLM_MASTER_KEY": self.key}

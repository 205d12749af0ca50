"""Runs the load generator (benches/load), which is also the upstream behind what it loads."""

import dataclasses
import json
import pathlib
import socket
import subprocess
import tempfile

from harness.envoy import die_with_parent
from harness.envoy_binary import ROOT

from side_by_side import machine

BINARY = ROOT / "target" / "bench-build" / "release" / "load"
GUARD_SECONDS = 600


@dataclasses.dataclass(frozen=True)
class Job:
    """What is asked of whom, and what must come back."""

    request: bytes
    answer: bytes = b"HTTP/1.1 500 Not Expected\r\ncontent-length: 0\r\n\r\n"
    expect: str = ""
    expect_bytes: int = 0
    # Between two events of one stream; 0: the answer is sent at once.
    pace_us: int = 0


class Load:
    """The port that the upstream listens on, and one run after another."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.upstream_port: int = self.listener.getsockname()[1]
        self.folder = tempfile.TemporaryDirectory(prefix="envoy-llm-cache-bench-")
        self.files: dict[bytes, pathlib.Path] = {}

    def close(self) -> None:
        self.listener.close()
        self.folder.cleanup()

    def run(self, job: Job, port: int, pids=(), connections: int = 1, **options) -> dict:
        """`options` are those of benches/load, with underscores: seconds, warm, count, ..."""
        words = {"target": f"127.0.0.1:{port}", "request": self.file(job.request),
                 "pids": ",".join(map(str, pids)), "connections": connections,
                 "upstream_fd": self.listener.fileno(), "answer": self.file(job.answer),
                 "pace_us": job.pace_us, "expect": job.expect, "expect_bytes": job.expect_bytes,
                 **options}
        command: list = [BINARY]
        for name, value in words.items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        with machine.pinned({machine.LOAD_CORE}):
            ran = subprocess.run(command, capture_output=True, text=True, check=False,
                                 timeout=GUARD_SECONDS, pass_fds=[self.listener.fileno()],
                                 preexec_fn=die_with_parent)
        if ran.returncode != 0:
            raise RuntimeError(f"the load generator failed: {ran.stderr}")
        result = json.loads(ran.stdout)
        if result["unexpected"] or result["broken"]:
            raise RuntimeError(f"{result['unexpected']} answers were wrong and "
                               f"{result['broken']} broken: {ran.stderr}")
        return result

    def file(self, content: bytes) -> pathlib.Path:
        """The content as a file, written once."""
        if content not in self.files:
            path = pathlib.Path(self.folder.name) / f"body-{len(self.files)}"
            path.write_bytes(content)
            self.files[content] = path
        return self.files[content]

"""Starts the stand-in provider as a process and talks to its control port."""

import http.client
import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.parse

GUARD_SECONDS = 60


class Standin:
    """A running stand-in. A context manager: leaving it ends the process."""

    def __init__(self, port: int = 0, recorded: pathlib.Path | None = None):
        command = [sys.executable, "-m", "harness.provider", "--port", str(port)]
        if recorded:
            command += ["--recorded", str(recorded)]
        tests = pathlib.Path(__file__).resolve().parents[1]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(tests)})
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the stand-in provider did not start (port {port} taken?)")
        ports = json.loads(line)
        self.port: int = ports["port"]
        self.control_port: int = ports["control_port"]

    def __enter__(self) -> "Standin":
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def stop(self) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(GUARD_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def control(self, method: str, path: str, body: bytes = b"") -> dict:
        connection = http.client.HTTPConnection("127.0.0.1", self.control_port,
                                                timeout=GUARD_SECONDS)
        try:
            connection.request(method, path, body)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def stats(self) -> dict:
        return self.control("GET", "/_standin/stats")

    def requests(self) -> int:
        return self.stats()["requests"]

    def last(self) -> dict:
        return self.stats()["last"]

    def reset(self) -> None:
        self.control("POST", "/_standin/reset")

    def release(self, step: str, count: int = 1) -> None:
        """Lets the answer in step mode write `count` more pieces."""
        self.control("POST", f"/_standin/release?step={urllib.parse.quote(step)}&count={count}")

    def written(self, step: str) -> int:
        """How many pieces the answer in step mode has written."""
        return self.control("GET", f"/_standin/step?step={urllib.parse.quote(step)}")["written"]

    def put_fixture(self, name: str, body: bytes) -> str:
        """Makes `body` an answer; returns the directive that asks for it."""
        self.control("PUT", f"/_standin/fixture/{name}", body)
        return f"fixture=@{name}"

    def wait_for(self, holds, what: str) -> dict:
        """Polls the counters until `holds(stats)`; the limit is a guard against hanging only."""
        deadline = time.monotonic() + GUARD_SECONDS
        while not holds(stats := self.stats()):
            if time.monotonic() > deadline:
                raise AssertionError(f"the stand-in never saw: {what}; it has {stats}")
            time.sleep(0.01)
        return stats

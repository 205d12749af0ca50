"""Runs a container registry on loopback, over plain HTTP."""

import hashlib
import http.client
import json
import urllib.parse

from harness import debian
from harness.server_process import GUARD_SECONDS, ServerProcess


class Registry(ServerProcess):
    """Debian's docker-registry (distribution 2.8), with an empty folder for its blobs."""

    def __init__(self) -> None:
        self.binary = debian.find("docker-registry")
        super().__init__()

    def command(self) -> list:
        path = self.path / "registry.yaml"
        # JSON is YAML.
        path.write_text(json.dumps({
            "version": "0.1", "log": {"level": "warn"},
            "storage": {"filesystem": {"rootdirectory": str(self.path / "blobs")}},
            "http": {"addr": self.address}}))
        return [self.binary, "serve", path]

    def environment(self) -> dict[str, str]:
        return debian.environment(self.binary)

    def is_ready(self) -> bool:
        return self.accepts()

    def push(self, repository: str, tag: str, media_type: str, manifest: bytes,
             blobs: list[bytes] = ()) -> None:
        """What no builder would make is put there as it is."""
        for blob in blobs:
            location = self.request("POST", f"/v2/{repository}/blobs/uploads/", 202)
            path = urllib.parse.urlsplit(location)
            digest = hashlib.sha256(blob).hexdigest()
            self.request("PUT", f"{path.path}?{path.query}&digest=sha256:{digest}", 201, blob,
                         "application/octet-stream")
        self.request("PUT", f"/v2/{repository}/manifests/{tag}", 201, manifest, media_type)

    def request(self, method: str, path: str, expected: int, body: bytes = b"",
                media_type: str = "") -> str:
        """Returns the header `location`."""
        connection = http.client.HTTPConnection(self.address, timeout=GUARD_SECONDS)
        try:
            connection.request(method, path, body, {"content-type": media_type})
            answer = connection.getresponse()
            said = answer.read()
        finally:
            connection.close()
        if answer.status != expected:
            raise AssertionError(f"{method} {path}: {answer.status} {said.decode()}")
        return answer.getheader("location", "")

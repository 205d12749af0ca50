"""Runs the command of a container of a rendered Deployment as a process of this machine.

A pod has folders, ports and names of its own, and this machine has one of each. So the mounted
files are put into a folder, and the command names that folder in place of `/etc/` and `/run/`.
"""

import os
import pathlib

from harness import debian
from harness.server_process import ServerProcess

# The containers' names for programs, and which of Debian's stand in for them. Debian 12 has no
# Valkey; it is a fork of the Redis that Debian has.
PROGRAMS = {"valkey-server": "redis-server", "valkey-cli": "redis-cli", "webdis": "webdis"}


class Container(ServerProcess):
    """`files` are what its volumes hold: {"/etc/webdis/webdis.json": text}. `changes` are what the
    test has to change in its script, each of which must be there."""

    def __init__(self, container: dict, files: dict[str, str], changes: dict[str, str],
                 variables: dict[str, str] | None = None) -> None:
        self.container = container
        self.files = files
        self.changes = changes
        self.variables = variables or {}
        super().__init__()

    def outside(self, text: str) -> str:
        """The same text with the pod's folders where they are on this machine."""
        return text.replace("/etc/", f"{self.path}/etc/").replace("/run/", f"{self.path}/run/")

    def script(self) -> str:
        shell, flags, script = self.container["command"]
        assert (shell, flags) == ("sh", "-ec")
        script = self.outside(script)
        for old, new in self.changes.items():
            assert old in script, f"{old!r} is not in {script!r}"
            script = script.replace(old, new.replace("PORT", str(self.port)))
        return script

    def command(self) -> list:
        programs = self.path / "bin"
        programs.mkdir(exist_ok=True)
        for name, stand_in in PROGRAMS.items():
            if not (programs / name).exists():
                (programs / name).symlink_to(debian.find(stand_in))
        for mount in self.container["volumeMounts"]:
            pathlib.Path(self.outside(mount["mountPath"] + "/")).mkdir(parents=True, exist_ok=True)
        for name, text in self.files.items():
            pathlib.Path(self.outside(name)).write_text(text.replace("PORT", str(self.port)))
        return ["sh", "-ec", self.script()]

    def environment(self) -> dict[str, str]:
        libraries = [debian.environment(debian.find(program)).get("LD_LIBRARY_PATH", "")
                     for program in PROGRAMS.values()]
        given = {entry["name"]: entry["value"] for entry in self.container.get("env", [])}
        return {**os.environ, **given, **self.variables,
                "PATH": f"{self.path / 'bin'}:{os.environ['PATH']}",
                "LD_LIBRARY_PATH": ":".join(filter(None, libraries))}

    def is_ready(self) -> bool:
        return self.accepts()

"""How an Envoy is started: the program that `envoy_binary` finds, or the image $ENVOY_IMAGE.

A container sees what the program would see, at the same paths: the repository (read-only), the
folder for temporary files, and the network of the machine.
"""

import itertools
import os
import pathlib
import subprocess
import tempfile
import unittest

from harness import envoy_binary
from harness.containers import runtime
from harness.envoy_binary import ROOT, NoEnvoy

numbers = itertools.count(1)


class Program:
    """The Envoy of this machine."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return f"{self.path} ({envoy_binary.version(self.path)})"

    def command(self, *options: str | os.PathLike,
                environment: dict[str, str] | None = None) -> list[str]:
        """What to run. Variables of the environment are for Envoy alone."""
        given = [f"{name}={value}" for name, value in (environment or {}).items()]
        return [*(["env", *given] if given else []), str(self.path), *map(str, options)]

    def pid(self, process: subprocess.Popen) -> int:
        return process.pid

    def end(self, process: subprocess.Popen) -> None:
        """At once, if it has not ended by itself."""
        process.kill()
        process.wait()


class Container:
    """An Envoy in a container of its own, which is gone when Envoy ends.

    The process that runs the command passes signals on, and ends as Envoy ends.
    """

    def __init__(self, image: str) -> None:
        try:
            self.runtime = runtime.find()
        except runtime.NoRuntime as error:
            raise NoEnvoy(f"ENVOY_IMAGE={image}: {error}") from error
        self.image = image
        self.name = f"envoy-llm-cache-{os.getpid()}-{next(numbers)}"

    def __str__(self) -> str:
        return f"{self.image} ({self.runtime.kind})"

    def command(self, *options: str | os.PathLike,
                environment: dict[str, str] | None = None) -> list[str]:
        folder = tempfile.gettempdir()
        # The entry point of envoyproxy/envoy changes to another user unless ENVOY_UID is 0.
        variables = {"ENVOY_UID": "0", **(environment or {})}
        words = [self.runtime.program, "run", "--rm", "--name", self.name, "--network", "host",
                 "--user", self.runtime.user(), "--security-opt", "label=disable",
                 "--log-driver", "none", "--volume", f"{ROOT}:{ROOT}:ro",
                 "--volume", f"{folder}:{folder}", "--workdir", ROOT]
        for name, value in variables.items():
            words += ["--env", f"{name}={value}"]
        return [str(word) for word in [*words, self.image, "envoy", *options]]

    def pid(self, process: subprocess.Popen) -> int:
        """The id that Envoy has outside of the container. Skips the test where it is not visible,
        as when the engine runs in a virtual machine."""
        pid = int(self.runtime.run("inspect", "--format", "{{.State.Pid}}", self.name))
        comm = pathlib.Path(f"/proc/{pid}/comm")
        if not comm.exists() or comm.read_text() != "envoy\n":
            raise unittest.SkipTest("the process of the Envoy in a container is not visible here")
        return pid

    def end(self, process: subprocess.Popen) -> None:
        # A signal that came before the container had started ended the process alone.
        if process.poll() is None or process.returncode < 0:
            self.runtime.attempt("rm", "--force", self.name)
        process.kill()
        process.wait()


def chosen() -> Program | Container:
    """A new one each time: an Envoy has its own."""
    image = os.environ.get("ENVOY_IMAGE")
    if not image:
        return Program(envoy_binary.find())
    if os.environ.get("ENVOY"):
        raise NoEnvoy("ENVOY and ENVOY_IMAGE are both set; unset one")
    return Container(image)

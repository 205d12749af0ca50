"""Runs skopeo, which copies images between registries, folders and archives."""

import json
import os
import pathlib
import subprocess
import tempfile

from harness import debian


def environment(home: pathlib.Path, insecure_registry: str) -> dict[str, str]:
    """To run skopeo in, by its name: with a home of its own, and so without anybody's logins.

    It speaks plain HTTP to one registry, HOST:PORT, and takes images without signatures.
    """
    binary = debian.find("skopeo")
    settings = home / ".config" / "containers"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "policy.json").write_text(
        json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
    (settings / "registries.conf").write_text(
        f'[[registry]]\nlocation = "{insecure_registry}"\ninsecure = true\n')
    return {**debian.environment(binary), "HOME": str(home),
            "PATH": f"{binary.parent}{os.pathsep}{os.environ['PATH']}",
            "REGISTRY_AUTH_FILE": str(home / "auth.json"),
            "CONTAINERS_REGISTRIES_CONF": str(settings / "registries.conf")}


def skopeo(insecure_registry: str, *arguments: str | os.PathLike,
           folder: pathlib.Path | None = None) -> str:
    """What skopeo prints when it is run in `folder`."""
    with tempfile.TemporaryDirectory() as home:
        ran = subprocess.run(
            ["skopeo", *arguments], cwd=folder, capture_output=True, text=True, check=False,
            env=environment(pathlib.Path(home), insecure_registry))
    if ran.returncode != 0:
        raise AssertionError(f"skopeo {arguments}: {ran.stderr}")
    return ran.stdout

"""Finds redis-server, redis-cli and webdis, and gets what is missing. From the shell it prints the
paths:

    python -m harness.store_binaries

The order: PATH, else Debian's packages with the libraries they need, unpacked under target/. Apt
keeps its lists and its cache there too, so that nothing of the system changes, that it works
without root, and that old lists do no harm.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from harness.envoy_binary import ROOT

PACKAGE = {"redis-server": "redis-server", "redis-cli": "redis-tools", "webdis": "webdis"}
UNPACKED = ROOT / "target" / "stores" / "unpacked"
ATTEMPTS = 4


class NoServer(Exception):
    """It is missing and could not be got; the message says what to do."""


def find(name: str) -> pathlib.Path:
    if on_path := shutil.which(name):
        return pathlib.Path(on_path)
    unpacked = UNPACKED / "usr" / "bin" / name
    if not unpacked.exists():
        unpack_missing()
    return unpacked


def environment(binary: pathlib.Path) -> dict[str, str]:
    """What to run a binary with: one that was unpacked needs the libraries unpacked with it."""
    if not binary.is_relative_to(UNPACKED):
        return dict(os.environ)
    folders = [str(path) for parent in ("usr/lib", "lib") for path in UNPACKED.glob(f"{parent}/*")
               if path.is_dir()]
    given = os.environ.get("LD_LIBRARY_PATH")
    return {**os.environ, "LD_LIBRARY_PATH": ":".join([*folders, *([given] if given else [])])}


def unpack_missing() -> None:
    missing = sorted({package for name, package in PACKAGE.items() if not shutil.which(name)})
    advice = f"install them yourself (Debian, Ubuntu: apt-get install {' '.join(missing)})"
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise NoServer(f"{', '.join(missing)}: not on PATH, and there is no {tool} to get "
                           f"them with; {advice}")
    UNPACKED.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=UNPACKED.parent) as folder:
        path = pathlib.Path(folder)
        try:
            download(missing, path)
            draft = path / "unpacked"
            for package in sorted((path / "archives").glob("*.deb")):
                subprocess.run(["dpkg-deb", "--extract", package, draft], check=True,
                               capture_output=True, text=True)
        except subprocess.CalledProcessError as error:
            said = error.stderr.strip() or error.stdout.strip()
            raise NoServer(f"could not get {', '.join(missing)}; {advice}\n{said}") from error
        # Last and in one move, so that a half unpacked folder is never taken for a whole one.
        shutil.rmtree(UNPACKED, ignore_errors=True)
        draft.rename(UNPACKED)


def download(packages: list[str], folder: pathlib.Path) -> None:
    """The packages, and those of the packages they depend on that the system lacks."""
    for name in ("lists/partial", "archives/partial"):
        (folder / name).mkdir(parents=True)
    settings = {
        "Dir::State::Lists": folder / "lists", "Dir::Cache": folder,
        "Dir::Cache::Archives": folder / "archives", "Debug::NoLocking": 1,
        # Root would hand over to the user _apt, who may not write here.
        "APT::Sandbox::User": "root" if os.geteuid() == 0 else "",
        "Acquire::Retries": 3, "Acquire::Languages": "none", "Acquire::http::Timeout": 60,
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false"}
    apt = ["apt-get", "--quiet"]
    for name, value in settings.items():
        apt += ["--option", f"{name}={value}"]
    for attempt in range(1, ATTEMPTS + 1):
        # A source that is down is no matter if the packages come from another one.
        subprocess.run([*apt, "update"], check=False, capture_output=True)
        try:
            subprocess.run([*apt, "install", "--yes", "--download-only", "--reinstall",
                            "--no-install-recommends", *packages], check=True,
                           capture_output=True, text=True)
            return
        except subprocess.CalledProcessError:
            if attempt == ATTEMPTS:
                raise
            time.sleep(5 * attempt)


if __name__ == "__main__":
    try:
        print(*(find(name) for name in PACKAGE), sep="\n")
    except NoServer as error:
        sys.exit(str(error))

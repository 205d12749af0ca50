"""Gets programs that Debian packages: from PATH, else unpacked under target/, without root."""

import os
import pathlib
import shutil
import subprocess

from harness.envoy_binary import ROOT

FOLDER = ROOT / "target" / "bench-debian"
PROGRAM_FOLDERS = ("usr/bin", "usr/sbin")


class NotFound(Exception):
    """There is none, and none could be got; the message says why."""


def find(program: str, package: str) -> pathlib.Path:
    if on_path := shutil.which(program):
        return pathlib.Path(on_path)
    unpacked = FOLDER / package
    if not unpacked.exists():
        unpack(package, unpacked)
    for folder in PROGRAM_FOLDERS:
        if (found := unpacked / folder / program).exists():
            return found
    raise NotFound(f"Debian's {package} has no {program}")


def environment(program: pathlib.Path) -> dict[str, str]:
    """What to run a program with: an unpacked one finds the libraries unpacked with it."""
    if not program.is_relative_to(FOLDER):
        return dict(os.environ)
    root = program.parents[2]
    libraries = [str(path) for parent in ("usr/lib", "lib") for path in root.glob(f"{parent}/*")
                 if path.is_dir()]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)}


def unpack(package: str, target: pathlib.Path) -> None:
    """The package, and what it depends on that the system lacks."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise NotFound(f"{package}: not on PATH, and there is no apt-get to get it with")
    draft = FOLDER / f".{package}"
    shutil.rmtree(draft, ignore_errors=True)
    for name in ("lists/partial", "archives/partial", "unpacked"):
        (draft / name).mkdir(parents=True)
    settings = {"Dir::State::Lists": draft / "lists", "Dir::Cache": draft,
                "Dir::Cache::Archives": draft / "archives", "Debug::NoLocking": 1,
                # Root would hand over to the user _apt, who may not write here.
                "APT::Sandbox::User": "root" if os.geteuid() == 0 else ""}
    apt = ["apt-get", "--quiet"]
    for name, value in settings.items():
        apt += ["--option", f"{name}={value}"]
    try:
        for arguments in (["update"], ["install", "--yes", "--download-only",
                                       "--no-install-recommends", package]):
            subprocess.run([*apt, *arguments], check=True, capture_output=True, text=True)
        for archive in sorted((draft / "archives").glob("*.deb")):
            subprocess.run(["dpkg-deb", "--extract", archive, draft / "unpacked"], check=True,
                           capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        raise NotFound(f"{package}: {error.stderr.strip().splitlines()[-1:]}") from error
    # Last and in one move, so that a half unpacked folder is never taken for a whole one.
    (draft / "unpacked").rename(target)
    shutil.rmtree(draft)

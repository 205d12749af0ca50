"""Finds programs that Debian packages, and gets those that are missing. From the shell it prints
their paths:

    python -m harness.debian redis-server webdis

The order: PATH, else the package with the libraries it needs, unpacked under target/. Apt keeps its
lists and its cache there too, so that nothing of the system changes, that it works without root,
and that old lists do no harm.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from harness.envoy_binary import ROOT

PACKAGES = {"redis-server": "redis-server", "redis-cli": "redis-tools", "webdis": "webdis",
            "nginx": "nginx", "chromium": "chromium", "docker-registry": "docker-registry",
            "skopeo": "skopeo", "podman": "podman", "runc": "runc", "catatonit": "catatonit",
            "prometheus": "prometheus", "promtool": "prometheus",
            "busybox": "busybox-static"}
# A folder for each package that was unpacked.
UNPACKED = ROOT / "target" / "debian"
ATTEMPTS = 4


class NoProgram(Exception):
    """It is missing and could not be got; the message says what to do."""


def find(program: str) -> pathlib.Path:
    return find_all(program)[0]


def find_all(*programs: str) -> list[pathlib.Path]:
    """In the order asked for. All that is missing is got at once."""
    missing = sorted({PACKAGES[program] for program in programs if not present(program)})
    if missing:
        unpack(missing)
    found = {program: present(program) for program in programs}
    for program, path in found.items():
        if not path:
            raise NoProgram(f"{program}: not in Debian's package {PACKAGES[program]}")
    return list(found.values())


def present(program: str) -> pathlib.Path | None:
    if on_path := shutil.which(program):
        return pathlib.Path(on_path)
    folder = UNPACKED / PACKAGES[program]
    places = [folder / below / program for below in ("usr/bin", "usr/sbin", "bin", "sbin")]
    return next((place for place in places if place.exists()), None)


def environment(program: pathlib.Path) -> dict[str, str]:
    """What to run a program with: one that was unpacked needs the libraries unpacked with it."""
    if not program.is_relative_to(UNPACKED):
        return dict(os.environ)
    root = UNPACKED / program.relative_to(UNPACKED).parts[0]
    # PulseAudio, with which Chromium is linked, has a folder of its own for its libraries.
    folders = [str(path) for pattern in ("usr/lib/*", "lib/*", "usr/lib/*/pulseaudio")
               for path in root.glob(pattern) if path.is_dir()]
    given = os.environ.get("LD_LIBRARY_PATH")
    return {**os.environ, "LD_LIBRARY_PATH": ":".join([*folders, *([given] if given else [])])}


def unpack(packages: list[str]) -> None:
    advice = f"install them yourself (Debian, Ubuntu: apt-get install {' '.join(packages)})"
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise NoProgram(f"{', '.join(packages)}: not on PATH, and there is no {tool} to get "
                            f"them with; {advice}")
    UNPACKED.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=UNPACKED) as folder:
        path = pathlib.Path(folder)
        try:
            for package in packages:
                draft = path / package
                for archive in download(package, path):
                    subprocess.run(["dpkg-deb", "--extract", archive, draft], check=True,
                                   capture_output=True, text=True)
                # Last and in one move, so that a half unpacked folder is never taken for a whole
                # one. What is in the way lacks the program.
                shutil.rmtree(UNPACKED / package, ignore_errors=True)
                draft.rename(UNPACKED / package)
        except subprocess.CalledProcessError as error:
            said = error.stderr.strip() or error.stdout.strip()
            raise NoProgram(f"could not get {', '.join(packages)}; {advice}\n{said}") from error


def download(package: str, folder: pathlib.Path) -> list[pathlib.Path]:
    """The package, and those of the packages it depends on that the system lacks."""
    archives = folder / f"{package}-archives"
    for path in (folder / "lists" / "partial", archives / "partial"):
        path.mkdir(parents=True, exist_ok=True)
    settings = {
        "Dir::State::Lists": folder / "lists", "Dir::Cache": folder,
        "Dir::Cache::Archives": archives, "Debug::NoLocking": 1,
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
                            "--no-install-recommends", package], check=True,
                           capture_output=True, text=True)
            break
        except subprocess.CalledProcessError:
            if attempt == ATTEMPTS:
                raise
            time.sleep(5 * attempt)
    return sorted(archives.glob("*.deb"))


if __name__ == "__main__":
    try:
        print(*find_all(*sys.argv[1:]), sep="\n")
    except NoProgram as error:
        sys.exit(str(error))

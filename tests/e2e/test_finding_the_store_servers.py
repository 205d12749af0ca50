"""Which redis-server and webdis are run, and what is said when there are none."""

import os
import subprocess
import sys

import pytest
from harness import debian
from harness.envoy import ROOT


@pytest.fixture
def folder_on_path(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_one_on_path_comes_first_and_runs_with_the_libraries_of_the_system(folder_on_path):
    binary = folder_on_path / "redis-server"
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    assert debian.find("redis-server") == binary
    assert debian.environment(binary) == dict(os.environ)


def test_one_that_was_unpacked_runs_with_the_libraries_unpacked_with_it(monkeypatch, tmp_path):
    monkeypatch.setattr(debian, "UNPACKED", tmp_path)
    monkeypatch.setenv("LD_LIBRARY_PATH", "/given")
    libraries = tmp_path / "webdis" / "usr" / "lib" / "x86_64-linux-gnu"
    libraries.mkdir(parents=True)
    (tmp_path / "nginx" / "usr" / "lib" / "x86_64-linux-gnu").mkdir(parents=True)
    environment = debian.environment(tmp_path / "webdis" / "usr" / "bin" / "webdis")
    assert environment["LD_LIBRARY_PATH"] == f"{libraries}:/given"
    (libraries / "pulseaudio").mkdir()
    environment = debian.environment(tmp_path / "webdis" / "usr" / "bin" / "webdis")
    assert environment["LD_LIBRARY_PATH"] == f"{libraries}:{libraries}/pulseaudio:/given"


def test_one_that_root_has_on_path_is_found_where_it_was_unpacked(folder_on_path, monkeypatch):
    monkeypatch.setattr(debian, "UNPACKED", folder_on_path)
    program = folder_on_path / "nginx" / "usr" / "sbin" / "nginx"
    program.parent.mkdir(parents=True)
    program.touch()
    assert debian.find("nginx") == program


def test_a_package_that_has_no_such_program_is_told(folder_on_path, monkeypatch):
    monkeypatch.setattr(debian, "unpack", lambda packages: None)
    monkeypatch.setattr(debian, "UNPACKED", folder_on_path)
    with pytest.raises(debian.NoProgram, match="webdis: not in Debian's package webdis"):
        debian.find("webdis")


def test_without_apt_it_says_what_to_install(tmp_path):
    program = ("import pathlib, sys; from harness import debian as it; "
               "it.UNPACKED = pathlib.Path(sys.argv[1]) / 'none'\n"
               "try: it.find_all('webdis', 'redis-server', 'redis-cli')\n"
               "except it.NoProgram as error: sys.exit(str(error))")
    ran = subprocess.run(
        [sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=False,
        env={"PATH": str(tmp_path), "PYTHONPATH": str(ROOT / "tests"),
             "PYTHONDONTWRITEBYTECODE": "1"})
    assert ran.returncode == 1
    assert "apt-get install redis-server redis-tools webdis" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "none").exists()


def test_packages_that_cannot_be_got_leave_nothing_behind(monkeypatch, tmp_path):
    """As when the registry is down: apt-get is there, and fails every time."""
    tools = tmp_path / "bin"
    tools.mkdir()
    scripts = {"apt-get": "echo 'E: no such host' >&2; exit 100", "dpkg-deb": "true"}
    for name, text in scripts.items():
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setattr(debian, "UNPACKED", tmp_path / "target")
    monkeypatch.setattr(debian.time, "sleep", lambda seconds: None)
    with pytest.raises(debian.NoProgram, match="no such host"):
        debian.find("redis-server")
    assert list((tmp_path / "target").iterdir()) == []

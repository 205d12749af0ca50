"""Which container runtime is used, and what ENVOY_IMAGE does with it."""

import pathlib

import pytest
from harness import debian, envoy_binary, envoy_program
from harness.containers import runtime


def program(folder: pathlib.Path, name: str, script: str) -> pathlib.Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with an empty PATH, where nothing can be unpacked and root may raise limits."""
    def none(*programs):
        raise debian.NoProgram("there is no apt-get")
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("CONTAINER_RUNTIME", "ENVOY", "ENVOY_IMAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(debian, "find_all", none)
    monkeypatch.setattr(runtime, "root_is_confined", lambda: False)
    monkeypatch.setattr(runtime, "FOLDER", tmp_path / "target")
    monkeypatch.setattr(runtime, "HOME", tmp_path / "target" / "home")
    return tmp_path


def test_docker_comes_before_podman(machine):
    podman = program(machine, "podman", "exit 0")
    assert runtime.find() == runtime.Runtime("podman", podman)
    docker = program(machine, "docker", "exit 0")
    assert runtime.find() == runtime.Runtime("docker", docker)


def test_a_docker_without_an_engine_is_passed_by(machine):
    program(machine, "docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    podman = program(machine, "podman", "exit 0")
    assert runtime.find() == runtime.Runtime("podman", podman)


def test_the_variable_chooses_one_and_no_other_is_taken(machine, monkeypatch):
    program(machine, "docker", "exit 1")
    podman = program(machine, "podman", "exit 0")
    monkeypatch.setenv("CONTAINER_RUNTIME", "podman")
    assert runtime.find() == runtime.Runtime("podman", podman)
    monkeypatch.setenv("CONTAINER_RUNTIME", "docker")
    with pytest.raises(runtime.NoRuntime, match="docker: no answer"):
        runtime.find()
    monkeypatch.setenv("CONTAINER_RUNTIME", "lxc")
    with pytest.raises(runtime.NoRuntime, match="has to be docker or podman"):
        runtime.find()


def test_without_any_it_says_what_was_tried_and_what_to_install(machine):
    with pytest.raises(runtime.NoRuntime) as said:
        runtime.find()
    for part in ("docker is not on PATH", "podman is not on PATH", "Debian's podman",
                 "apt-get install podman"):
        assert part in str(said.value)


def test_a_podman_of_root_that_may_not_raise_limits_gets_settings_of_its_own(machine, monkeypatch):
    podman, runc, catatonit = (program(machine, name, "exit 0")
                               for name in ("podman", "runc", "catatonit"))
    monkeypatch.setattr(runtime, "root_is_confined", lambda: True)
    monkeypatch.setattr(runtime.os, "geteuid", lambda: 0)
    monkeypatch.setattr(debian, "find_all", lambda *programs: [podman, runc, catatonit])
    found = runtime.find()
    assert found == runtime.Runtime("podman", machine / "target" / "podman")
    assert f"exec '{podman}'" in found.program.read_text()
    assert str(runc) in (machine / "target" / "containers.conf").read_text()


def test_an_image_runs_in_a_container_and_no_image_as_a_program(machine, monkeypatch):
    podman = program(machine, "podman", "exit 0")
    envoy = program(machine, "envoy", "echo 'envoy  version: abc/1.38.0/Clean/RELEASE'")
    assert envoy_program.chosen().command("-c", "x") == [str(envoy), "-c", "x"]
    monkeypatch.setenv("ENVOY_IMAGE", "envoyproxy/envoy:v1.38.0")
    command = envoy_program.chosen().command("-c", "x", environment={"NAME": "value"})
    assert command[:2] == [str(podman), "run"]
    assert command[-4:] == ["envoyproxy/envoy:v1.38.0", "envoy", "-c", "x"]
    assert "NAME=value" in command
    assert f"{envoy_binary.ROOT}:{envoy_binary.ROOT}:ro" in command


def test_two_envoys_have_two_containers(machine, monkeypatch):
    program(machine, "podman", "exit 0")
    monkeypatch.setenv("ENVOY_IMAGE", "envoyproxy/envoy:v1.38.0")
    names = {envoy_program.chosen().name for _ in range(2)}
    assert len(names) == 2


def test_an_image_and_a_program_at_once_are_an_error(machine, monkeypatch):
    monkeypatch.setenv("ENVOY_IMAGE", "envoyproxy/envoy:v1.38.0")
    monkeypatch.setenv("ENVOY", str(program(machine, "mine", "exit 0")))
    with pytest.raises(envoy_binary.NoEnvoy, match="unset one"):
        envoy_program.chosen()


def test_an_image_without_a_runtime_is_an_error_that_names_both(machine, monkeypatch):
    monkeypatch.setenv("ENVOY_IMAGE", "envoyproxy/envoy:v1.38.0")
    with pytest.raises(envoy_binary.NoEnvoy, match="envoyproxy/envoy:v1.38.0: no container runt"):
        envoy_program.chosen()

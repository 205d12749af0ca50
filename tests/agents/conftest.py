"""One stand-in provider for all runs, and one Envoy per configuration."""

import json

import pytest
from harness.envoy import WASM, Config, Envoy
from harness.standin import Standin


def pytest_sessionstart(session):
    if not WASM.exists():
        raise pytest.UsageError(f"{WASM} is missing: run `make build` first")


@pytest.fixture(scope="session")
def standin():
    with Standin() as standin:
        yield standin


@pytest.fixture(scope="session")
def envoy_with(standin):
    running = {}

    def envoy_with(plugin: dict) -> Envoy:
        name = json.dumps(plugin, sort_keys=True)
        if name not in running:
            running[name] = Envoy(Config.for_tests(standin.port).configure(plugin))
        return running[name]

    yield envoy_with
    for envoy in running.values():
        envoy.stop()

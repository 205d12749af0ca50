"""The processes the tests share: one stand-in provider, and one Envoy per configuration.

Tests run one after the other and each asks questions of its own (`prompt`), so that sharing an
Envoy, and with it a cache, does not let one test change what another sees.
"""

import itertools
import json
import os
import pathlib

import pytest
from harness import debian
from harness.envoy import ROOT, WASM, Config, Envoy
from harness.redis_server import Redis, RedisCluster
from harness.s3 import S3
from harness.standin import Standin
from harness.webdis import Webdis


def pytest_sessionstart(session):
    if not WASM.exists():
        raise pytest.UsageError(f"{WASM} is missing: run `make build` first")


class Envoys:
    """Starts an Envoy for a configuration once, however many tests ask for it."""

    def __init__(self, upstream_port: int):
        self.upstream_port = upstream_port
        self.running: dict[str, Envoy] = {}

    def config(self, plugin: dict | None = None) -> Config:
        """A configuration to change further; `plugin` replaces the example's plugin settings."""
        config = Config.for_tests(self.upstream_port)
        return config if plugin is None else config.configure(plugin)

    def shared(self, config: Config, workers: int = 1) -> Envoy:
        key = json.dumps([config.tree, workers], sort_keys=True)
        if key not in self.running:
            self.running[key] = Envoy(config, workers)
        return self.running[key]

    def configured(self, plugin: dict, workers: int = 1) -> Envoy:
        return self.shared(self.config(plugin), workers)

    def bare(self, config: Config, workers: int = 1) -> Envoy:
        """The same Envoy without the filter."""
        return self.shared(config.without("envoy_llm_cache"), workers)

    def stop(self) -> None:
        for envoy in self.running.values():
            envoy.stop()


@pytest.fixture(scope="session")
def recorded_or_none() -> pathlib.Path | None:
    given = os.environ.get("LLM_CACHE_RECORDED")
    folder = pathlib.Path(given) if given else ROOT.parent / "shared" / "recorded"
    if given and not folder.is_dir():
        raise pytest.UsageError(f"LLM_CACHE_RECORDED: no folder {folder}")
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def recorded(recorded_or_none) -> pathlib.Path:
    """The folder of recorded provider streams."""
    if recorded_or_none is None:
        pytest.skip("no folder of recorded streams; LLM_CACHE_RECORDED names it")
    return recorded_or_none


@pytest.fixture(scope="session")
def standin(recorded_or_none):
    with Standin(recorded=recorded_or_none) as standin:
        yield standin


@pytest.fixture(scope="session")
def envoys(standin):
    envoys = Envoys(standin.port)
    yield envoys
    envoys.stop()


@pytest.fixture(scope="session", params=[1, 4], ids=["1-worker", "4-workers"])
def workers(request) -> int:
    return request.param


@pytest.fixture
def envoy(envoys, workers) -> Envoy:
    """The example as it stands."""
    return envoys.shared(envoys.config(), workers)


@pytest.fixture
def bare(envoys) -> Envoy:
    """The example without the filter: what a client would see."""
    return envoys.bare(envoys.config())


@pytest.fixture
def single(envoys) -> Envoy:
    """The example with one worker, where the number of workers changes nothing."""
    return envoys.shared(envoys.config())


@pytest.fixture(params=["http1", "http2"])
def protocol(request) -> str:
    """What the clients speak."""
    return request.param


numbers = itertools.count(1)


@pytest.fixture
def prompt(request):
    """Makes questions that nobody else asks."""
    def new() -> str:
        return f"Question {next(numbers)} of {request.node.name[:30]}"
    return new


# Redis and Webdis start in a twentieth of a second, and tests kill, stall and fill them: each test
# has its own. The S3 server takes longer and is killed by few, the cluster takes seconds.

@pytest.fixture
def redis():
    with Redis() as redis:
        yield redis


@pytest.fixture
def webdis(redis):
    """In front of the test's `redis`."""
    with Webdis(redis.port) as webdis:
        yield webdis


@pytest.fixture(scope="session")
def s3():
    """Shared, and not to be killed: a test that wants to starts one of its own."""
    with S3() as s3:
        yield s3


@pytest.fixture(scope="session")
def prometheus_programs():
    """Prometheus and promtool, without which there is nothing to test rules and dashboards with."""
    try:
        debian.find_all("prometheus", "promtool")
    except debian.NoProgram as missing:
        pytest.skip(f"no Prometheus: {missing}")


@pytest.fixture(scope="module")
def redis_cluster():
    with RedisCluster() as cluster:
        yield cluster

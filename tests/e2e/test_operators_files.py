"""What an operator takes away works: the YAML of envoy/, `make demo`, `make run`."""

import os
import subprocess
import sys

import pytest
import yaml
from chats import chat
from harness import demo, run
from harness.envoy import EXAMPLE, ROOT, WASM, Config, Envoy, validate
from harness.http1 import Answer, fetch

ENVOY_FOLDER = EXAMPLE.parent
WITH_A_STORE = ("redis.yaml", "redis-cluster.yaml", "s3.yaml")


def test_the_shortest_filter_works_in_an_existing_envoy(envoys, prompt):
    config = envoys.config().without("envoy_llm_cache").without("envoy.filters.http.buffer")
    filters = yaml.safe_load((ENVOY_FOLDER / "filter.yaml").read_text())
    config.http_filters[:0] = filters
    config.plugin["vm_config"]["code"]["local"]["filename"] = str(WASM)
    envoy = envoys.shared(config)
    body = chat(prompt())
    assert [fetch(envoy.port, body).cache for _ in range(2)] == ["MISS", "HIT"]


def test_the_shortest_filter_has_the_buffer_filter_of_a_whole_envoy():
    buffer = yaml.safe_load((ENVOY_FOLDER / "filter.yaml").read_text())[-1]
    assert buffer in Config(EXAMPLE).http_filters


@pytest.mark.parametrize("name", ["envoy.yaml", *WITH_A_STORE])
def test_a_whole_envoy_is_valid_as_it_stands_from_the_root_of_the_repository(name):
    valid, said = validate(Config(ENVOY_FOLDER / name))
    assert valid, said


def common(name: str) -> dict:
    """What the file has in common with envoy.yaml: all but a store over HTTP and its way."""
    config = Config(ENVOY_FOLDER / name)
    config.plugin["configuration"]["value"]["store"].pop("http", None)
    resources = config.tree["static_resources"]
    resources["listeners"] = [config.listener_named("llm")]
    resources["clusters"] = [config.cluster_named("upstream")]
    return config.tree


@pytest.mark.parametrize("name", WITH_A_STORE)
def test_a_whole_envoy_with_a_store_is_the_one_without_and_the_store(name):
    """Each file is to be taken away alone, so what they have in common is in each."""
    assert common(name) == common("envoy.yaml")


@pytest.mark.parametrize("name", WITH_A_STORE)
def test_a_whole_envoy_with_a_store_says_all_that_the_one_without_says(name):
    """The comments too: every line below the head, in the same order."""
    base, lines = ((ENVOY_FOLDER / file).read_text().partition("\n\n")[2].splitlines()
                   for file in ("envoy.yaml", name))
    rest = iter(lines)
    assert [line for line in base if line not in rest] == []


def test_a_redis_cluster_is_reached_as_one_redis_is():
    one, many = (Config(ENVOY_FOLDER / name) for name in ("redis.yaml", "redis-cluster.yaml"))
    assert many.plugin == one.plugin
    assert many.cluster_named("cache") == one.cluster_named("cache")


def test_the_demo_shows_miss_then_hit_and_would_notice_if_not(envoy, prompt, monkeypatch):
    monkeypatch.setattr(demo, "QUESTIONS", {"stream": prompt(), "json": prompt()})
    rows = [demo.timed_chat(envoy.port, stream) for stream in (True, True, False, False)]
    assert demo.as_promised(rows)
    shown = demo.table(rows).splitlines()
    assert [line.split()[1] for line in shown[1:]] == ["MISS", "HIT", "MISS", "HIT"]
    assert [line.split()[-1] for line in shown[1:]] == ["-", "yes", "-", "yes"]
    # Served again they are all hits, which is not what the demo promises.
    assert not demo.as_promised([demo.timed_chat(envoy.port, stream)
                                 for stream in (True, True, False, False)])
    rows[1].answer.body += b" "
    assert not demo.as_promised(rows)
    assert isinstance(rows[0].answer, Answer)


@pytest.mark.parametrize(("upstream", "expected"), [
    ("https://api.openai.com", (True, "api.openai.com", 443)),
    ("https://llm.example.test:8443/", (True, "llm.example.test", 8443)),
    ("http://127.0.0.1:8000", (False, "127.0.0.1", 8000)),
    ("http://localhost", (False, "localhost", 80))])
def test_run_takes_http_and_https_with_and_without_a_port(upstream, expected):
    assert run.upstream_of(upstream) == expected
    shares = run.config_for(upstream).settings.get("key") == {"anonymous": "share"}
    assert shares == (expected[1] in ("127.0.0.1", "localhost", "::1"))
    valid, said = validate(run.config_for(upstream))
    assert valid, said


@pytest.mark.parametrize(("upstream", "because"), [
    ("", "missing"), ("api.openai.com", "scheme"), ("ftp://x", "scheme"), ("https://", "no host"),
    ("https://x:port", "port"), ("https://x:99999", "port"), ("https://x/v1", "path"),
    ("https://user:secret@x", "credentials")])
def test_run_says_what_is_wrong_with_a_bad_upstream(upstream, because):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    ran = subprocess.run([sys.executable, "-m", "harness.run", upstream], capture_output=True,
                         text=True, check=False, env=environment)
    assert ran.returncode != 0
    assert because in ran.stderr
    assert "Traceback" not in ran.stderr
    assert "secret" not in ran.stderr


def test_run_puts_the_cache_in_front_of_a_plain_provider(standin, prompt):
    config = run.config_for(f"http://127.0.0.1:{standin.port}")
    config.listen(0)
    config.tree["admin"]["address"]["socket_address"]["port_value"] = 0
    with Envoy(config) as envoy:
        body = chat(prompt())
        # A model of one's own machine asks for no credentials.
        for credential in ("Bearer test-key", None):
            found = [fetch(envoy.port, body, credential=credential).cache for _ in range(2)]
            assert found == ["MISS", "HIT"]
        assert ["host", "127.0.0.1"] in [header[:1] + [header[1].split(":")[0]]
                                         for header in standin.last()["headers"]]

"""The configurations in README.md and docs/ are ones that Envoy takes, and README's work.

tests/docs/ holds the rest of the documentation to the code.
"""

import copy
import re

import pytest
import yaml
from chats import chat
from documentation import blocks, kinds
from harness.envoy import ROOT, WASM, validate
from harness.http1 import fetch


def test_every_block_is_of_a_known_kind_and_there_are_some_of_each():
    assert kinds() == {"yaml", "yaml envoy", "yaml kubernetes"}


def with_plugins(envoys, values: list) -> tuple[bool, str]:
    """What Envoy says of a chain with one plugin for each of these configurations."""
    config = envoys.config()
    plugin = next(entry for entry in config.http_filters if entry["name"] == "envoy_llm_cache")
    rest = [entry for entry in config.http_filters if entry is not plugin]
    filters = []
    for value in values:
        entry = copy.deepcopy(plugin)
        entry["typed_config"]["config"]["configuration"]["value"] = value
        filters.append(entry)
    config.http_filters[:] = [*filters, *rest]
    return validate(config)


def test_envoy_takes_every_configuration_of_the_plugin(envoys):
    found = blocks("yaml")
    valid, said = with_plugins(envoys, [value for _, value in found])
    if not valid:
        refused = [page for page in found if not with_plugins(envoys, [page[1]])[0]]
        pytest.fail(f"{refused}: {said}")


def test_a_wrong_configuration_among_them_would_be_found(envoys):
    valid, said = with_plugins(envoys, [{"ttl": "1h"}, {"tll": "1h"}])
    assert not valid
    assert "tll: unknown key" in said


def test_the_filter_and_the_configuration_of_readme_work(envoys, prompt):
    (cache,) = [value for page, value in blocks("yaml envoy") if page == "README.md"]
    filters = yaml.safe_load((ROOT / "envoy" / "filter.yaml").read_text())
    assert cache == filters[:1]
    (value,) = [value for page, value in blocks("yaml") if page == "README.md"]
    config = envoys.config().without("envoy_llm_cache").without("envoy.filters.http.buffer")
    config.http_filters[:0] = filters
    config.plugin["vm_config"]["code"]["local"]["filename"] = str(WASM)
    config.plugin["configuration"] = {
        "@type": "type.googleapis.com/google.protobuf.Struct", "value": value}
    envoy = envoys.shared(config)
    body = chat(prompt())
    answers = [fetch(envoy.port, body, credential=None) for _ in range(2)]
    assert [answer.cache for answer in answers] == ["MISS", "HIT"]
    assert re.fullmatch(r"envoy-llm-cache; hit; ttl=863\d\d; detail=memory",
                        answers[1].header("cache-status"))
    assert answers[1].header("x-cache-key")


def test_a_kubernetes_resource_has_its_version_and_kind():
    for page, document in blocks("yaml kubernetes"):
        assert document["apiVersion"] and document["kind"] and document["spec"], page

"""Every worker of every Envoy compiles the module: it is to stay small."""

import pytest
from harness.envoy_binary import ROOT

MODULE = ROOT / "target" / "wasm32-wasip1" / "release" / "envoy_llm_cache.wasm"
LIMIT = 1_000_000


def test_the_module_is_small():
    if not any((ROOT / "target").glob("binaryen@*/node_modules/.bin/wasm-opt")):
        pytest.skip("wasm-opt is not there, without which the module is a seventh larger")
    assert MODULE.stat().st_size <= LIMIT

"""The module as a file: its version, and its size, because each worker compiles it."""

import tomllib

import pytest
from harness.envoy_binary import ROOT

MODULE = ROOT / "target" / "wasm32-wasip1" / "release" / "envoy_llm_cache.wasm"
LIMIT = 1_000_000
# Of a module's sections, those that the WebAssembly specification leaves to tools.
CUSTOM = 0


def test_the_module_is_small():
    if not any((ROOT / "target").glob("binaryen@*/node_modules/.bin/wasm-opt")):
        pytest.skip("wasm-opt is not there, without which the module is a seventh larger")
    assert MODULE.stat().st_size <= LIMIT


def leb128(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned number, and where what follows it begins."""
    number = shift = 0
    while True:
        number |= (data[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 0x80:
            return number, at


def custom_sections(module: bytes) -> dict[str, bytes]:
    at, found = len(b"\0asm\1\0\0\0"), {}
    while at < len(module):
        kind = module[at]
        size, at = leb128(module, at + 1)
        if kind == CUSTOM:
            length, start = leb128(module, at)
            found[module[start:start + length].decode()] = module[start + length:at + size]
        at += size
    return found


def test_the_module_names_its_version():
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
    assert custom_sections(MODULE.read_bytes())["envoy_llm_cache.version"] == version.encode()

"""What the tests say over and over: who was asked, what equals what, and that nothing has died."""

import contextlib

from harness.envoy import Envoy
from harness.http1 import Answer
from harness.standin import Standin

# What differs between two answers of one upstream, and what the filter adds.
VARYING = {"x-cache", "cache-status", "x-accel-buffering", "date", "x-envoy-upstream-service-time",
           "age"}


def seen(answer: Answer) -> tuple:
    """All a client can see of an answer, but for what varies and what the filter adds."""
    headers = sorted(field for field in answer.headers if field[0] not in VARYING)
    return answer.status, answer.reason, headers, answer.body, answer.trailers, answer.ending


def without_serial(answer: Answer, serial: int) -> tuple:
    """The same, for an answer that the stand-in gave this serial number."""
    status, reason, headers, body, trailers, ending = seen(answer)
    body = body.replace(b"%d" % (1_700_000_000 + serial), b"TIME")
    body = body.replace(b"%06d" % serial, b"SERIAL")
    return status, reason, headers, body, trailers, ending


@contextlib.contextmanager
def upstream_asked(standin: Standin, times: int):
    """The upstream gets exactly so many requests in here, and no connection if none."""
    before = standin.stats()
    yield
    after = standin.stats()
    assert after["requests"] - before["requests"] == times, "requests the upstream saw"
    if times == 0:
        assert after["connections"] == before["connections"], "connections the upstream saw"


@contextlib.contextmanager
def vm_survives(envoy: Envoy):
    """No wasm VM is made, reloaded or lost in here, and none traps."""
    before = envoy.vm_stats()
    assert before["wasm.envoy.wasm.runtime.v8.active"] > 0
    yield
    assert envoy.vm_stats() == before
    assert envoy.vm_failures() == []

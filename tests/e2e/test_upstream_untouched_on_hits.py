"""A hit costs the upstream nothing: no request, no connection."""

import pytest
from asserts import upstream_asked
from chats import chat
from harness.envoy import Envoy
from harness.http1 import Http1Connection, fetch
from harness.http2 import Http2Connection
from harness.standin import Standin


@pytest.mark.parametrize("workers", [1, 4], ids=["1-worker", "4-workers"])
def test_a_hit_never_opens_an_upstream_request(envoys, standin, prompt, workers):
    bodies = [chat(prompt(), stream, padding="y" * size)
              for stream in (False, True) for size in (0, 30_000, 300_000)]
    with Envoy(envoys.config(), workers) as envoy:
        for body in bodies:
            fetch(envoy.port, body, standin="pace=0")
        asked = envoy.stat("cluster.upstream.upstream_rq_total")
        with upstream_asked(standin, 0):
            for _ in range(5):
                for body in bodies:
                    assert fetch(envoy.port, body).cache == "HIT"
                    assert fetch(envoy.port, body, chunked=True).cache == "HIT"
            with Http1Connection(envoy.port) as connection:
                assert {connection.ask(body).cache for body in bodies} == {"HIT"}
            with Http2Connection(envoy.port) as connection:
                ids = [connection.start(body) for body in bodies]
                assert {connection.finish(stream_id).cache for stream_id in ids} == {"HIT"}
        # Not even one that was taken back before it reached the upstream.
        assert envoy.stat("cluster.upstream.upstream_rq_total") == asked == len(bodies)
        assert envoy.stat("cluster.upstream.upstream_rq_cancelled") == 0


def test_a_hit_needs_no_upstream_at_all(envoys, prompt):
    """The answers stay reachable when their provider is gone."""
    body = chat(prompt(), stream=True)
    with Standin() as provider:
        config = envoys.config()
        config.upstream_address["port_value"] = provider.port
        envoy = Envoy(config)
        miss = fetch(envoy.port, body, standin="pace=0")
    with envoy:
        hit = fetch(envoy.port, body)
        assert (hit.status, hit.cache, hit.body) == (200, "HIT", miss.body)
        assert fetch(envoy.port, chat(prompt())).status == 503

"""Nothing is held back on a miss: each piece reaches the client before the upstream sends the next.

No clock is involved: the stand-in writes a piece only when the test releases it, and the test does
that only once it has the piece before. A filter that holds a piece back would wait for ever.
"""

import pytest
from chats import chat
from harness.http1 import Http1Connection, fetch, request_bytes
from harness.http2 import Http2Connection


@pytest.mark.parametrize("framing", ["", ";close", ";length_only"])
def test_each_piece_reaches_the_client_before_the_upstream_sends_the_next(
        envoy, standin, prompt, framing):
    body = chat(prompt(), stream=True)
    step = f"pieces {prompt()}"
    with Http1Connection(envoy.port) as connection:
        connection.send(request_bytes("POST", "/v1/chat/completions", body,
                                      standin=f"step={step}{framing}"))
        answer = connection.read_head()
        assert answer.cache == "MISS"
        pieces = []
        while b"[DONE]" not in b"".join(pieces):
            piece = (connection.read_chunk() if answer.header("transfer-encoding")
                     else read_event(connection))
            pieces.append(piece)
            assert standin.written(step) == len(pieces)
            standin.release(step)
        assert len(pieces) > 8
        if answer.header("transfer-encoding"):
            assert connection.read_chunk() == b""
    hit = fetch(envoy.port, body)
    # A body that ends with its connection is whole here, because its payload says so.
    assert (hit.cache, hit.body) == ("HIT", b"".join(pieces))


def read_event(connection) -> bytes:
    return bytes(connection.take_until(b"\n\n"))


def test_each_piece_reaches_an_http2_client_before_the_upstream_sends_the_next(
        envoy, standin, prompt):
    step = f"h2 {prompt()}"
    with Http2Connection(envoy.port) as connection:
        stream_id = connection.start(chat(prompt(), stream=True), standin=f"step={step}")
        stream = connection.streams[stream_id]
        events = 0
        while b"[DONE]" not in stream.body:
            connection.read_events()
            if stream.body.count(b"\n\n") > events:
                events += 1
                assert stream.body.count(b"\n\n") == events == standin.written(step)
                standin.release(step)
        assert connection.finish(stream_id).ending == "whole"
        assert stream.cache == "MISS"


def test_pieces_of_a_whole_answer_pass_as_they_come_too(envoy, standin, prompt):
    step = f"json {prompt()}"
    with Http1Connection(envoy.port) as connection:
        connection.send(request_bytes("POST", "/v1/chat/completions", chat(prompt()),
                                      standin=f"step={step};split=50;chunked"))
        answer = connection.read_head()
        assert answer.cache == "MISS"
        pieces = 0
        while (chunk := connection.read_chunk()) != b"":
            assert len(chunk) <= 50
            pieces += 1
            assert standin.written(step) == pieces
            standin.release(step)
        assert pieces > 5


def test_the_end_of_the_stream_is_not_held_back_either(envoy, standin, prompt):
    """The client has [DONE] while the upstream still keeps the connection open."""
    step = f"end {prompt()}"
    body = chat(prompt(), stream=True)
    with Http1Connection(envoy.port) as connection:
        connection.send(request_bytes("POST", "/v1/chat/completions", body,
                                      standin=f"step={step}"))
        connection.read_head()
        standin.release(step, 1_000)
        text = b""
        while b"[DONE]" not in text:
            text += connection.read_chunk()
        assert connection.read_chunk() == b""
    assert fetch(envoy.port, body).cache == "HIT"

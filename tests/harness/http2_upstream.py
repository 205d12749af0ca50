"""An upstream that speaks HTTP/2 with prior knowledge, for how only HTTP/2 can end an answer.

It gives every request the answer that the test has set.
"""

import contextlib
import dataclasses
import socket

import h2.config
import h2.connection
import h2.errors
import h2.events

from harness.socket_server import SocketServer


@dataclasses.dataclass
class Http2Answer:
    """A body, and how it ends: with trailers, with a reset, or else with its last frame.

    The body, which is smaller than a frame may be, stands in a frame of its own before the
    trailers or the reset.
    """

    kind: str
    body: bytes
    trailers: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    reset: h2.errors.ErrorCodes | None = None


class Http2Upstream(SocketServer):
    """Gives each request `answer`. A context manager."""

    def __init__(self) -> None:
        self.answer: Http2Answer
        self.asked = 0
        super().__init__()

    def serve(self, accepted: socket.socket) -> None:
        connection = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding=None))
        connection.initiate_connection()
        with accepted, contextlib.suppress(OSError):
            accepted.sendall(connection.data_to_send())
            while data := accepted.recv(1 << 16):
                for event in connection.receive_data(data):
                    if isinstance(event, h2.events.DataReceived):
                        connection.acknowledge_received_data(
                            event.flow_controlled_length, event.stream_id)
                    elif isinstance(event, h2.events.StreamEnded):
                        self.asked += 1
                        self.give(connection, event.stream_id)
                accepted.sendall(connection.data_to_send())

    def give(self, connection: h2.connection.H2Connection, stream: int) -> None:
        answer = self.answer
        ends = not answer.trailers and answer.reset is None
        connection.send_headers(stream, [(":status", "200"), ("content-type", answer.kind)])
        connection.send_data(stream, answer.body, end_stream=ends)
        if answer.trailers:
            connection.send_headers(stream, answer.trailers, end_stream=True)
        elif answer.reset is not None:
            connection.reset_stream(stream, answer.reset)

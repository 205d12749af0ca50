"""Upstreams that speak HTTP/2 with prior knowledge, for what only HTTP/2 can do."""

import contextlib
import dataclasses
import socket

import h2.config
import h2.connection
import h2.errors
import h2.events

from harness.http2_frames import PREFACE, WithoutGoAway
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


class Http2Server(SocketServer):
    """Speaks HTTP/2 and hands each event of each connection to `handle`. A context manager."""

    def serve(self, accepted: socket.socket) -> None:
        connection = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding=None))
        connection.initiate_connection()
        incoming = WithoutGoAway(PREFACE)
        with accepted, contextlib.suppress(OSError):
            accepted.sendall(connection.data_to_send())
            while data := accepted.recv(1 << 16):
                for event in connection.receive_data(incoming.whole_frames(data)):
                    if isinstance(event, h2.events.DataReceived):
                        connection.acknowledge_received_data(
                            event.flow_controlled_length, event.stream_id)
                    self.handle(connection, event)
                accepted.sendall(connection.data_to_send())

    def handle(self, connection: h2.connection.H2Connection, event: h2.events.Event) -> None:
        raise NotImplementedError


class Http2Upstream(Http2Server):
    """Gives each request `answer`."""

    def __init__(self) -> None:
        self.answer: Http2Answer
        self.asked = 0
        super().__init__()

    def handle(self, connection: h2.connection.H2Connection, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.StreamEnded):
            self.asked += 1
            self.give(connection, event.stream_id)

    def give(self, connection: h2.connection.H2Connection, stream: int) -> None:
        answer = self.answer
        ends = not answer.trailers and answer.reset is None
        connection.send_headers(stream, [(":status", "200"), ("content-type", answer.kind)])
        connection.send_data(stream, answer.body, end_stream=ends)
        if answer.trailers:
            connection.send_headers(stream, answer.trailers, end_stream=True)
        elif answer.reset is not None:
            connection.reset_stream(stream, answer.reset)


class Http2Echo(Http2Server):
    """Answers each piece of a request with the same piece, while more of the request may come.

    It ends with trailers, as gRPC does.
    """

    def handle(self, connection: h2.connection.H2Connection, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            kind = dict(event.headers).get(b"content-type", b"application/octet-stream")
            connection.send_headers(event.stream_id,
                                    [(":status", "200"), ("content-type", kind.decode())])
        elif isinstance(event, h2.events.DataReceived):
            connection.send_data(event.stream_id, event.data)
        elif isinstance(event, h2.events.StreamEnded):
            connection.send_headers(event.stream_id, [("grpc-status", "0")], end_stream=True)

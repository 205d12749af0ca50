"""A rate limit service (envoy.service.ratelimit.v3) that refuses what has a word among its
descriptors. Envoy asks it over gRPC, and so holds the request until it answers."""

import socket
import threading

import h2.config
import h2.connection
import h2.events

REFUSED_WORD = b"over-the-limit"
# RateLimitResponse.overall_code, as a gRPC message.
OK, OVER_LIMIT = (b"\0\0\0\0\x02\x08" + code for code in (b"\x01", b"\x02"))


class RateLimitService:
    """A context manager: leaving it ends the server."""

    def __init__(self) -> None:
        self.asked = 0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self) -> "RateLimitService":
        return self

    def __exit__(self, *_) -> None:
        self.socket.close()

    def accept(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        http2 = h2.connection.H2Connection(config)
        http2.initiate_connection()
        connection.sendall(http2.data_to_send())
        bodies: dict[int, bytes] = {}
        while data := connection.recv(65536):
            for event in http2.receive_data(data):
                if isinstance(event, h2.events.DataReceived):
                    bodies[event.stream_id] = bodies.get(event.stream_id, b"") + event.data
                    http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    self.answer(http2, event.stream_id, bodies.pop(event.stream_id, b""))
            connection.sendall(http2.data_to_send())
        connection.close()

    def answer(self, http2: h2.connection.H2Connection, stream: int, body: bytes) -> None:
        self.asked += 1
        if http2.streams[stream].closed:
            return  # Envoy no longer wants to know.
        http2.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
        http2.send_data(stream, OVER_LIMIT if REFUSED_WORD in body else OK)
        http2.send_headers(stream, [("grpc-status", "0")], end_stream=True)

"""A WebSocket server that sends back each message."""

import contextlib
import threading

import websockets.exceptions
import websockets.sync.server


class WebSocketEcho:
    """A context manager."""

    def __init__(self) -> None:
        self.server = websockets.sync.server.serve(echo, "127.0.0.1", 0)
        self.port = self.server.socket.getsockname()[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self) -> "WebSocketEcho":
        return self

    def __exit__(self, *_) -> None:
        self.server.shutdown()


def echo(connection: websockets.sync.server.ServerConnection) -> None:
    with contextlib.suppress(websockets.exceptions.ConnectionClosed):
        for message in connection:
            connection.send(message)

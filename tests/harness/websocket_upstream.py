"""An upstream that takes WebSockets and says back what it is told."""

import contextlib
import threading

from websockets.sync.client import connect
from websockets.sync.server import serve

GUARD_SECONDS = 60


class WebSocketUpstream:
    """A context manager: leaving it ends the server."""

    def __init__(self) -> None:
        self.server = serve(self.echo, "127.0.0.1", 0)
        self.port = self.server.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @staticmethod
    def echo(connection) -> None:
        for message in connection:
            connection.send(f"{connection.request.path} {message}")

    def __enter__(self) -> "WebSocketUpstream":
        return self

    def __exit__(self, *_) -> None:
        self.server.shutdown()
        self.thread.join(GUARD_SECONDS)


@contextlib.contextmanager
def websocket(port: int, path: str):
    """A WebSocket through the proxy on this port."""
    with connect(f"ws://127.0.0.1:{port}{path}", open_timeout=GUARD_SECONDS,
                 close_timeout=GUARD_SECONDS, proxy=None) as connection:
        yield connection


def spoken_to(port: int, path: str) -> str:
    """What comes back over a WebSocket on which one word is said."""
    with websocket(port, path) as connection:
        connection.send("hello")
        return connection.recv(timeout=GUARD_SECONDS)

"""A TCP server on threads of the test's own process, one for each connection.

So what it does may wait for the test, and the test may look at what was asked.
"""

import contextlib
import socket
import threading


class SocketServer:
    """Calls `serve` for each connection. A context manager."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self.listening.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        with contextlib.suppress(OSError):
            self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = self.listening.accept()
                accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self.serve, args=[accepted], daemon=True).start()

    def serve(self, accepted: socket.socket) -> None:
        raise NotImplementedError

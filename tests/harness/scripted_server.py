"""An HTTP/1.1 server whose every byte a test decides, for what no real server would do."""

import collections.abc
import contextlib
import dataclasses
import socket
import struct
import threading

from harness.http1 import GUARD_SECONDS, pairs
from harness.socket_server import SocketServer


class Gone(Exception):
    """The other side has closed the connection."""


@dataclasses.dataclass
class Asked:
    """A request's head; its body is read by `body()`, or not at all."""

    method: str
    target: str
    headers: list[tuple[str, bytes]]
    connection: "ServedConnection"

    def header(self, name: str) -> bytes | None:
        return next((value for key, value in self.headers if key == name), None)

    def body(self) -> bytes:
        return self.connection.take(int(self.header("content-length") or 0))


class ServedConnection:
    def __init__(self, accepted: socket.socket) -> None:
        self.socket = accepted
        self.pending = bytearray()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        lines = [f"HTTP/1.1 {status} Status", f"content-length: {len(body)}",
                 *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def close(self) -> None:
        """In order, whatever the other side has sent: it sees the end, not a reset."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def wait_until_gone(self) -> None:
        """Waits for the other side to close."""
        while self.socket.recv(1 << 16):
            pass

    def take(self, count: int) -> bytes:
        while len(self.pending) < count:
            self.fill()
        taken = bytes(self.pending[:count])
        del self.pending[:count]
        return taken

    def head(self) -> Asked:
        while (end := self.pending.find(b"\r\n\r\n")) < 0:
            self.fill()
        first, *lines = self.take(end + 4)[:-4].split(b"\r\n")
        method, target, _ = first.decode("latin-1").split(" ", 2)
        return Asked(method, target, pairs(lines), self)

    def fill(self) -> None:
        data = self.socket.recv(1 << 18)
        if not data:
            raise Gone
        self.pending += data


class ScriptedServer(SocketServer):
    """Calls `script(asked)` for each request on each connection. A context manager."""

    def __init__(self, script: collections.abc.Callable[[Asked], None]) -> None:
        self.script = script
        self.asked: list[Asked] = []
        super().__init__()

    def serve(self, accepted: socket.socket) -> None:
        connection = ServedConnection(accepted)
        with contextlib.suppress(OSError, Gone):
            while True:
                asked = connection.head()
                self.asked.append(asked)
                self.script(asked)
        connection.socket.close()


class Gate:
    """Where a script waits until the test says go on, and the test until a script has come."""

    def __init__(self) -> None:
        self.came = threading.Semaphore(0)
        self.opened = threading.Event()

    def wait(self) -> None:
        self.came.release()
        assert self.opened.wait(GUARD_SECONDS), "nobody opened the gate"

    def wait_for_somebody(self) -> None:
        assert self.came.acquire(timeout=GUARD_SECONDS), "nobody came to the gate"

    def open(self) -> None:
        self.opened.set()

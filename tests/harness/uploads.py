"""An HTTP/1.1 upstream that tells how much of an upload has come, while it is still coming."""

import contextlib
import hashlib
import json
import socket
import threading

import h11

from harness.http1 import GUARD_SECONDS
from harness.socket_server import SocketServer


class Uploads(SocketServer):
    """Answers each request with what it got, once that is complete. A context manager.

    The header `x-upload` names an upload.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.received: dict[str, int] = {}
        super().__init__()

    def serve(self, accepted: socket.socket) -> None:
        with accepted, contextlib.suppress(OSError):
            connection = h11.Connection(h11.SERVER)
            while self.serve_one(accepted, connection):
                connection.start_next_cycle()

    def serve_one(self, accepted: socket.socket, connection: h11.Connection) -> bool:
        """Whether the connection can carry one more request."""
        name, digest, total = "", hashlib.sha256(), 0
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                connection.receive_data(accepted.recv(1 << 18))
            elif isinstance(event, h11.ConnectionClosed):
                return False
            elif isinstance(event, h11.Request):
                name = dict(event.headers).get(b"x-upload", b"").decode()
                self.note(name, 0)
            elif isinstance(event, h11.Data):
                digest.update(event.data)
                total += len(event.data)
                self.note(name, total)
        body = json.dumps({"bytes": total, "sha256": digest.hexdigest()}).encode()
        head = h11.Response(status_code=200, headers=[
            ("content-type", "application/json"), ("content-length", str(len(body)))])
        for part in (head, h11.Data(data=body), h11.EndOfMessage()):
            accepted.sendall(connection.send(part))
        return connection.our_state is h11.DONE and connection.their_state is h11.DONE

    def note(self, name: str, total: int) -> None:
        with self.changed:
            self.received[name] = total
            self.changed.notify_all()

    def wait_for(self, name: str, total: int) -> None:
        """Returns when so many bytes of that upload have come."""
        with self.changed:
            came = self.changed.wait_for(lambda: self.received.get(name, -1) >= total,
                                         GUARD_SECONDS)
        assert came, f"{self.received.get(name)} of {total} bytes came"

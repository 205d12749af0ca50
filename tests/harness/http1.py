"""An HTTP/1.1 client over a bare socket, for tests that care about every byte and how it ends."""

import dataclasses
import json
import socket

GUARD_SECONDS = 60


@dataclasses.dataclass
class Answer:
    """An answer as it came, broken ones included.

    `ending` is `whole` when the framing says so, `cut` when the connection was closed before that,
    `reset` when it was reset.
    """

    status: int
    reason: str
    headers: list[tuple[str, bytes]]
    body: bytes
    chunks: list[bytes]
    trailers: list[tuple[str, bytes]]
    ending: str
    interim: list[int]

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key == name]
        return ", ".join(value.decode("latin-1") for value in found) if found else None

    @property
    def cache(self) -> str | None:
        return self.header("x-cache")

    def json(self) -> dict:
        return json.loads(self.body)


class Broken(Exception):
    """The connection ended before an answer began."""


class Connection:
    """A connection to a port of this machine. A context manager."""

    def __init__(self, port: int):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=GUARD_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()


class Http1Connection(Connection):
    """One connection, on which requests may be pipelined."""

    def __init__(self, port: int):
        super().__init__(port)
        self.pending = bytearray()
        self.end: str | None = None

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def request(self, *arguments, **named) -> Answer:
        self.send(request_bytes(*arguments, **named))
        return self.read_answer()

    def ask(self, body, path: str = "/v1/chat/completions", **named) -> Answer:
        """A chat request and its answer."""
        return self.request("POST", path, body, **named)

    def read_answer(self) -> Answer:
        return self.read_body(self.read_head())

    def read_head(self) -> Answer:
        """The next answer's head; its body is still to be read."""
        interim: list[int] = []
        while True:
            head = self.take_until(b"\r\n\r\n")
            if head is None:
                raise Broken(self.end)
            first, *lines = bytes(head[:-4]).split(b"\r\n")
            _, status, *reason = first.decode("latin-1").split(" ", 2)
            if not status.startswith("1"):
                return Answer(int(status), "".join(reason), pairs(lines), b"", [], [], "whole",
                              interim)
            interim.append(int(status))

    def read_body(self, answer: Answer) -> Answer:
        length = answer.header("content-length")
        if "chunked" in (answer.header("transfer-encoding") or ""):
            while (chunk := self.read_chunk()) not in (None, b""):
                answer.chunks.append(chunk)
            if chunk is None:
                answer.ending = self.end
            else:
                while (line := self.take_until(b"\r\n")) not in (None, b"\r\n"):
                    answer.trailers += pairs([bytes(line[:-2])])
                if line is None:
                    answer.ending = self.end
        elif answer.status in (204, 304):
            pass
        elif length is not None:
            answer.chunks.append(self.take(int(length)))
            if len(answer.chunks[0]) < int(length):
                answer.ending = self.end
        else:
            while self.fill():
                pass
            answer.chunks.append(bytes(self.pending))
            answer.ending = "whole" if self.end == "cut" else self.end
        answer.body = b"".join(answer.chunks)
        return answer

    def read_chunk(self) -> bytes | None:
        """The next chunk: empty for the last one, None when the connection ended inside of it."""
        line = self.take_until(b"\r\n")
        if line is None:
            return None
        size = int(line.split(b";")[0], 16)
        if size == 0:
            return b""
        data = self.take(size + 2)
        if len(data) == size + 2:
            return data[:-2]
        # What there was of an unfinished chunk is not lost to the comparison.
        self.unfinished = data[:size]
        return None

    def read_bytes(self, count: int) -> bytes:
        """`count` bytes of a chunked body, over as many chunks as it takes."""
        parts, missing = [], count
        while missing > 0:
            chunk = self.read_chunk()
            assert chunk, f"the body ended {missing} bytes early: {self.end}"
            parts.append(chunk)
            missing -= len(chunk)
        return b"".join(parts)

    def take_until(self, mark: bytes) -> bytearray | None:
        start = 0
        while (found := self.pending.find(mark, start)) < 0:
            start = max(0, len(self.pending) - len(mark))
            if not self.fill():
                return None
        taken = self.pending[:found + len(mark)]
        del self.pending[:found + len(mark)]
        return taken

    def take(self, count: int) -> bytes:
        while len(self.pending) < count and self.fill():
            pass
        taken = bytes(self.pending[:count])
        del self.pending[:count]
        return taken

    def fill(self) -> bool:
        if self.end:
            return False
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionResetError:
            self.end = "reset"
            return False
        if not data:
            self.end = "cut"
        self.pending += data
        return bool(data)

    def is_closed_by_peer(self) -> bool:
        """Whether the other side has closed, without losing what it may have sent."""
        return not self.pending and not self.fill()


def encoded(body) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def request_bytes(method: str, path: str, body=None, headers: dict | None = None,
                  standin: str = "", raw_headers: list[bytes] = (), chunked: bool = False,
                  trailers: dict | None = None, host: str = "llm.test",
                  credential: str | None = "Bearer test-key") -> bytes:
    """A request, byte for byte; `standin` are directives for the stand-in provider, `credential` is
    the `authorization` of a request that names none."""
    lines = [f"{method} {path} HTTP/1.1", f"host: {host}"]
    given = {name.lower(): value for name, value in (headers or {}).items()}
    if credential is not None:
        given.setdefault("authorization", credential)
    if body is not None and "content-type" not in given:
        given["content-type"] = "application/json"
    if standin:
        given["x-stainless-standin"] = standin
    data = b"" if body is None else encoded(body)
    if chunked or trailers:
        given["transfer-encoding"] = "chunked"
        end = b"".join(f"{name}: {value}\r\n".encode() for name, value in (trailers or {}).items())
        first = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
        data = first + b"0\r\n" + end + b"\r\n"
    elif body is not None:
        given.setdefault("content-length", str(len(data)))
    lines += [f"{name}: {value}" for name, value in given.items()]
    head = "\r\n".join(lines).encode("latin-1")
    return b"\r\n".join([head, *raw_headers]) + b"\r\n\r\n" + data


def pairs(lines: list[bytes]) -> list[tuple[str, bytes]]:
    result = []
    for line in lines:
        name, _, value = line.partition(b":")
        result.append((name.decode("latin-1").lower(), value.strip()))
    return result


def fetch(port: int, body, path: str = "/v1/chat/completions", method: str = "POST",
          **named) -> Answer:
    """One request on a connection of its own."""
    with Http1Connection(port) as connection:
        return connection.request(method, path, body, **named)

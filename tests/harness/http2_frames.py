"""HTTP/2 as raw frames (RFC 9113, RFC 7541): requests of which only the beginning is sent, any
number of them, and what h2 must not see of a peer's frames."""

import socket

from harness.http1 import GUARD_SECONDS

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 4, 6, 7, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
FRAME_HEADER_BYTES = 9
MAX_FRAME_BYTES = 16_384
# What a peer's table holds (SETTINGS_HEADER_TABLE_SIZE), and what a field takes of it beside its
# name and its value.
TABLE_BYTES, FIELD_BYTES = 4_096, 32
# The first place behind the static table.
NEWEST = 62


class Http2Frames:
    """One connection on which requests begin that never end, unless the test ends them."""

    def __init__(self, port: int):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=GUARD_SECONDS)
        self.pending = bytearray()
        self.next_stream = 1
        self.sent = 0
        self.indexed: tuple[bytes, bytes] | None = None
        self.send(PREFACE + frame(SETTINGS, 0, 0))

    def __enter__(self) -> "Http2Frames":
        return self

    def __exit__(self, *_) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)
        self.sent += len(data)

    def begin(self, count: int, fields: list[tuple[bytes, bytes]],
              repeated: tuple[bytes, bytes] | None = None, times: int = 0,
              data: bytes = b"") -> None:
        """Begins `count` requests: their header fields, one of them `times` over, and some data.

        The field that is repeated is in the peer's table, and one byte each time.
        """
        block = b"".join(literal(*field) for field in fields)
        for _ in range(count):
            head = block
            if repeated:
                if repeated != self.indexed:
                    head += literal(*repeated, kind=0x40)
                    self.indexed = repeated
                else:
                    head += bytes([0x80 | NEWEST])
                head += bytes([0x80 | NEWEST]) * (times - 1)
            frames = headers(self.next_stream, head)
            if data:
                frames += frame(DATA, 0, self.next_stream, data)
            self.send(frames)
            self.next_stream += 2

    def settle(self) -> None:
        """Returns when the peer has handled all that was sent."""
        self.send(frame(PING, 0, 0, b"settled?"))
        while True:
            kind, flags, payload = self.read_frame()
            if kind == PING and flags & ACK and payload == b"settled?":
                return

    def read_frame(self) -> tuple[int, int, bytes]:
        head = self.take(FRAME_HEADER_BYTES)
        return head[3], head[4], self.take(int.from_bytes(head[:3]))

    def take(self, length: int) -> bytes:
        while len(self.pending) < length:
            data = self.socket.recv(1 << 16)
            if not data:
                raise ConnectionError("the peer has closed the connection")
            self.pending += data
        taken = bytes(self.pending[:length])
        del self.pending[:length]
        return taken


class WithoutGoAway:
    """Takes GOAWAY out of what a peer sends (RFC 9113, section 6.8).

    By it a peer says which streams it still answers, and it goes on to answer them. h2 takes it for
    the end of the connection, and fails at the next frame. What comes from a client begins with
    `preface`.
    """

    def __init__(self, preface: bytes = b"") -> None:
        self.preface_bytes = len(preface)
        self.pending = bytearray()
        # No stream after this one is answered.
        self.last_stream = (1 << 31) - 1

    def whole_frames(self, data: bytes) -> bytes:
        """The frames that `data` completes, but for GOAWAY."""
        self.pending += data
        passed = bytes(self.pending[:self.preface_bytes])
        del self.pending[:self.preface_bytes]
        self.preface_bytes -= len(passed)
        while len(self.pending) >= FRAME_HEADER_BYTES:
            end = FRAME_HEADER_BYTES + int.from_bytes(self.pending[:3])
            if len(self.pending) < end:
                break
            whole = bytes(self.pending[:end])
            del self.pending[:end]
            if whole[3] == GOAWAY:
                named = int.from_bytes(whole[FRAME_HEADER_BYTES:FRAME_HEADER_BYTES + 4])
                self.last_stream = min(self.last_stream, named)
            else:
                passed += whole
        return passed


def headers(stream: int, block: bytes) -> bytes:
    """A header block in as many frames as it needs."""
    pieces = [block[at:at + MAX_FRAME_BYTES]
              for at in range(0, max(len(block), 1), MAX_FRAME_BYTES)]
    frames = b""
    for number, piece in enumerate(pieces):
        kind = HEADERS if number == 0 else CONTINUATION
        frames += frame(kind, END_HEADERS if number == len(pieces) - 1 else 0, stream, piece)
    return frames


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return (len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload)


def literal(name: bytes, value: bytes, kind: int = 0x00) -> bytes:
    """A field with its name spelled out; 0x40 has the peer put it into its table."""
    return bytes([kind]) + text(name) + text(value)


def text(value: bytes) -> bytes:
    """A string without Huffman coding."""
    if len(value) < 127:
        return bytes([len(value)]) + value
    rest, length = len(value) - 127, bytearray([127])
    while rest >= 128:
        length.append(rest % 128 + 128)
        rest //= 128
    return bytes(length) + bytes([rest]) + value

"""Messages of AWS event streams (`application/vnd.amazon.eventstream`), as Bedrock sends them."""

import json
import struct
import zlib

STRING = 7


def message(event: str, payload: dict) -> bytes:
    """A message that tells of this event."""
    headers = b"".join(header(*field) for field in (
        (":event-type", event), (":content-type", "application/json"), (":message-type", "event")))
    body = json.dumps(payload, ensure_ascii=False).encode()
    # Two lengths, two checksums.
    prelude = struct.pack(">II", len(headers) + len(body) + 16, len(headers))
    start = checked(prelude) + headers + body
    return checked(start)


def header(name: str, value: str) -> bytes:
    return (bytes([len(name)]) + name.encode() + bytes([STRING])
            + struct.pack(">H", len(value)) + value.encode())


def checked(data: bytes) -> bytes:
    return data + struct.pack(">I", zlib.crc32(data))

"""Content codings, as far as the tests need them: each piece can be read once it has come.

Python 3.11 has no Zstandard. A frame whose blocks are stored is one all the same (RFC 8878), and
every client reads it. Nothing here makes Brotli: what is offered to clients as such is not.
"""

import gzip
import zlib

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
# No checksum, no length, a window of 8 MiB: what a server that streams says.
ZSTD_HEADER = ZSTD_MAGIC + bytes([0, 13 << 3])
BLOCK_BYTES = 128 << 10


def coded(coding: str, pieces: list[bytes]) -> list[bytes]:
    """One piece for each, and what ends the body."""
    if coding == "zstd":
        return zstd_stored(pieces)
    if coding in ("gzip", "x-gzip", "deflate"):
        deflate = zlib.compressobj(wbits=zlib.MAX_WBITS if coding == "deflate" else 31)
        flushed = [deflate.compress(piece) + deflate.flush(zlib.Z_SYNC_FLUSH) for piece in pieces]
        return [*flushed, deflate.flush()]
    return pieces


def zstd_stored(pieces: list[bytes]) -> list[bytes]:
    blocks = [piece[start:start + BLOCK_BYTES]
              for piece in pieces for start in range(0, len(piece), BLOCK_BYTES)]
    framed = [(len(block) << 3).to_bytes(3, "little") + block for block in blocks]
    return [ZSTD_HEADER, *framed, b"\x01\0\0"]


def decoded(coding: str, body: bytes) -> bytes:
    """What `coded` made of a body, or `gzip`, or zlib."""
    if coding == "gzip":
        return gzip.decompress(body)
    if coding == "deflate":
        return zlib.decompress(body)
    if coding == "zstd":
        plain, rest = b"", body.removeprefix(ZSTD_HEADER)
        while rest:
            size = int.from_bytes(rest[:3], "little") >> 3
            plain, rest = plain + rest[3:3 + size], rest[3 + size:]
        return plain
    return body

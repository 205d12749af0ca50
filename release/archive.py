"""Archives whose bytes depend only on the files in them: no clock, no owner, no version of zlib."""

import io
import struct
import tarfile
import zlib

# RFC 1952: no flags, no time, no hint at the compressor, an unknown operating system.
GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
LONGEST_STORED_BLOCK = 0xFFFF


def tar(files: dict[str, bytes]) -> bytes:
    """A tar archive of regular files, in the order given."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as entries:
        for name, content in files.items():
            # The time is 0, the owner root, the mode 0644.
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entries.addfile(entry, io.BytesIO(content))
    return archive.getvalue()


def gzip_stored(content: bytes) -> bytes:
    """A gzip stream of stored blocks (RFC 1951, 3.2.4).

    What a compressor writes differs between zlib, zlib-ng and their versions, and so would the
    digest. The price is a layer of 930 kB instead of 410 kB.
    """
    stream = [GZIP_HEADER]
    for start in range(0, max(len(content), 1), LONGEST_STORED_BLOCK):
        block = content[start:start + LONGEST_STORED_BLOCK]
        is_last = start + LONGEST_STORED_BLOCK >= len(content)
        stream += [struct.pack("<BHH", is_last, len(block), len(block) ^ 0xFFFF), block]
    stream.append(struct.pack("<II", zlib.crc32(content), len(content) & 0xFFFFFFFF))
    return b"".join(stream)

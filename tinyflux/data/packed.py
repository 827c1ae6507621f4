"""The bytes of data files: unpacked, and refused where they are damaged."""

from __future__ import annotations

import gzip
import io
import lzma
import zlib
from typing import Any

LIMIT = 1 << 27  # bytes; more is no file of these data sets, whose largest has 47 million
PACKERS: dict[bytes, tuple[str, Any]] = {b"\x1f\x8b": ("gzip", gzip), b"\xfd7zXZ\0": ("xz", lzma)}  # by a file's start


class DataError(ValueError):
    """A data file is there but cannot be used: unreadable, truncated, corrupted, or another file under its name."""


def unpack(content: bytes, name: str) -> bytes:
    """The bytes inside a gzip or xz file, or `content` itself where it is not packed.

    Arguments:
        content: the bytes, packed or not, whatever the file is called.
        name: what to call the file in a message.

    Errors:
        DataError: the packed file is truncated or corrupted, or holds more than LIMIT bytes.

    >>> unpack(gzip.compress(b"123"), "a.gz"), unpack(lzma.compress(b"123"), "a.xz"), unpack(b"123", "a")
    (b'123', b'123', b'123')
    """
    packers = [packer for start, packer in PACKERS.items() if content.startswith(start)]
    if not packers:
        return content
    kind, packer = packers[0]
    unpacked, size = [], 0
    try:
        with packer.open(io.BytesIO(content)) as file:
            while size <= LIMIT and (piece := file.read(1 << 20)):
                unpacked.append(piece)
                size += len(piece)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DataError(
            f"{name}: expected a whole {kind} file, got {len(content):,} bytes of a damaged one ({error})"
        ) from error
    if size > LIMIT:
        raise DataError(f"{name}: expected at most {LIMIT:,} bytes, got a {kind} file that holds more")
    return b"".join(unpacked)

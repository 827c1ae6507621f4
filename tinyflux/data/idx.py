"""The IDX format of MNIST's files: a header of big-endian integers, then the array's bytes."""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

LIMIT = 1 << 27  # bytes; more is no file of MNIST's, whose largest has 47 million
MAGIC = b"\0\0\x08"  # the 8 stands for unsigned bytes


class DataError(ValueError):
    """A data file is there but cannot be used: unreadable, truncated, corrupted, or another file under its name."""


def unpack(content: bytes, name: str) -> bytes:
    """The bytes inside a gzip file, or `content` itself where it is not packed.

    Arguments:
        content: the bytes, packed or not, whatever the file is called.
        name: what to call the file in a message.

    Errors:
        DataError: the gzip file is truncated or corrupted, or holds more than LIMIT bytes.

    >>> unpack(gzip.compress(b"123"), "a.gz"), unpack(b"123", "a")
    (b'123', b'123')
    """
    if not content.startswith(b"\x1f\x8b"):
        return content
    unpacked, size = [], 0
    try:
        with gzip.open(io.BytesIO(content)) as file:
            while size <= LIMIT and (piece := file.read(1 << 20)):
                unpacked.append(piece)
                size += len(piece)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{name}: expected a whole gzip file, got {len(content):,} bytes of a damaged one ({error})"
        ) from error
    if size > LIMIT:
        raise DataError(f"{name}: expected at most {LIMIT:,} bytes, got a gzip file that holds more")
    return b"".join(unpacked)


def read_idx(content: bytes, name: str) -> NDArray[np.uint8]:
    """The array of unsigned bytes in an IDX file.

    Arguments:
        content: the file's bytes, unpacked.
        name: what to call the file in a message.

    Returns: a read-only uint8 array of the shape in the file's header; it shares memory with `content`.

    Errors:
        DataError: the content is not IDX, not of unsigned bytes, or not as long as its header says.

    >>> read_idx(b"\\0\\0\\x08\\x01" + b"\\0\\0\\0\\x03" + b"abc", "letters")
    array([97, 98, 99], dtype=uint8)
    """
    if content[:3] != MAGIC:
        raise DataError(
            f"{name}: expected an IDX file, beginning with {MAGIC!r}, got one that begins with {content[:15]!r}"
        )
    ndim = int.from_bytes(content[3:4])
    start = 4 + 4 * ndim
    if len(content) < start:
        raise DataError(f"{name}: expected an IDX header of {start} bytes, got {len(content)} bytes in all")
    shape = struct.unpack_from(f">{ndim}I", content, 4)
    size = start + math.prod(shape)
    if len(content) != size:
        raise DataError(f"{name}: expected {size:,} bytes for an array of shape {shape}, got {len(content):,}")
    try:
        return np.frombuffer(content, np.uint8)[start:].reshape(shape)
    except ValueError as error:  # more axes than an array can have, or an empty one that would be too large
        raise DataError(f"{name}: expected the shape of an array, got {ndim} axes {shape} ({error})") from error

"""The IDX format of MNIST's files: a header of big-endian integers, then the array's bytes."""

from __future__ import annotations

import math
import struct

import numpy as np
from numpy.typing import NDArray

from .packed import DataError

MAGIC = b"\0\0\x08"  # the 8 stands for unsigned bytes


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

"""The IDX format: what is read, and what is refused."""

import gzip
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinyflux.data import DataError
from tinyflux.data.idx import read_idx
from tinyflux.data.packed import unpack

SIX = b"\0\0\x08\x02" + b"\0\0\0\x02\0\0\0\x03" + b"abcdef"


def header(shape):
    return b"\0\0\x08" + bytes([len(shape)]) + np.array(shape, ">u4").tobytes()


@settings(derandomize=True, deadline=None)
@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)), st.booleans())
def test_round_trip(array, packed):
    content = b"\0\0\x08" + bytes([array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()
    read = read_idx(unpack(gzip.compress(content) if packed else content, "file"), "file")
    assert read.dtype == np.uint8
    assert read.shape == array.shape
    assert read.tolist() == array.tolist()


def test_sizes_are_big_endian_and_the_bytes_in_c_order():
    assert read_idx(SIX, "file").tolist() == [[97, 98, 99], [100, 101, 102]]
    assert read_idx(b"\0\0\x08\x01\0\0\x01\x02" + bytes(258), "file").shape == (258,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"<!DOCTYPE html><html>",
            r"f: expected an IDX file, beginning with .*, got one that begins with b'<!DOCTYPE html>'",
        ),
        (b"", r"expected an IDX file, .* begins with b''"),
        (b"\0\0", r"expected an IDX file, .* begins with b'\\x00\\x00'"),
        (b"\0\0\x0d" + SIX[3:], r"expected an IDX file, .*\\x08'.* got one that begins with b'\\x00\\x00\\r"),
        (b"\0\0\x08", r"f: expected an IDX header of 4 bytes, got 3 bytes in all"),
        (SIX[:11], r"f: expected an IDX header of 12 bytes, got 11 bytes in all"),
        (SIX[:-1], r"f: expected 18 bytes for an array of shape \(2, 3\), got 17"),
        (SIX + b"g", r"f: expected 18 bytes for an array of shape \(2, 3\), got 19"),
        (header([1] * 65) + b"a", r"f: expected the shape of an array, got 65 axes \(1, 1, "),
        (header([1] * 255) + b"a", r"got 255 axes"),
        (header([0, *[2**32 - 1] * 3]), r"got 4 axes \(0, 4294967295, "),  # an empty array, but too large a shape
        (header([2**32 - 1] * 64), r"f: expected [\d,]{700,} bytes for an array of shape \(4294967295,"),
    ],
)
def test_damaged_content(content, message):
    with pytest.raises(DataError, match=message):
        read_idx(content, "f")


PACKED = gzip.compress(SIX * 99, mtime=0)


@pytest.mark.parametrize(
    "content", [PACKED[:-20], PACKED[:5], PACKED[:-8] + bytes(8), PACKED[:20] + b"xxxx" + PACKED[24:], PACKED + b"more"]
)
def test_damaged_gzip(content):
    with pytest.raises(
        DataError, match=rf"f: expected a whole gzip file, got {len(content)} bytes of a damaged one \(.+\)"
    ):
        unpack(content, "f")


@pytest.mark.parametrize("shape", [[1] * 64, [0, 2**32 - 1], []])
def test_shapes_that_arrays_can_have(shape):
    content = bytes(int(np.prod(shape)))
    assert read_idx(header(shape) + content, "f").shape == tuple(shape)


def test_a_gzip_file_that_unpacks_to_more_than_memory_holds():
    """A gigabyte for each megabyte: it is not unpacked to its end."""
    packer = zlib.compressobj(wbits=31)
    content = b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(200)), packer.flush()])
    tracemalloc.start()
    with pytest.raises(DataError, match="f: expected at most 134,217,728 bytes, got a gzip file that holds more"):
        unpack(content, "f")
    assert tracemalloc.get_traced_memory()[1] < 1.5 * (1 << 27)
    tracemalloc.stop()


def test_damage_is_a_value_error():
    assert issubclass(DataError, ValueError)
    assert not issubclass(DataError, OSError)

"""CIFAR-10: 60,000 colour images of ten kinds of things (Krizhevsky, 2009), from its binary version."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .packed import DataError
from .source import ArchiveSource

RECORD = 1 + 3 * 32 * 32  # bytes: the label, then the red, the green and the blue plane
CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


def read_records(content: bytes, name: str) -> NDArray[np.uint8]:
    """The records in a file of CIFAR-10's binary version, as rows of an array (N, RECORD).

    Arguments:
        content: the file's bytes, unpacked.
        name: what to call the file in a message.

    Errors:
        DataError: the file is empty, not as long as whole records are, or a label is above 9.

    >>> read_records(bytes(2 * RECORD), "two black airplanes").shape
    (2, 3073)
    """
    if not content or len(content) % RECORD:
        start = f"got {len(content):,} bytes that begin with {content[:15]!r}"
        raise DataError(f"{name}: expected a CIFAR-10 file, whole records of {RECORD:,} bytes, {start}")
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    highest = records[:, 0].max()
    if highest > 9:
        raise DataError(f"{name}: expected a CIFAR-10 file, with labels from 0 to 9, got the label {highest}")
    return records


CIFAR10 = ArchiveSource(
    title="CIFAR-10",
    splits={"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]},
    sha256={
        "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
        "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
        "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
        "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
        "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
        "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
    },
    read=read_records,
    mirrors=("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
    folders=("cifar-10-batches-bin", ""),
    md5="c32a1d4ab5d03f1284b67883e8d87530",
)


def cifar10(split: Literal["train", "test"]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The CIFAR-10 images, and what they show.

    The files of the binary version, data_batch_1.bin and so on, are looked for in the subfolder cifar-10-batches-bin of
    the folder $TINYFLUX_DATA or in the folder itself, packed by xz or not, then in the user's cache. What is not found
    is downloaded, 170 MB for all files, and kept in the cache. The SHA-256 is checked whatever the source.

    Arguments:
        split: "train" for 50,000 samples, "test" for another 10,000.

    Returns: images, uint8 (N, 32, 32, 3), the channels red, green and blue, and labels, int64 (N,), from 0 to 9: the
    places in `flux.data.CIFAR10_CLASSES`. `flux.data.normalise` makes floating point of a batch; over the training
    images the channels' means are (125.3, 123.0, 113.9) and their standard deviations (63.0, 62.1, 66.7).

    Errors: those of `mnist`.

    >>> import tinyflux as flux
    >>> flux.data.CIFAR10_CLASSES[3]
    'cat'
    >>> images, labels = flux.data.cifar10("test")  # doctest: +SKIP
    >>> images.shape, labels[:5]  # doctest: +SKIP
    ((10000, 32, 32, 3), array([3, 8, 8, 0, 6]))
    """
    records = CIFAR10.load(split)
    planes = [part[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1) for part in records]
    images = np.empty((sum(map(len, planes)), 32, 32, 3), np.uint8)
    np.concatenate(planes, out=images)
    return images, np.concatenate([part[:, 0] for part in records]).astype(np.int64)

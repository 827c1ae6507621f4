"""MNIST, 70,000 handwritten digits, and Fashion-MNIST, as many pieces of clothing in the same format."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .idx import read_idx
from .packed import DataError
from .source import Source

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
MNIST = Source(
    title="MNIST",
    splits=FILES,
    sha256={
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    read=read_idx,
    mirrors=(
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
    ),
    folders=("mnist", ""),
)
FASHION_MNIST = Source(
    title="Fashion-MNIST",
    splits=FILES,
    sha256={
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
    read=read_idx,
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    ),
    folders=("fashion-mnist",),  # in no other, where MNIST's files of the same names may lie
)
FASHION_MNIST_CLASSES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


def mnist(split: Literal["train", "test"]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The MNIST images of handwritten digits (LeCun, Cortes and Burges, 1998), and the digits they show.

    Each file is looked for in the folder $TINYFLUX_DATA or its subfolder mnist, gzipped or not, then in the user's
    cache, then on two mirrors; what these deliver is kept in the cache. The SHA-256 is checked whatever the source.

    Arguments:
        split: "train" for 60,000 samples, "test" for another 10,000.

    Returns: images, float32 (N, 28, 28), from 0 (paper) to 1 (ink), and labels, int64 (N,), from 0 to 9.

    Errors:
        DataUnavailable: there is no file, and no mirror delivers one; without a network, known within 8 seconds.
        DataError: a file is unreadable, truncated, corrupted, or another file under its name.
        ValueError: `split` is another word.

    >>> import tinyflux as flux
    >>> images, labels = flux.data.mnist("train")  # doctest: +SKIP
    >>> images.shape, labels[:5]  # doctest: +SKIP
    ((60000, 28, 28), array([5, 0, 4, 1, 9]))
    """
    return _checked(split, *MNIST.load(split))


def fashion_mnist(split: Literal["train", "test"]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The Fashion-MNIST images of clothing (Xiao, Rasul and Vollgraf, 2017), and what they show.

    The files are looked for as those of `mnist`, under the same names, but in a subfolder fashion-mnist only.

    Arguments:
        split: "train" for 60,000 samples, "test" for another 10,000.

    Returns: images, float32 (N, 28, 28), from 0 (background) to 1, and labels, int64 (N,), from 0 to 9: the places in
    `flux.data.FASHION_MNIST_CLASSES`.

    Errors: those of `mnist`.

    >>> import tinyflux as flux
    >>> flux.data.FASHION_MNIST_CLASSES[9]
    'ankle boot'
    >>> images, labels = flux.data.fashion_mnist("train")  # doctest: +SKIP
    >>> images.shape, labels[:5]  # doctest: +SKIP
    ((60000, 28, 28), array([9, 0, 0, 3, 0]))
    """
    return _checked(split, *FASHION_MNIST.load(split))


def _checked(
    split: str, images: NDArray[np.uint8], labels: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    if images.shape != (*labels.shape, 28, 28):
        raise DataError(
            f"{' and '.join(FILES[split])}: expected images (N, 28, 28) and labels (N,), "
            f"got {images.shape} and {labels.shape}; download both again"
        )
    return np.divide(images, 255, dtype=np.float32), labels.astype(np.int64)

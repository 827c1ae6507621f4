"""Small files in the place of MNIST's, for the tests."""

import gzip
import hashlib
import importlib

import numpy as np

from tinyflux.data import mnist

module = importlib.import_module("tinyflux.data.mnist")  # the package's attribute of this name is the function

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
HTML = b"<!DOCTYPE html><html><body>Please log in to this network.</body></html>"


def idx(array):
    return b"\0\0\x08" + bytes([array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def digests(files):
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def flipped(content, at):
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def fill(folder, files, suffix=".gz"):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / (name + suffix)).write_bytes(gzip.compress(content) if suffix else content)


def check(files):
    """That both splits are what the files hold."""
    for split, (images, labels) in module.FILES.items():
        x, y = mnist(split)
        assert x.dtype == np.float32
        assert x.shape[1:] == (28, 28)
        assert x.flags.c_contiguous
        assert y.dtype == np.int64
        assert y.shape == x.shape[:1]
        assert np.array_equal(
            x.ravel(), np.frombuffer(files[images][16:], np.uint8).astype(np.float32) / np.float32(255)
        )
        assert y.tolist() == list(files[labels][8:])

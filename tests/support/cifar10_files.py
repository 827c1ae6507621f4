"""Small files in the place of CIFAR-10's, for the tests."""

import importlib
import lzma

import numpy as np

module = importlib.import_module("tinyflux.data.cifar10")  # the package's attribute of this name is the function

NAMES = [*module.CIFAR10.splits["train"], *module.CIFAR10.splits["test"]]


def made_up(count):
    """So many images for each file, whose rows, columns and channels all differ, and their labels."""
    rng = np.random.default_rng(0)
    return {name: (rng.integers(0, 256, (count, 32, 32, 3), np.uint8), rng.integers(0, 10, count)) for name in NAMES}


def packed(images):
    """The files' bytes, by name."""
    return {name: b"".join(map(record, labels.tolist(), x)) for name, (x, labels) in images.items()}


def record(label, image):
    """As the data set's page says: the label, then 1,024 red, 1,024 green and 1,024 blue bytes, each row by row."""
    red, green, blue = ([int(pixel[channel]) for row in image for pixel in row] for channel in range(3))
    return bytes([label, *red, *green, *blue])


def fill(folder, files, suffix=""):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / (name + suffix)).write_bytes(lzma.compress(content) if suffix else content)

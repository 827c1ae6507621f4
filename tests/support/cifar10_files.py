"""Small files in the place of CIFAR-10's, for the tests."""

import importlib
import json
import lzma

import numpy as np

from tests.support.mnist_files import digests

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


def install(folder, images, monkeypatch):
    """Have the data set read such images in the place of its own; returns the files' bytes, by name."""
    files = packed(images)
    fill(folder, files)
    monkeypatch.setattr(module.CIFAR10, "sha256", digests(files))
    monkeypatch.setenv("TINYFLUX_DATA", str(folder))
    return files


def outcome(folder):
    """All that a training has calculated: what was measured, and the bytes of the model's and optimiser's arrays."""
    history = json.loads((folder / "run.json").read_text(encoding="utf-8"))["history"]
    for entry in history:
        del entry["seconds"]
    (file,) = folder.glob("*.npz")
    with np.load(file) as arrays:
        return history, {name: arrays[name].tobytes() for name in arrays}

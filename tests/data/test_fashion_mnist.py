"""Fashion-MNIST: MNIST's way, under its own name and in its own folder."""

import os
from pathlib import Path

import numpy as np
import pytest

from tests.support.mnist_files import IMAGES, LABELS, digests, fill, idx, module
from tinyflux.data import FASHION_MNIST_CLASSES, DataError, DataUnavailable, fashion_mnist


@pytest.fixture
def clothes(files, monkeypatch):
    """Small files with the names of MNIST's small files."""
    made = {IMAGES: idx(np.arange(2 * 784, dtype=np.uint8).reshape(2, 28, 28)), LABELS: idx(np.uint8([9, 0]))}
    monkeypatch.setattr(module.FASHION_MNIST, "sha256", digests(made))
    monkeypatch.setattr(module.FASHION_MNIST, "mirrors", ("http://127.0.0.1:1/",))
    return made


def check(clothes):
    images, labels = fashion_mnist("train")
    assert images.dtype == np.float32
    assert labels.dtype == np.int64
    assert labels.tolist() == [9, 0]
    np.testing.assert_array_equal(images.ravel(), np.frombuffer(clothes[IMAGES][16:], np.uint8) / np.float32(255))


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_its_folder(clothes, tmp_path, monkeypatch, suffix):
    fill(tmp_path / "fashion-mnist", clothes, suffix)
    monkeypatch.setenv("TINYFLUX_DATA", str(tmp_path))
    check(clothes)


def test_files_of_mnist_beside_it_are_left_alone(files, clothes, tmp_path, cache, monkeypatch):
    fill(tmp_path, files)
    fill(tmp_path / "mnist", files)
    fill(cache / "mnist", files)
    monkeypatch.setenv("TINYFLUX_DATA", str(tmp_path))
    with pytest.raises(DataUnavailable) as caught:
        fashion_mnist("train")
    for part in (
        f"Fashion-MNIST cannot be had here, for lack of {IMAGES}:",
        f"there is no {IMAGES} or {IMAGES}.gz in {tmp_path}, subfolder fashion-mnist",
        f"cache: no {IMAGES} or {IMAGES}.gz in {cache}, subfolder fashion-mnist",
        "put the files from http://127.0.0.1:1/ into fashion-mnist, a subfolder of the one that TINYFLUX_DATA names",
    ):
        assert part in str(caught.value)
    fill(cache / "fashion-mnist", clothes)
    check(clothes)


def test_mnist_in_its_place_is_refused(files, clothes, tmp_path, monkeypatch):
    fill(tmp_path / "fashion-mnist", files)
    monkeypatch.setenv("TINYFLUX_DATA", str(tmp_path))
    with pytest.raises(DataError, match=rf"expected Fashion-MNIST's {IMAGES}, SHA-256 \w{{12}}…, got \w{{12}}…"):
        fashion_mnist("train")


def test_a_download_is_kept_beside_mnist_s(clothes, cache, server, monkeypatch):
    (url,) = server("good")
    monkeypatch.setattr(module.FASHION_MNIST, "mirrors", (url,))
    monkeypatch.setattr(module.FASHION_MNIST, "sha256", module.MNIST.sha256)  # which is what the server has
    images, _ = fashion_mnist("test")
    assert images.shape == (20, 28, 28)
    names = [f"{name}.gz" for name in module.FILES["test"]]
    assert server.asked == [f"/good/{name}" for name in names]
    assert sorted(path.name for path in (cache / "fashion-mnist").iterdir()) == names


def test_an_unknown_split(clothes):
    with pytest.raises(ValueError, match=r"split: expected 'train' or 'test', got 'valid'"):
        fashion_mnist("valid")


REAL = os.environ.get("TINYFLUX_DATA", "")


@pytest.mark.skipif(
    not REAL or not any(Path(REAL).expanduser().glob("fashion-mnist/train-images-idx3-ubyte*")),
    reason="needs Fashion-MNIST's files in the folder that TINYFLUX_DATA names",
)
@pytest.mark.parametrize(
    ("split", "count", "first"),
    [
        ("train", 6000, ["ankle boot", "T-shirt/top", "T-shirt/top", "dress", "T-shirt/top", "pullover"]),
        ("test", 1000, ["ankle boot", "pullover", "trouser", "trouser", "shirt", "trouser"]),
    ],
)
def test_the_real_files(split, count, first):
    images, labels = fashion_mnist(split)
    assert images.shape == (10 * count, 28, 28)
    assert np.bincount(labels).tolist() == [count] * 10
    assert [FASHION_MNIST_CLASSES[label] for label in labels[:6]] == first
    assert abs(images.mean(dtype=np.float64) - 0.2861) < 1e-3

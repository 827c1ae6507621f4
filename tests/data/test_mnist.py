"""MNIST: where its files are looked for, what is refused, and the real ones."""

import gzip
import os
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from tests.support.mnist_files import HTML, IMAGES, LABELS, check, digests, fill, flipped, idx, module
from tinyflux.data import DataError, DataUnavailable, mnist
from tinyflux.installed import pip_install

# Where it is looked for.


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("folder", ["", "mnist"])
def test_the_folder_in_the_environment(files, tmp_path, monkeypatch, folder, suffix):
    fill(tmp_path / "data" / folder, files, suffix)
    monkeypatch.setenv("TINYFLUX_DATA", str(tmp_path / "data"))
    check(files)


def test_the_folder_may_lie_in_the_home_folder(files, tmp_path, monkeypatch):
    fill(tmp_path / "data", files)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("TINYFLUX_DATA", "~/data")
    check(files)


def test_the_folder_goes_before_the_cache_and_this_before_the_network(files, tmp_path, cache, monkeypatch, server):
    server("good")
    fill(cache / "mnist", files)
    check(files)
    fill(cache / "mnist", dict.fromkeys(files, b"bad"))
    fill(tmp_path / "data", files)
    monkeypatch.setenv("TINYFLUX_DATA", str(tmp_path / "data"))
    check(files)
    assert server.asked == []


def test_a_folder_without_the_files_is_passed_over_but_mentioned(files, tmp_path, cache, monkeypatch):
    monkeypatch.setenv("TINYFLUX_DATA", str(tmp_path))
    with pytest.raises(DataUnavailable) as caught:
        mnist("train")
    for part in (
        f"lack of {IMAGES}:",
        f"TINYFLUX_DATA is set, but there is no {IMAGES} or {IMAGES}.gz in {tmp_path} or",
        f"cache: no {IMAGES} or {IMAGES}.gz in {cache}",
        "connect to the network, or put the files",
    ):
        assert part in str(caught.value)
    fill(cache, files)
    check(files)


@pytest.mark.parametrize("folder", ["", "no/such/folder", __file__])
def test_a_folder_that_is_none(files, cache, monkeypatch, folder):
    monkeypatch.setenv("TINYFLUX_DATA", folder)
    with pytest.raises(DataUnavailable) as caught:
        mnist("test")
    assert ("TINYFLUX_DATA is set" in str(caught.value)) == bool(folder)


def test_each_file_is_looked_for_by_itself(files, tmp_path, cache, monkeypatch, server):
    server("good")
    fill(tmp_path, {IMAGES: files[IMAGES]})
    fill(cache, {LABELS: files[LABELS]})
    monkeypatch.setenv("TINYFLUX_DATA", str(tmp_path))
    check(files)
    assert server.asked == [f"/good/{name}.gz" for name in module.FILES["test"]]


def test_without_pooch(files, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    monkeypatch.setenv("TINYFLUX_DATA", str(tmp_path))
    with pytest.raises(DataUnavailable, match=r"(?s)TINYFLUX_DATA is set, but.*" + re.escape(pip_install("examples"))):
        mnist("train")
    fill(tmp_path, files)
    check(files)


def test_an_unknown_split(files):
    with pytest.raises(ValueError, match=r"split: expected 'train' or 'test', got 'valid'"):
        mnist("valid")


# What is refused.

DAMAGE = {
    "truncated": (lambda content: gzip.compress(content)[:-9], r"expected a whole gzip file, got [\d,]+ bytes"),
    "corrupted": (lambda content: flipped(gzip.compress(content), 40), r"expected a whole gzip file"),
    "html": (lambda content: HTML, r"expected an IDX file, .*begins with b'<!DOCTYPE html>'"),
    "changed": (
        lambda content: gzip.compress(flipped(content, 30)),
        r"expected MNIST's t\S+, SHA-256 \w{12}…, got \w{12}…",
    ),
    "magic": (
        lambda content: gzip.compress(flipped(content, 2)),
        r"expected an IDX file, beginning with b'\\x00\\x00\\x08'",
    ),
    "cut short": (
        lambda content: gzip.compress(content[:-1]),
        r"expected [\d,]+ bytes for an array of shape \(\d+.*\), got",
    ),
    "empty": (lambda content: b"", r"expected an IDX file, .* begins with b''"),
}


@pytest.mark.parametrize("name", [IMAGES, LABELS])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_bad_file_in_the_folder_is_an_error_at_once(files, tmp_path, cache, monkeypatch, server, damage, name):
    server("good")
    spoil, message = DAMAGE[damage]
    fill(cache, files)
    fill(tmp_path, files)
    path = tmp_path / f"{name}.gz"
    path.write_bytes(spoil(files[name]))
    monkeypatch.setenv("TINYFLUX_DATA", str(tmp_path))
    with pytest.raises(DataError, match=message) as caught:
        mnist("train")
    assert str(caught.value).startswith(f"{path}: ")
    assert "put a good copy in its place" in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 250
    assert server.asked == []


def test_an_unreadable_file(files, tmp_path, monkeypatch):
    (tmp_path / IMAGES).mkdir()
    monkeypatch.setenv("TINYFLUX_DATA", str(tmp_path))
    with pytest.raises(DataError, match=rf"{IMAGES}: expected a readable file, got '.+'; put a good copy"):
        mnist("train")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_what_is_no_file_is_not_waited_for(files, tmp_path, monkeypatch):
    monkeypatch.setenv("TINYFLUX_DATA", str(tmp_path))
    os.mkfifo(tmp_path / IMAGES)
    with pytest.raises(DataError, match=rf"{IMAGES}: expected a readable file, got 'it is a pipe, not a file'; put"):
        mnist("train")
    (tmp_path / f"{IMAGES}.gz").symlink_to("/dev/zero")
    with pytest.raises(DataError, match=rf"{IMAGES}.gz: expected a readable file, got 'it is a device, not a file'"):
        mnist("train")


def test_a_file_that_is_too_large_is_not_read(files, tmp_path, monkeypatch):
    monkeypatch.setenv("TINYFLUX_DATA", str(tmp_path))
    with open(tmp_path / IMAGES, "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match=rf"{IMAGES}: expected at most 134,217,728 bytes, got 1,099,511,627,776; put"):
        mnist("train")


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission(files, tmp_path, monkeypatch):
    fill(tmp_path, files)
    (tmp_path / f"{IMAGES}.gz").chmod(0)
    monkeypatch.setenv("TINYFLUX_DATA", str(tmp_path))
    with pytest.raises(DataError, match=rf"{IMAGES}.gz: expected a readable file, got 'Permission denied'"):
        mnist("train")


@pytest.mark.parametrize(
    ("images", "labels"), [((5, 28, 28), (4,)), ((5, 27, 28), (5,)), ((5, 784), (5,)), ((5, 28, 28), (5, 1))]
)
def test_images_and_labels_that_do_not_belong_together(files, tmp_path, monkeypatch, images, labels):
    made = {IMAGES: idx(np.zeros(images, np.uint8)), LABELS: idx(np.zeros(labels, np.uint8))}
    monkeypatch.setattr(module.MNIST, "sha256", digests(made))
    fill(tmp_path, made)
    monkeypatch.setenv("TINYFLUX_DATA", str(tmp_path))
    with pytest.raises(DataError) as caught:
        mnist("train")
    assert f"expected images (N, 28, 28) and labels (N,), got {images} and {labels}" in str(caught.value)


# The package and the real files.


def test_the_errors_are_told_apart():
    assert issubclass(DataUnavailable, OSError)
    assert not issubclass(DataUnavailable, DataError)
    assert not issubclass(DataError, OSError)


def test_importing_the_package_imports_no_extras():
    code = "import sys, tinyflux.data; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "numpy" in loaded
    assert not {"sklearn", "pooch", "requests", "matplotlib", "tqdm"} & set(loaded)


REAL = os.environ.get("TINYFLUX_DATA", "")
real = pytest.mark.skipif(
    not REAL or not any(Path(REAL).expanduser().rglob("train-images-idx3-ubyte*")),
    reason="needs MNIST's files in the folder that TINYFLUX_DATA names",
)


@real
@pytest.mark.parametrize(
    ("split", "counts", "mean", "first"),
    [
        ("train", [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949], 0.1307, [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]),
        ("test", [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009], 0.1325, [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]),
    ],
)
def test_the_real_files(split, counts, mean, first):
    x, y = mnist(split)
    assert x.shape == (sum(counts), 28, 28)
    assert x.dtype == np.float32
    assert y.dtype == np.int64
    assert np.bincount(y).tolist() == counts
    assert y[:10].tolist() == first
    assert x.min() == 0
    assert x.max() == 1
    assert abs(x.mean(dtype=np.float64) - mean) < 5e-5


@real
def test_reading_the_real_files_takes_little_more_memory_than_they_need():
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    x, _ = mnist("train")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - before < 1.3 * x.nbytes

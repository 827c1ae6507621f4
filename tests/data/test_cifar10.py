"""CIFAR-10: the records of its binary version, the places of its files, the archive, and the real files."""

import hashlib
import io
import lzma
import os
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from tests.support.cifar10_files import NAMES, fill, made_up, module, packed
from tests.support.mnist_files import HTML, digests, flipped
from tinyflux.data import CIFAR10_CLASSES, DataError, DataUnavailable, cifar10, source
from tinyflux.installed import pip_install

FIRST = "data_batch_1.bin"


@pytest.fixture
def images():
    return made_up(4)


@pytest.fixture
def small(images, alone, monkeypatch):
    """The small files by name, known by their checksums; no folder, an empty cache, no network."""
    files = packed(images)

    def fetch(url, limit):
        raise OSError("no network")

    monkeypatch.setattr(module.CIFAR10, "sha256", digests(files))
    monkeypatch.setattr(source, "fetch", fetch)
    return files


def check(images):
    for split, names in module.CIFAR10.splits.items():
        x, y = cifar10(split)
        assert (x.dtype, y.dtype) == (np.uint8, np.int64)
        assert x.flags.c_contiguous
        np.testing.assert_array_equal(x, np.concatenate([images[name][0] for name in names]))
        assert y.tolist() == [label for name in names for label in images[name][1]]


# Where it is looked for.


@pytest.mark.parametrize("suffix", ["", ".xz"])
@pytest.mark.parametrize("folder", ["", "cifar-10-batches-bin"])
def test_the_folder_in_the_environment(images, small, tmp_path, monkeypatch, folder, suffix):
    fill(tmp_path / folder, small, suffix)
    monkeypatch.setenv("TINYFLUX_DATA", str(tmp_path))
    check(images)


def test_the_cache(images, small, cache):
    fill(cache / "cifar-10-batches-bin", small)
    check(images)


def test_missing_files_are_named_with_the_places(small, tmp_path, cache, monkeypatch):
    fill(tmp_path, {name: content for name, content in small.items() if name != FIRST})
    monkeypatch.setenv("TINYFLUX_DATA", str(tmp_path))
    with pytest.raises(DataUnavailable) as caught:
        cifar10("train")
    (url,) = module.CIFAR10.mirrors
    missing = f"no {FIRST} or {FIRST}.xz in"
    for part in (
        f"CIFAR-10 cannot be had here, for lack of {FIRST}:",
        f"TINYFLUX_DATA is set, but there is {missing} {tmp_path} or its subfolder cifar-10-batches-bin",
        f"cache: {missing} {cache}",
        f"{url}: no network",
        f"put the files from {url} into cifar-10-batches-bin",
    ):
        assert part in str(caught.value)


def test_without_pooch(images, small, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(DataUnavailable) as caught:
        cifar10("test")
    assert pip_install("examples") in str(caught.value)
    fill(tmp_path, small)
    monkeypatch.setenv("TINYFLUX_DATA", str(tmp_path))
    check(images)


def test_an_unknown_split(small):
    with pytest.raises(ValueError, match=r"split: expected 'train' or 'test', got 'valid'"):
        cifar10("valid")


# What is refused.

DAMAGE = {
    "cut short": (lambda content: content[:-1], r"whole records of 3,073 bytes, got 12,291 bytes"),
    "one record less": (lambda content: content[:-3073], r"CIFAR-10's data_batch_1.bin, SHA-256 \w{12}…, got \w{12}…"),
    "empty": (lambda content: b"", r"whole records of 3,073 bytes, got 0 bytes"),
    "html": (lambda content: HTML, r"whole records of .* that begin with b'<!DOCTYPE html>'"),
    "label": (lambda content: b"\x0a" + content[1:], r"labels from 0 to 9, got the label 10"),
    "changed": (lambda content: flipped(content, 3000), r"CIFAR-10's data_batch_1.bin, SHA-256 \w{12}…, got \w{12}…"),
    "truncated": (lambda content: lzma.compress(content)[:-9], r"a whole xz file, got [\d,]+ bytes of a damaged one"),
    "corrupted": (lambda content: flipped(lzma.compress(content), 5000), r"expected a whole xz file"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_bad_file_in_the_folder_is_an_error_at_once(small, tmp_path, cache, monkeypatch, damage):
    spoil, message = DAMAGE[damage]
    fill(cache, small)
    fill(tmp_path, small)
    path = tmp_path / FIRST
    path.write_bytes(spoil(small[FIRST]))
    monkeypatch.setenv("TINYFLUX_DATA", str(tmp_path))
    with pytest.raises(DataError, match=message) as caught:
        cifar10("train")
    assert str(caught.value).startswith(f"{path}: ")
    assert "put a good copy in its place" in str(caught.value)


# The archive.


def archived(files):
    """An archive as the one for download: the files in a folder, among others."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in {"batches.meta.txt": b"airplane", **files, "readme.html": HTML}.items():
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def serve(monkeypatch, content):
    """Have the network deliver this, with the right MD5; the list of what was asked for."""
    asked = []

    def fetch(url, limit):
        asked.append(url)
        assert len(content) < limit
        return content

    monkeypatch.setattr(source, "fetch", fetch)
    monkeypatch.setattr(module.CIFAR10, "md5", hashlib.md5(content).hexdigest())
    return asked


def test_one_download_brings_all_files(images, small, cache, monkeypatch):
    asked = serve(monkeypatch, archived(small))
    check(images)
    assert asked == ["https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"]
    assert sorted(path.name for path in (cache / "cifar-10-batches-bin").iterdir()) == sorted(NAMES)


def test_an_archive_that_is_another(small, cache, monkeypatch):
    serve(monkeypatch, archived(small))
    monkeypatch.setattr(module.CIFAR10, "md5", "c32a1d4ab5d03f1284b67883e8d87530")
    with pytest.raises(DataUnavailable, match=r"tar.gz: expected CIFAR-10's archive, MD5 c32a1d4ab5d0…, got \w{12}…"):
        cifar10("test")
    assert not list(cache.rglob("*"))


def test_a_bad_file_in_the_archive(small, cache, monkeypatch):
    serve(monkeypatch, archived(small | {FIRST: flipped(small[FIRST], 99)}))
    with pytest.raises(DataUnavailable, match=r"tar.gz, data_batch_1.bin: expected CIFAR-10's data_batch_1.bin, SHA"):
        cifar10("train")


def test_a_cache_that_cannot_be_written_to(images, small, cache, monkeypatch):
    asked = serve(monkeypatch, archived(small))
    cache.parent.mkdir()
    cache.write_text("in the way")
    with pytest.warns(UserWarning, match=r"cannot be written \(.+\); CIFAR-10 will be downloaded again") as caught:
        cifar10("train")
    assert {warning.filename for warning in caught} == {__file__}
    assert len(asked) == 1


# The published checksums and the real files.


def test_the_published_archive():
    assert module.CIFAR10.md5 == "c32a1d4ab5d03f1284b67883e8d87530"
    assert module.CIFAR10.limit > 170_052_171


REAL = os.environ.get("TINYFLUX_DATA", "")


@pytest.mark.slow
@pytest.mark.skipif(
    not REAL or not any(Path(REAL).expanduser().rglob(f"{FIRST}*")),
    reason="needs CIFAR-10's files in the folder that TINYFLUX_DATA names",
)
def test_the_real_files():
    images, labels = cifar10("train")
    assert images.shape == (50_000, 32, 32, 3)
    assert np.bincount(labels).tolist() == [5000] * 10
    assert [CIFAR10_CLASSES[label] for label in labels[:5]] == ["frog", "truck", "truck", "deer", "automobile"]
    np.testing.assert_allclose(images.mean((0, 1, 2)), (125.3, 123.0, 113.9), atol=0.06)
    np.testing.assert_allclose(images[::5].std((0, 1, 2)), (63.0, 62.1, 66.7), atol=0.2)
    images, labels = cifar10("test")
    assert images.shape == (10_000, 32, 32, 3)
    assert labels[:12].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1, 0, 9]
    assert np.bincount(labels).tolist() == [1000] * 10

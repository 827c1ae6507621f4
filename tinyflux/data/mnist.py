"""MNIST: 70,000 handwritten digits (LeCun, Cortes and Burges, 1998), from a folder, the cache, or the network."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..files import open_file, replacing
from ..installed import pip_install
from .idx import LIMIT, DataError, read_idx, unpack

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
SHA256 = {  # of the unpacked files
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
PATIENCE = 3.0  # seconds without a byte before a mirror is given up


class DataUnavailable(OSError):
    """The data cannot be had on this machine: no file holds it, and no mirror could be reached."""


def mnist(split: Literal["train", "test"]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The MNIST images of handwritten digits, and the digits they show.

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
    if split not in FILES:
        raise ValueError(f"split: expected 'train' or 'test', got {split!r}")
    images, labels = map(_load, FILES[split])
    if images.shape != (*labels.shape, 28, 28):
        raise DataError(
            f"{' and '.join(FILES[split])}: expected images (N, 28, 28) and labels (N,), "
            f"got {images.shape} and {labels.shape}; download both again"
        )
    return np.divide(images, 255, dtype=np.float32), labels.astype(np.int64)


def _load(name: str) -> NDArray[np.uint8]:
    """The array in file `name`, from the first place that has it."""
    missed = []
    failure: type[Exception] = DataUnavailable
    folder = os.environ.get("TINYFLUX_DATA")
    if folder:
        try:
            return _local(Path(folder).expanduser(), name)
        except FileNotFoundError as error:
            missed.append(f"TINYFLUX_DATA is set, but there is {error}")
        except DataError as error:
            raise DataError(f"{error}; put a good copy in its place, or unset TINYFLUX_DATA") from error
    try:
        import pooch
    except ImportError:
        missed.append(f"cache and download: both need pooch; {pip_install('examples')}")
        raise DataUnavailable(_message(name, missed)) from None
    cache = Path(pooch.os_cache("tinyflux"))
    try:
        return _local(cache, name)
    except FileNotFoundError as error:
        missed.append(f"cache: {error}")
    except DataError as error:
        missed.append(str(error))
        failure = DataError
    for mirror in MIRRORS:
        try:
            return _download(f"{mirror}{name}.gz", cache / "mnist" / f"{name}.gz")
        except DataError as error:
            missed.append(str(error))
        except OSError as error:
            missed.append(f"{mirror}{name}.gz: {_root(error)}")
    raise failure(_message(name, missed))


def _message(name: str, missed: list[str]) -> str:
    """Why file `name` was not found, place by place, and what to do."""
    return "\n  ".join(
        [
            f"MNIST cannot be had here, for lack of {name}:",
            *missed,
            f"connect to the network, or put the files from {MIRRORS[0]} into a folder and set TINYFLUX_DATA to it",
        ]
    )


def _local(folder: Path, name: str) -> NDArray[np.uint8]:
    """The array in file `name` of `folder`; a FileNotFoundError if there is none, a DataError if it is bad."""
    # First the path that a download is kept under, so that it replaces a damaged file found elsewhere in the cache.
    for path in [folder / "mnist" / f"{name}.gz", folder / "mnist" / name, folder / f"{name}.gz", folder / name]:
        try:
            with open_file(path) as file:
                size = os.fstat(file.fileno()).st_size
                content = file.read() if size <= LIMIT else b""
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise DataError(f"{path}: expected a readable file, got {error.strerror!r}") from error
        if size > LIMIT:
            raise DataError(f"{path}: expected at most {LIMIT:,} bytes, got {size:,}")
        return _decode(content, str(path), name)
    raise FileNotFoundError(f"no {name} or {name}.gz in {folder} or its subfolder mnist")


def _decode(content: bytes, source: str, name: str) -> NDArray[np.uint8]:
    """The array in the bytes of a file that `source` holds in the place of MNIST's `name`."""
    content = unpack(content, source)
    array = read_idx(content, source)
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256[name]:
        raise DataError(f"{source}: expected MNIST's {name}, SHA-256 {SHA256[name][:12]}…, got {digest[:12]}…")
    return array


def _download(url: str, path: Path) -> NDArray[np.uint8]:
    """The array in the file at `url`, which is kept at `path` once it has proved good."""
    content = _fetch(url)
    array = _decode(content, url, path.stem)
    try:
        path.parents[1].mkdir(mode=0o700, parents=True, exist_ok=True)  # compiled libraries are kept there, too
        path.parent.mkdir(exist_ok=True)
        with replacing(path) as file:
            file.write(content)
    except OSError as error:
        warnings.warn(f"{path}: cannot be written ({error.strerror}); MNIST will be downloaded again", stacklevel=4)
    return array


class _Received(io.BytesIO):
    """What came from a mirror: no more than a file of MNIST can have."""

    def write(self, piece: Any) -> int:
        if self.tell() + len(piece) > LIMIT:
            raise OSError(f"more than {LIMIT:,} bytes came")
        return super().write(piece)


def _fetch(url: str) -> bytes:
    """The bytes at `url`; an OSError if they cannot be had, or if none comes for a while."""
    import pooch
    import requests  # noqa: F401  (pooch would import it in the thread, where this time would count as waiting)

    received = _Received()
    failures: list[Exception] = []

    def work() -> None:
        try:
            pooch.HTTPDownloader(timeout=PATIENCE)(url, received, None)
        except Exception as error:
            failures.append(error)

    # In a thread that can be left behind: no timeout covers looking up a name and trying its addresses one by one.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        size = received.tell()
        thread.join(PATIENCE)
        if thread.is_alive() and received.tell() == size:
            raise TimeoutError(f"no data came for {PATIENCE:g} s")
    if failures:
        raise failures[0]
    return received.getvalue()


def _root(error: BaseException) -> str:
    """What went wrong at the bottom: the layers of an HTTP library repeat it at length."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error) or type(error).__name__

"""Where the files of a data set come from: a folder, the cache, or the network."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..files import open_file, replacing
from ..installed import pip_install
from . import packed
from .download import fetch, root_cause
from .packed import DataError, unpack

Found = dict[str, NDArray[np.uint8]]


class DataUnavailable(OSError):
    """The data cannot be had on this machine: no file holds it, and no mirror could be reached."""


@dataclass
class Source:
    """The files of a data set, each on several mirrors.

    Attributes:
        title: what messages call the data set.
        splits: the names of the files of each part, "train" and "test".
        sha256: the name of each file, and the SHA-256 of what is in it, unpacked.
        read: the array in the bytes of an unpacked file; its second argument is what to call the file in a message.
        mirrors: the URLs that a file's name completes.
        folders: where the files may lie in $TINYFLUX_DATA and in the cache, "" for right there. Downloads are kept in
            the first.
        suffixes: what a file's name may end with there. Downloads have the first.
    """

    title: str
    splits: Mapping[str, Sequence[str]]
    sha256: Mapping[str, str]
    read: Callable[[bytes, str], NDArray[np.uint8]]
    mirrors: Sequence[str]
    folders: Sequence[str]
    suffixes: Sequence[str] = (".gz", "")

    def load(self, split: str) -> list[NDArray[np.uint8]]:
        """The arrays in the files of a split, each from the first place that has it.

        Errors:
            ValueError: there is no such split.
            DataUnavailable: there is no file, and no mirror delivers one.
            DataError: a file is unreadable, truncated, corrupted, or another file under its name.
        """
        if split not in self.splits:
            raise ValueError(f"split: expected {' or '.join(map(repr, self.splits))}, got {split!r}")
        found: Found = {}
        for name in self.splits[split]:
            if name not in found:
                found |= self._find(name)
        return [found[name] for name in self.splits[split]]

    def _find(self, name: str) -> Found:
        """The array in file `name`, and those that came with it."""
        missed = []
        failure: type[Exception] = DataUnavailable
        folder = os.environ.get("TINYFLUX_DATA")
        if folder:
            try:
                return {name: self._local(Path(folder).expanduser(), name)}
            except FileNotFoundError as error:
                missed.append(f"TINYFLUX_DATA is set, but there is {error}")
            except DataError as error:
                raise DataError(f"{error}; put a good copy in its place, or unset TINYFLUX_DATA") from error
        try:
            import pooch
        except ImportError:
            missed.append(f"cache and download: both need pooch; {pip_install('examples')}")
            raise DataUnavailable(self._message(name, missed)) from None
        cache = Path(pooch.os_cache("tinyflux"))
        try:
            return {name: self._local(cache, name)}
        except FileNotFoundError as error:
            missed.append(f"cache: {error}")
        except DataError as error:
            missed.append(str(error))
            failure = DataError
        for mirror in self.mirrors:
            url = self._url(mirror, name)
            try:
                return self._download(url, name, cache)
            except DataError as error:
                missed.append(str(error))
            except OSError as error:
                missed.append(f"{url}: {root_cause(error)}")
        raise failure(self._message(name, missed))

    def _message(self, name: str, missed: list[str]) -> str:
        """Why file `name` was not found, place by place, and what to do."""
        into = f"{self.folders[0]}, a subfolder of the one that TINYFLUX_DATA names"
        return "\n  ".join(
            [
                f"{self.title} cannot be had here, for lack of {name}:",
                *missed,
                f"connect to the network, or put the files from {self.mirrors[0]} into {into}",
            ]
        )

    def _local(self, folder: Path, name: str) -> NDArray[np.uint8]:
        """The array in file `name` of `folder`; a FileNotFoundError if there is none, a DataError if it is bad."""
        # The path that a download is kept under comes first, so that it replaces a damaged file found elsewhere.
        for path in [folder / inner / f"{name}{suffix}" for inner in self.folders for suffix in self.suffixes]:
            try:
                with open_file(path) as file:
                    size = os.fstat(file.fileno()).st_size
                    content = file.read() if size <= packed.LIMIT else b""
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise DataError(f"{path}: expected a readable file, got {error.strerror!r}") from error
            if size > packed.LIMIT:
                raise DataError(f"{path}: expected at most {packed.LIMIT:,} bytes, got {size:,}")
            return self._decode(content, str(path), name)
        names = " or ".join(name + suffix for suffix in sorted(self.suffixes))
        where = f"{folder} or its subfolder" if "" in self.folders else f"{folder}, subfolder"
        raise FileNotFoundError(f"no {names} in {where} {self.folders[0]}")

    def _decode(self, content: bytes, source: str, name: str) -> NDArray[np.uint8]:
        """The array in the bytes of a file that `source` holds in the place of file `name`."""
        content = unpack(content, source)
        array = self.read(content, source)
        digest = hashlib.sha256(content).hexdigest()
        if digest != self.sha256[name]:
            expected = self.sha256[name]
            raise DataError(f"{source}: expected {self.title}'s {name}, SHA-256 {expected[:12]}…, got {digest[:12]}…")
        return array

    def _url(self, mirror: str, name: str) -> str:
        return f"{mirror}{name}{self.suffixes[0]}"

    def _download(self, url: str, name: str, cache: Path) -> Found:
        """The array in the file at `url`, which is kept in the cache once it has proved good."""
        content = fetch(url, packed.LIMIT)
        array = self._decode(content, url, name)
        self._keep(content, cache, name)
        return {name: array}

    def _keep(self, content: bytes, cache: Path, name: str) -> None:
        path = cache / self.folders[0] / f"{name}{self.suffixes[0]}"
        try:
            cache.mkdir(mode=0o700, parents=True, exist_ok=True)  # compiled libraries are kept there, too
            path.parent.mkdir(exist_ok=True)
            with replacing(path) as file:
                file.write(content)
        except OSError as error:
            again = f"{self.title} will be downloaded again"
            warnings.warn(f"{path}: cannot be written ({error.strerror}); {again}", stacklevel=6)  # of who called mnist


@dataclass
class ArchiveSource(Source):
    """The files of a data set that comes as one archive, packed by tar and gzip; a mirror is its URL.

    Attributes:
        md5: of the archive, as its authors published it.
        limit: more bytes than the archive has.
    """

    suffixes: Sequence[str] = ("", ".xz")
    md5: str = ""
    limit: int = 1 << 28

    def _url(self, mirror: str, name: str) -> str:
        return mirror

    def _download(self, url: str, name: str, cache: Path) -> Found:
        """The arrays in all files of the archive at `url`, which are kept in the cache once they have proved good."""
        import tarfile

        content = fetch(url, self.limit)
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if digest != self.md5:
            raise DataError(f"{url}: expected {self.title}'s archive, MD5 {self.md5[:12]}…, got {digest[:12]}…")
        found = {}
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
            for member in archive:
                inner = Path(member.name).name
                file = archive.extractfile(member) if inner in self.sha256 else None
                if file is not None:
                    unpacked = file.read()
                    found[inner] = self._decode(unpacked, f"{url}, {inner}", inner)
                    self._keep(unpacked, cache, inner)
        return found

"""MNIST: where it is looked for, what is refused, and the real files. Small files stand in; HTTP servers are real."""

import gc
import gzip
import hashlib
import importlib
import os
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pooch
import pytest

from tinyflux.data import DataError, DataUnavailable, mnist

module = importlib.import_module("tinyflux.data.mnist")  # the package's attribute of this name is the function

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
HTML = b"<!DOCTYPE html><html><body>Please log in to this network.</body></html>"


def idx(array):
    return b"\0\0\x08" + bytes([array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def flipped(content, at):
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.fixture
def files(monkeypatch, tmp_path):
    """Small unpacked files by name, known by their checksums; no folder, an empty cache, a mirror nobody serves."""
    rng = np.random.default_rng(0)
    made = {}
    for n, (images, labels) in zip((50, 20), module.FILES.values(), strict=True):
        made[images] = idx(rng.integers(0, 256, (n, 28, 28), np.uint8))
        made[labels] = idx(rng.integers(0, 10, n, np.uint8))
    monkeypatch.setattr(module, "SHA256", {name: hashlib.sha256(content).hexdigest() for name, content in made.items()})
    monkeypatch.setattr(module, "MIRRORS", ("http://127.0.0.1:1/",))
    monkeypatch.setattr(module, "PATIENCE", 0.5)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    monkeypatch.delenv("TINYFLUX_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield made
    gc.collect()  # so that the sockets of failed downloads are not found open during some later test


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache" / "tinyflux"


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


# A server whose first path component says how it misbehaves.


@pytest.fixture
def server(files):
    """A function from behaviours to mirrors, set as the module's; its `asked` is the list of paths asked for."""
    asked, over = [], threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            behaviour, name = self.path.removesuffix(".gz").strip("/").split("/")
            content = gzip.compress(files[name], mtime=0)
            if behaviour == "silent":
                over.wait()
                return
            body, length = {
                "good": (content, len(content)),
                "slow": (content, len(content)),
                "unpacked": (files[name], len(files[name])),
                "login": (HTML, len(HTML)),
                "short": (content[:-30], len(content) - 30),
                "cut": (content[:-30], len(content)),
                "stalling": (content[:-30], len(content)),
                "corrupt": (flipped(content, 40), len(content)),
                "gone": (HTML, len(HTML)),
            }.get(behaviour, (gzip.compress(flipped(files[name], -1 % len(files[name]))), None))
            self.send_response(404 if behaviour == "gone" else 200)
            if length is not None:
                self.send_header("Content-Length", str(length))
            self.end_headers()
            pieces = 6 if behaviour == "slow" and "images" in name else 1
            for piece in np.array_split(np.frombuffer(body, np.uint8), pieces):
                self.wfile.write(piece.tobytes())
                time.sleep(0.2 * (pieces > 1))
            if behaviour == "stalling":
                over.wait()

        def log_message(self, *args):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()

    def mirrors(*behaviours):
        module.MIRRORS = tuple(f"http://127.0.0.1:{http.server_port}/{behaviour}/" for behaviour in behaviours)
        return module.MIRRORS

    mirrors.asked = asked
    yield mirrors
    over.set()
    http.shutdown()
    http.server_close()


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
    with pytest.raises(DataUnavailable, match=r'(?s)TINYFLUX_DATA is set, but.*pip install "tinyflux\[examples\]"'):
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
    monkeypatch.setattr(module, "SHA256", {name: hashlib.sha256(content).hexdigest() for name, content in made.items()})
    fill(tmp_path, made)
    monkeypatch.setenv("TINYFLUX_DATA", str(tmp_path))
    with pytest.raises(DataError) as caught:
        mnist("train")
    assert f"expected images (N, 28, 28) and labels (N,), got {images} and {labels}" in str(caught.value)


# The network.


@pytest.mark.parametrize("behaviour", ["good", "unpacked"])
def test_a_download_is_kept(files, cache, server, behaviour):
    server(behaviour)
    check(files)
    assert len(server.asked) == 4
    assert sorted(path.name for path in cache.rglob("*") if path.is_file()) == sorted(f"{name}.gz" for name in files)
    check(files)
    assert len(server.asked) == 4


FAULTS = {
    "login": r"expected an IDX file, beginning with .*, got one that begins with b'<!DOCTYPE html>'",
    "short": "expected a whole gzip file",
    "cut": "IncompleteRead",
    "corrupt": "expected a whole gzip file",
    "other": "expected MNIST's t10k-images-idx3-ubyte, SHA-256",
    "gone": "404 Client Error",
    "silent": r"no data came for 0.5 s|timed out",
    "stalling": r"no data came for 0.5 s|timed out",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_mirror(files, cache, server, fault):
    (url,) = server(fault)
    start = time.perf_counter()
    with pytest.raises(DataUnavailable, match=f"{url}t10k-images-idx3-ubyte.gz: ({FAULTS[fault]})"):
        mnist("test")
    assert time.perf_counter() - start < 3
    assert len(server.asked) == 1
    assert not list(cache.rglob("*"))


@pytest.mark.parametrize("fault", FAULTS)
def test_the_second_mirror_stands_in(files, cache, server, fault):
    server(fault, "good")
    check(files)
    assert [path.split("/")[1] for path in server.asked] == [fault, "good"] * 4


def test_both_mirrors_are_accounted_for(files, server):
    first, second = server("gone", "login")
    with pytest.raises(DataUnavailable) as caught:
        mnist("train")
    lines = str(caught.value).splitlines()
    assert [sum(url in line for line in lines) for url in (f"  {first}{IMAGES}", f"  {second}{IMAGES}")] == [1, 1]


def test_no_answer_at_all(files):
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # connections are queued and never answered
        module.MIRRORS = (f"http://127.0.0.1:{deaf.getsockname()[1]}/",) * 2
        start = time.perf_counter()
        with pytest.raises(DataUnavailable, match=r"no data came|timed out"):
            mnist("train")
        assert time.perf_counter() - start < 3


def test_nobody_there(files):
    with pytest.raises(DataUnavailable, match=rf"http://127.0.0.1:1/{IMAGES}.gz: \[Errno \d+\] Connection refused"):
        mnist("train")


def test_a_name_server_that_does_not_answer(files, server, monkeypatch):
    server("good", "good")
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: over.wait())
    start = time.perf_counter()
    with pytest.raises(DataUnavailable, match=r"no data came for 0.5 s"):
        mnist("train")
    assert time.perf_counter() - start < 3
    over.set()


def test_an_abandoned_download_does_not_keep_the_process(tmp_path):
    code = """
import importlib, socket, time
module = importlib.import_module("tinyflux.data.mnist")
socket.getaddrinfo = lambda *args, **kwargs: time.sleep(60)
module.PATIENCE = 0.2
try:
    module.mnist("train")
except module.DataUnavailable as error:
    print(error)
"""
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path), "TINYFLUX_DATA": str(tmp_path)}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, env=environment)
    assert ended.returncode == 0
    assert ended.stdout.count("no data came for 0.2 s") == 2
    assert not ended.stderr


def test_a_slow_download_is_waited_for(files, server):
    server("slow")
    start = time.perf_counter()
    mnist("test")
    assert time.perf_counter() - start > 2 * module.PATIENCE


def test_a_name_that_is_not_known(files, monkeypatch):
    monkeypatch.setattr(module, "MIRRORS", ("http://nowhere.invalid/",))
    with pytest.raises(DataUnavailable, match=rf"http://nowhere.invalid/{IMAGES}.gz: \[Errno -?\d+\]"):
        mnist("train")


def test_patience_ends_within_eight_seconds():
    assert len(module.MIRRORS) * module.PATIENCE <= 7


def test_the_mirrors_are_asked_in_order():
    google, pytorch = module.MIRRORS
    assert google.endswith("/cvdf-datasets/mnist/")
    assert "ossci-datasets" in pytorch


def test_an_error_of_our_own_in_the_thread_is_not_hidden(files, server, monkeypatch):
    server("good")
    monkeypatch.setattr(pooch, "HTTPDownloader", lambda **kwargs: lambda url, file, pooch: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        mnist("train")


# The cache.


@pytest.mark.parametrize("place", [f"mnist/{IMAGES}.gz", f"mnist/{IMAGES}", f"{IMAGES}.gz", IMAGES])
def test_a_bad_file_in_the_cache_is_replaced(files, cache, server, place):
    server("good")
    fill(cache / "mnist", {name: content for name, content in files.items() if name != IMAGES})
    (cache / place).write_bytes(HTML)
    check(files)
    check(files)
    assert server.asked == [f"/good/{IMAGES}.gz"]


def test_a_bad_file_in_the_cache_and_no_download(files, cache, server):
    (url,) = server("gone")
    fill(cache / "mnist", files)
    path = cache / "mnist" / f"{IMAGES}.gz"
    path.write_bytes(HTML)
    with pytest.raises(DataError) as caught:
        mnist("train")
    assert f"{path}: expected an IDX file" in str(caught.value)
    assert f"{url}{IMAGES}.gz: 404" in str(caught.value)
    assert path.read_bytes() == HTML


def test_a_cache_that_cannot_be_made(files, cache, server):
    server("good")
    cache.parent.mkdir()
    cache.write_text("in the way")
    with pytest.warns(UserWarning, match=r"cannot be written \(.+\); MNIST will be downloaded again") as caught:
        check(files)
    assert {warning.filename for warning in caught if warning.category is UserWarning} == {__file__}


def test_a_full_disk_leaves_nothing_half_written(files, cache, server, monkeypatch):
    server("good")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(UserWarning, match=r"No space left on device"):
        check(files)
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_an_interrupted_write_leaves_nothing_half_written(files, cache, server, monkeypatch):
    server("good")

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        mnist("train")
    assert not [path for path in cache.rglob("*") if path.is_file()]


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

"""MNIST from the network and into the cache: real HTTP servers, good and bad."""

import os
import socket
import subprocess
import sys
import threading
import time

import pooch
import pytest

from tests.support.mnist_files import HTML, IMAGES, check, fill, module
from tinyflux.data import DataError, DataUnavailable, download, mnist, packed

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


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
        module.MNIST.mirrors = (f"http://127.0.0.1:{deaf.getsockname()[1]}/",) * 2
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
import socket, time
from tinyflux.data import DataUnavailable, download, mnist
socket.getaddrinfo = lambda *args, **kwargs: time.sleep(60)
download.PATIENCE = 0.2
try:
    mnist("train")
except DataUnavailable as error:
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
    assert time.perf_counter() - start > 2 * download.PATIENCE


def test_a_name_that_is_not_known(files, monkeypatch):
    monkeypatch.setattr(module.MNIST, "mirrors", ("http://nowhere.invalid/",))
    with pytest.raises(DataUnavailable, match=rf"http://nowhere.invalid/{IMAGES}.gz: \[Errno -?\d+\]"):
        mnist("train")


def test_patience_ends_within_eight_seconds():
    assert len(module.MNIST.mirrors) * download.PATIENCE <= 7


def test_the_mirrors_are_asked_in_order():
    google, pytorch = module.MNIST.mirrors
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
        mnist("train")
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


def test_what_a_killed_process_left_is_removed(files, cache, server):
    server("good")
    left = cache / "mnist" / f".{IMAGES}.gz.0123456789abcdef"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    check(files)
    assert not left.exists()


def test_a_mirror_that_sends_too_much(files, cache, server, monkeypatch):
    server("good")
    monkeypatch.setattr(packed, "LIMIT", 100)
    with pytest.raises(DataUnavailable, match=r"gz: more than 100 bytes came"):
        mnist("train")

"""MNIST's surroundings in the tests: small files, a cache of their own, and a real HTTP server."""

import gc
import gzip
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pooch
import pytest

from tests.support.mnist_files import HTML, digests, flipped, idx, module
from tinyflux.data import download


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """No folder in the environment, and an empty cache."""
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    monkeypatch.delenv("TINYFLUX_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def files(monkeypatch, alone):
    """Small unpacked files by name, known by their checksums; no folder, an empty cache, a mirror nobody serves."""
    rng = np.random.default_rng(0)
    made = {}
    for n, (images, labels) in zip((50, 20), module.FILES.values(), strict=True):
        made[images] = idx(rng.integers(0, 256, (n, 28, 28), np.uint8))
        made[labels] = idx(rng.integers(0, 10, n, np.uint8))
    monkeypatch.setattr(module.MNIST, "sha256", digests(made))
    monkeypatch.setattr(module.MNIST, "mirrors", ("http://127.0.0.1:1/",))
    monkeypatch.setattr(download, "PATIENCE", 0.5)
    yield made
    gc.collect()  # so that the sockets of failed downloads are not found open during some later test


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache" / "tinyflux"


@pytest.fixture
def server(files):
    """A function that sets the mirrors: one server, whose first path component says how it behaves.

    Its attribute `asked` lists the paths that were asked for.
    """
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
                "other": (gzip.compress(flipped(files[name], len(files[name]) - 1)), None),
            }[behaviour]
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
        module.MNIST.mirrors = tuple(f"http://127.0.0.1:{http.server_port}/{behaviour}/" for behaviour in behaviours)
        return module.MNIST.mirrors

    mirrors.asked = asked
    yield mirrors
    over.set()
    http.shutdown()
    http.server_close()

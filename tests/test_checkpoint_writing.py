"""save: no file is ever half-written, whatever comes in between."""

import os
import re
import stat
import subprocess
import sys
import threading

import numpy as np
import pytest

import tinyflux as flux

posix = pytest.mark.skipif(os.name != "posix", reason="signals, limits and permissions of POSIX")


def layer(seed=0):
    flux.seed(seed)
    return flux.Dense(4, 6)


def test_places_that_can_not_be_written(tmp_path):
    (tmp_path / "file").write_text("kept")
    for path in (tmp_path / "absent" / "m.npz", tmp_path / "file" / "m.npz"):
        with pytest.raises(OSError, match=f"save: {re.escape(str(path))} could not be written: .+"):
            flux.save(path, layer())
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="could not be written"):
        flux.save(tmp_path / "folder", layer())
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "kept"


@posix
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="permissions don't bind root")
def test_a_read_only_folder(tmp_path):
    path = tmp_path / "m.npz"
    flux.save(path, layer())
    before = path.read_bytes()
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(PermissionError, match="could not be written: Permission denied"):
            flux.save(path, layer(seed=1))
    finally:
        tmp_path.chmod(0o755)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.npz"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("other")])
@pytest.mark.parametrize("place", ["savez", "fsync", "replace"])
def test_a_failure_leaves_the_old_file(place, error, tmp_path, monkeypatch):
    path = tmp_path / "m.npz"
    flux.save(path, layer())
    before = path.read_bytes()

    def fail(file, *args, **kwargs):
        if place == "savez":
            file.write(b"half a file")
        raise error

    monkeypatch.setattr(np if place == "savez" else os, place, fail)
    message = r"save: .*m\.npz could not be written: No space" if isinstance(error, OSError) else None
    with pytest.raises(type(error), match=message):
        flux.save(path, layer(seed=1))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.npz"]


def test_the_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    order = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, real=real, name=name: (order.append(name), real(*args)))
    flux.save(tmp_path / "m.npz", layer())
    assert order == ["fsync", "replace"]


@posix
def test_a_full_disk(tmp_path):
    """A limit on the size of files, in a process of its own, stands for the disk."""
    script = """
import os, resource, sys
import numpy as np, tinyflux as flux
path = sys.argv[1]
flux.save(path, {"w": np.ones(10)})
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    flux.save(path, {"w": np.ones(100_000)})
except OSError as error:
    print(error)
model = {"w": np.zeros(10)}
flux.load(path, model)
print(model["w"].sum(), os.listdir(os.path.dirname(path)))
"""
    run = subprocess.run([sys.executable, "-c", script, tmp_path / "m.npz"], capture_output=True, text=True, timeout=60)
    assert run.stderr == ""
    assert re.search(r"save: .*m\.npz could not be written: File too large\n10\.0 \['m\.npz'\]", run.stdout)


@posix
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_the_mode_follows_the_umask(mask, tmp_path):
    before = os.umask(mask)
    try:
        flux.save(tmp_path / "m.npz", layer())
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "m.npz").stat().st_mode) == 0o666 & ~mask


def test_the_umask_is_not_touched(tmp_path, monkeypatch):
    """It belongs to the whole process: another thread that makes a file meanwhile would get it wrong."""
    monkeypatch.setattr(os, "umask", None)
    flux.save(tmp_path / "m.npz", layer())


def test_two_threads_save_the_same_file(tmp_path):
    path = tmp_path / "m.npz"
    threads = [
        threading.Thread(target=lambda k=k: [flux.save(path, {"w": np.full(50_000, k)}) for _ in range(10)])
        for k in (1.0, 2.0)
    ]
    for thread in threads:
        thread.start()
    model = {"w": np.zeros(50_000)}
    for thread in threads:
        thread.join(30)
        flux.load(path, model)
        assert len(np.unique(model["w"])) == 1
    assert os.listdir(tmp_path) == ["m.npz"]


KILLED = """
import os, random, signal, sys, time
import numpy as np, tinyflux as flux

path, size = sys.argv[1], 200_000
folder = os.path.dirname(path)
def model(k):
    model = {"a": np.full(size, float(k)), "b": np.full(size, float(k))}
    opt = flux.setup(flux.Adam(), model)
    flux.adjust(opt, eta=float(k))
    return model, opt
flux.save(path, *model(0))
filled, opt = model(-1)
random.seed(0)
unfinished, values = 0, set()
for attempt in range(30):
    before, patience = os.stat(path).st_mtime_ns, time.monotonic() + 30
    child = os.fork()
    if not child:
        pair = [model(k) for k in (2 * attempt, 2 * attempt + 1)]
        while True:
            for m, o in pair:
                flux.save(path, m, o)
    while os.stat(path).st_mtime_ns == before and time.monotonic() < patience:
        time.sleep(0.001)  # until it has saved once, however busy the machine is
    time.sleep(0.04 * random.random())
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    flux.load(path, filled, opt)
    found = {*filled["a"], *filled["b"], opt["a"].rule.eta, opt["b"].rule.eta}
    assert len(found) == 1, found
    values |= found
    for name in os.listdir(folder):
        if name != os.path.basename(path):
            unfinished += 1
            os.unlink(os.path.join(folder, name))
print(unfinished, len(values))
"""


@posix
def test_killed_while_saving(tmp_path):
    """SIGKILL at random moments, again and again: the file is always the old one or the new one, whole."""
    command = [sys.executable, "-W", "ignore", "-c", KILLED, tmp_path / "m.npz"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    unfinished, values = map(int, run.stdout.split())
    assert unfinished > 0, "no kill came in the middle of saving: the test shows nothing"
    assert values > 1

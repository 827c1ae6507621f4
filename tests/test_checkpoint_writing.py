"""save: no file is ever half-written, whatever comes in between."""

import os
import re
import stat
import subprocess
import sys
import tempfile
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


READ_ONLY = """
import os, sys
import numpy as np, tinyflux as flux
path = sys.argv[1]
model = {"w": np.ones(3)}
flux.save(path, model)
flux.load(path, model)  # so that all is imported
if os.geteuid() == 0:  # whom no permissions bind
    os.chmod(path, 0o644)
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
else:
    os.chmod(os.path.dirname(path), 0o555)
try:
    flux.save(path, {"w": np.zeros(3)})
except PermissionError as error:
    print(error)
model = {"w": np.zeros(3)}
flux.load(path, model)
print(model["w"].sum(), os.listdir(os.path.dirname(path)))
"""


@posix
def test_a_read_only_folder():
    with tempfile.TemporaryDirectory() as folder:  # tmp_path lies in a folder that others can't look into
        os.chmod(folder, 0o755)
        command = [sys.executable, "-c", READ_ONLY, f"{folder}/m.npz"]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.stderr == ""
    assert re.search(r"save: .*m\.npz could not be written: Permission denied\n3\.0 \['m\.npz'\]", run.stdout)


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
filled, opt = model(1000)
random.seed(0)
unfinished, values = 0, set()
for attempt in range(20):
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
    unfinished += len(os.listdir(folder)) - 1
    if attempt % 2:
        flux.save(path, *model(0))  # removes what two of them have left
        assert os.listdir(folder) == [os.path.basename(path)]
print(unfinished, len(values))
"""


@posix
def test_killed_while_saving(tmp_path):
    """SIGKILL at random moments: the file is the old one or the new one, whole; the next save leaves nothing else."""
    command = [sys.executable, "-W", "ignore", "-c", KILLED, tmp_path / "m.npz"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    unfinished, values = map(int, run.stdout.split())
    assert unfinished > 0, "no kill came in the middle of saving: the test shows nothing"
    assert values > 1


WRITES = """
import sys
import numpy as np, tinyflux as flux
def savez(file, **arrays):
    file.write(b"half"), file.flush(), print("begun", flush=True), sys.stdin.readline()
    real(file, **arrays)
np.savez, real = savez, np.savez
flux.save(sys.argv[1], {"w": np.full(3, 7.0)})
"""


@posix
def test_what_another_process_is_writing_is_not_removed(tmp_path):
    """Nor what has another name, or only looks like it."""
    path = tmp_path / "m.npz"
    others = {".m.npz.0123", ".m.npz.0123456789abcdefg", ".n.npz.0123456789abcdef", "m.npz.0123456789abcdef"}
    for name in others:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".m.npz.0123456789abcdef").write_bytes(b"left")
    (tmp_path / ".m.npz.1123456789abcdef").symlink_to(tmp_path / "m.npz.0123456789abcdef")
    os.mkfifo(tmp_path / ".m.npz.2123456789abcdef")
    others |= {".m.npz.1123456789abcdef", ".m.npz.2123456789abcdef"}
    command = [sys.executable, "-c", WRITES, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        flux.save(path, {"w": np.ones(3)})
        left = set(os.listdir(tmp_path)) - others - {"m.npz"}
        assert len(left) == 1  # that of the other process
        process.communicate("\n")
    assert process.returncode == 0
    assert set(os.listdir(tmp_path)) == others | {"m.npz"}
    model = {"w": np.zeros(3)}
    flux.load(path, model)
    assert model["w"].tolist() == [7, 7, 7]  # it was the last to save


# What stands there already


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o666])
def test_the_mode_is_kept(mode, tmp_path, monkeypatch):
    path = tmp_path / "m.npz"
    flux.save(path, layer())
    path.chmod(mode)
    modes = []
    monkeypatch.setattr(os, "fsync", lambda n: modes.extend(p.stat().st_mode & 0o777 for p in tmp_path.iterdir()))
    flux.save(path, layer(seed=1))
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert modes == [mode, mode]  # at no time can others read the new one


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files to others")
def test_the_owner_is_kept(tmp_path):
    path = tmp_path / "m.npz"
    flux.save(path, layer())
    os.chown(path, 1234, 4321)
    path.chmod(0o640)
    flux.save(path, layer(seed=1))
    about = path.stat()
    assert (about.st_uid, about.st_gid, stat.S_IMODE(about.st_mode)) == (1234, 4321, 0o640)


@posix
def test_a_link_stays_and_its_target_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    target, link, second = tmp_path / "there" / "m.npz", tmp_path / "link.npz", tmp_path / "second.npz"
    link.symlink_to("there/m.npz")
    second.symlink_to(link)
    for k, path in enumerate((link, second)):  # the first makes the target
        flux.save(path, {"w": np.full(2, float(k))})
        model = {"w": np.full(2, 9.0)}
        flux.load(target, model)
        assert model["w"].tolist() == [k, k]
    assert link.is_symlink()
    assert second.is_symlink()
    assert not target.is_symlink()
    assert os.listdir(tmp_path / "there") == ["m.npz"]
    assert sorted(os.listdir(tmp_path)) == ["link.npz", "second.npz", "there"]


@posix
def test_links_that_lead_nowhere(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "c").symlink_to("absent/m.npz")
    for name in ("a", "c"):
        with pytest.raises(OSError, match=f"save: {re.escape(str(tmp_path / name))} could not be written"):
            flux.save(tmp_path / name, layer())
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c"]


@posix
def test_devices_and_pipes_are_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "full").symlink_to("/dev/full")
    for name, kind in (("pipe", "a pipe"), ("full", "a device")):
        with pytest.raises(OSError, match=f"could not be written: it is {kind}, not a file"):
            flux.save(tmp_path / name, layer())
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)
    assert sorted(os.listdir(tmp_path)) == ["full", "pipe"]

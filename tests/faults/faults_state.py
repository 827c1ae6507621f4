"""States, files and processes: interrupted, killed, damaged, exchanged."""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np

import tinyflux as flux
from tests.faults.fault import Fault, error, exactly, that
from tests.support.interruptions import no_collections
from tinyflux.data import DataError
from tinyflux.data.idx import read_idx

ROOT = Path(__file__).resolve().parents[2]
REFUSED = error(flux.CheckpointError)


# Interrupts.


def torn(native, tries=25):
    """How many of some interrupted trainings leave a state that no whole number of iterations leads to."""
    x = np.ones(2)

    def made():
        model = {"a": np.full(3, 0.5), "b": np.full(2, 0.25)}
        return model, flux.setup(flux.Adam(1e-4), model)

    def loss(m, x):
        return np.sum(m["a"] ** 2) * np.sum(x) + np.sum(np.sin(m["b"]) * x)

    def bits(model, opt):
        arrays = [model["a"], model["b"], *[s for leaf in opt._leaves for s in leaf.state if hasattr(s, "tobytes")]]
        return tuple(np.asarray(a).tobytes() for a in arrays), tuple(leaf.numbers for leaf in opt._leaves)

    def interrupt(number, frame):
        raise KeyboardInterrupt

    data = [x] * (6_000 if native else 1_000)  # more than are made until any of the interrupts comes
    model, opt = made()
    states = [bits(model, opt)]
    flux.train(loss, model, data, opt, compile=native, callbacks=[lambda p: states.append(bits(model, opt))])
    left, before = [], signal.signal(signal.SIGALRM, interrupt)
    try:
        with no_collections():
            for k in range(tries):
                model, opt = made()
                start = Start(0.001 + 0.0007 * k)
                with contextlib.suppress(KeyboardInterrupt):
                    try:
                        flux.train(loss, model, data, opt, compile=native, callbacks=[start])
                    finally:
                        signal.setitimer(signal.ITIMER_REAL, 0)
                left.append(bits(model, opt))
    finally:
        signal.signal(signal.SIGALRM, before)
    if all(state == states[-1] for state in left):
        raise AssertionError("all trainings ended before they were interrupted")
    return len([state for state in left if state not in states])


class Start:
    """A callback that has the training interrupted some time after its first iteration."""

    def __init__(self, delay):
        self.delay = delay

    def due(self, iteration):
        return 1 if iteration == 0 else 1 << 40

    def __call__(self, progress):
        signal.setitimer(signal.ITIMER_REAL, self.delay)


def script(code, *, shell="{}", **environment):
    """Run a script in a fresh Python, in this folder: its exit status, what it prints, and its errors."""
    Path("script.py").write_text("import numpy as np, os, tinyflux as flux\n" + textwrap.dedent(code))
    done = subprocess.run(
        shell.format(f"{sys.executable} script.py"), shell=True, capture_output=True, text=True, timeout=20,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
    )  # fmt: skip
    Path("script.py").unlink()
    return done.returncode, done.stdout.strip(), done.stderr.strip()


# Checkpoints.


def saved(rule=None):
    """A model, its state after an update, and a file of both."""
    flux.seed(0)
    model = flux.Dense(2, 2)
    opt = flux.setup(rule or flux.Adam(0.01), model)
    flux.update(opt, model, flux.tree.map(np.ones_like, model))
    flux.save("m.npz", model, opt)
    return model, opt


def altered(change):
    """Load a file in which `change(about, arrays)` has changed something; the error, and whether nothing was filled."""
    model, opt = saved()
    with np.load("m.npz") as file:
        arrays = {name: file[name] for name in file.files}
    about = json.loads(arrays.pop("about").tobytes())
    about = change(about, arrays) or about
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    np.savez("m.npz", **arrays)
    for x in flux.leaves(model):
        x += 1
    before = [x.copy() for x in flux.leaves(model)], [(leaf.numbers, leaf.frozen, leaf.rule) for leaf in opt._leaves]
    states = [[np.copy(s) for s in leaf.state] for leaf in opt._leaves]
    try:
        flux.load("m.npz", model, opt)
    finally:
        after = [x.copy() for x in flux.leaves(model)], [(leaf.numbers, leaf.frozen, leaf.rule) for leaf in opt._leaves]
        if not all(map(np.array_equal, before[0], after[0])) or before[1] != after[1]:
            raise AssertionError("the model or its state was changed")
        for leaf, old in zip(opt._leaves, states):
            if not all(map(np.array_equal, leaf.state, old)):
                raise AssertionError("averages were changed")


def peak(f):
    """The most memory that a function takes, in MB, whatever it raises."""
    tracemalloc.start()
    try:
        with contextlib.suppress(flux.CheckpointError):
            f()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def with_large_member():
    """A file of a model, with 64 MB of zeros that nobody asked for."""
    model, opt = saved()
    with (
        zipfile.ZipFile("m.npz", "a", zipfile.ZIP_DEFLATED, compresslevel=1) as file,
        file.open("x.npy", "w") as member,
    ):
        np.lib.format.write_array(member, np.zeros(8_000_000))
    return model, opt


# Data files.


def read_mnist(prepare):
    """Read MNIST in a fresh Python from a folder where `prepare` has put the files."""
    prepare()
    code = """
    from tinyflux.data import DataError
    try:
        flux.data.mnist("test")
    except DataError as error:
        print("DataError:", error)
    """
    return script(code, TINYFLUX_DATA=os.getcwd())[1]


def fifos():
    (Path("mnist")).mkdir()
    for name in (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ):
        for folder in (Path(), Path("mnist")):
            for suffix in ("", ".gz"):
                os.mkfifo(folder / (name + suffix))


# The processor's flags, and files.


def subnormals_after(f):
    """Whether this thread takes subnormal numbers for zero after `f`, having done so before: MXCSR's two bits."""
    environment = (ctypes.c_uint32 * 8)()
    libm = ctypes.CDLL("libm.so.6")
    libm.fegetenv(environment)
    bits = environment[7]
    try:
        environment[7] |= 0x8040
        libm.fesetenv(environment)
        f()
        libm.fegetenv(environment)
        return hex(environment[7] & 0x8040)
    finally:
        environment[7] = bits
        libm.fesetenv(environment)


HELPERS = {
    name: x for name, x in globals().items() if callable(x) and getattr(x, "__module__", "") == __name__
} | {"os": os, "stat": stat, "shutil": shutil, "zipfile": zipfile, "read_idx": read_idx}  # fmt: skip

INTERRUPTED = [
    Fault(f"trainings that are interrupted, compile={native}", f"torn({native!r})", exactly(0), HELPERS)
    for native in (False, "auto")
]

ABOUT_LEAF = "about['optimiser'][0]"
CHANGES = {
    "a β power that is NaN": f"{ABOUT_LEAF}['numbers'][0] = float('nan')",
    "a β power that is text": f"{ABOUT_LEAF}['numbers'][0] = '0.9'",
    "a negative β power": f"{ABOUT_LEAF}['numbers'][0] = -0.9",
    "a β power too few": f"{ABOUT_LEAF}['numbers'].pop()",
    "numbers that are missing": f"del {ABOUT_LEAF}['numbers']",
    '"frozen" that is text': f"{ABOUT_LEAF}['frozen'] = 'false'",
    "a rate that is NaN": f"{ABOUT_LEAF}['rule']['fields']['eta'] = float('nan')",
    "a rate that is text": f"{ABOUT_LEAF}['rule']['fields']['eta'] = '0.1'",
    "averages of another dtype": "arrays['optimiser/0/0'] = arrays['optimiser/0/0'].astype(np.float64)",
    "averages that are text": "arrays['optimiser/0/0'] = arrays['optimiser/0/0'].astype(str)",
    "an optimiser that is a list of numbers": "about['optimiser'] = [1, 2]",
    "an optimiser that is no list": "about['optimiser'] = 'Adam'",
    "all of it a list": "return [1, 2]",
}

CHECKPOINTS = [
    Fault(
        "saves that were killed",
        """
        model = flux.Dense(2, 2)
        for _ in range(3):
            script('''
            model = flux.Dense(2, 2)
            os.replace = os.rename = lambda *paths: os.kill(os.getpid(), 9)
            flux.save("m.npz", model)
            ''')
        flux.save("m.npz", model)
        sorted(os.listdir())
        """,
        that("['m.npz']", lambda x: x == ["m.npz"]),
        HELPERS,
    ),
    *[
        Fault(f"a state with {what}", f"def change(about, arrays):\n    {how}\naltered(change)", REFUSED, HELPERS)
        for what, how in CHANGES.items()
    ],
    Fault(
        "a member that is no array",
        """
        model, opt = saved()
        with np.load("m.npz") as file:
            arrays = {name: file[name] for name in file.files if name != "model.bias"}
        np.savez("m.npz", **arrays)
        with zipfile.ZipFile("m.npz", "a") as file:
            file.writestr("model.bias.npy", "no array")
        flux.load("m.npz", model, opt)
        """,
        REFUSED,
        HELPERS,
    ),
    Fault(
        "a large member that nobody asked for",
        "model, opt = with_large_member()\npeak(lambda: flux.load('m.npz', model, opt))",
        that("less than 20 MB", lambda x: x < 20),
        HELPERS,
    ),
    Fault(
        "save over a file that others may not read",
        """
        model = flux.Dense(2, 2)
        Path("m.npz").touch(0o600)
        flux.save("m.npz", model)
        oct(stat.S_IMODE(os.stat("m.npz").st_mode))
        """,
        exactly("0o600"),
        HELPERS,
    ),
    Fault(
        "save over a symbolic link",
        """
        model = flux.Dense(2, 2)
        os.mkdir("real")
        flux.save("real/m.npz", model)
        size = os.stat("real/m.npz").st_ino
        os.symlink("real/m.npz", "m.npz")
        model.weight[:] = 7
        flux.save("m.npz", model)
        flux.load("real/m.npz", model)
        (os.path.islink("m.npz"), float(model.weight[0, 0]))
        """,
        exactly(True, 7.0),
        HELPERS,
    ),
]

DATA = [
    Fault("a FIFO in the place of a data file", "read_mnist(fifos)",
          that("DataError: …", lambda text: text.startswith("DataError")), HELPERS),
    Fault("a data file of 65 dimensions", "read_idx(bytes([0, 0, 8, 65]) + bytes([0, 0, 0, 1] * 65) + b'x', 'images')",
          error(DataError, "65"), HELPERS),
]  # fmt: skip

PROCESS = [
    *[
        Fault(
            f"training where stderr is {what}",
            f"""
            script('''
            model = {{"w": np.ones(2)}}
            opt = flux.setup(flux.Descent(), model)
            loss = lambda m, x: np.sum(m["w"] * x) + 0 * np.sum(np.unique(x))
            flux.train(loss, model, [np.ones(2)] * 2, opt)
            print("trained")
            ''', shell="{shell}")[:2]
            """,
            exactly(0, "trained"),
            HELPERS,
        )
        for what, shell in (("full", "env -u PYTHONUNBUFFERED {} 2> /dev/full"), ("closed", "{} 2>&-"))
    ],
    Fault(
        "compiling where stderr is full",
        """
        script('''
        from tinyflux.compile.backends.c import compiler
        compiler.UNNOTICED = 0.0
        model = {"w": np.ones(2)}
        flux.train(lambda m, x: np.sum(m["w"] * x), model, [np.ones(2)] * 2, flux.setup(flux.Descent(), model))
        print("trained")
        ''', shell="env -u PYTHONUNBUFFERED {} 2> /dev/full", TINYFLUX_CACHE=os.getcwd())[:2]
        """,
        exactly(0, "trained"),
        HELPERS,
    ),
    Fault(
        "a processor that takes subnormal numbers for zero already",
        """
        model = {"w": np.ones(2)}
        opt = flux.setup(flux.Adam(), model)
        subnormals_after(lambda: flux.update(opt, model, {"w": np.ones(2)}))
        """,
        exactly("0x8040"),
        HELPERS,
    ),
]

ENTRIES = [*INTERRUPTED, *CHECKPOINTS, *DATA, *PROCESS]

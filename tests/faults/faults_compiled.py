"""Compiled code that did something else than the function, or than it promised."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import tinyflux as flux
from tests.faults.fault import Fault, error, exactly, near, same, that
from tinyflux import device

REFUSED = error(flux.NotCompilable)
ROOT = Path(__file__).resolve().parents[2]


def with_compiler(command, code):
    """What a fresh Python prints that has another $CC, and nothing compiled before."""
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"CC": command, "TINYFLUX_CACHE": cache, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", f"import numpy as np, tinyflux as flux\n{code}"],
            capture_output=True, text=True, env=environment, timeout=100,
        )  # fmt: skip
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def draws_beside(draw, record):
    """What a thread draws, again and again, while this one records something."""
    drawn, ended = [], threading.Event()

    def work():
        while not ended.is_set():
            drawn.append(draw())
            time.sleep(0.001)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        record()
    finally:
        ended.set()
        thread.join()
    return len(drawn), len(set(drawn))


def libraries():
    """How many compiled libraries are mapped into this process."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return len({line.split()[-1] for line in lines if line.endswith(".so") and "tinyflux" in line})


def by_kernels(loss, parameter):
    """The gradient of a loss by kernels made for the GPU, which g++ compiles for the CPU (see tests/kernels)."""
    from tests.support import cuda_shim
    from tests.support.program_cases import compiled
    from tinyflux.optimise.kernels import launch
    from tinyflux.training import report

    with pytest.MonkeyPatch.context() as patch:
        cuda_shim.install(patch)
        device._fault.cache_clear()
        there = flux.gpu({"w": parameter})
        found = compiled(loss, there, ())(())[1]["w"]._host
    for cached in (device._fault, report.report_once, launch._compiled):
        cached.cache_clear()
    return found


HELPERS = {
    "by_kernels": by_kernels,
    "with_compiler": with_compiler,
    "draws_beside": draws_beside,
    "libraries": libraries,
}


def seen(name, before, change, call, expected):
    """A captured value that changes: the function is called before and after it."""
    return Fault(
        f"{name} that changes",
        f"{before}\nf(x)\n{change}\n{call}",
        near(expected) | REFUSED,
    )


SURROUNDINGS = [
    Fault(
        "a helper that is defined after the function",
        """
        @flux.compile
        def f(x):
            return helper(x)
        rate = 2.0
        def helper(x):
            return rate * x
        before = float(f(1.0))
        rate = 3.0
        (before, float(f(1.0)))
        """,
        exactly(2.0, 3.0),
    ),
    Fault(
        "settings that a callback changes",
        """
        def trained(compile):
            cfg = types.SimpleNamespace(weight=1.0)
            def loss(m, x, y, cfg=cfg):
                return cfg.weight * np.sum((m["w"] - x) ** 2) + y
            def change(progress):
                cfg.weight = 10.0
            model = {"w": np.ones(2)}
            opt = flux.setup(flux.Descent(0.01), model)
            flux.train(loss, model, [(np.zeros(2), 0.0)] * 4, opt, callbacks=[change], compile=compile)
            return model["w"]
        (trained("auto"), trained(False))
        """,
        same(),
    ),
    seen("a slice", "x = np.arange(5.0)\nrows = slice(0, 2)\nf = flux.compile(lambda x: x[rows] * 1)",
         "rows = slice(1, 4)", "f(x)", [1.0, 2.0, 3.0]),
    seen("a dtype", "x = np.arange(3.0)\nkind = np.dtype('f4')\nf = flux.compile(lambda x: x.astype(kind) / 3)",
         "kind = np.dtype('f8')", "f(x).itemsize", 8),
    seen("a set", "x = np.ones(2)\nchosen = {0}\nf = flux.compile(lambda x: 5 * x if 1 in chosen else x * 1)",
         "chosen.add(1)", "f(x)", [5.0, 5.0]),
    seen("a dict four deep",
         "x = np.ones(2)\ncfg = {'a': {'b': {'c': {'d': 2.0}}}}\n"
         "f = flux.compile(lambda x: x * cfg['a']['b']['c']['d'])",
         "cfg['a']['b']['c']['d'] = 3.0", "f(x)", [3.0, 3.0]),
    seen("a list of 200 numbers", "x = np.ones(2)\nk = [0.0] * 200\nf = flux.compile(lambda x: x * k[150])",
         "k[150] = 3.0", "f(x)", [3.0, 3.0]),
    seen("the sign of a zero", "x = np.zeros(2)\nzero = 0.0\nf = flux.compile(lambda x: np.arctan2(x, zero))",
         "zero = -0.0", "f(x)", [np.pi, np.pi]),
    seen("an array that a branch looks at",
         "x = np.ones(2)\nq = np.array([1.0])\nf = flux.compile(lambda x: 5 * x if q[0] > 2 else x * 1)",
         "q[0] = 3.0", "f(x)", [5.0, 5.0]),
]  # fmt: skip

NUMBERS = [
    Fault(
        "the norm of uint8",
        "flux.compile(np.linalg.norm)(np.array([200, 100, 3], np.uint8))",
        near(np.sqrt(200.0**2 + 100**2 + 3**2)),
    ),
    Fault("rounding integers to tens", "flux.compile(lambda x: np.round(x, -1))(np.array([14, 17, -26]))",
          that("[10 20 -30], of integers", lambda x: x.tolist() == [10, 20, -30] and x.dtype.kind == "i")),
    Fault("a number that uint8 can't hold", "flux.compile(lambda x: x + 300)(np.array([1], np.uint8))",
          error(OverflowError, "300", "uint8")),
    Fault("the slope of psi at -2.5", "flux.compile(lambda x: flux.gradient(special.psi, x))(-2.5)",
          near(np.pi**2 - (np.pi**2 / 2 - 4 * (1 + 1 / 9 + 1 / 25)))),
    Fault(
        "a result that does not depend on the argument",
        """
        f = flux.compile(lambda x: (x * 2, np.arange(3.0)))
        first = f(1.0)[1]
        if first.flags.writeable:
            first[:] = 7
        f(1.0)[1]
        """,
        near([0.0, 1.0, 2.0]),
    ),
    Fault("a mask of no axes", "flux.compile(lambda x: x[np.array(True)])(np.array(2.5))", near([2.5])),
    Fault("differences of booleans", "flux.compile(np.diff)(np.array([True, False, False]))",
          that("[True False]", lambda x: x.dtype == bool and x.tolist() == [True, False])),
    Fault("keyword arguments", "flux.compile(lambda x, scale: x * scale)(np.ones(2), scale=3.0)", near([3.0, 3.0])),
    Fault("a copy of a compiled function",
          "f = flux.compile(lambda x: x * 2)\nf(1.0)\ncopy.deepcopy(f)(np.ones(2))", near([2.0, 2.0])),
    Fault(
        "an array that changes while a function is recorded",
        """
        buffer = np.zeros(3)
        def f(x):
            s = 0.0
            for k in (1, 2, 3):
                buffer[:] = k
                s = s + np.sum(x * buffer)
            return s
        flux.compile(f)(np.ones(3))
        """,
        near(18.0) | error((flux.NotCompilable, ValueError), "read-only|in place|chang"),
    ),
    Fault(
        "an array that changes while a gradient is recorded",
        """
        buffer = np.zeros(3)
        def f(x):
            s = 0.0
            for k in (1, 2, 3):
                buffer[:] = k
                s = s + np.sum(x * buffer)
            return s
        flux.compile(lambda x: flux.gradient(f, x))(np.ones(3))
        """,
        near([6.0, 6.0, 6.0]) | error((flux.NotCompilable, ValueError), "read-only|in place|chang"),
    ),
]  # fmt: skip

TRAINING = [
    Fault(
        "data that is the parameter itself",
        """
        def trained(compile):
            model = {"w": np.arange(512.0).reshape(8, 64) / 512}
            opt = flux.setup(flux.Descent(0.01), model)
            loader = flux.DataLoader(model["w"], batchsize=1)
            flux.train(lambda m, x: np.sum((x @ m["w"].T) ** 2), model, loader, opt, compile=compile)
            return model["w"]
        (trained("auto"), trained(False))
        """,
        same("both the same") | error((flux.NotCompilable, ValueError), "data", "param"),
    ),
    Fault(
        "data in Fortran's order that a callback changes",
        """
        def trained(order):
            x = np.ones((6, 3), order=order)
            def change(progress):
                x[...] = 5.0
            model = {"w": np.zeros(3)}
            opt = flux.setup(flux.Descent(0.1), model)
            loader = flux.DataLoader(x, batchsize=2)
            flux.train(lambda m, x: np.sum(m["w"] * x), model, loader, opt, callbacks=[change])
            return model["w"]
        (trained("F"), trained("C"))
        """,
        same(),
    ),
    Fault(
        "a norm that is infinite in the last step",
        """
        model = {"w": np.array([0.0, 4.0])}
        opt = flux.setup(flux.OptimiserChain(flux.ClipNorm(1.0), flux.Descent(0.1)), model)
        def run():
            with np.errstate(divide="ignore"):
                flux.train(lambda m, x: np.sum(np.sqrt(m["w"]) * x), model, [np.ones(2)], opt, compile=True)
        try:
            run()
            error = None
        except flux.NonFiniteNorm as found:
            error = "NonFiniteNorm"
        (error, model["w"])
        """,
        near(("NonFiniteNorm", [0.0, 4.0])),
    ),
]

PROCESS = [
    Fault(
        "windows that overlap, on the device",
        """
        windows = np.lib.stride_tricks.sliding_window_view
        by_kernels(lambda m: np.sum(np.sin(windows(m["w"], 2))), np.arange(4.0))
        """,
        near(np.cos(np.arange(4.0)) * [1, 2, 2, 1]),
        HELPERS,
    ),
    Fault(
        "a compiler's flags that break promises",
        '''
        code = """
        x = np.array([np.nan, 20.0, -0.4])
        f = flux.compile(lambda x: (np.tanh(x), np.isnan(x)))
        try:
            y, nan = f(x)
            print(np.allclose(y, np.tanh(x), equal_nan=True), nan.tolist(), np.float32(1e-40) * 1 > 0)
        except (flux.CompilationFailed, flux.CompilerNotFound) as error:
            print("refused:", error)
        """
        with_compiler("gcc -ffast-math", __import__("textwrap").dedent(code))
        ''',
        that("True [True, False, False] True, or refused: …",
             lambda x: x == "True [True, False, False] True" or (x.startswith("refused") and "fast-math" in x)),
        HELPERS,
    ),
    Fault(
        "numbers that another thread draws meanwhile",
        """
        def slow(x):
            for _ in range(2_000):
                x = np.sin(x)
            return x
        def record():
            flux.compile(slow)(1.0)
        drawn, different = draws_beside(np.random.random, record)
        (drawn > 10, drawn - different)
        """,
        exactly(True, 0),
        HELPERS,
    ),
    Fault(
        "batches that another thread draws meanwhile",
        """
        loader = flux.DataLoader(np.arange(1000), batchsize=1000, shuffle=True)
        def slow(x):
            for _ in range(2_000):
                x = np.sin(x)
            return x + len(loader)
        def record():
            flux.compile(slow)(1.0)
        drawn, different = draws_beside(lambda: next(iter(loader)).tobytes(), record)
        (drawn > 10, drawn - different)
        """,
        exactly(True, 0),
        HELPERS,
    ),
    Fault(
        "compiled functions that are dropped",
        """
        import gc
        gc.collect()
        before = libraries()
        for k in range(4):
            flux.compile(lambda x: x * (k + 0.123))(1.0)
        gc.collect()
        libraries() - before
        """,
        that("at most 0", lambda n: n <= 0),
        HELPERS,
    ),
]  # fmt: skip

ENTRIES = [*SURROUNDINGS, *NUMBERS, *TRAINING, *PROCESS]

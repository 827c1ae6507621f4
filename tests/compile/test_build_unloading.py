"""A library is unloaded when nothing can call it any more, and not before."""

import ctypes
import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import tinyflux as flux
from tests.support.building import OTHER, REPOSITORY, SOURCE, needs_compiler, twice, wait_for
from tests.support.building import _cache as _cache  # a fixture
from tests.support.building import _fresh as _fresh  # a fixture
from tinyflux.compile.backends.c.build import build

MAPS = Path("/proc/self/maps")
pytestmark = [needs_compiler, pytest.mark.skipif(not MAPS.exists(), reason="Linux tells what is loaded")]


def loaded(folder):
    """How many libraries of a folder the process has loaded."""
    lines = MAPS.read_text().splitlines()
    return len({line.split()[-1] for line in lines if str(folder.resolve()) in line})


def test_compiled_functions_that_are_dropped_leave_nothing_loaded(cache):
    kept = flux.compile(lambda x: np.sum(x * 7))
    x = np.ones(3)
    assert kept(x) == 21
    gc.disable()  # nothing waits for it
    try:
        for k in range(4):
            f = flux.compile(lambda x, k=k: (x @ x) * k + np.sum(x))
            assert f(x) == 3 * k + 3
        assert loaded(cache) == 2
        del f
        assert loaded(cache) == 1
    finally:
        gc.enable()
    assert kept(x) == 21


def test_a_training_that_is_over_leaves_nothing_loaded(cache):
    model = flux.Dense(3, 2)
    x, y = np.ones((4, 3), np.float32), np.zeros((4, 2), np.float32)
    flux.train(lambda m, x, y: flux.mse(m(x), y), model, [(x, y)] * 3, flux.setup(flux.Adam(), model))
    gc.collect()
    assert loaded(cache) == 0


def test_a_function_keeps_its_library(cache):
    library = build(SOURCE)
    function = library["twice"]
    function.argtypes, function.restype = [ctypes.c_double], ctypes.c_double
    del library
    gc.collect()
    assert loaded(cache) == 1
    assert function(1.5) == 3.0
    assert build(SOURCE) is build(SOURCE)
    del function
    gc.collect()  # ctypes has it refer to itself
    assert loaded(cache) == 0
    assert twice(build(SOURCE)) == 3.0  # the same file again


WAITING = "#include <unistd.h>\nint waiting(volatile int *go) { while (!*go) usleep(1000); return 5; }\n"


def test_a_call_in_progress_keeps_the_library(cache):
    go, results = ctypes.c_int(0), []
    thread = threading.Thread(target=lambda: results.append(build(WAITING)["waiting"](ctypes.byref(go))))
    thread.start()
    wait_for(lambda: loaded(cache))
    gc.collect()
    assert loaded(cache) == 1
    go.value = 1
    thread.join()
    assert results == [5]
    gc.collect()
    assert loaded(cache) == 0


def test_threads_that_build_and_drop_the_same(cache):
    wrong = []

    def work():
        for i in range(60):
            source, expected = ((SOURCE, 3.0), (OTHER, 666.0))[i % 2]
            function = build(source)["twice"]
            function.argtypes, function.restype = [ctypes.c_double], ctypes.c_double
            if function(1.5) != expected:
                wrong.append(i)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    gc.collect()
    assert loaded(cache) == 0


AT_EXIT = """
import ctypes, os, sys, threading, time
from tinyflux.compile.backends.c.build import build
library = build(sys.argv[1])
if os.fork() == 0:
    assert library["waiting"](ctypes.byref(ctypes.c_int(1))) == 5
    del library
    os._exit(0)
assert os.wait()[1] == 0
threading.Thread(target=lambda f=library["waiting"]: f(ctypes.byref(ctypes.c_int(0))), daemon=True).start()
time.sleep(0.1)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_may_drop_it_and_a_thread_may_be_in_it_at_exit():
    run = subprocess.run([sys.executable, "-c", AT_EXIT, WAITING], cwd=REPOSITORY, capture_output=True, timeout=60)
    assert (run.returncode, run.stderr) == (0, b"")

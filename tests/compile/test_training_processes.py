"""Compiled training steps in several processes and threads, their memory, and Ctrl-C."""

import copy
import os
import shlex
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import tinyflux as flux
from tests.support.training_cases import DATA, MODEL, X, mse, orders, prepared
from tests.support.training_cases import _seeded as _seeded  # a fixture
from tinyflux.compile.backends.c import build
from tinyflux.compile.backends.c.build import available
from tinyflux.training import iteration

pytestmark = pytest.mark.skipif(not available(), reason="there is no C compiler here")
REPOSITORY = Path(flux.__file__).parents[1]

SCRIPT = """
import os, sys, numpy as np, tinyflux as flux
from benchmarks.models import MODELS, Cell
from benchmarks.peers import _tinyflux
for name in MODELS:
    cell = Cell(name, 1, "ADAM")
    model, opt = _tinyflux(cell)
    loss = getattr(flux, cell.loss)
    step = flux.compile_training(lambda m, x, y: loss(m(x), y), model, opt)
    print(step((np.full((2, 784), 0.1, np.float32), np.eye(2, 10, dtype=bool)), [0, 1]).tolist())
"""


def run(script, *arguments, **environment):
    command = [sys.executable, "-W", "error", "-c", script, *arguments]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", **environment}
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_another_process_compiles_nothing(tmp_path):
    real = shlex.join(build.find_compiler().command)
    log, script = tmp_path / "log", tmp_path / "cc"
    script.write_text(
        f'#!/bin/sh\ncase "$*" in *source.c*) echo "$*" >> {shlex.quote(str(log))};; esac\nexec {real} "$@"\n'
    )
    script.chmod(0o700)
    options = {"CC": shlex.quote(str(script)), "TINYFLUX_CACHE": str(tmp_path / "cache")}
    first = run(SCRIPT, **options)
    compiled = log.read_text()
    assert compiled.count("\n") >= 3
    assert run(SCRIPT, **options) == first
    assert log.read_text() == compiled


CYCLES = """
import os, sys, numpy as np, tinyflux as flux

def state():
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    with open("/proc/self/maps") as file:
        libraries = len({line.split()[-1] for line in file if ".so" in line})
    return pages * os.sysconf("SC_PAGE_SIZE"), libraries, len(os.listdir("/proc/self/fd"))

def cycle(i):
    n = 3 + i % 3
    model = flux.Chain(flux.Dense(n, 4, flux.tanh), flux.Dense(4, 1))
    opt = flux.setup(flux.Adam(0.01), model)
    step = flux.compile_training(lambda m, x: np.mean(m(x) ** 2), model, opt, batchsize=2)
    step(np.ones((4, n), np.float32), [0, 1, 2, 3])
    flux.compile(lambda x: np.sum(np.exp(x)))(np.ones(n))

count = int(sys.argv[1])
for i in range(count // 3):
    cycle(i)
before = state()
for i in range(count):
    cycle(i)
after = state()
print(*[b - a for a, b in zip(before, after)])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_compiling_again_and_again_leaks_nothing(tmp_path):
    """10,000 cycles, run by hand, grow by no more; they take some three minutes, nine tenths of which are recording."""
    memory, libraries, files = map(int, run(CYCLES, "300", TINYFLUX_CACHE=str(tmp_path)).split())
    assert libraries == files == 0
    assert memory < 1 << 20


def test_threads_train_models_of_their_own_at_once():
    order = orders(DATA, 5, 400)
    results, errors = {}, []
    compiled = flux.compile(lambda x: np.sum(np.tanh(x) ** 2))
    expected = np.sum(np.tanh(X) ** 2)

    def work(name, make, seed):
        try:
            model = flux.f64(make())
            opt = flux.setup(flux.Adam(0.01), model)
            step = flux.compile_training(mse, model, opt, 5)
            losses = [x for part in np.split(order, 40) for x in step(DATA, part)]
            assert all(abs(compiled(X + 0 * i) / expected - 1) < 1e-12 for i in range(50))
            results[name] = losses
        except BaseException as error:
            errors.append(error)

    makes = [lambda: copy.deepcopy(MODEL), lambda: copy.deepcopy(SMALL)]
    for name, make in enumerate(makes):
        work(name, make, name)
    alone = dict(results)
    threads = [threading.Thread(target=work, args=(i, make, i)) for i, make in enumerate(makes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert results == alone


SMALL = flux.Chain(flux.f64(flux.Dense(6, 3)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_goes_on_with_what_its_parent_compiled():
    script = """
import os, numpy as np, tinyflux as flux
model = flux.f64(flux.Dense(6, 3)); opt = flux.setup(flux.Adam(0.01), model)
step = flux.compile_training(lambda m, x: np.mean(m(x) ** 2), model, opt, batchsize=5)
x = np.random.default_rng(0).normal(size=(50, 6)); order = np.arange(50)
step(x, order)
read, write = os.pipe()
child = os.fork()
losses = step(x, order)
other = flux.f64(flux.Dense(6, 2)); opt = flux.setup(flux.Adam(0.01), other)
more = flux.compile_training(lambda m, x: np.mean(m(x) ** 2), other, opt, batchsize=5)(x, order)
if child == 0:
    os.write(write, losses.tobytes()); os._exit(0 if np.isfinite(more).all() else 1)
_, status = os.waitpid(child, 0)
print(status, os.read(read, 1 << 16) == losses.tobytes())
"""
    assert run(script).split() == ["0", "True"]


INTERRUPTED = """
import signal, sys, threading, time, numpy as np, tinyflux as flux
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background job lacks
hidden = 50 if int(sys.argv[1]) < 100 else 500
model = flux.f64(flux.Chain(flux.Dense(20, hidden, flux.tanh), flux.Dense(hidden, 1)))
opt = flux.setup(flux.Adam(1e-6, beta=(0.9, 0.999999)), model)
loss = lambda m, x: np.mean((m(x) - 1) ** 2)
rows = int(sys.argv[1])
count = 4_000_000 if rows < 100 else 4000
x = np.random.default_rng(0).normal(size=(rows, 20))
step = flux.compile_training(loss, model, opt, batchsize=rows)
order = np.broadcast_to(np.arange(rows), (count, rows))
step(x, order[:1])
start = time.perf_counter()
step(x, order[:20])
seconds, before = time.perf_counter() - start, model[0].weight.copy()
def watch():
    while np.array_equal(model[0].weight, before):
        time.sleep(1e-3)
    print("begun", seconds, flush=True)
threading.Thread(target=watch, daemon=True).start()
try:
    if sys.argv[2] == "train":
        flux.train(loss, model, flux.DataLoader(x, batchsize=rows), opt, epochs=10**7)
    else:
        step(x, order)
except KeyboardInterrupt:
    pass
else:
    print("went through")
done = round(np.log(opt[0].weight.state[3]) / np.log(0.999999)) - 1
print(done, *{leaf.state[3] for leaf in opt._leaves}, 0.999999 ** (done + 1))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
@pytest.mark.parametrize(("rows", "how"), [(2, "step"), (3000, "step"), (2, "train")])
def test_an_interrupt_stops_soon_and_between_iterations(rows, how, tmp_path):
    import signal
    import time

    command = [sys.executable, "-c", INTERRUPTED, str(rows), how]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=REPOSITORY, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}, **options)
    begun, seconds = process.stdout.readline().split()
    assert begun == "begun"
    time.sleep(max(0.7, 3 * float(seconds)))  # for another 20 iterations, however busy the machine is
    process.send_signal(signal.SIGINT)
    start = time.monotonic()
    out, err = process.communicate(timeout=30)
    assert time.monotonic() - start < 2  # of which the end of the process is a part
    assert process.returncode == 0, err
    done, *powers, expected = out.split()
    assert int(done) > 1 + 20 + 20
    assert len(powers) == 1
    assert float(powers[0]) == pytest.approx(float(expected), rel=1e-9)


def test_the_stretches_between_looks_at_ctrl_c_are_short(monkeypatch):
    """However quick an iteration is, C code returns to Python within some tenths of a second."""
    model, opt = prepared(make=lambda: copy.deepcopy(SMALL))
    step = flux.compile_training(mse, model, opt)
    variant = step._programs.iteration(mse, model, opt, DATA, 1)
    counts = []
    run = variant._library.run

    def counted(table, arena, count, losses):
        counts.append(count)
        return run(table, arena, count, losses)

    variant._library.run = counted
    monkeypatch.setattr(iteration.time, "perf_counter", lambda: sum(counts) * 1e-3)  # an iteration takes a millisecond
    step(DATA, np.zeros(5000, int))
    assert sum(counts) == 5000
    assert max(counts) < 0.3 / 1e-3
    assert len(counts) < 200

"""Loops that several threads share: the same numbers, whoever calculates them, after forks and from many threads."""

import collections
import ctypes
import hashlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import tinyflux as flux
from tests.support.program_cases import arrays
from tinyflux.compile.backends.c import library as c_library
from tinyflux.compile.backends.c.build import available
from tinyflux.compile.backends.c.source import Source
from tinyflux.compile.ir import program
from tinyflux.compile.schedule.fuse import Result, make_schedule
from tinyflux.compile.trace.symbolic import node_of, symbolic_input

pytestmark = pytest.mark.skipif(not available(), reason="there is no C compiler here")


def convolution(x, w):
    return np.sum(np.tanh(flux.conv(x, w, pad="same")) ** 2, axis=(0, 1, 2))


def everything(x, w, pair, t, few):
    """Loops of each kind that are shared: maps, sums of rows and columns, contractions by rows, columns and stacks.

    The last two are cut into parts: a sum of few columns, and the gradient of five filters, a sum of many terms.
    """
    y, back = flux.pullback(lambda x, w, pair: convolution(x, w) + convolution(x, pair), x, w, pair)
    normal = (x - np.mean(x, axis=(0, 1, 2))) / np.std(x, axis=(0, 1, 2))
    slope = flux.gradient(lambda few: np.sum(convolution(x[..., :4], few)), few)
    rest = np.sum(normal * normal, axis=-1), np.einsum("nxhc,nho->nxco", x, t), np.sum(x[..., :14], axis=(0, 1, 2))
    return y, back(np.ones_like(y)), normal, *rest, slope


def given(n=24):
    x, w, pair, t = arrays((n, 20, 21, 48), (64, 3, 3, 48), (64, 1, 2, 48), (n, 21, 40), dtype=np.float32)
    return x, w, pair, t, *arrays((5, 5, 5, 4), dtype=np.float32)


SCRIPT = """
import hashlib
import numpy as np, tinyflux as flux
from tests.compile.test_threads import everything, given
from tinyflux import cores
print(cores.available_cores())
model = {"w": np.full((1000, 900), 1e-39, np.float32)}  # subnormal, so that a training takes it for 0
opt = flux.setup(flux.Descent(0.5), model)
flux.train(lambda m, x: np.mean(m["w"]) * x, model, [(np.float32(0),)] * 50, opt, compile=True)
small = flux.compile(lambda x: np.float32(0.5) * x + x)(np.full((1000, 900), 1e-39, np.float32))  # but a function not
for x in [model["w"], small, *flux.leaves(flux.compile(everything)(*given()))]:
    print(hashlib.sha256(np.ascontiguousarray(x)).hexdigest())
"""


def test_the_same_numbers_by_any_number_of_threads():
    found = {}
    for n in (1, 2, 3, 7):
        # More threads than cores share a loop, too; sched_getaffinity says how many there may be.
        code = f"import os; os.sched_getaffinity = lambda pid: set(range({n}))\n" + SCRIPT
        environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
        run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        count, *found[n] = run.stdout.split()
        assert int(count) == n
    assert len(found[1]) == 11
    small = np.full((1000, 900), 1e-39, np.float32)
    assert found[1][:2] == [hashlib.sha256(x).hexdigest() for x in (0 * small, np.float32(0.5) * small + small)]
    assert found[1] == found[2] == found[3] == found[7]


def test_numbers():
    operands = given(8)
    got = flux.compile(everything)(*operands)
    expected = everything(*(a.astype(np.float64) for a in operands))
    for a, b in zip(flux.leaves(got), flux.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=3e-5 * np.abs(b).max())


def source(f, *given):
    with program.Recording() as recording:
        node = node_of(f(*map(symbolic_input, given)))
        return Source(make_schedule([Result(node, len(recording.inputs))]))


def test_small_loops_are_not_shared():
    x = np.ones((100, 100))
    assert not source(lambda x: np.exp(x) + np.mean(x), x).context.threads
    assert source(lambda x: np.exp(x), np.ones((1000, 400))).context.threads


def test_products_of_matrices_are_shared():
    x, w = arrays((200, 180), (180, 150), dtype=np.float32)
    assert source(lambda x, w: x @ w, x, w).context.threads
    assert not source(lambda x, w: x @ w, x[:20], w).context.threads
    np.testing.assert_allclose(flux.compile(lambda x, w: x @ w)(x, w), x @ w, rtol=0, atol=1e-4)


@pytest.mark.parametrize("n", [5, 33])
def test_sums_of_few_columns_are_shared(n):
    """In 16 parts along the first axis, or as many as there are; 33 is no multiple of 16."""
    (x,) = arrays((n, 6000, 9), dtype=np.float32)
    columns = lambda x: np.sum(x, axis=(0, 1))  # noqa: E731
    assert source(columns, x).context.threads
    assert not source(columns, x[:, :150]).context.threads
    expected = np.sum(x, axis=(0, 1), dtype=np.float64)
    for f, of in ((columns, x), (lambda x: np.sum(x, axis=0), x.reshape(-1, 9)), (lambda x: columns(x * 2) / 2, x)):
        np.testing.assert_allclose(flux.compile(f)(of), expected, rtol=0, atol=1e-7 * np.abs(x).sum() / 9)


@pytest.mark.parametrize("shape", [(300_000, 1), (1, 300_000, 1), (500, 600, 1), (300_000, 1, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_sums_of_one_column_and_of_axes_of_length_one(shape, keepdims):
    """As of the bias of a layer with one output: one column isn't cut."""
    (x,) = arrays(shape, dtype=np.float32)
    f = lambda x: np.sum(x * 2, axis=tuple(range(x.ndim - 1)), keepdims=keepdims)  # noqa: E731
    expected = f(x.astype(np.float64))
    got = flux.compile(f)(x)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6 * np.abs(x).sum())


THREADS, EACH = 3, 4


@pytest.fixture(scope="module")
def share():
    """Shares twelve pieces out between three threads, as compiled loops do: `share(work)` calls work(piece)."""
    text = Path(c_library.__file__).with_name("pool.c").read_text("utf-8")
    pool = c_library.build(f"{text}/* with {THREADS} threads, whatever this machine has */\n")
    pool.set_threads(ctypes.c_int64(THREADS))
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)

    def share(work):
        @kind
        def function(p, arena, begin, end):
            assert end == begin + 1
            work(begin)
            return 0

        assert pool.parallel(function, None, None, ctypes.c_int64(THREADS * EACH), EACH) == 0

    return share


def test_a_thread_takes_the_same_stretch_of_every_loop(share):
    barrier = threading.Barrier(THREADS, timeout=60)
    stretches = []
    for _ in range(3):
        taken = collections.defaultdict(list)

        def work(piece, taken=taken):
            own = taken[threading.get_ident()]
            own.append(piece)
            if len(own) in (1, EACH):  # all have begun, all are done
                barrier.wait()

        share(work)
        stretches.append(dict(taken))
    assert sorted(stretches[0].values()) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert stretches[0][threading.get_ident()] == [0, 1, 2, 3]
    assert stretches[0] == stretches[1] == stretches[2]


@pytest.mark.parametrize("slow", [0, 4, 8])
def test_threads_take_what_a_slow_one_has_left(share, slow):
    done, rest = [], threading.Event()

    def work(piece):
        if piece == slow:
            assert rest.wait(60)
        done.append(piece)
        if len(done) == THREADS * EACH - 1:
            rest.set()

    share(work)
    assert sorted(done) == list(range(THREADS * EACH))
    assert done[-1] == slow


def test_an_index_that_is_wrong_in_one_piece():
    x, places = arrays((1000, 300), dtype=np.float64)[0], np.arange(300_000) % 1000
    take = flux.compile(lambda x, places: x[:, 1][places] * 2 + 1)
    np.testing.assert_array_equal(take(x, places), x[:, 1][places] * 2 + 1)
    places[200_000] = 1000
    with pytest.raises(IndexError, match="out of bounds"):
        take(x, places)
    places[200_000] = 0
    take(x, places)


def test_many_threads_at_once():
    """One of them has the others' help, the others do without."""
    operands = given(4)
    compiled = flux.compile(everything)
    expected = [np.array(a) for a in flux.leaves(compiled(*operands))]
    wrong = []

    def call():
        for _ in range(10):
            if not all(np.array_equal(a, b) for a, b in zip(flux.leaves(compiled(*operands)), expected, strict=True)):
                wrong.append(1)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_has_threads_of_its_own():
    operands = given(4)
    compiled = flux.compile(everything)
    expected = compiled(*operands)[0]
    for _ in range(3):
        child = os.fork()
        if not child:
            os._exit(0 if np.array_equal(compiled(*operands)[0], expected) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    np.testing.assert_array_equal(compiled(*operands)[0], expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
def test_a_fork_while_a_loop_is_shared():
    """The child has neither the threads that were at it, nor their locks."""
    operands = given(4)
    compiled = flux.compile(everything)
    expected = compiled(*operands)[0]
    stop = threading.Event()

    def call():
        while not stop.is_set():
            compiled(*operands)

    thread = threading.Thread(target=call)
    thread.start()
    try:
        for _ in range(20):
            child = os.fork()
            if not child:
                signal.alarm(20)
                os._exit(0 if np.array_equal(compiled(*operands)[0], expected) else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        thread.join()


def test_subnormal_numbers_in_every_piece():
    """A function keeps them, whichever thread it runs on."""
    x = np.full((1000, 400), 1e-39, np.float32)
    np.testing.assert_array_equal(flux.compile(lambda x: x * np.float32(0.5))(x), x / 2)

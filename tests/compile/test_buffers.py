"""Arrays that leave their places to others: no two that are alive at once overlap, and programs keep their numbers."""

import itertools
import math
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyflux as flux
from tests.support.program_cases import arrays
from tinyflux.compile.backends.c.build import available
from tinyflux.compile.backends.c.library import Library, address, pointers
from tinyflux.compile.backends.c.source import Source
from tinyflux.compile.codegen.expressions import SourceContext
from tinyflux.compile.ir import program
from tinyflux.compile.schedule import buffers
from tinyflux.compile.schedule.buffers import assign_offsets, live_ranges
from tinyflux.compile.schedule.fuse import AFTER, BEFORE, ROWS, UPDATE, Result, make_schedule, memory_reads
from tinyflux.compile.trace.symbolic import node_of, symbolic_input

needs_compiler = pytest.mark.skipif(not available(), reason="there is no C compiler here")

alive = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 10), st.integers(0, 40)).map(lambda x: (x[0], x[0] + x[1], 64 * x[2])),
    max_size=40,
)


@given(alive)
def test_arrays_that_are_alive_at_once_lie_apart(drawn):
    ranges = {i: (first, last) for i, (first, last, _) in enumerate(drawn)}
    sizes = {i: size for i, (_, _, size) in enumerate(drawn)}
    offsets, total = assign_offsets(ranges, sizes)
    assert offsets.keys() == sizes.keys()
    assert all(place >= 0 and place % 64 == 0 and place + sizes[i] <= total for i, place in offsets.items())
    for a, b in itertools.combinations(offsets, 2):
        apart = offsets[a] + sizes[a] <= offsets[b] or offsets[b] + sizes[b] <= offsets[a]
        assert apart or max(ranges[a][0], ranges[b][0]) > min(ranges[a][1], ranges[b][1])
    peak = max((sum(n for f, e, n in drawn if f <= step <= e) for step in range(41)), default=0)
    assert peak <= total <= sum(sizes.values())


@given(st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=20))
def test_an_array_is_alive_from_its_first_use_to_its_last(used):
    expected = {}
    for name in {name for names in used for name in names}:
        steps = [i for i, names in enumerate(used) if name in names]
        expected[name] = min(steps), max(steps)
    assert live_ranges(used) == expected


def test_a_chain_of_arrays_takes_the_place_of_two():
    ranges = {i: (i, i + 1) for i in range(50)}
    assert assign_offsets(ranges, dict.fromkeys(ranges, 64))[1] == 128


# Programs. Each has arrays that are large enough to share places, which is checked.


@pytest.fixture(autouse=True)
def sources(monkeypatch):
    """The sources that a test has built; all of their arrays may share places."""
    monkeypatch.setattr(buffers, "LARGE", 0)
    monkeypatch.setattr(buffers, "CACHED", 0)
    found = []
    original = Library.__init__

    def init(self, source):
        found.append(source)
        original(self, source)

    monkeypatch.setattr(Library, "__init__", init)
    return found


def check_lifetimes(context: SourceContext) -> None:
    """Go through the kernels as they run, twice: whoever reads an array finds what was written into it, whole."""
    schedule = context.schedule
    owners = {}  # of each cache line of the arena
    before, block, after, update = (
        [k for k in schedule.kernels if k.phase == phase] for phase in (BEFORE, ROWS, AFTER, UPDATE)
    )
    sums = [] if schedule.rows is None else [n for k in block for n in k.nodes if n in schedule.rows.sums]

    def lines(node):
        node = node.args[0] if node.op == "reshape" and node not in schedule.stored else node
        start = context.offsets.get(node, 0)
        size = math.prod(context.memory(node)) * node.dtype.itemsize if node in context.offsets else 0
        return [(line, node) for line in range(start, start + size, 64)]

    def read(node):
        assert all(owners.get(line) is owner for line, owner in lines(node)), f"{node} has been overwritten"

    def run(kernel):
        for node in kernel.nodes:
            for x, _ in memory_reads(node, schedule.stored):
                if x not in kernel.nodes:
                    read(kernel.copies.get(x, x))
            if node in sums:
                read(node)  # it is added to
            elif node.op != "part":
                owners.update(lines(node))
        for part in schedule.stored:
            if part.op == "part" and part.args[0] in kernel.nodes:
                owners.update(lines(part))

    for _ in range(2):
        for node in sums:
            owners.update(lines(node))
        for kernel in [*before, *block, *block, *after]:
            run(kernel)
        for node in schedule.wanted:
            read(node)
        for kernel in update:
            run(kernel)


def shared_places(source: Source) -> int:
    """How many arrays of a program lie where another one lies."""
    context = source.context
    places = sorted((place, place + n.size * n.dtype.itemsize) for n, place in context.offsets.items() if n.size)
    return sum(b < e for (_, e), (b, _) in itertools.pairwise(places))


def chain(x, w):
    """Products one after another, whose results are needed again on the way back; dtypes differ, too."""
    for k in range(6):
        x = np.sin(x @ w) + np.cumsum(x, axis=1)[:, ::-1] * 0.1 + np.cumsum(x > 0, axis=0) * 1e-3
        if k % 2:
            x = x - np.max(x, axis=1, keepdims=True)
    return x


def convolutions(x, w):
    y = flux.relu(flux.conv(x, w, pad="same"))
    y = flux.conv(y - np.mean(y, axis=(0, 1, 2)), w, pad="same")
    return flux.maxpool(flux.relu(y), (2, 2))


def scans(x, w):
    """A loop in a program with others around it, and large arrays inside."""
    w = w * 0.2

    def step(state, row):
        h = np.tanh(np.cumsum(state, axis=1) @ w + row)
        h = np.cumsum(np.sin(h) @ w, axis=0)[::-1] @ w
        return h * 0.1, np.sum(h * state, axis=0)

    start = np.sin(x @ w)
    state, rows = flux.scan(step, np.cumsum(start, axis=0) * 0.1, np.cumsum(x, axis=0)[:5, None] * np.ones((1, 12, 1)))
    return np.concatenate([np.cumsum(state @ w, axis=0) @ w + np.sum(rows, axis=0), rows])


def both_ways(f):
    def value_and_gradient(x, w):
        y, back = flux.pullback(f, x, w)
        return y, back(flux.tree.map(np.cos, y))

    return value_and_gradient


PROGRAMS = {
    "products and scans": (chain, (37, 21), (21, 21)),
    "convolutions": (convolutions, (4, 11, 11, 3), (3, 3, 3, 3)),
    "convolutions by Winograd's algorithm": (convolutions, (4, 12, 12, 32), (32, 3, 3, 32)),
    "loops over sequences": (scans, (12, 30), (30, 30)),
}


@needs_compiler
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name, sources):
    """With other numbers in each call, in what the calls before have left behind."""
    f, *shapes = PROGRAMS[name]
    compiled = flux.compile(both_ways(f))
    for seed in range(3):
        given = arrays(*shapes, dtype=np.float64, seed=seed)
        for a, b in zip(flux.leaves(compiled(*given)), flux.leaves(both_ways(f)(*given)), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-11 * max(1, np.abs(b).max()))
    (source,) = sources
    assert shared_places(source) > 5
    check_lifetimes(source.context)


@needs_compiler
def test_programs_in_threads_at_once(sources):
    compiled = flux.compile(both_ways(chain))
    given = [arrays((37, 21), (21, 21), dtype=np.float64, seed=seed) for seed in range(4)]
    expected = [both_ways(chain)(*x) for x in given]
    close = []

    def call(i):
        for _ in range(20):
            found = flux.leaves(compiled(*given[i]))
            close.append(all(np.allclose(a, b, 0, 1e-9) for a, b in zip(found, flux.leaves(expected[i]), strict=True)))

    threads = [threading.Thread(target=call, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(close) == 80
    assert all(close)


def network():
    flux.seed(0)
    layers = [flux.Dense(9, 14, flux.tanh), flux.BatchNorm(14), flux.Dense(14, 14, flux.gelu), flux.Dense(14, 3)]
    return flux.f64(flux.Chain(*layers[:1], *layers[2:])), flux.f64(flux.Chain(*layers))


def turned_loss(m, x, y):
    """What is calculated before the rows is read by all of their blocks, some of it once more after them."""
    turn = np.cumsum(np.cumsum(np.sin(m[0].weight.T @ m[0].weight), axis=0) @ np.cos(m[0].weight.T), axis=1)
    return flux.mse(m(np.tanh(x @ np.cumsum(turn, axis=1) @ m[0].weight)), y) + 1e-3 * np.sum(
        np.cumsum(turn, axis=0) ** 2
    )


@needs_compiler
@pytest.mark.parametrize(("batch", "normalised"), [(16, True), (16, False), (1050, False), (1536, False)])
def test_trainings(batch, normalised, sources):
    """Iterations one after another: of a batch, and of rows in blocks, of one size or not, which threads share."""
    x, y = arrays((2 * batch, 9), (2 * batch, 3), dtype=np.float64)
    losses, models = [], []
    for native in (True, False):
        model = network()[normalised]
        opt = flux.setup(flux.Adam(0.01), model)
        batches = flux.DataLoader((x, y), batchsize=batch)
        losses.append(flux.train(turned_loss, model, batches, opt, epochs=4, compile=native))
        models.append(flux.leaves(model))
    np.testing.assert_allclose(*losses, rtol=1e-11)
    for a, b in zip(*models, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)
    (source,) = sources
    assert (source.schedule.rows is not None) == (batch > 1000)
    assert shared_places(source) > 3
    check_lifetimes(source.context)


@needs_compiler
@pytest.mark.parametrize("old", [np.transpose, lambda x: np.reshape(x, x.shape[::-1])], ids=["transposed", "reshaped"])
def test_a_copy_of_what_is_overwritten(old):
    """The old x is read after the new one has been written."""
    given = arrays((30, 20), (30, 20), (20, 30), dtype=np.float64)
    with program.Recording():
        x, y, z = map(symbolic_input, given)
        doubled, tripled = y * 2, x * 3
        late = np.cumsum(np.cumsum(np.cumsum(doubled.T, axis=0), axis=1), axis=0) + old(x)
        pairs = [(y, doubled), (x, tripled), (z, late)]
        schedule = make_schedule([Result(node_of(a), node_of(b).params, node_of(b)) for b, a in pairs])
    assert any(kernel.copies for kernel in schedule.kernels)
    source = Source(schedule)
    assert shared_places(source)
    check_lifetimes(source.context)
    expected = given[0] * 3, given[1] * 2, np.cumsum(np.cumsum(np.cumsum(2 * given[1].T, 0), 1), 0) + old(given[0])
    library = Library(source)
    assert not library.call(pointers(given), address(library.arena()))
    for a, b in zip(given, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_what_is_looked_at_before_an_update():
    with program.Recording():
        x = symbolic_input(np.ones((8, 8)))
        demand, long = np.max(x), x
        for _ in range(4):
            long = np.cumsum(np.cumsum(long, axis=0), axis=1)
        loss = node_of(np.sum(long))
        results = [Result(node_of(x - long), node_of(x).params, node_of(x))]
        context = SourceContext(make_schedule(results, (), loss, None, [node_of(demand)]), None)
    assert {loss, node_of(demand)} <= context.offsets.keys()
    check_lifetimes(context)


@needs_compiler
def test_arrays_that_fit_a_cache_together_share_no_places(sources, monkeypatch):
    x = np.ones((64, 64))
    monkeypatch.setattr(buffers, "CACHED", 1 << 20)
    flux.compile(lambda x, w: np.tanh(np.tanh(np.tanh(x @ w) @ w) @ w) @ w)(x, x)
    (source,) = sources
    assert not shared_places(source)
    total = sum(n.size * n.dtype.itemsize for n in source.context.offsets)
    for size, shares in ((total, False), (total - 1, True)):
        monkeypatch.setattr(buffers, "CACHED", size)
        assert bool(shared_places(Source(source.schedule))) == shares


@needs_compiler
def test_arrays_of_blocks_of_rows_share_places(sources, monkeypatch):
    """Each thread has an arena of its own, and a block is to stay in its cache."""
    monkeypatch.setattr(buffers, "CACHED", 1 << 40)
    random = np.random.default_rng(0)
    x, y = random.normal(size=(4096, 12)), random.normal(size=(4096, 1))
    model = flux.Chain(*(flux.Dense(12, 12, np.tanh) for _ in range(4)), flux.Dense(12, 1))
    step = flux.compile_training(
        lambda m, x, y: flux.mse(m(x), y), model, flux.setup(flux.Descent(0.1), model), batchsize=len(x)
    )
    step((x, y), np.arange(len(x)))
    (source,) = sources
    assert source.schedule.rows is not None
    context = source.context
    assert source.arena < sum(math.prod(context.memory(n)) * n.dtype.itemsize for n in context.offsets) / 2


@needs_compiler
def test_what_deep_networks_take(sources):
    """Forward, two arrays at a time; backward, the activations too, and little else."""
    x = np.ones((64, 64))

    def deep(x, w):
        for _ in range(20):
            x = np.tanh(x @ w)
        return x

    flux.compile(deep)(x, x)
    flux.compile(lambda x, w: flux.gradient(lambda x, w: np.sum(deep(x, w)), x, w))(x, x)
    size = x.nbytes
    forward, both = (source.arena for source in sources)
    assert forward <= 2 * size + 1024
    assert 20 * size <= both <= 26 * size

"""Training on the device by kernels made for it, run on the CPU by g++: the numbers of the plain path in NumPy."""

import collections
import math

import cuda_shim
import numpy as np
import pytest
from device_standin import DeviceArray, root
from hypothesis import given
from hypothesis import strategies as st
from program_cases import CASES, FUNCTIONS, InOrder, arrays, check_trained, data, loss, network, trained
from scipy import special

import tinyflux as flux
from examples import models
from tinyflux import device
from tinyflux.compile import trainer
from tinyflux.compile.cuda import gradient, kernels
from tinyflux.optimise.kernels import watch

ACTIVATIONS = ["identity", "sigmoid", "tanh", "relu", "leakyrelu", "elu", "gelu", "swish", "softplus", "softmax"]
LOSSES = ["mse", "mae", "huber", "crossentropy", "logitcrossentropy", "binarycrossentropy", "logitbinarycrossentropy"]
TOLERANCE = {np.float32: 2e-5, np.float64: 1e-12}
orders = pytest.mark.parametrize("order", cuda_shim.ORDERS)


@pytest.fixture(autouse=True)
def _gpu(cupy):
    device._fault.cache_clear()
    trainer.say_once.cache_clear()
    yield
    device._fault.cache_clear()
    trainer.say_once.cache_clear()


def check(loss, model, *batch, dtype=np.float32):
    """A compiled gradient beside NumPy's; returns the program."""
    expected, slopes = flux.withgradient(lambda m: loss(m, *batch), model)
    there, moved = flux.gpu(model, batch)
    compiled = gradient.Gradient(loss, there, required=True)
    for order in cuda_shim.ORDERS:
        cuda_shim.order = order
        value, found = compiled(moved, False)
        assert (value.shape, value.dtype) == ((), expected.dtype)
        np.testing.assert_allclose(value._host, expected, rtol=TOLERANCE[dtype])
        pairs = list(zip(flux.leaves(found), flux.leaves(slopes), strict=True))
        assert pairs
        for a, b in pairs:
            assert type(a) is DeviceArray
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            np.testing.assert_allclose(a._host, b, rtol=0, atol=TOLERANCE[dtype] * max(1, np.abs(b).max(initial=0)))
    return compiled._last


# Layers and losses.


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_activations_and_losses(dtype):
    """Each loss behind an activation; networks of two layers, of odd sizes."""
    x, y = arrays((37, 11), (37, 5), dtype=dtype)
    y = np.abs(y) / np.abs(y).sum(axis=1, keepdims=True)
    flux.seed(0)
    for i, name in enumerate(ACTIVATIONS):
        loss = getattr(flux, LOSSES[i % len(LOSSES)])
        last = flux.identity if "logit" in LOSSES[i % len(LOSSES)] else flux.sigmoid
        model = flux.Chain(flux.Dense(11, 7, getattr(flux, name)), flux.Dense(7, 5, last))
        model = flux.tree.map(lambda x: x.astype(dtype), model)
        check(lambda m, x, y, loss=loss: loss(m(x), y), model, x, y, dtype=dtype)


def test_products_go_to_cublas_and_the_rest_is_fused():
    flux.seed(0)
    model = flux.Chain(flux.Dense(20, 16, flux.sigmoid), flux.Dense(16, 10, flux.sigmoid))
    x, y = arrays((32, 20), (32, 10))
    program = check(lambda m, x, y: flux.mse(m(x), y), model, x, y)
    steps = program.source.steps
    multiplied = [step for step in steps if isinstance(step, kernels.Multiply)]
    # Two forwards, two for the weights, one for what flows back; each bias and sigmoid is one kernel, so is its slope.
    assert len(multiplied) == 5
    assert len(steps) - len(multiplied) <= 8
    assert "cupy" not in program.source.text
    assert program.source.text.isascii()


def test_the_calls_of_a_step():
    """Of 4LS: eleven products, thirteen kernels, and the update, as the README has it."""
    x, y = arrays((128, 784), (128, 10))
    model, batch = flux.gpu(models.build("4LS"), (x, y))
    compiled = gradient.Gradient(lambda m, x, y: flux.mse(m(x), y), model, True)
    opt = flux.setup(flux.Descent(), model)
    updates = watch.WatchedUpdates(opt, model)
    for _ in range(2):
        cuda_shim.launches.clear()
        cuda_shim.products.clear()
        updates.step(*compiled(batch, same=True), 99)
    assert (len(cuda_shim.products), len(cuda_shim.launches)) == (11, 13 + 1)


def test_a_softmax_and_its_loss_are_one_kernel():
    """With the slope of the two: of the rows of 2LR's scores, that is nine loops."""
    x, y = arrays((40, 784), (40, 10))
    program = check(lambda m, x, y: flux.crossentropy(m(x), y), models.build("2LR"), x, np.abs(y))
    assert len(program.source.steps) == 12
    rows = program.source.text.split("__global__")[2]
    assert rows.count("i1 < 10") > 2
    assert "i0 < 40" not in rows  # a thread does its own


# Operations.


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", CASES)
def test_operations(name, dtype):
    f, shape = CASES[name]
    p, x = arrays(shape, shape, dtype=dtype)
    check(lambda m, x: f(m["p"], x), {"p": p}, x, dtype=dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_functions(dtype):
    (p,) = arrays((4, 5), dtype=dtype)
    with np.errstate(all="ignore"):
        model = {str(i): p.copy() for i in range(len(FUNCTIONS))}
        check(lambda m: sum(np.sum(f(0.5 + 0.1 * m[str(i)])) for i, f in enumerate(FUNCTIONS)), model, dtype=dtype)


REDUCTIONS = {"sum": np.sum, "max": np.max, "mean": np.mean, "prod": np.prod}


@given(st.data())
def test_reductions_of_any_shape(data):
    shape = tuple(data.draw(st.lists(st.sampled_from([1, 2, 5, 33, 70]), min_size=1, max_size=3)))
    axes = tuple(data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1)))
    function = REDUCTIONS[data.draw(st.sampled_from(sorted(REDUCTIONS)))]
    (p,) = arrays(shape, dtype=np.float64, seed=len(shape))
    check(lambda m: np.sum(np.cos(function(1 + m["p"] / 9, axis=axes))), {"p": p}, dtype=np.float64)


@orders
def test_sums_of_several_blocks(order):
    """So many numbers that more blocks than one add them up, and a second kernel brings these together."""
    p, x = arrays((20_000, 3), (20_000, 3))
    program = check(lambda m, x: np.sum(np.sum(m["p"] * x, axis=0) ** 2), {"p": p}, x)
    assert any(name.startswith("parts_of_") for name in program.source.arrays)


def test_tied_parameters():
    (w,) = arrays((6, 6))
    x = arrays((5, 6))[0]
    check(lambda m, x: np.sum(np.sin(x @ m[0]) @ m[1]), [w, w], x)


def test_a_parameter_without_a_gradient():
    p, q = arrays((4,), (3,))
    model, (x,) = flux.gpu({"p": p, "q": q}, arrays((4,)))
    compiled = gradient.Gradient(lambda m, x: np.sum(m["p"] * x), model, True)
    assert compiled((x,), False)[1]["q"] is None


# Training.


@pytest.mark.parametrize("loader", [flux.DataLoader, InOrder], ids=["slices", "numbers"])
@pytest.mark.parametrize("batchsize", [1, 16, 50])
def test_a_loader(loader, batchsize):
    """The last batch is smaller, and has a program of its own."""
    check_trained(lambda: loader(data(), batchsize))


def test_a_shuffled_loader_takes_every_sample():
    x, y = flux.gpu(*data())
    flux.seed(3)
    batches = flux.DataLoader((x, y), 16, shuffle=True)
    compiled = gradient.Gradient(loss, flux.gpu(network()), True)
    numbers = [rows.numbers for rows in compiled.items(batches)]
    assert [n.shape for n in numbers] == [(16,), (16,), (16,), (2,)]
    assert sorted(np.concatenate([n._host for n in numbers]).tolist()) == list(range(50))
    value, _ = compiled(gradient.Rows((x, y), numbers[0]), False)
    expected = loss(flux.cpu(compiled._model), *(a._host[numbers[0]._host] for a in (x, y)))
    np.testing.assert_allclose(value._host, expected, rtol=1e-6)


@pytest.mark.parametrize("form", ["dict", "array", "tuple"])
def test_forms_of_data(form):
    x, y = flux.gpu(*data(20))
    given = {"dict": {"x": x, "y": y}, "array": x, "tuple": (x, y)}[form]

    def value(model, *batch):
        batch = batch[0] if form == "dict" else batch
        return np.mean(model(batch["x"] if form == "dict" else batch[0]) ** 2)

    results = []
    for option in (False, True):
        model = flux.gpu(network())
        opt = flux.setup(flux.Descent(0.1), model)
        results.append(flux.train(value, model, InOrder(given, 8), opt, 2, compile=option))
    np.testing.assert_allclose(*results, rtol=1e-6)


def test_nothing_but_kernels_and_products_runs(monkeypatch):
    """In the steps of a training, once it is compiled: no operation of CuPy's."""
    x, y = flux.gpu(*data(48))
    model = flux.gpu(network())
    opt = flux.setup(flux.Adam(0.01), model)

    class Watch:
        def __init__(self):
            self.passes = 0

        def __call__(self, progress):
            self.passes += progress.epoch_ended
            if self.passes == 1:
                monkeypatch.setattr(DeviceArray, "__array_ufunc__", None)
                monkeypatch.setattr(DeviceArray, "__array_function__", None)

        def due(self, iteration):
            return math.inf

    flux.train(loss, model, [(x, y)] * 3, opt, epochs=3, callbacks=[Watch()], compile=True)


def test_a_loss_that_is_not_finite():
    x, y = flux.gpu(*data(40))
    bad = flux.gpu(np.full((10, 6), np.nan, np.float32))
    items = [(x[i : i + 10], y[i : i + 10]) for i in range(0, 40, 10)]
    results = []
    for chosen in ([items[0], items[1], (bad, items[2][1]), items[3]], items[:2]):
        model = flux.gpu(network())
        opt = flux.setup(flux.Adam(0.01), model)
        if len(chosen) == 4:
            with pytest.raises(flux.NonFiniteLoss, match="at item 2 of epoch 1"):
                flux.train(loss, model, chosen, opt, compile=True)
        else:
            flux.train(loss, model, chosen, opt, compile=True)
        results.append(flux.cpu(flux.leaves(model)))
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("rule", [flux.OptimiserChain(flux.ClipNorm(1.0), flux.Adam(0.01)), flux.YellowFin()], ids=repr)
def test_rules_without_a_kernel(rule):
    check_trained(lambda: flux.DataLoader(data(), 16), rule=rule)


def test_what_callbacks_change():
    """Another activation, a frozen layer, another learning rate: from the next update on."""

    def change(progress):
        if progress.iteration == 3:
            progress.model.layers[0].activation = flux.relu
        if progress.iteration == 5:
            flux.freeze(progress.opt.layers[0])
        if progress.iteration == 6:
            flux.adjust(progress.opt, eta=0.1)

    check_trained(lambda: flux.DataLoader(data(), 16), callbacks=[change])


def test_arrays_of_the_surroundings():
    """They are read anew in every step; another one in their place is noticed once callbacks were called."""
    x, y = flux.gpu(*data(20))
    results = []
    for option in (False, True):
        weight = flux.gpu(np.full(3, 2, np.float32))

        def change(progress):
            nonlocal weight
            if progress.iteration == 2:
                weight *= 3
            if progress.iteration == 3:
                weight = flux.gpu(np.linspace(1, 2, 3, dtype=np.float32))
            if progress.iteration == 4:
                weight = flux.gpu(np.linspace(1, 2, 6, dtype=np.float32))[::2]

        model = flux.gpu(network())
        opt = flux.setup(flux.Descent(0.1), model)
        value = lambda m, x, y: np.mean(m(x) ** 2 * weight)  # noqa: B023, E731
        results.append(flux.train(value, model, [(x, y)] * 6, opt, callbacks=[change], compile=option))
    np.testing.assert_allclose(*results, rtol=1e-6)


def check_both(make, value, batches, callbacks=(), native=True):
    """A training on the device, compiled, beside the plain path in NumPy: losses and parameters."""
    found = []
    for move, option in ((lambda x: x, False), (flux.gpu, native)):
        flux.seed(0)
        model = move(make())
        opt = flux.setup(flux.Adam(0.01), model)
        called = [callback(model, move) for callback in callbacks]
        losses = flux.train(value, model, batches(model, move), opt, callbacks=called, compile=option)
        found.append((losses, flux.cpu(flux.leaves(model))))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-5)
    for a, b in zip(found[1][1], found[0][1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def repeated(n):
    """A batch, n times."""
    return lambda model, move: [move(data(10))] * n


def test_memory_that_only_products_use():
    """Layers without biases and activations: what lies between them is known to cuBLAS alone, by its address."""
    rubbish = []

    def allocating(model, move):
        return lambda progress: rubbish.extend(move(np.full(n, np.nan, np.float32)) for n in (60, 70, 80, 160))

    def make():
        return flux.Chain(*[flux.Dense(n, m, bias=False) for n, m in ((6, 8), (8, 7), (7, 3))])

    check_both(make, lambda m, x, y: flux.mse(m(x), y), repeated(6), [allocating])


def test_memory_is_used_again():
    """Of a chain of twelve layers, no more arrays of a batch are held than a gradient needs: one a layer, or so."""
    flux.seed(0)
    model = flux.Chain(*[flux.Dense(16, 16, flux.tanh) for _ in range(12)])
    x, y = arrays((64, 16), (64, 16))
    program = check(lambda m, x, y: flux.mse(m(x), y), model, x, y)
    pieces = {id(root(a._host)) for name, a in program._memory.items() if name.startswith("t") and a.size == 64 * 16}
    assert len([name for name in program.source.arrays if program.source.arrays[name][0] == 64 * 16]) > 40
    assert len(pieces) < 20


def test_arrays_of_the_loss_that_only_products_use():
    there = flux.gpu(np.tri(6, 6, 1, dtype=np.float32))
    results = []
    for option in (False, True):
        model = flux.gpu(network())
        batches = [flux.gpu(data(10))] * 4
        opt = flux.setup(flux.Descent(0.1), model)
        results.append(flux.train(lambda m, x, y: flux.mse(m(x @ there), y), model, batches, opt, compile=option))
    np.testing.assert_allclose(*results, rtol=1e-6)


def test_a_layer_in_two_places():
    def make():
        layer = flux.Dense(6, 6, flux.tanh)
        return flux.Chain(layer, layer, flux.Dense(6, 3))

    check_both(make, loss, repeated(8))


class Setting:
    """What losses take from their surroundings."""

    scale = 1.0
    weight = None


def never(model, move):
    """A callback that is due at the end of the epoch."""
    return flux.early_stopping(lambda: 0.0, 9)


def test_what_an_iterator_changes():
    """Between one item and the next, where no callback is called."""

    def items(model, move):
        for i in range(6):
            Setting.scale = 1.0 + i // 3
            model.layers[0].activation = flux.relu if i == 4 else flux.tanh
            yield move(data(10))

    check_both(network, lambda m, x, y: loss(m, x, y) * Setting.scale, items, [never])


def test_an_array_at_the_address_of_another():
    """What was calculated of an array of the surroundings holds for that array, and no other one."""

    def renewed(model, move):
        def callback(progress):
            Setting.weight = None
            Setting.weight = move(np.full(3, progress.iteration + 2, np.float32))

        Setting.weight = move(np.full(3, 1, np.float32))
        return callback

    value = lambda m, x, y: loss(m, x, y) * np.sum(Setting.weight)  # noqa: E731
    check_both(network, value, repeated(5), [renewed], native="auto")


def test_a_loader_of_a_named_tuple():
    pair = collections.namedtuple("pair", "x y")
    check_both(network, loss, lambda model, move: InOrder(pair(*move(data(20))), 8))


class Doubling(flux.DataLoader):
    def __iter__(self):
        for x, y in super().__iter__():
            yield 2 * x, y


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_loader_that_iterates_in_its_own_way(shuffle):
    check_both(network, loss, lambda model, move: Doubling(move(data(20)), 20, shuffle=shuffle))


def test_a_view_of_a_parameter_in_the_surroundings():
    model = flux.gpu(network())
    opt = flux.setup(flux.Descent(0.1), model)
    part = model.layers[0].weight[1:3]
    value = lambda m, x, y: loss(m, x, y) + np.sum(part**2)  # noqa: E731
    with pytest.raises(flux.NotCompilable, match="reads the model from its surroundings"):
        flux.train(value, model, [flux.gpu(data())], opt, compile=True)


def test_an_empty_batch():
    def value(model, x, y):
        return np.sum(model(x) ** 2) + np.mean(model.layers[0].weight ** 2)

    check_both(network, value, lambda model, move: [move((x[:0], y[:0])) for x, y in [data()]])


def test_columns_are_made_rows_once_a_pass(monkeypatch):
    x, y = data(40)
    x, y = flux.gpu((x, y))
    x = DeviceArray(np.asfortranarray(x._host))
    copied = []
    monkeypatch.setattr(gradient, "contiguous", lambda x: copied.append(x.flags.c_contiguous) or x.copy())
    model = flux.gpu(network())
    flux.train(loss, model, InOrder((x, y), 8), flux.setup(flux.Descent(0.1), model), 2, compile=True)
    assert copied.count(False) == 2


@pytest.mark.parametrize("native", [False, True])
def test_an_error_behind_a_loss_that_is_not_finite(native):
    def items():
        x, y = flux.gpu(*data(10))
        yield x, y
        yield x * np.nan, y
        raise KeyError("in the data")

    model = flux.gpu(network())
    with pytest.raises(flux.NonFiniteLoss, match="at item 1"):
        flux.train(loss, model, items(), flux.setup(flux.Descent(0.1), model), compile=native)


# What can't be compiled.


def test_what_is_said(capsys):
    for _ in range(2):
        trained(flux.gpu, lambda: flux.gpu(flux.DataLoader(data(), 16)), native="auto")
    assert capsys.readouterr().err == gradient.STARTED + "\n"


REFUSED = {
    "an array in NumPy": (lambda m, x, y: np.mean((m(x) * np.ones(3, np.float32)) ** 2), "in NumPy"),
    "sorting": (lambda m, x, y: np.mean(np.sort(m(x)) ** 2), "can't be compiled"),
    "an index": (lambda m, x, y: np.mean(m(x)[:, np.argmax(y, axis=1) % 3]), "an index in an array"),
    "a fixed index": (lambda m, x, y: np.mean(m(x)[[0, 3, 5]]), "an index in an array"),
    "a fixed index in the data": (lambda m, x, y: np.mean(m(x) ** 2) * np.mean(x[[0, 3, 5]]), "an index in an array"),
    "one fixed index": (lambda m, x, y: np.mean(m(x)[[3]]), "an index in an array"),
    "a mask": (lambda m, x, y: np.mean(m(x)[np.argmax(x, axis=1) > 2]), "indexing by a mask"),
    "random numbers": (lambda m, x, y: np.mean(m(x)) * flux.default_rng().random(), "draws random numbers"),
    "digamma": (lambda m, x, y: np.mean(special.gammaln(2 + m(x) ** 2)), "psi"),
}


@pytest.mark.parametrize("name", [name for name in REFUSED if name != "an array in NumPy"])
def test_what_is_left_to_cupy(name, capsys):
    """Said once; it then goes on as if nothing had been tried."""
    f, reason = REFUSED[name]
    x, y = flux.gpu(*data(10))
    results = []
    for option in (False, "auto"):
        flux.seed(0)
        model = flux.gpu(network())
        opt = flux.setup(flux.Descent(0.1), model)
        results.append((flux.train(f, model, [(x, y)] * 3, opt, compile=option), flux.cpu(flux.leaves(model))))
    assert results[0][0] == results[1][0]
    for a, b in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_array_equal(a, b)
    said = capsys.readouterr().err
    assert said.startswith("tinyflux: training runs by CuPy: ")
    assert said.count("\n") == 1
    assert reason in said
    model = flux.gpu(network())
    with pytest.raises(flux.NotCompilable, match=reason):
        flux.train(f, model, [(x, y)], flux.setup(flux.Descent(0.1), model), compile=True)


def test_an_array_in_numpy():
    f, reason = REFUSED["an array in NumPy"]
    x, y = flux.gpu(*data(10))
    model = flux.gpu(network())
    opt = flux.setup(flux.Descent(0.1), model)
    with pytest.raises(flux.NotCompilable, match=reason):
        flux.train(f, model, [(x, y)], opt, compile=True)
    with pytest.raises(flux.MixedDevices):
        flux.train(f, model, [(x, y)], opt)


def test_a_batch_in_numpy():
    model = flux.gpu(network())
    opt = flux.setup(flux.Descent(0.1), model)
    with pytest.raises(flux.MixedDevices):
        flux.train(loss, model, flux.DataLoader(data(), 8), opt)
    with pytest.raises(flux.NotCompilable, match="a batch in NumPy"):
        flux.train(loss, model, flux.DataLoader(data(), 8), opt, compile=True)


class Counting:
    """Keeps the sum of its inputs."""

    buffers = ("total",)

    def __init__(self):
        self.total = np.zeros(6, np.float32)

    def __call__(self, x):
        self.total = self.total + np.sum(x, axis=0)
        return x


class Busy:
    """Counts its calls, by a number of Python's."""

    def __init__(self):
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        return x * self.calls


def test_a_layer_that_counts():
    model = flux.gpu(flux.Chain(Busy(), network()))
    with pytest.raises(flux.NotCompilable, match="the model changes itself"):
        flux.train(loss, model, [flux.gpu(data())], flux.setup(flux.Descent(0.1), model), compile=True)


class Masked:
    """Holds an array that is no parameter."""

    def __init__(self):
        self.mask = np.array([1, 0, 1, 1, 0, 1])

    def __call__(self, x):
        return x * self.mask


def test_an_array_of_the_model_that_is_replaced():
    results = []
    for move, option in ((lambda x: x, False), (flux.gpu, True)):
        model = move(flux.Chain(Masked(), network()))

        def change(progress):
            progress.model[0].mask = move(np.array([0, 1, 1, 0, 0, 1]))  # noqa: B023

        opt = flux.setup(flux.Descent(0.1), model)
        results.append(flux.train(loss, model, [move(data())] * 4, opt, callbacks=[change], compile=option))
    np.testing.assert_allclose(*results, rtol=1e-6)


def test_a_model_that_changes_itself():
    totals = []
    for option in (False, "auto", True):
        model = flux.gpu(flux.Chain(Counting(), network()))
        opt = flux.setup(flux.Descent(0.1), model)
        if option is True:
            with pytest.raises(flux.NotCompilable, match="the model changes itself"):
                flux.train(loss, model, [flux.gpu(data())], opt, compile=True)
        else:
            flux.train(loss, model, [flux.gpu(data())] * 3, opt, compile=option)
            totals.append(flux.cpu(model[0].total))
    np.testing.assert_array_equal(*totals)


def test_an_active_dropout():
    flux.seed(0)
    model = flux.gpu(flux.Chain(flux.Dense(6, 8), flux.Dropout(0.5, seed=1), flux.Dense(8, 3)))
    with pytest.raises(flux.NotCompilable):
        flux.train(loss, model, [flux.gpu(data())], flux.setup(flux.Descent(0.1), model), compile=True)


def test_shapes_that_change_again_and_again(capsys):
    x, y = flux.gpu(*data())
    items = [(x[:n], y[:n]) for n in range(2, 2 + trainer.MANY + 1)]
    model = flux.gpu(network())
    flux.train(loss, model, items, flux.setup(flux.Descent(0.1), model))
    assert "change again and again" in capsys.readouterr().err


# Faults.

FAULTS = [
    ("__syncthreads();", ""),
    ("if (lane == 0 && o <", "if (lane == 1 && o <"),
    ("if (lane < half) {", "if (lane <= half) {"),
    ("r += ", "r += 1 + "),
    ("chunk + lane", "chunk"),
    ("parts[part * 3ll + e]", "parts[part * 3ll]"),
    ("blockIdx.x * blockDim.x + threadIdx.x; e", "threadIdx.x; e"),
]


@pytest.mark.parametrize(("old", "new"), FAULTS, ids=[f"{old} > {new}" for old, new in FAULTS])
def test_a_fault_is_found(old, new, monkeypatch):
    def planted(code, options=()):
        assert old in code
        return cuda_shim.RawModule(code.replace(old, new), options)

    test_sums_of_several_blocks("forward")
    import cupy

    monkeypatch.setattr(cupy, "RawModule", planted)
    with pytest.raises((AssertionError, cuda_shim.ShimError)):
        test_sums_of_several_blocks("forward")

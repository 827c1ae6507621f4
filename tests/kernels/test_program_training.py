"""Training on the device by kernels made for it, run on the CPU by g++: the numbers of the plain path in NumPy."""

import collections
import math

import numpy as np
import pytest

import tinyflux as flux
from tests.optimise.test_state_shapes import RowScaled
from tests.support.branching import Branching
from tests.support.device_standin import DeviceArray
from tests.support.program_cases import InOrder, check_trained, data, loss, network
from tinyflux.training.cuda_iteration import CudaIteration

pytestmark = pytest.mark.usefixtures("compiling")


@pytest.mark.parametrize("loader", [flux.DataLoader, InOrder], ids=["slices", "numbers"])
@pytest.mark.parametrize("batchsize", [1, 16, 50])
def test_a_loader(loader, batchsize):
    """The last batch is smaller, and has a program of its own."""
    check_trained(lambda: loader(data(), batchsize))


def test_a_shuffled_loader_takes_every_sample():
    x, _ = data()
    for rule in (flux.Descent(1.0), Branching(1.0, 1.0)):
        model = flux.gpu({"w": np.zeros(6, np.float32)})
        batches = flux.DataLoader(flux.gpu(x), 16, shuffle=True)
        flux.train(lambda m, x: np.sum(m["w"] * x), model, batches, flux.setup(rule, model))
        np.testing.assert_allclose(flux.cpu(model["w"]), -np.sum(x, axis=0), rtol=1e-5, atol=1e-5)


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
    """In the steps of a training, once it is compiled: no operation of CuPy's; where arrays lie is seen without one."""
    functions = DeviceArray.__array_function__

    def only_addresses(self, function, *given):
        assert function is np.may_share_memory
        return functions(self, function, *given)

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
                monkeypatch.setattr(DeviceArray, "__array_function__", only_addresses)

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


@pytest.mark.parametrize(
    "rule",
    [
        flux.OptimiserChain(flux.ClipNorm(1.0), flux.Adam(0.01)),
        flux.YellowFin(),
        flux.Muon(),
        RowScaled(k=3),
        flux.OptimiserChain(flux.AccumGrad(3), flux.ClipNorm(1.0, over="model"), flux.Adam(0.01), flux.Lookahead(2)),
    ],
    ids=repr,
)
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


def test_empty_arrays_in_a_batch():
    def value(model, x, y, scale):
        return np.sum(model(x) ** 2) + np.mean(scale * model.layers[0].weight ** 2)

    check_both(network, value, lambda model, move: [move((x[:0], y[:0], y[:1, :1])) for x, y in [data()]])


@pytest.mark.parametrize("order", ["C", "F"])
def test_data_that_is_changed_in_the_middle_of_a_pass(order):
    """Whatever its layout, kernels read it as it is by then."""
    ends = []
    for compile in (True, False):  # noqa: A001
        x, y = data(40)
        x, y = DeviceArray(np.array(x, order=order)), flux.gpu(y)
        model = flux.gpu(network())

        def change(progress, x=x):
            if progress.iteration == 2:
                x[...] = x * 2

        flux.seed(0)
        loader = flux.DataLoader((x, y), 8, shuffle=True)
        flux.train(loss, model, loader, flux.setup(flux.Descent(0.1), model), callbacks=[change], compile=compile)
        ends.append(flux.leaves(flux.cpu(model)))
    for a, b in zip(*ends, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


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


def test_a_second_training_finds_its_programs(monkeypatch):
    made, make = [], CudaIteration.__init__

    def counted(self, *args):
        make(self, *args)
        made.append(self)

    monkeypatch.setattr(CudaIteration, "__init__", counted)
    ends = []
    for move, option in ((lambda x: x, False), (flux.gpu, True)):
        model = move(network())
        opt = flux.setup(flux.Adam(0.01), model)
        factor = 1.0
        means = []
        for factor in (1.0, 1.0, 2.0):
            items = [move(data())] * 2
            means += flux.train(
                lambda m, *batch: factor * loss(m, *batch),  # noqa: B023
                model, items, opt, compile=option,
            )  # fmt: skip
        ends.append((means, [flux.cpu(x) for x in flux.leaves(model)]))
    assert len(made) == 2
    np.testing.assert_allclose(ends[1][0], ends[0][0], rtol=1e-5)
    for a, b in zip(ends[1][1], ends[0][1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)

"""Layers with a state, trained by kernels: what becomes of it, and when, is as on the plain path in NumPy."""

import copy

import numpy as np
import pytest

import tinyflux as flux
from tests.support import cuda_shim
from tests.support.interruptions import interrupted, state_of
from tests.support.program_cases import data
from tests.support.state_cases import MODELS, Growing, Running, check, counting, loss, normalised, running, trained

pytestmark = pytest.mark.usefixtures("compiling")


@pytest.mark.parametrize("order", cuda_shim.ORDERS)
@pytest.mark.parametrize("make", MODELS)
def test_models(make, order):
    """With a smaller batch at the end of each pass, which has a program of its own."""
    cuda_shim.order = order
    check(make)


@pytest.mark.parametrize("make", MODELS)
def test_a_rule_without_a_kernel(make):
    check(make, rule=flux.OptimiserChain(flux.ClipNorm(1.0), flux.Adam(0.01)))


def test_a_generator():
    """The program is looked up for each item."""
    check(running, lambda move: (move(data(10)) for _ in range(4)), epochs=1)


def test_what_callbacks_change():
    """A state that is set back, a layer in test mode, a frozen one: from the next update on."""

    def changing(move):
        def change(progress):
            if progress.iteration == 2:
                progress.model[0].mean = move(np.full(6, 3, np.float32))
            if progress.iteration == 3:
                flux.freeze(progress.opt.layers[1])
            if progress.iteration == 5:
                progress.model[2].first = move(np.full(6, -1, np.float32))

        return change

    check(running, callbacks=[changing])

    def to_testmode(move):
        return lambda progress: flux.testmode(progress.model) if progress.iteration == 3 else None

    check(normalised, callbacks=[to_testmode])


def test_what_callbacks_see():
    """The state of each update, in arrays that stay as they are, as on the plain path."""
    seen = {False: [], True: []}

    def looking(move):
        def look(progress):
            if not progress.epoch_ended:
                seen[move is flux.gpu].append((progress.model[0].mean, progress.model[0].batches))

        return look

    check(running, callbacks=[looking])
    assert [b.tolist() for _, b in seen[True]] == [[n] for n in range(1, 9)]
    for (a, _), (b, _) in zip(seen[True], seen[False], strict=True):
        np.testing.assert_allclose(a.get(), b, rtol=1e-5)


def test_the_old_state_may_stand_in_another_model():
    model = flux.gpu(running())
    copied, mean = copy.copy(model[0]), model[0].mean
    flux.train(loss, model, [flux.gpu(data())] * 3, flux.setup(flux.Descent(0.1), model), compile=True)
    assert copied.mean is mean
    assert mean.tolist() == [0] * 6
    assert model[0].batches.tolist() == [3]


@pytest.mark.parametrize("rule", [flux.Adam(0.01), flux.OptimiserChain(flux.ClipNorm(1.0), flux.Adam())], ids=repr)
def test_a_loss_that_is_not_finite(rule):
    """Nothing of its update is applied, and nothing of those behind it."""
    x, y = flux.gpu(*data(40))
    bad = flux.gpu(np.full((10, 6), np.nan, np.float32))
    items = [(x[i : i + 10], y[i : i + 10]) for i in range(0, 40, 10)]
    results = []
    for chosen in ([items[0], items[1], (bad, items[2][1]), items[3]], items[:2]):
        flux.seed(0)
        model = flux.gpu(running())
        opt = flux.setup(rule, model)
        if len(chosen) == 4:
            with pytest.raises(flux.NonFiniteLoss, match="at item 2 of epoch 1"), np.errstate(all="ignore"):
                flux.train(loss, model, chosen, opt, compile=True)
        else:
            flux.train(loss, model, chosen, opt, compile=True)
        results.append(flux.cpu(flux.leaves(model)))
    assert flux.cpu(model)[0].batches == 2
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_losses_of_one_training_go_on_in_the_next():
    """Two trainings are one; in between, the state is read and lies where it lay."""
    ends = []
    for parts in ((6,), (2, 1, 3)):
        flux.seed(0)
        model = flux.gpu(running())
        opt = flux.setup(flux.Adam(0.01), model)
        for n in parts:
            flux.train(loss, model, [flux.gpu(data(10))] * n, opt, compile=True)
        ends.append(flux.cpu(flux.leaves(model)))
    for a, b in zip(*ends, strict=True):
        np.testing.assert_array_equal(a, b)


class Scaling:
    """Holds an array that a step doesn't change."""

    buffers = ("scale",)

    def __init__(self, scale):
        self.scale = scale

    def __call__(self, x):
        return x * self.scale


def test_an_array_that_is_no_longer_shared():
    """What is one array in two places is one input of a program, which does for no other model."""

    def make():
        scale = np.arange(1, 7, dtype=np.float32)
        return flux.Chain(Scaling(scale), flux.Dense(6, 6, flux.tanh), Scaling(scale), flux.Dense(6, 3))

    def changing(move):
        def change(progress):
            if progress.iteration == 2:
                progress.model[2].scale = move(np.full(6, -2, np.float32))

        return change

    check(make, callbacks=[changing])


REFUSED = {
    "another shape": (lambda: Growing(lambda s: np.concatenate([s, s])), "no array, or an array's shape or dtype"),
    "another dtype": (lambda: Growing(lambda s: s.astype(np.float64)), "no array, or an array's shape or dtype"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    make, reason = REFUSED[name]
    model = flux.gpu(flux.Chain(make(), flux.Dense(6, 3)))
    with pytest.raises(flux.NotCompilable, match=reason):
        flux.train(loss, model, [flux.gpu(data())], flux.setup(flux.Descent(0.1), model), compile=True)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_left_to_cupy(name, capsys):
    make, _ = REFUSED[name]
    batches = lambda move: [move(data(10)) for _ in range(3)]  # noqa: E731
    made = lambda: flux.Chain(make(), flux.Dense(6, 3))  # noqa: E731
    for option in (False, "auto"):
        _, model = trained(made, flux.gpu, option, batches, epochs=1)
        _, expected = trained(made, lambda x: x, False, batches, epochs=1)
        assert (model[0].seen.shape, model[0].seen.dtype) == (expected[0].seen.shape, expected[0].seen.dtype)
    assert "model.layers[0].seen changes from an array of float32 of shape (6,)" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["auto", False])
@pytest.mark.parametrize("parameters", [True, False])
def test_a_counter(parameters, option):
    batches = lambda move: [move(data(10)) for _ in range(3)]  # noqa: E731
    losses, model = trained(lambda: counting(0, parameters), flux.gpu, option, batches)
    expected, here = trained(lambda: counting(0, parameters), lambda x: x, False, batches)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert model[0].n == here[0].n == 6
    with pytest.raises(flux.NotCompilable, match=r"model\.layers\[0\]\.n changes from 0 to 1"):
        trained(lambda: counting(0, parameters), flux.gpu, True, batches)


def test_an_array_in_two_layers_that_becomes_two_is_refused():
    layer = Running(True)
    model = flux.gpu(flux.Chain(layer, flux.Dense(6, 6), copy.copy(layer), flux.Dense(6, 3)))
    assert model[0].mean is model[2].mean
    with pytest.raises(flux.NotCompilable, match="stands in several places"):
        flux.train(loss, model, [flux.gpu(data())], flux.setup(flux.Descent(0.1), model), compile=True)


def test_every_line_of_an_update():
    """An interrupt leaves all of an update or nothing, the state of layers with it."""
    items = [flux.gpu(data(10))]

    def make():
        flux.seed(0)
        model = flux.gpu(running())
        opt = flux.setup(flux.Adam(0.01), model)
        flux.train(loss, model, items, opt, compile=True)
        return model, opt

    def go(model, opt):
        flux.train(loss, model, items, opt, compile=True)

    model, opt = make()
    expected = [state_of(model, opt)]
    go(model, opt)
    expected.append(state_of(model, opt))
    at = 1
    while True:
        model, opt = make()
        stopped = interrupted(lambda: go(model, opt), at)  # noqa: B023
        assert state_of(model, opt) in expected, f"split at line {at}"
        if not stopped:
            break
        at += 7
    assert at > 60

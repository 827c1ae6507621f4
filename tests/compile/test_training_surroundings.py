"""Compiled training steps and what a loss reads from its surroundings: it is noticed when it changes."""

import threading
import time
import types
import weakref

import numpy as np
import pytest

import tinyflux as flux
from tests.support.branching import Branching
from tests.support.training_cases import DATA, Running, X, Y, dense, mse, prepared
from tests.support.training_cases import _seeded as _seeded  # a fixture
from tinyflux.compile.backends.c.build import available
from tinyflux.compile.guards.guards import Guards

pytestmark = pytest.mark.skipif(not available(), reason="there is no C compiler here")

FACTOR = 2.0
SETTINGS = types.SimpleNamespace(factor=2.0, other=0)
TABLE_OF = {"factor": 2.0}


class Options:
    factor = 2.0


class Callable:
    def __init__(self):
        self.factor = 2.0
        self.calls = []

    def __call__(self, m, x):
        return self.scaled(np.sum(m * x))

    def scaled(self, x):
        return self.factor * x

    def method(self, m, x):
        return self(m, x)


def helper(x):
    return FACTOR * x


def through_a_global():
    def change(value):
        global FACTOR
        FACTOR = value

    return lambda m, x: helper(np.sum(m * x)), change


def through_a_closure():
    factor = 2.0

    def change(value):
        nonlocal factor
        factor = value

    return lambda m, x: factor * np.sum(m * x), change


def through_a_list():
    factors = [2.0]
    return lambda m, x: factors[0] * np.sum(m * x), lambda value: factors.__setitem__(0, value)


def through_a_dict():
    return lambda m, x: TABLE_OF["factor"] * np.sum(m * x), lambda value: TABLE_OF.__setitem__("factor", value)


def through_an_object():
    return lambda m, x: SETTINGS.factor * np.sum(m * x), lambda value: setattr(SETTINGS, "factor", value)


def through_a_class():
    return lambda m, x: Options.factor * np.sum(m * x), lambda value: setattr(Options, "factor", value)


def through_a_callable_object():
    loss = Callable()
    return loss, lambda value: setattr(loss, "factor", value)


def through_a_method():
    loss = Callable()
    return loss.method, lambda value: setattr(loss, "factor", value)


def through_numpys_number():
    factors = types.SimpleNamespace(factor=np.float32(2.0))
    return lambda m, x: factors.factor * np.sum(m * x), lambda value: setattr(factors, "factor", np.float32(value))


def through_an_array():
    values = types.SimpleNamespace(factor=np.array(2.0))
    return lambda m, x: values.factor * np.sum(m * x), lambda value: setattr(values, "factor", np.array(value))


def through_a_function():
    double = lambda x: 2 * x  # noqa: E731
    triple = lambda x: 3 * x  # noqa: E731
    functions = types.SimpleNamespace(f=double)
    return (
        lambda m, x: functions.f(np.sum(m * x)),
        lambda value: setattr(functions, "f", double if value == 2 else triple),
    )


WAYS = [
    through_a_global, through_a_closure, through_a_list, through_a_dict, through_an_object, through_a_class,
    through_a_callable_object, through_a_method, through_numpys_number, through_an_array, through_a_function,
]  # fmt: skip


def test_parameters_that_the_loss_takes_from_its_surroundings():
    """What is calculated from them alone would stay as it was when the loss was recorded."""
    model, opt = prepared(flux.Descent(0.1))
    arrays, holder = flux.leaves(model), types.SimpleNamespace(task={"net": model})
    losses = [
        lambda m, x, y: mse(m, x, y) * np.sum(model[0].weight ** 2),
        lambda m, x, y: mse(m, x, y) + np.mean(model(x)),
        lambda m, x, y: mse(m, x, y) * np.sum(arrays[0] ** 2),
        lambda m, x, y: mse(m, x, y) * np.sum(holder.task["net"][0].weight ** 2),
    ]
    for loss in losses:
        with pytest.raises(
            flux.NotCompilable, match=r"the loss reads the model from its surroundings.*it is called with"
        ):
            flux.compile_training(loss, model, opt, 5)(DATA, range(5))
    SETTINGS.model = model  # which the loss does not look at
    assert (
        len(flux.compile_training(lambda m, x, y: SETTINGS.factor * mse(m, x, y), model, opt, 5)(DATA, range(5))) == 1
    )


def test_a_view_of_parameters_from_the_surroundings_is_refused():
    model, opt = prepared()
    first = model[0].weight[0]
    with pytest.raises(flux.NotCompilable, match="reads the model from its surroundings"):
        flux.compile_training(lambda m, x, y: mse(m, x * first, y), model, opt)(DATA, [0])


@pytest.mark.parametrize("rule", [flux.Momentum(0.1), flux.Muon(0.1)], ids=lambda rule: type(rule).__name__)
@pytest.mark.parametrize("read", [lambda array: array[:1], np.sin, lambda array: array], ids=["part", "sine", "itself"])
def test_the_state_of_the_optimiser(rule, read):
    """The update changes it; in plain NumPy the loss sees it as it is."""
    found = []
    for option in ("auto", False):
        flux.seed(0)
        model, opt = prepared(rule)
        array = opt[0].weight.arrays[0]
        loss = lambda m, x, y: mse(m, x, y) + np.sum(read(array) * m[0].weight)  # noqa: B023, E731
        found.append((flux.train(loss, model, flux.DataLoader(DATA, 5), opt, compile=option), flux.leaves(model)))
    assert found[0][0].engine.startswith("plain NumPy: the loss reads the optimiser's state from its surroundings")
    for x, y in zip(*[leaves for _, leaves in found], strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("rule", [flux.Descent(0.1), Branching()], ids=lambda rule: type(rule).__name__)
def test_a_layer_without_parameters_whose_state_the_loss_reads(rule):
    """It changes in every update."""
    found = []
    for option in ("auto", False):
        flux.seed(0)
        model = flux.Chain(Running(True), dense(6, 3))
        layer, opt = model[0], flux.setup(rule, model)
        loss = lambda m, x, y: mse(m, x, y) + np.sum(layer.mean) * np.sum(m[1].bias)  # noqa: B023, E731
        found.append((flux.train(loss, model, flux.DataLoader(DATA, 5), opt, compile=option), flux.leaves(model)))
    assert found[0][0].engine.startswith("plain NumPy: the loss reads the model from its surroundings")
    for x, y in zip(*[leaves for _, leaves in found], strict=True):
        np.testing.assert_array_equal(x, y)


def test_data_that_is_the_state_of_the_optimiser():
    model, opt = prepared(flux.Momentum(0.1))
    with pytest.raises(flux.NotCompilable, match=r"the data is .* a part of the optimiser's state.*copy it"):
        flux.train(lambda m, x: np.sum(m(x)), model, flux.DataLoader(opt[0].weight.arrays[0], 1), opt, compile=True)


@pytest.mark.parametrize("way", WAYS)
def test_constants_that_change_are_noticed(way):
    loss, change = way()
    model = {"w": np.ones(2)}
    opt = flux.setup(flux.Descent(0.0), model)
    step = flux.compile_training(lambda m, x: loss(m["w"], x), model, opt)
    x = np.array([[1.0, 2.0]])
    assert step(x, [0, 0]).tolist() == [6, 6]
    change(3.0)
    assert step(x, [0]).tolist() == [9]
    change(2.0)
    assert step(x, [0]).tolist() == [6]
    if way is not through_an_array:
        assert step.count == 2


def test_what_a_layer_reads_from_its_module_is_noticed():
    class Scaled:
        def __call__(self, x):
            return helper(x)

    model = [Scaled(), np.ones(2)]
    step = flux.compile_training(lambda m, x: np.sum(m[0](x) * m[1]), model, flux.setup(flux.Descent(0.0), model))
    _, change = through_a_global()
    try:
        assert step(np.ones((1, 2)), [0]).tolist() == [4]
        change(3.0)
        assert step(np.ones((1, 2)), [0]).tolist() == [6]
    finally:
        change(2.0)


def test_what_the_loss_does_not_read_does_not_matter():
    """A list that grows beside it, say."""
    loss = Callable()
    model = {"w": np.ones(2)}
    step = flux.compile_training(lambda m, x: loss(m["w"], x), model, flux.setup(flux.Descent(0.0), model))
    for i in range(3):
        step(np.ones((1, 2)), [0])
        loss.calls.append(i)
        SETTINGS.other = i
    assert step.count == 1


def test_attributes_of_the_model_are_constants():
    model = flux.Chain(dense(6, 4), flux.Dropout(0.5, seed=1), dense(4, 3))
    opt = flux.setup(flux.Descent(0.0), model)
    step = flux.compile_training(mse, model, opt, 5)
    first = step(DATA, range(5))
    model[1].p = 0.0
    np.testing.assert_allclose(step(DATA, range(5)), flux.mse(flux.testmode(model)(X[:5]), Y[:5]))
    flux.trainmode(model, None)
    model[1].p, model[1].state = 0.5, np.array([1, 0], np.uint64)
    assert step(DATA, range(5)) == first
    assert step.count == 2


def test_arrays_that_were_looked_at_stay():
    """Else another one could come to lie where they lay, and be taken for them."""
    array = np.ones(3)
    known = weakref.ref(array)
    holder = {"array": array}
    looked_at = Guards()(lambda: holder["array"])
    del array, holder["array"]
    assert known() is not None
    del looked_at
    assert known() is None


def both(loss, make, data, change=None, rule=None, epochs=1):
    """The parameters after a training, eager and compiled, with a callback."""
    found = []
    for option in (False, True):
        model, callbacks = make(), []
        if change is not None:
            reset, callback = change()
            reset()
            callbacks = [callback]
        opt = flux.setup(rule or flux.Descent(0.1), model)
        flux.train(loss, model, data(model), opt, epochs=epochs, callbacks=callbacks, compile=option)
        found.append(flux.leaves(model))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("loader", [True, False])
def test_a_callback_changes_defaults_and_arrays_of_the_loss(loader):
    """From the next iteration on."""
    cfg, mask, target = types.SimpleNamespace(weight=1.0, kept={0, 1}), np.array([1.0, 0, 1, 0, 1]), np.zeros(3)

    def loss(m, x, cfg=cfg, *, target=target):
        scale = 3.0 if mask[0] > 0 else 1.0
        return cfg.weight * scale * np.sum(((x @ m["w"]) * len(cfg.kept) - target) ** 2)

    def change():
        def reset():
            cfg.weight, cfg.kept = 1.0, {0, 1}
            mask[0] = 1
            target[:] = 0

        def callback(progress):
            if progress.iteration == 1:
                cfg.weight = 0.5
            if progress.iteration == 2:
                mask[0] = 0
            if progress.iteration == 3:
                target[:] = [1, 2, 3]
            if progress.iteration == 4:
                cfg.kept.add(7)

        return reset, callback

    x = np.random.default_rng(0).normal(size=(6, 2))
    data = (lambda m: flux.DataLoader(x, 1)) if loader else (lambda m: [x[i : i + 1] for i in range(6)])
    both(loss, lambda: {"w": np.ones((2, 3))}, data, change, flux.Descent(0.01))


def test_arrays_that_change_in_place_compile_once():
    target = np.zeros(2)
    model = {"w": np.ones(2)}
    step = flux.compile_training(
        lambda m, x: np.sum((m["w"] * x - target) ** 2), model, flux.setup(flux.Descent(0.0), model)
    )
    for k in range(3):
        target[:] = k
        assert step(np.ones((1, 2)), [0]).tolist() == [2 * (1 - k) ** 2]
    assert step.count == 1


@pytest.mark.parametrize("part", [lambda w: w, lambda w: w[1:3], lambda w: w.T], ids=["whole", "rows", "turned"])
def test_data_that_is_a_parameter_is_refused(part):
    model = {"w": np.arange(512.0).reshape(8, 64) / 512}
    opt = flux.setup(flux.Descent(0.01), model)
    loss = lambda m, x: np.sum(m["w"]) * np.sum(x)  # noqa: E731
    with pytest.raises(flux.NotCompilable, match=r"the data is a parameter of the model.*copy it"):
        flux.compile_training(loss, model, opt)(part(model["w"]), [0])
    found = []
    for option in (False, "auto"):
        model = {"w": np.arange(512.0).reshape(8, 64) / 512}
        opt = flux.setup(flux.Descent(0.01), model)
        flux.train(loss, model, flux.DataLoader(part(model["w"]), 1), opt, compile=option)
        found.append(model["w"])
    np.testing.assert_array_equal(*found)


def test_numbers_in_the_data_and_functions_in_the_model():
    rate = 2.0
    model = {"w": np.ones(2), "f": lambda x: rate * x, "rows": slice(0, 1)}
    opt = flux.setup(flux.Descent(0.0), model)
    step = flux.compile_training(lambda m, x, k: np.sum(m["f"](m["w"] * x)[..., m["rows"]]) * k, model, opt)
    x = np.array([[1.0, 2.0]])
    assert step((x, 1.0), [0]) == [2]
    assert step((x, 3.0), [0]) == [6]
    rate = 4.0
    assert step((x, 3.0), [0]) == [12]
    model["rows"] = slice(0, 2)
    assert step((x, 3.0), [0]) == [36]


def test_another_thread_draws_meanwhile():
    """Recording neither takes its numbers nor gives them twice."""
    drawn, ended = [], threading.Event()
    generator = np.random.default_rng(3)

    def draw():
        while not ended.is_set():
            drawn.append(generator.random())
            time.sleep(0.0005)

    def slow(x):
        time.sleep(0.05)
        return x * 2 if generator is not None else x

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        for _ in range(3):
            assert flux.compile(slow)(1.0) == 2.0
    finally:
        ended.set()
        thread.join()
    expected = np.random.default_rng(3)
    assert drawn == [expected.random() for _ in drawn]

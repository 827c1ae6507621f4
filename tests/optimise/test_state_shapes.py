"""A rule that steps one parameter at a time keeps arrays of any shapes: all that holds of a state holds of theirs."""

import dataclasses
import sys

import numpy as np
import pytest

import tinyflux as flux
from tests.support import device_standin as standin
from tests.support.device_standin import DeviceArray
from tests.support.training_cases import assert_same
from tinyflux import device
from tinyflux.compile.backends.c.build import available

Chain = flux.OptimiserChain


@dataclasses.dataclass(frozen=True)
class RowScaled:
    """A user's rule with an average for each row, and k for the whole array."""

    eta: float = 0.125
    beta: float = 0.75
    k: int = 1
    whole = "array"

    def init(self, x):
        return np.zeros_like(x, shape=x.shape[:1]), np.zeros_like(x, shape=(self.k, 1)), 0

    def apply(self, state, x, g):
        rows, whole, t = state
        sizes = np.mean(np.abs(g), axis=tuple(range(1, g.ndim)))
        rows = self.beta * rows + (1 - self.beta) * sizes
        whole = self.beta * whole + (1 - self.beta) * np.max(np.abs(g))
        scale = 0.5 * rows.reshape(g.shape[:1] + (1,) * (g.ndim - 1)) + 0.5 * whole[0, 0] + 1e-3
        return (rows, whole, t + 1), self.eta * g / scale


RULES = [RowScaled(), Chain(flux.ClipNorm(1.0), RowScaled(), flux.EMA(0.5)), flux.SOAP(0.01, every=2)]
every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)


def prepared(rule, move=lambda *trees: trees, dtype=np.float64):
    rng = np.random.default_rng(0)
    shapes = (4, 3), (4,), (2, 2, 3), (3, 4)
    tied, *others = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    model = {"a": [tied, *others], "b": tied}
    return move(model, flux.setup(rule, model))


def gradients(model, t):
    rng = np.random.default_rng(t)
    return flux.tree.map(lambda x: np.asarray(rng.normal(size=x.shape).astype(x.dtype), like=x), model)


def train(model, opt, steps):
    for t in steps:
        flux.update(opt, model, gradients(model, t))


@every_rule
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_each_parameter_is_stepped_as_if_alone(rule, dtype):
    model, opt = prepared(rule, dtype=dtype)
    alone = [x.copy() for x in model["a"]]
    states = [rule.init(x) for x in alone]
    train(model, opt, range(5))
    for t in range(5):
        grads = gradients(model, t)
        for i, g in enumerate(grads["a"]):
            g = g + grads["b"] if i == 0 else g
            states[i], delta = rule.apply(states[i], alone[i], g)
            alone[i] = alone[i] - delta
    assert model["a"][0] is model["b"]
    for x, y, leaf, state in zip(model["a"], alone, opt["a"], states, strict=True):
        np.testing.assert_array_equal(x, y)
        assert leaf.numbers == state[len(leaf.arrays) :]
        for a, b in zip(leaf.arrays, state):
            assert a.dtype == dtype
            np.testing.assert_array_equal(a, b, strict=True)


def test_the_shapes():
    _, opt = prepared(Chain(RowScaled(k=2), flux.EMA(0.5)))
    assert [a.shape for a in opt["a"][2].arrays] == [(2,), (2, 1), (2, 2, 3)]
    assert [a.shape for a in opt["a"][2].state[:-1]] == [(2,), (2, 1), (2, 2, 3)]
    assert opt["a"][1].state[3] == 0
    np.testing.assert_array_equal(opt["a"][0].arrays[2], prepared(RowScaled())[0]["a"][0])


@every_rule
def test_a_run_goes_on_from_a_file(rule, tmp_path):
    model, opt = prepared(rule)
    train(model, opt, range(3))
    flux.save(tmp_path / "run.npz", model, opt)
    other, other_opt = prepared(rule)
    train(other, other_opt, range(7, 9))
    flux.load(tmp_path / "run.npz", other, other_opt)
    for pair in ((model, opt), (other, other_opt)):
        train(*pair, range(3, 6))
    assert_same((model, opt), (other, other_opt), rtol=0)


def test_a_file_with_arrays_of_other_shapes(tmp_path):
    model, opt = prepared(RowScaled())
    flux.save(tmp_path / "run.npz", model, opt)
    other, other_opt = prepared(RowScaled(k=2))
    train(other, other_opt, range(1))
    before = [x.copy() for x in [*flux.leaves(other), *other_opt["a"][0].arrays]]
    with pytest.raises(flux.CheckpointError, match=r"does not fit .*\(2, 1\) in the model, float64\(1, 1\) in the"):
        flux.load(tmp_path / "run.npz", other, other_opt)
    for x, y in zip([*flux.leaves(other), *other_opt["a"][0].arrays], before, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize(
    ("rule", "change"),
    [(RowScaled(), {"k": 2}), (Chain(flux.ClipNorm(), RowScaled()), {"k": 2}), (flux.SOAP(), {"max_size": 3})],
    ids=repr,
)
def test_adjust_refuses_other_shapes(rule, change):
    model, opt = prepared(rule)
    with pytest.raises(ValueError, match="has another state than"):
        flux.adjust(opt, **change)
    assert opt["b"].rule == rule
    flux.adjust(opt, eta=0.25, **dict.fromkeys(change, 1 if "k" in change else 20))
    train(model, opt, range(2))


def test_freeze_and_missing_gradients():
    model, opt = prepared(RowScaled())
    flux.freeze(opt["a"][1])
    kept = [x.copy() for x in model["a"]]
    grads = gradients(model, 0)
    grads["a"][2] = None
    flux.update(opt, model, grads)
    flux.thaw(opt)
    assert [leaf.numbers for leaf in opt["a"]] == [(1,), (0,), (0,), (1,)]
    assert [np.array_equal(x, y) for x, y in zip(model["a"], kept)] == [False, True, True, False]
    assert not np.any(opt["a"][2].arrays[0])
    train(model, opt, range(1))
    assert [leaf.numbers for leaf in opt["a"]] == [(2,), (1,), (1,), (2,)]


def test_the_average_of_the_parameters():
    model, opt = prepared(RULES[1])
    before = [x.copy() for x in model["a"]]
    train(model, opt, range(1))
    for x, y, z in zip(flux.averaged(model, opt)["a"], model["a"], before, strict=True):
        np.testing.assert_allclose(x, (y + z) / 2, rtol=1e-14)


@pytest.fixture
def cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", standin.cupy_module())
    device._fault.cache_clear()
    yield
    device._fault.cache_clear()


@every_rule
@pytest.mark.usefixtures("cupy")
def test_to_the_gpu_and_back(rule):
    model, opt = prepared(rule)
    train(model, opt, range(3))
    moved, moved_opt = flux.gpu(model, opt)
    assert {type(a) for leaf in moved_opt._leaves for a in (leaf.view, *leaf.arrays)} == {DeviceArray}
    for pair in ((model, opt), (moved, moved_opt)):
        train(*pair, range(3, 6))
    assert_same(flux.cpu(moved, moved_opt), (model, opt), rtol=1e-12)


@pytest.mark.usefixtures("cupy")
def test_arrays_in_numpy_follow_the_parameter():
    class Counting(RowScaled):
        def init(self, x):
            return np.zeros(x.shape[:1], x.dtype), np.zeros((1, 1), x.dtype), 0

    test_to_the_gpu_and_back(Counting())


def loss(model, x, y):
    return flux.mse(model(x), y)


def network(rule, dtype):
    flux.seed(0)
    model = flux.Chain(flux.Dense(3, 4, flux.tanh), flux.Dense(4, 2))
    model = flux.f64(model) if dtype == np.float64 else model
    return model, flux.setup(rule, model)


@pytest.mark.skipif(not available(), reason="there is no C compiler here")
@pytest.mark.parametrize("rule", [RULES[0], RULES[1], RowScaled(flux.schedules.Cosine(0.1, 9), k=3)], ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_compiled(rule, dtype):
    rng = np.random.default_rng(0)
    batches = [(rng.normal(size=(8, 3)).astype(dtype), rng.normal(size=(8, 2)).astype(dtype)) for _ in range(9)]
    ours, theirs = network(rule, dtype), network(rule, dtype)
    flux.train(loss, ours[0], batches, ours[1], compile=True)
    flux.train(loss, theirs[0], batches, theirs[1], compile=False)
    assert_same(ours, theirs, rtol=1e-12 if dtype == np.float64 else 1e-5)


@dataclasses.dataclass(frozen=True)
class OfMatrices:
    """A rule whose `init` reads a second axis, and wants some elements."""

    eta: float = 0.125
    whole = "array"

    def init(self, x):
        return np.zeros_like(x, shape=x.reshape(len(x), -1).shape[1:]), 0

    def apply(self, state, x, g):
        columns, t = state
        columns = columns + g.reshape(len(x), -1).sum(axis=0)
        return (columns, t + 1), self.eta * columns.reshape(1, *x.shape[1:]) + 0 * g


@pytest.mark.skipif(not available(), reason="there is no C compiler here")
@pytest.mark.parametrize("chained", [False, True])
@pytest.mark.parametrize("option", [True, False])
def test_a_rule_for_matrices_alone(chained, option, tmp_path):
    rule = Chain(flux.Maximize(), OfMatrices()) if chained else OfMatrices()
    model = [np.zeros((2, 3)), np.zeros(3)]
    opt = flux.setup(lambda x: rule if x.ndim > 1 else flux.Descent(1.0), model)
    loss = lambda m, x: np.sum(m[0] * x) + np.sum(m[1])  # noqa: E731
    flux.train(loss, model, [np.arange(6.0).reshape(2, 3)] * 2, opt, compile=option)
    sign = -1 if chained else 1
    np.testing.assert_array_equal(opt[0].arrays[0], sign * np.array([6.0, 10, 14]))
    np.testing.assert_array_equal(model[0], [-sign * 0.125 * np.array([9.0, 15, 21])] * 2)
    flux.save(tmp_path / "run.npz", model, opt)
    flux.load(tmp_path / "run.npz", model, opt)


def test_a_chain_whose_rule_keeps_more_of_a_matrix():
    class Uneven(RowScaled):
        def init(self, x):
            return super().init(x) if x.ndim > 1 else (np.zeros_like(x), 0)

    with pytest.raises(
        ValueError, match=r"Uneven\.init gives a state of 1 arrays and 1 numbers for .* and of 2 and 1 for"
    ):
        flux.setup(Chain(flux.WeightDecay(), Uneven()), [np.ones((3, 2))])


@pytest.mark.parametrize("scope", [None, "array", "model"])
@pytest.mark.parametrize("make", [list, tuple], ids=lambda kind: kind.__name__)
def test_a_window_of_earlier_arrays(make, scope):
    """What a rule gives back may be an array that the update overwrites."""

    @dataclasses.dataclass(frozen=True)
    class Window:
        eta: float = 0.125
        whole = scope

        def init(self, x):
            return tuple([np.zeros_like(x) for _ in range(4)])

        def apply(self, state, x, g):
            return (x, state[0], g, state[2]), self.eta * g

    model = make([np.array([1.0, 2.0])])
    opt = flux.setup(Window(), model)
    for g in (8.0, 16.0, 24.0):
        flux.update(opt, model, make([np.full(2, g)]))
    assert [a.tolist() for a in opt[0].arrays] == [[-2.0, -1], [0.0, 1], [24.0, 24], [16.0, 16]]


ODD = {
    "column by column": lambda x: np.zeros_like(x, order="F"),
    "every other element of something": lambda x: np.zeros((*x.shape, 2), x.dtype)[..., 0],
    "read-only, one number": lambda x: np.broadcast_to(x.dtype.type(0), x.shape),
    "the parameter itself": lambda x: x,
}


@pytest.mark.skipif(not available(), reason="there is no C compiler here")
@pytest.mark.parametrize("option", [True, False])
@pytest.mark.parametrize("scope", [None, "array"])
@pytest.mark.parametrize("name", ODD)
def test_each_array_has_memory_of_its_own(name, scope, option):
    @dataclasses.dataclass(frozen=True)
    class Odd:
        whole = scope
        eta: float = 0.125

        def init(self, x):
            array = ODD[name](x)
            return array, array

        def apply(self, state, x, g):
            return (state[0] + g, state[1] - 2 * g), self.eta * g

    model = {"w": np.arange(6.0).reshape(2, 3), "b": np.arange(3.0)}
    opt = flux.setup(Odd(), model)
    start = [np.array(ODD[name](x)) for x in flux.leaves(model)]
    slope = np.arange(1.0, 7).reshape(2, 3)
    flux.train(lambda m, x: np.sum(m["w"] * x) + np.sum(m["b"]), model, [slope] * 2, opt, compile=option)
    for leaf, old, g in zip(opt._leaves, start, [slope, np.ones(3)], strict=True):
        np.testing.assert_array_equal(leaf.arrays, [old + 2 * g, old - 4 * g])


class Turned(RowScaled):
    """Its state comes back in another shape, with as many elements."""

    def apply(self, state, x, g):
        (rows, whole, t), delta = super().apply(state, x, g)
        return (rows, whole.T, t), delta


def test_a_state_that_changes_its_shape():
    model, opt = network(Turned(k=3), np.float64)
    before = [x.copy() for x in flux.leaves(model)]
    with pytest.raises(ValueError, match=r"Turned\.apply gives what doesn't fit"):
        flux.update(opt, model, flux.tree.map(np.ones_like, model))
    for x, y in zip(flux.leaves(model), before, strict=True):
        np.testing.assert_array_equal(x, y)
    assert opt[0].weight.numbers == (0,)


@pytest.mark.parametrize("scope", [None, "model"])
def test_a_rule_that_steps_several_parameters_has_arrays_like_them(scope):
    class Together(RowScaled):
        whole = scope

        def apply(self, state, x, g):
            return state, g

    for rule in (Together(), Chain(flux.ClipNorm(over="model"), Together()), Chain(flux.WeightDecay(), Together())):
        with pytest.raises(ValueError, match=r'\.init must give arrays of the shape of x.*whole = "array"'):
            flux.setup(rule, [np.ones((3, 2))])

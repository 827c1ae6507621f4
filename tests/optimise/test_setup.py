"""setup: where parameters go, which there are, and which models are refused; freeze, thaw and adjust."""

import copy
import dataclasses
import enum
import pickle
from collections import OrderedDict, defaultdict, namedtuple

import numpy as np
import pytest

import tinyflux as flux

Pair = namedtuple("Pair", "left right")


class Node:
    def __init__(self, **attributes):
        self.__dict__.update(attributes)


class Normalised:
    buffers = ("mean",)

    def __init__(self):
        self.scale, self.mean = np.ones(3), np.full(3, 5.0)


@dataclasses.dataclass(frozen=True)
class Frozen:
    weight: np.ndarray
    bias: np.ndarray


class Colour(enum.Enum):
    RED = 1


def ones(model):
    return flux.tree.map(np.ones_like, model, buffers=False)


def test_parameters_move_into_one_buffer():
    model = flux.Chain(flux.Dense(4, 3), flux.Dense(3, 2))
    before = flux.leaves(flux.f64(model))
    flux.setup(flux.Adam(), model)
    first, *others = flux.leaves(model)
    base = first.base
    while base.base is not None:
        base = base.base
    assert base.shape == (flux.parameter_count(model),)
    assert all(np.shares_memory(base, a) for a in others)
    for a, b in zip(flux.leaves(model), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_buffer_for_each_dtype():
    model = [np.ones(2, np.float32), np.ones(3), np.ones(4, np.float32), np.ones(5, np.float16)]
    opt = flux.setup(flux.Descent(0.5), model)
    assert [a.dtype for a in model] == [np.float32, np.float64, np.float32, np.float16]
    assert opt[0].buffer is opt[2].buffer
    assert len({id(leaf.buffer) for leaf in opt}) == 3
    flux.update(opt, model, [np.full_like(a, i) for i, a in enumerate(model)])
    for i, a in enumerate(model):
        np.testing.assert_array_equal(a, 1 - 0.5 * i)


def test_the_state_mirrors_the_model():
    model = flux.Chain(flux.Dense(4, 3, flux.relu), flux.Dropout(0.5), flux.Dense(3, 2, bias=False))
    opt = flux.setup(flux.Descent(0.1), model)
    assert opt.layers[0].bias.path == ".layers[0].bias"
    assert opt[2].weight is opt.layers[2].weight
    assert opt[0].activation is flux.relu
    parameters = "    .layers[0].weight\n    .layers[0].bias\n    .layers[2].weight\n"
    assert repr(opt) == f"OptimiserState(\n  Descent(eta=0.1):\n{parameters}{')':40}# 21 parameters in 3 arrays"
    with pytest.raises(AttributeError):
        opt.nothing  # noqa: B018


def test_parameters_alone_are_stepped():
    layer = Normalised()
    model = {"a": layer, "count": np.arange(3), "flags": np.array([True]), "name": "x", "none": None}
    opt = flux.setup(flux.Descent(1.0), model)
    flux.update(opt, model, {"a": ones(layer), "count": None, "flags": None, "name": "x", "none": None})
    np.testing.assert_array_equal(layer.scale, 0)
    np.testing.assert_array_equal(layer.mean, 5)
    np.testing.assert_array_equal(model["count"], [0, 1, 2])


@pytest.mark.parametrize(
    "model",
    [
        Frozen(np.ones((2, 2)), np.ones(2)),
        Pair([np.ones(2)], {"x": np.ones(3)}),
        Pair(np.ones(2), np.ones(())),
        (np.ones(2), [np.ones(1), (np.ones((2, 0)), np.ones(4))]),
        np.ones((3, 4)),
        np.ones(()),
        {1: np.ones(2), (2, "x"): np.ones(3), None: np.ones(1), 'it\'s "quoted"\n': np.ones(2)},
        {Colour.RED: np.ones(2), float("inf"): np.ones(1), np.str_("text"): [np.ones(1)]},
        OrderedDict(b=np.ones(2), a=np.ones(3)),
        defaultdict(list, b=[np.ones(2)]),
        Node(**{"no name": np.ones(2), "class": np.ones(1)}),
        [[[[np.ones(2)] * 1] * 1] * 1],
    ],
    ids=lambda model: type(model).__name__,
)
def test_every_kind_of_node(model):
    model = copy.deepcopy(model)
    opt = flux.setup(flux.Descent(0.25), model)
    gradient = flux.gradient(lambda m: sum((2 * np.sum(a) for a in flux.leaves(m)), np.zeros(())), model)
    flux.update(opt, model, gradient)
    for a in flux.leaves(model):
        np.testing.assert_array_equal(a, 0.5)


def test_the_root_and_arrays_in_tuples_stay_where_they_are():
    for array, model in [(a, a) for a in [np.ones(3)]] + [(a, (a, [np.ones(3)])) for a in [np.ones(3)]]:
        flux.update(flux.setup(flux.Adam(0.5), model), model, ones(model))
        np.testing.assert_allclose(array, 0.5)


def test_an_array_in_a_list_and_in_a_tuple():
    for order in ("list first", "tuple first"):
        w = np.ones(3)
        model = {"a": [w], "b": (w,)} if order == "list first" else {"a": (w,), "b": [w]}
        opt = flux.setup(flux.Descent(0.1), model)
        assert model["a"][0] is model["b"][0] is w
        flux.update(opt, model, ones(model))
        np.testing.assert_allclose(w, 0.8)


@pytest.mark.parametrize("in_tuple", [False, True])
@pytest.mark.parametrize("fault", ["read-only", "not contiguous"])
def test_arrays_that_can_not_be_written_into(fault, in_tuple):
    """Such an array is copied into the buffer; where it can't be moved there is nothing to do but say so."""
    array = np.arange(6.0).reshape(2, 3)
    array = array.T if fault == "not contiguous" else np.broadcast_to(array[0], (2, 3))[:1]
    if fault == "read-only":
        array = np.ascontiguousarray(array).copy()
        array.flags.writeable = False
    before = array.copy()
    if in_tuple:
        model = {"other": np.ones(2), "pair": (array,)}
        other = model["other"]
        with pytest.raises(ValueError, match=rf"setup: the array at \['pair'\]\[0\] is {fault} and can't be moved"):
            flux.setup(flux.Descent(), model)
        assert model["other"] is other
    else:
        model = [array]
        flux.update(flux.setup(flux.Descent(1.0), model), model, [np.ones(array.shape)])
        np.testing.assert_array_equal(model[0], before - 1)
        np.testing.assert_array_equal(array, before)


def test_a_root_that_can_not_be_written_into():
    with pytest.raises(ValueError, match="the array at the root is not contiguous"):
        flux.setup(flux.Descent(), np.ones((2, 3)).T)


def test_tied_arrays_have_one_leaf():
    w = np.arange(3.0)
    model = {"in": [w], "out": Node(w=w), "b": np.ones(1)}
    opt = flux.setup(flux.Adam(), model)
    assert model["in"][0] is model["out"].w
    assert opt["in"][0] is opt["out"].w
    assert flux.parameter_count(model) == 4


def test_setup_twice():
    model = flux.Dense(3, 2)
    old = flux.setup(flux.Descent(1.0), model)
    new = flux.setup(flux.Descent(1.0), model)
    with pytest.raises(ValueError, match=r"\.weight is not the array that setup prepared"):
        flux.update(old, model, ones(model))
    before = model.weight.copy()
    flux.update(new, model, ones(model))
    np.testing.assert_array_equal(model.weight, before - 1)


@pytest.mark.parametrize("rule", [flux.Adam, flux.Descent, 0.1, None, "Adam"])
def test_something_else_than_a_rule(rule):
    with pytest.raises(TypeError, match=r"setup: expected a rule such as flux.Adam\(0.001\), got"):
        flux.setup(rule, flux.Dense(3, 2))


@pytest.mark.parametrize("model", [{}, [np.arange(3)], np.tanh, None, flux.Dropout(0.5)])
def test_nothing_to_train(model):
    with pytest.raises(ValueError, match="holds no floating-point array; there is nothing to train"):
        flux.setup(flux.Descent(), model)


def test_a_rule_of_ones_own():
    @dataclasses.dataclass(frozen=True)
    class Momentum:
        eta: float = 0.1

        def init(self, x):
            return np.zeros_like(x), 0

        def apply(self, state, x, g):
            v = 0.5 * state[0] + self.eta * g
            return (v, state[1] + 1), v

    model = [np.ones(2), np.ones((2, 2))]
    opt = flux.setup(Momentum(), model)
    for _ in range(2):
        flux.update(opt, model, ones(model))
    np.testing.assert_allclose(model[1], 1 - 0.1 - 0.15)
    assert opt[1].state[1] == 2

    class Wrong(Momentum):
        def init(self, x):
            return 0, np.zeros_like(x)

    with pytest.raises(TypeError, match=r"Wrong\.init must give arrays first, then numbers"):
        flux.setup(Wrong(), model)


def test_a_state_of_another_shape_is_refused():
    class Wrong(flux.Momentum):
        def init(self, x):
            return (np.zeros(3),)

    with pytest.raises(ValueError, match=r"Wrong\.init must give arrays of the shape of x, which is \(6,\) here"):
        flux.setup(Wrong(), [np.ones(2), np.ones((2, 2))])


@pytest.mark.parametrize(("there", "missing"), [("apply", r"init\(self, x\)"), ("init", r"apply\(self, state, x, g\)")])
def test_a_rule_without_one_of_its_methods(there, missing):
    half = type("Half", (), {there: lambda self, *args: ()})()
    with pytest.raises(TypeError, match=rf"got a Half\. A rule has two methods, init and apply; write {missing}"):
        flux.setup(half, [np.ones(2)])


# freeze, thaw, adjust


def chain():
    return flux.f64(flux.Chain(flux.Dense(4, 3), flux.Chain(flux.Dense(3, 3), flux.Dropout(0.5)), flux.Dense(3, 2)))


@pytest.mark.parametrize(
    ("part", "held"),
    [
        (lambda opt: opt, [0, 1, 2, 3, 4, 5]),
        (lambda opt: opt[0], [0, 1]),
        (lambda opt: opt[1].layers[0].bias, [3]),
        (lambda opt: opt[1:], [2, 3, 4, 5]),
        (lambda opt: [opt[0].weight, opt[2].weight], [0, 4]),
        (lambda opt: opt[1][1], []),
    ],
)
@pytest.mark.parametrize("rule", [flux.Descent(0.5), flux.Adam(0.5)])
def test_freeze_and_thaw(rule, part, held):
    model = chain()
    opt = flux.setup(rule, model)
    start = [a.copy() for a in flux.parameters(model)]
    flux.freeze(part(opt))
    flux.update(opt, model, ones(model))
    for i, (a, b) in enumerate(zip(flux.parameters(model), start, strict=True)):
        np.testing.assert_allclose(a, b if i in held else b - 0.5, atol=1e-7)
    flux.thaw(part(opt))
    flux.update(opt, model, ones(model))
    for i, (a, b) in enumerate(zip(flux.parameters(model), start, strict=True)):
        np.testing.assert_allclose(a, b - 0.5 if i in held else b - 1, atol=1e-7)


def test_frozen_state_stays():
    model = chain()
    opt = flux.setup(flux.Adam(), model)
    flux.update(opt, model, ones(model))
    flux.freeze(opt[0])
    kept = [np.copy(s) for s in opt[0].weight.state]
    flux.update(opt, model, ones(model))
    for a, b in zip(opt[0].weight.state, kept, strict=True):
        np.testing.assert_array_equal(a, b)
    assert opt[2].weight.state[2] != opt[0].weight.state[2]


def test_adjust_a_part():
    model = chain()
    start = [a.copy() for a in flux.parameters(model)]
    opt = flux.setup(flux.Descent(1.0), model)
    flux.update(opt, model, ones(model))
    flux.adjust(opt[1], eta=0.25)
    flux.adjust(opt[2].bias, eta=0.0)
    flux.update(opt, model, ones(model))
    for a, b, eta in zip(flux.parameters(model), start, [1, 1, 0.25, 0.25, 1, 0], strict=True):
        np.testing.assert_allclose(a, b - 1 - eta)


def test_adjust_keeps_averages_and_other_hyperparameters():
    model = [np.ones(2)]
    opt = flux.setup(flux.Adam(0.1, (0.5, 0.6), 1e-4), model)
    flux.update(opt, model, [np.ones(2)])
    before = opt[0].state
    flux.adjust(opt, eta=1.0)
    assert opt[0].rule == flux.Adam(1.0, (0.5, 0.6), 1e-4)
    for a, b in zip(opt[0].state, before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_adjust_to_something_wrong_changes_nothing():
    model = chain()
    opt = flux.setup(flux.Adam(), model)
    with pytest.raises(TypeError, match="adjust: Adam has no rho; it has eta, beta, epsilon"):
        flux.adjust(opt, eta=5.0, rho=0.9)
    with pytest.raises(ValueError, match="beta"):
        flux.adjust(opt, eta=5.0, beta=(0.9, 2.0))
    assert all(leaf.rule == flux.Adam() for leaf in (opt[0].weight, opt[0].bias, opt[2].bias))


@pytest.mark.parametrize("f", [flux.freeze, flux.thaw, lambda part: flux.adjust(part, eta=1.0)])
def test_another_thing_in_the_place_of_a_state(f):
    model = chain()
    flux.setup(flux.Descent(), model)
    for part in (model, model[0], model[0].weight, "weight", 0, np.float32(1)):
        with pytest.raises(TypeError, match="expected what setup returned or a part of it"):
            f(part)


@pytest.mark.parametrize("f", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_state_is_not_copied(f):
    """A copy would step a buffer that no model looks into any more, and nobody would notice."""
    model = chain()
    opt = flux.setup(flux.Adam(), model)
    for x in (opt, (model, opt)) if f is not copy.copy else (opt,):
        with pytest.raises(TypeError, match="belongs to the arrays of its model and can't be copied or pickled"):
            f(x)


def test_arrays_that_share_memory_are_refused():
    weight = np.ones((3, 3))
    for model in ({"a": weight, "b": weight.T}, {"a": weight, "b": weight[1:]}, {"b": weight[2:], "a": weight}):
        with pytest.raises(ValueError, match="share memory without being the same array"):
            flux.setup(flux.Descent(), model)
    flux.setup(flux.Descent(), {"a": weight[:2], "b": weight[2:], "empty": weight[:0]})
    flux.setup(flux.Descent(), {"a": weight[:, :1], "b": weight[:, 1:]})  # in between each other, but apart

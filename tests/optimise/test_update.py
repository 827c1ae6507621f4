"""update: a step over flat buffers, in blocks, is the step of the rule on every array by itself."""

import copy
import dataclasses
from collections import namedtuple
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyflux as flux
from tinyflux.optimise import plan

Pair = namedtuple("Pair", "left right")
SHAPES = [(), (0,), (1,), (5,), (3, 4), (2, 0, 3), (2, 3, 2), (40,)]


class Node:
    def __init__(self, *children):
        self.name, self.function = "node", np.tanh
        self.__dict__.update({f"child{i}": child for i, child in enumerate(children)})


def nodes(children):
    several = st.lists(children, min_size=1, max_size=4)
    return st.one_of(
        several,
        several.map(tuple),
        several.map(lambda items: {f"key {i}": child for i, child in enumerate(items)}),
        several.map(lambda items: Node(*items)),
        st.tuples(children, children).map(lambda pair: Pair(*pair)),
    )


# Leaves are drawn as numbers, of arrays in a pool: one that is drawn twice is tied.
trees = st.recursive(st.integers(0, 6), nodes, max_leaves=8)
pools = st.lists(st.tuples(st.sampled_from(SHAPES), st.sampled_from([np.float32, np.float64])), min_size=7, max_size=7)


def built(node, pool):
    """The drawn tree with arrays for the numbers; containers are fresh."""
    if isinstance(node, int):
        return pool[node]
    if isinstance(node, Node):
        return Node(*[built(child, pool) for name, child in vars(node).items() if name.startswith("child")])
    if isinstance(node, dict):
        return {key: built(child, pool) for key, child in node.items()}
    items = [built(child, pool) for child in node]
    return Pair(*items) if isinstance(node, Pair) else type(node)(items)


def drawn_gradient(node, pool, rng, collected):
    """A gradient tree with None at leaves and branches, in any memory order; `collected` gets them by array."""
    if rng.random() < 0.15:
        return None
    if isinstance(node, int):
        x = pool[node]
        g = np.asarray(rng.standard_normal(x.shape), x.dtype)
        g = [g, g.T.copy().T, np.repeat(g[..., None], 2, -1)[..., 0]][rng.integers(3)]
        collected.setdefault(node, []).append(g)
        return g
    if isinstance(node, Node):
        children = [child for name, child in vars(node).items() if name.startswith("child")]
        return Node(*[drawn_gradient(child, pool, rng, collected) for child in children])
    if isinstance(node, dict):
        return {key: drawn_gradient(child, pool, rng, collected) for key, child in node.items()}
    items = [drawn_gradient(child, pool, rng, collected) for child in node]
    return Pair(*items) if isinstance(node, Pair) else type(node)(items)


@settings(max_examples=150)
@given(
    trees,
    pools,
    st.integers(0, 2**32),
    st.sampled_from([8, 16, 40, 96, 1 << 17]),
    st.sampled_from([flux.Descent(0.1), flux.Adam(0.1, (0.5, 0.9), 1e-3)]),
)
def test_a_step_is_the_rule_on_every_array(drawn, pool, seed, block_bytes, rule):
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal(shape).astype(dtype) for shape, dtype in pool]
    xs = [a.copy() for a in arrays]
    states = [rule.init(x) for x in xs]
    model = built(drawn, arrays)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "BLOCK_BYTES", block_bytes)
        opt, begun = flux.setup(rule, model), False
        opt.native = False  # whose products and sums are rounded once
        for _ in range(4):
            collected = {}
            grads = drawn_gradient(drawn, arrays, rng, collected)
            begun = begun or bool(collected)  # after that a batch may have no gradient
            with nullcontext() if begun else pytest.raises(ValueError, match="no gradient by any"):
                flux.update(opt, model, grads)
            for i, gradients in collected.items():
                total = gradients[0]
                for g in gradients[1:]:
                    total = total + g
                states[i], delta = rule.apply(states[i], xs[i], total)
                xs[i] = np.asarray(xs[i] - delta)
            leaves = {leaf.path: leaf for leaf in opt._leaves}
            for (path, got), i in zip(flux.tree.walk(model), numbers(drawn), strict=True):
                assert got.dtype == xs[i].dtype
                np.testing.assert_array_equal(got, xs[i])
                if path in leaves:  # tied arrays have a leaf at one of their places
                    for s, expected in zip(leaves[path].state, states[i], strict=True):
                        np.testing.assert_array_equal(s, expected)


def numbers(node):
    if isinstance(node, int):
        return [node]
    children = node.values() if isinstance(node, dict) else node
    if isinstance(node, Node):
        children = [child for name, child in vars(node).items() if name.startswith("child")]
    return [number for child in children for number in numbers(child)]


@pytest.mark.parametrize("size", [1, 15, 16, 17, 31, 32, 33, 48, 100])
@pytest.mark.parametrize("neighbours", [(), (1,), (15,), (16, 3), (7, 8, 40)])
def test_edges_of_blocks(size, neighbours, monkeypatch):
    """Blocks of 16 numbers; every element is stepped exactly once, and so is the count."""
    monkeypatch.setattr(plan, "BLOCK_BYTES", 16 * 8)
    model = [np.zeros(n) for n in (*neighbours, size, 5)]
    opt = flux.setup(flux.Adam(1.0, (0.5, 0.5), 0.0), model)
    for t in range(1, 4):
        flux.update(opt, model, [np.arange(1.0, a.size + 1) for a in model])
        assert {leaf.state[2:] for leaf in opt} == {(0.5**t, 0.5**t)}
    for a in model:
        np.testing.assert_allclose(a, -3.0)
    assert all(x.size <= 16 for group in opt._layout.plan(()).groups for x, _, _ in group.blocks)


def test_models_are_stepped_in_place():
    model = flux.Chain(flux.Dense(3, 2), flux.Dense(2, 1))
    opt = flux.setup(flux.Descent(0.5), model)
    arrays = flux.leaves(model)
    before = [a.copy() for a in arrays]
    assert flux.update(opt, model, flux.tree.map(np.ones_like, model)) is None
    assert all(a is b for a, b in zip(flux.leaves(model), arrays, strict=True))
    for a, b in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(a, b - np.float32(0.5))
    assert all(a.dtype == np.float32 for a in arrays)


def test_a_gradient_of_another_precision():
    model = [np.ones(3, np.float32), np.ones(2, np.float32)]
    flux.update(flux.setup(flux.Adam(0.5), model), model, [np.ones(3), np.ones(2, np.float32)])
    assert [a.dtype for a in model] == [np.float32, np.float32]
    np.testing.assert_allclose(model[0], 0.5)


def test_gradients_are_left_as_they_are():
    model = [np.ones(3), np.ones((2, 2))]
    gradients = [np.arange(3.0), np.arange(4.0).reshape(2, 2)]
    for rule in (flux.Descent(), flux.Adam()):
        flux.update(flux.setup(rule, model), model, gradients)
    np.testing.assert_array_equal(gradients[0], [0, 1, 2])
    np.testing.assert_array_equal(gradients[1], [[0, 1], [2, 3]])


def test_parameters_as_their_own_gradient():
    model = [np.ones(3), np.full(2, 3.0)]
    opt = flux.setup(flux.Descent(0.5), model)
    flux.update(opt, model, model)
    np.testing.assert_array_equal(np.concatenate(model), [0.5, 0.5, 0.5, 1.5, 1.5])


def test_without_a_gradient_the_state_stays():
    model = {"a": np.ones(2), "b": np.ones(2), "c": [np.ones(2)]}
    opt = flux.setup(flux.Adam(0.1), model)
    flux.update(opt, model, {"a": np.ones(2), "b": None, "c": None})
    flux.update(opt, model, {"a": np.ones(2), "b": np.ones(2), "c": [None]})
    assert opt["a"].state[2] == pytest.approx(0.9**2)
    assert opt["b"].state[2] == pytest.approx(0.9)
    assert opt["c"][0].state[2] == 1
    np.testing.assert_allclose(model["a"], 0.8)
    np.testing.assert_allclose(model["b"], 0.9)
    np.testing.assert_array_equal(model["c"][0], 1)
    np.testing.assert_array_equal(opt["c"][0].state[0], 0)


def test_without_any_gradient():
    """As of a loss that has taken the parameters from elsewhere; where all are frozen there is nothing to step."""
    model, opt = prepared()
    for grads in (flux.gradient(lambda m: np.sum(flux.Dense(2, 3)(np.ones(2)) ** 2), model), None):
        refused("update: the loss has no gradient by any of the parameters that are to be trained", opt, model, grads)
    grads = flux.gradient(lambda m: np.sum(m[0](np.ones(3))), model)
    flux.freeze(opt[0])
    refused("that are to be trained, only by frozen ones", opt, model, grads)
    flux.freeze(opt)
    for some in (grads, None):
        flux.update(opt, model, some)


def test_tied_arrays_take_the_sum():
    w = np.ones(2)
    model = {"in": w, "out": w, "b": np.ones(1)}
    opt = flux.setup(flux.Adam(1.0, (0.5, 0.5), 0.0), model)
    flux.update(opt, model, {"in": np.array([1.0, 1.0]), "out": np.array([1.0, -3.0]), "b": None})
    np.testing.assert_array_equal(model["in"], [0, 2])
    assert opt["in"].state[2] == 0.5
    np.testing.assert_array_equal(opt["in"].state[0], [1, -1])
    flux.update(opt, model, {"in": None, "out": np.array([1.0, 1.0]), "b": None})
    assert opt["in"].state[2] == 0.25
    kept = model["in"].copy()
    flux.update(opt, model, {"in": None, "out": None, "b": np.ones(1)})
    np.testing.assert_array_equal(model["in"], kept)
    assert opt["b"].state[2] == 0.5


def test_tied_layers_learn():
    layer = flux.f64(flux.Dense(2, 2, bias=False))
    model = flux.Chain(layer, layer)
    opt = flux.setup(flux.Descent(0.1), model)
    x, w = np.eye(2), layer.weight.copy()
    expected = flux.gradient(lambda w: np.sum((x @ w.T @ w.T) ** 2), w)
    flux.update(opt, model, flux.gradient(lambda m: np.sum(m(x) ** 2), model))
    np.testing.assert_allclose(model[0].weight, w - 0.1 * expected, rtol=1e-12)
    assert model[1].weight is model[0].weight


@dataclasses.dataclass(frozen=True)
class Counting:
    """Descent that counts its steps."""

    eta: float = 0.1

    def init(self, x):
        return np.zeros_like(x), 0

    def apply(self, state, x, g):
        return (state[0] + 1, state[1] + 1), self.eta * g


def test_neighbours_part_and_meet_again():
    """Freezing, adjusting and gradients that are missing cut the buffer anew; every leaf keeps its own count."""
    model = [np.zeros(2) for _ in range(4)]
    opt = flux.setup(Counting(1.0), model)
    ones = [np.ones(2)] * 4
    assert len(opt._layout.plan(()).groups) == 1
    flux.update(opt, model, ones)
    flux.freeze(opt[1])
    flux.adjust(opt[2], eta=10.0)
    flux.update(opt, model, ones)
    flux.update(opt, model, [None, *ones[1:]])
    flux.thaw(opt[1])
    flux.adjust(opt[2], eta=1.0)
    flux.update(opt, model, ones)
    assert [leaf.state[1] for leaf in opt] == [3, 2, 4, 4]
    for leaf in opt:
        np.testing.assert_array_equal(leaf.state[0], leaf.state[1])
    assert [-a[0] for a in model] == [3, 2, 22, 4]


# What is refused, and that nothing has changed then


def prepared():
    model = flux.f64(flux.Chain(flux.Dense(3, 2), flux.Dense(2, 1)))
    return model, flux.setup(Counting(), model)


def snapshot(opt):
    return [leaf.view.copy() for leaf in opt._leaves] + [np.copy(s) for leaf in opt._leaves for s in leaf.state]


def refused(message, opt, model, grads, error=ValueError):
    before = snapshot(opt)
    with pytest.raises(error, match=message):
        flux.update(opt, model, grads)
    for a, b in zip(snapshot(opt), before, strict=True):
        np.testing.assert_array_equal(a, b)


STALE = r"update: the parameter \.layers\[1\]\.weight is not the array that setup prepared. If it was replaced, "


def test_a_replaced_array():
    model, opt = prepared()
    grads = flux.tree.map(np.ones_like, model)
    model[1].weight = model[1].weight * 2
    refused(STALE, opt, model, grads)


def test_a_copy_of_the_model():
    model, opt = prepared()
    grads = flux.tree.map(np.ones_like, model)
    for other in (copy.deepcopy(model), flux.f64(model)):
        refused(r"\.layers\[0\]\.weight is not .* a copy of the model, call setup for the copy", opt, other, grads)
    refused("the parameter array is not", flux.setup(flux.Descent(), np.ones(2)), np.ones(2), np.ones(2))


@pytest.mark.parametrize("shape", [(3, 2), (2, 1), (2, 3, 1), (), (6,)])
def test_a_gradient_of_another_shape(shape):
    model, opt = prepared()
    grads = flux.tree.map(np.ones_like, model)
    grads[0].weight = np.ones(shape)
    refused(r"the gradient of \.layers\[0\]\.weight has shape \(.*\), the parameter \(2, 3\)", opt, model, grads)


def test_a_wrong_shape_at_the_last_parameter():
    model, opt = prepared()
    grads = flux.tree.map(np.ones_like, model)
    grads[1].bias = np.ones(2)
    refused(r"\.layers\[1\]\.bias has shape \(2,\), the parameter \(1,\)", opt, model, grads)
    w = np.ones(2)
    opt = flux.setup(Counting(), tied := [w, w])
    refused(r"the gradient of \[1\] has shape", opt, tied, [np.ones(2), np.ones(1)])
    opt = flux.setup(Counting(), root := np.ones(2))
    refused(r"the gradient of the array has shape \(1,\), the parameter \(2,\)", opt, root, np.ones(1))


def test_trees_of_another_shape():
    model, opt = prepared()
    grads = flux.tree.map(np.ones_like, model)
    for other in (grads[0], {}, [grads], flux.Chain(grads[0])):
        refused("expected a tree of the shape that setup was given; nothing stands at '.layers", opt, model, other)
        refused("expected a tree of the shape that setup was given; nothing stands at '.layers", opt, other, grads)
    refused("expected a tree of the shape", opt, None, grads)


def test_a_number_for_a_gradient():
    model, opt = prepared()
    grads = flux.tree.map(np.ones_like, model)
    grads[1].bias = 1.0
    refused(r"an array as the gradient of \.layers\[1\]\.bias, got a float", opt, model, grads, TypeError)

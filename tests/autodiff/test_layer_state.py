"""The state of layers, what a class names in `buffers`: it is kept when a gradient has been taken."""

import types

import numpy as np
import pytest

import tinyflux as flux

RNG = np.random.default_rng(0)
A, B, X = RNG.standard_normal((3, 3)), RNG.standard_normal((3, 3)), RNG.standard_normal(3)


def same(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


class Normalised:
    """A layer with a running mean, as batch normalisation has one: state, which no gradient flows through."""

    buffers = ("mean", "last")

    def __init__(self):
        self.scale, self.mean = np.ones(3), np.zeros(3)

    def __call__(self, x):
        self.mean = 0.9 * self.mean + 0.1 * np.mean(x, axis=0)
        self.last = [x, {"scale": self.scale}]
        return self.scale * x


class Counting:
    buffers = ("seen",)

    def __init__(self):
        self.seen = np.zeros(3)

    def __call__(self, x):
        self.seen = self.seen + np.sum(x, axis=0)
        return x


def test_layers_keep_their_state():
    weight, x = B.copy(), RNG.standard_normal((5, 3))
    model = [{"w": weight}, Normalised(), Counting()]

    def loss(m):
        return np.sum(m[2](m[1](x @ m[0]["w"])) ** 2)

    first = flux.gradient(loss, model)
    second = flux.gradient(loss, model)
    z = x @ B
    same(second[0]["w"], first[0]["w"])
    same(first[0]["w"], 2 * x.T @ z)
    same(model[1].mean, (0.1 + 0.9 * 0.1) * z.mean(axis=0))
    same(model[2].seen, 2 * z.sum(axis=0))
    same(model[1].last[0], z)
    layer = model[1]
    assert [type(x) for x in (layer.mean, layer.last[0], layer.last[1]["scale"])] == [np.ndarray] * 3
    assert type(model[2].seen) is np.ndarray
    assert (second[1].mean, second[1].last, second[2].seen) == (None, [None, {"scale": None}], None)
    assert model[1].scale is not first[1].scale
    same(model[1].scale, np.ones(3))


def test_layers_keep_their_state_where_the_function_fails():
    model = [Normalised(), Counting()]

    def fails(m):
        m[1](m[0](A * m[0].scale))
        raise KeyError("later")

    with pytest.raises(KeyError):
        flux.gradient(fails, model)
    same(model[0].mean, 0.1 * A.mean(axis=0))
    same(model[1].seen, A.sum(axis=0))
    assert type(model[1].seen) is np.ndarray


def test_state_in_nested_gradients():
    """It is a constant for later gradients, and for the one that is being taken what it was calculated from."""
    counting = Counting()

    def outer(m):
        slope = flux.gradient(lambda m: np.sum(m[1](m[0][None] * X) ** 2), m)[0]  # of y²x² for y: 2yx²
        return slope @ X + np.sum(m[1].seen * X)  # seen is yx

    same(flux.gradient(outer, [X, counting])[0], 2 * X**3 + X**2)
    same(counting.seen, X * X)
    assert type(counting.seen) is np.ndarray


def test_what_is_put_into_the_layer_itself_stays():
    layer = Normalised()

    def f(m):
        layer.mean = np.full(3, 7.0)  # not that of the copy, m
        return np.sum(m.scale)

    flux.gradient(f, layer)
    same(layer.mean, np.full(3, 7.0))


def test_a_layer_in_two_places():
    layer = Normalised()
    for f in (lambda m: np.sum(m[0](A)), lambda m: np.sum(m[1](A))):  # one of them is called
        layer.mean = np.zeros(3)
        flux.gradient(f, [layer, layer])
        same(layer.mean, 0.1 * A.mean(axis=0))
    with pytest.raises(
        ValueError, match="a Normalised stands in several places of the model, and its mean would become"
    ):
        flux.gradient(lambda m: np.sum(m[0](m[1](A))), [layer, layer])
    with pytest.raises(ZeroDivisionError):  # what went wrong first
        flux.gradient(lambda m: np.sum(m[0](m[1](A))) + 1 / 0, [layer, layer])
    counting = Counting()  # without parameters it is one
    flux.gradient(lambda m: np.sum(m[0](m[1](A * m[2]))), [counting, counting, X])
    same(counting.seen, 2 * np.sum(A * X, axis=0))
    assert type(counting.seen) is np.ndarray


class Mean:
    """A layer that keeps a running mean, without being a part of what is differentiated."""

    buffers = ("mean",)

    def __init__(self):
        self.mean = np.zeros(3)

    def __call__(self, x):
        self.mean = 0.9 * self.mean + 0.1 * np.mean(x, axis=0)
        return x - self.mean


def test_a_layer_outside_of_the_model():
    """As the other half of a pair of models that are trained in turns."""
    layer, mean = Mean(), np.zeros(3)
    for _ in range(3):
        g = flux.gradient(lambda x: np.sum(layer(2 * x) ** 2), A)
        mean = 0.9 * mean + 0.1 * np.mean(2 * A, axis=0)
        slope = 2 * (2 * A - mean)
        np.testing.assert_allclose(g, 2 * (slope - 0.1 * np.mean(slope, axis=0)), rtol=1e-12)
        np.testing.assert_allclose(np.asarray(layer.mean), mean, rtol=1e-12)
    assert type(layer.mean.value) is np.ndarray  # not a box in a box in a box


class Centred:
    """Subtracts the running mean, as it is with this batch; the gradient flows through it."""

    buffers = ("mean",)

    def __init__(self):
        self.scale, self.mean = np.array([1.0, 2.0, 3.0]), np.ones(3)

    def __call__(self, x):
        self.mean = 0.9 * self.mean + 0.1 * np.mean(x, axis=0)
        return self.scale * (x - self.mean)


def test_gradcheck_evaluates_one_state():
    layers = [Centred(), Counting()]
    flux.gradcheck(lambda layers, x: np.sin(layers[1](layers[0](x)) + layers[1].seen), layers, A)
    same(layers[0].mean, np.ones(3))
    same(layers[1].seen, np.zeros(3))


class Listed:
    """Parameters, a counter and a note in one list."""

    def __init__(self):
        self.parts = [np.ones(3), 0, None]

    def __call__(self, x):
        self.parts[1] += 1
        self.parts[2] = "seen"
        return self.parts[0] * x


def test_numbers_beside_parameters_in_a_list_stay():
    model = [Listed(), [np.ones(3), 5]]

    def loss(m):
        m[1][1] -= 2
        return np.sum(m[0](m[0](X) * m[1][0]))

    grads = flux.gradient(loss, model)
    assert (model[0].parts[1:], model[1][1]) == ([2, "seen"], 3)
    same(grads[0].parts[0], 2 * X)
    same(model[0].parts[0], np.ones(3))


def test_a_list_of_parameters_keeps_its_length():
    for change in (lambda x: x.append(np.ones(3)), lambda x: x.pop(), lambda x: x.insert(0, 1.0)):
        model = [np.ones(3), 5]

        def loss(m, change=change):
            value = np.sum(m[0])
            change(m)
            return value

        with pytest.raises(ValueError, match=r"makes [13] items of a list of 2 .* call setup again"):
            flux.gradient(loss, model)
        assert len(model) == 2


def test_a_list_in_two_places_that_counts():
    shared = [np.ones(3), 0]

    def loss(m):
        m[0][1] += 1
        m[1][1] += 1
        return np.sum(m[0][0] * m[1][0])

    with pytest.raises(ValueError, match="a list stands in several places of the model, and its item 1 would become"):
        flux.gradient(loss, [shared, shared])


def test_an_update_that_fails_puts_a_list_back():
    model = Listed()
    opt = flux.setup(flux.Descent(0.1), model)
    with pytest.raises(flux.NonFiniteLoss):
        flux.train(lambda m, x: np.sum(m(x)) * np.nan, model, [X], opt)
    assert model.parts[1:] == [0, None]


@pytest.mark.parametrize(
    "put", [lambda m: m.seen.append(m.w), lambda m: m.seen.append(2 * m.w), lambda m: m.last.update(y=[2 * m.w])]
)
def test_what_is_put_into_a_node_without_parameters_is_refused_and_put_back(put):
    """Else a box of the gradient that has been taken would stay in the model."""
    model = types.SimpleNamespace(w=np.ones(2), seen=["a"], last={"n": "b"})

    def f(m):
        put(m)
        return np.sum(m.w)

    for _ in range(2):
        with pytest.raises(ValueError, match=r"puts what it has calculated into a (list|dict) of its argument"):
            flux.gradient(f, model)
        assert (model.seen, model.last) == (["a"], {"n": "b"})


def test_a_constant_that_is_put_into_a_list_stays_there():
    model = types.SimpleNamespace(w=np.ones(2), seen=[])
    flux.gradient(lambda m: (m.seen.append(3.0), np.sum(m.w))[1], model)
    assert model.seen == [3.0]

"""Dropout, its random numbers, and the modes of layers."""

import copy
import warnings

import numpy as np
import pytest

import tinyflux as flux


def normal(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def test_dropout_is_active_inside_a_gradient_only():
    layer, x = flux.Dropout(0.5, seed=0), np.ones((100, 100), np.float32)
    assert layer(x) is x
    y, g = flux.withgradient(lambda x: (np.sum(layer(x)), layer(x)), x)
    assert g.dtype == y[1].dtype == np.float32
    assert set(np.unique(g)) == {0, 2}
    assert layer(x) is x


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9])
def test_dropout_keeps_the_mean(p):
    layer = flux.trainmode(flux.Dropout(p, seed=0))
    y = layer(np.ones((400, 500)))
    assert np.mean(y == 0) == pytest.approx(p, abs=0.01)
    np.testing.assert_allclose(y[y != 0], 1 / (1 - p), rtol=1e-15)
    assert y.mean() == pytest.approx(1, abs=0.02)


def test_dropout_at_its_ends():
    x = np.ones((3, 4), np.float32)
    assert flux.trainmode(flux.Dropout(0))(x) is x
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = flux.trainmode(flux.Dropout(1))(x)
    assert (y == 0).all()
    assert y.dtype == np.float32
    for p in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="p to be a probability from 0 to 1"):
            flux.Dropout(p)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "1", np.random.default_rng(0)])
def test_dropout_refuses_a_key_that_is_no_64_bits(seed):
    with pytest.raises((ValueError, TypeError), match=r"seed to be an integer, at least 0|a seed below 2"):
        flux.Dropout(0.5, seed=seed)


def kept(layer, shape, dtype=np.float64):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # NumPy's of overflow
        return flux.trainmode(layer)(np.ones(shape, dtype)) != 0


def splitmix64(key, position):
    """One output, in Python's integers: as in the article, Steele, Lea, Flood 2014, figure 16."""
    mask = 2**64 - 1
    z = (key + (position + 1) * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def test_splitmix64_by_hand_gives_the_published_numbers():
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert [splitmix64(1234567, i) for i in range(4)] == published


@pytest.mark.parametrize("key", [0, 1234567, 2**64 - 1])
@pytest.mark.parametrize("position", [0, 7, 2**63, 2**64 - 3])
@pytest.mark.parametrize("p", [0.1, 0.5, 1 / 3, 0.999, 1 - 2**-24])
def test_dropout_is_splitmix64(key, position, p):
    layer = flux.Dropout(p, seed=key)
    layer.state = np.array([key, position], np.uint64)
    for shape in [(2, 3), (5,), (), (0, 4), (1,)]:
        size = int(np.prod(shape))
        expected = [(splitmix64(key, position + i) >> 40) * 2.0**-24 >= p for i in range(size)]
        np.testing.assert_array_equal(kept(layer, shape), np.reshape(expected, shape))
        position = (position + size) % 2**64
        assert layer.state.dtype == np.uint64
        assert layer.state.tolist() == [key, position]


def test_large_dropout_is_that_of_its_parts():
    parts = [kept(layer, (1000, 60)) for layer in [flux.Dropout(0.3, seed=5)] for _ in range(4)]
    np.testing.assert_array_equal(kept(flux.Dropout(0.3, seed=5), (4000, 60)), np.concatenate(parts))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dropout_keeps_dtype_and_shape(dtype):
    layer = flux.trainmode(flux.Dropout(0.25, seed=0))
    for shape in [(), (3,), (0, 2), (2, 3, 4), (70_000, 2)]:
        y = layer(np.ones(shape, dtype))
        assert (y.shape, y.dtype) == (shape, dtype)
        assert set(np.unique(y)) <= {0, dtype(1 / 0.75)}
    assert layer(np.ones((2, 3), int)).dtype == np.float64


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_statistics(p):
    """A million elements: the share that is kept, and the correlation of neighbours, calls and layers, within 4σ."""
    n = 1_000_000
    flux.seed(0)
    layer, other = flux.Dropout(p), flux.Dropout(p)
    first, second, third = kept(layer, n), kept(layer, n), kept(other, n)
    sigma = np.sqrt(p * (1 - p) / n)
    for mask in (first, second, third):
        assert abs(mask.mean() - (1 - p)) < 4 * sigma
    pairs = [(first[:-k], first[k:]) for k in (1, 2, 3, 60, 64, 1024)]  # elements, and rows of a batch
    pairs += [(first, second), (first, third), (second, third), (first[:-1], second[1:])]
    pairs.append((kept(flux.Dropout(p, seed=0), n), kept(flux.Dropout(p, seed=1), n)))
    for a, b in pairs:
        correlation = np.mean((a - (1 - p)) * (b - (1 - p))) / (p * (1 - p))
        assert abs(correlation) < 4 / np.sqrt(n)


def test_dropout_follows_the_seed_and_draws_anew():
    def masks():
        flux.seed(1)
        layers = flux.Dropout(0.5), flux.Dropout(0.5)
        return [kept(layer, 64) for layer in layers for _ in range(2)]

    first, again = masks(), masks()
    np.testing.assert_array_equal(first, again)
    assert len({mask.tobytes() for mask in first}) == 4


class WithDropout:
    """A layer of one's own, with parameters and a Dropout: taking a gradient copies it, and must not copy that."""

    def __init__(self):
        self.weight = normal(3, 3)
        self.drop = flux.Dropout(0.5, seed=3)

    def __call__(self, x):
        return self.drop(x @ self.weight)


def test_training_moves_on_the_state_of_the_model_itself():
    model = flux.f64(flux.Chain(flux.Dense(4, 3), flux.Dropout(0.5, seed=2), WithDropout()))
    opt = flux.setup(flux.Descent(0.1), model)
    seen = []

    def loss(model, x):
        y = model(x)
        return np.sum(y * y), y

    x = normal(5, 4)
    for _ in range(3):
        (_, y), grads = flux.withgradient(lambda m: loss(m, x), model)
        flux.update(opt, model, grads)
        seen.append((y != 0).tobytes())
    assert model[1].state.tolist() == [2, 45]
    assert model[2].drop.state.tolist() == [3, 45]
    assert len(set(seen)) == 3
    assert flux.parameter_count(model) == 15 + 9


def test_the_state_of_dropout_is_no_parameter():
    model = flux.Chain(flux.Dense(3, 3), flux.Dropout(0.5, seed=2))
    assert [path for path, _ in flux.tree.walk(model)][-1] == ".layers[1].state"
    assert len(flux.parameters(model)) == 2
    for converted in (flux.f64(model), flux.f32(model)):
        assert converted[1].state.dtype == np.uint64
        assert converted[1].state.tolist() == [2, 0]
    flat, rebuild = flux.destructure(model)
    assert flat.size == 12
    assert rebuild(flat)[1].state.tolist() == [2, 0]


def test_a_deep_copy_has_a_state_of_its_own():
    layer = flux.Dropout(0.5)
    copied = copy.deepcopy(layer)
    first = kept(layer, 64)
    assert copied.state[1] == 0
    np.testing.assert_array_equal(kept(copied, 64), first)
    held = copied.state
    kept(copied, 1)
    assert held[1] == 64  # a call makes a new array: what was taken out stays as it was


def test_dropout_gradient_uses_the_mask_of_the_forward_pass():
    layer, x = flux.Dropout(0.5), normal(6, 5)

    def f(x):
        y = layer(x)
        return np.sum(y * y), y

    (_, y), g = flux.withgradient(f, x)
    np.testing.assert_allclose(g, 4 * y)  # y = 2·x·kept: dy²/dx = 2·y·2


def test_modes_reach_every_layer():
    model = flux.Chain(
        flux.Dropout(0.5),
        flux.SkipConnection(flux.Chain(flux.Dropout(0.5)), np.add),
        flux.Parallel(np.add, flux.Dropout(0.5)),
    )
    dropouts = [model[0], model[1].layer[0], model[2].branches[0]]

    def modes():
        (mode,) = {layer.active for layer in dropouts}
        return mode

    assert modes() is None
    assert flux.trainmode(model) is model
    assert modes() is True
    assert flux.testmode(model) is model
    assert modes() is False
    for switch, mode, expected in [
        (flux.trainmode, False, False),
        (flux.testmode, False, True),
        (flux.trainmode, "auto", None),
        (flux.testmode, True, False),
        (flux.testmode, None, None),
        (flux.trainmode, True, True),
        (flux.testmode, "auto", None),
    ]:
        switch(model, mode)
        assert modes() is expected
    with pytest.raises(ValueError, match="got 'on'"):
        flux.trainmode(model, "on")


def test_forced_modes():
    x = np.ones((20, 20))
    layer = flux.testmode(flux.Dropout(0.5))
    assert (flux.gradient(lambda x: np.sum(layer(x)), x) == 1).all()
    assert (flux.trainmode(layer)(x) == 0).any()


@pytest.mark.parametrize("dims", [(0, -1), (0, 3), -1, (0, 1, 2, 3), 0, ()])
def test_axes_that_are_not_named_share_one_number(dims):
    shape = (3, 4, 5, 6)
    named = [i % 4 for i in (dims if isinstance(dims, tuple) else (dims,))]
    own = tuple(n if i in named else 1 for i, n in enumerate(shape))
    layer = flux.Dropout(0.4, seed=3, dims=dims)
    mask = kept(layer, shape)
    np.testing.assert_array_equal(mask, np.broadcast_to(kept(flux.Dropout(0.4, seed=3), own), shape))
    assert layer.state.tolist() == [3, int(np.prod(own))]

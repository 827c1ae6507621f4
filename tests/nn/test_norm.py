"""Layers that normalise: their formulas, running numbers, modes, differences, compiled training, and refusals."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinyflux as flux
from tinyflux.compile.backends.c.build import available

from ..support.compiling import agree
from ..support.training_cases import _seeded as _seeded  # a fixture
from ..support.training_cases import check, mse

compiled = pytest.mark.skipif(not available(), reason="there is no C compiler here")


def drawn(data, least, most, channels):
    """Numbers of a drawn shape, at least two for each channel, far from equal."""
    d = data.draw(st.integers(least, most))
    shape = [data.draw(st.integers(2, 4)), *(data.draw(st.integers(2, 3)) for _ in range(d)), channels]
    return np.random.default_rng(data.draw(st.integers(0, 99))).normal(size=shape)


def with_numbers(layer, seed=0):
    """A layer in float64 whose weight, bias and running numbers are no longer ones and zeros."""
    layer, rng = flux.f64(layer), np.random.default_rng(seed)
    for name in ("weight", "bias", "running_mean", "running_var"):
        if getattr(layer, name, None) is not None:
            setattr(layer, name, rng.uniform(0.5, 1.5, size=getattr(layer, name).shape))
    return layer


def formula(x, axis, layer, activation=np.tanh):
    mean, var = x.mean(axis, keepdims=True), x.var(axis, keepdims=True)
    return activation((x - mean) / np.sqrt(var + layer.epsilon) * layer.weight + layer.bias)


@given(st.data())
def test_batchnorm_in_training_is_its_formula(data):
    x = drawn(data, 0, 3, 3)
    momentum = data.draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    layer = flux.trainmode(with_numbers(flux.BatchNorm(3, np.tanh, momentum=momentum, epsilon=1e-3)))
    axis = tuple(range(x.ndim - 1))
    before = copy.deepcopy(layer)
    np.testing.assert_allclose(layer(x), formula(x, axis, layer), rtol=1e-12, atol=1e-12)
    for name, now in (("running_mean", x.mean(axis)), ("running_var", x.var(axis, ddof=1))):
        expected = (1 - momentum) * getattr(before, name) + momentum * now
        np.testing.assert_allclose(getattr(layer, name), expected, rtol=1e-12)
    flux.gradcheck(lambda layer, x: layer(x), before, x, tolerance=1e-5)


@given(st.data())
def test_batchnorm_in_inference_is_its_formula(data):
    x = drawn(data, 0, 3, 3)
    for layer in (flux.BatchNorm(3, np.tanh), flux.BatchNorm(3, affine=False)):
        layer = flux.testmode(with_numbers(layer))
        before = layer.running_mean.copy(), layer.running_var.copy()
        y = (x - layer.running_mean) / np.sqrt(layer.running_var + 1e-5)
        y = np.tanh(y * layer.weight + layer.bias) if layer.affine else y
        np.testing.assert_allclose(layer(x), y, rtol=1e-12, atol=1e-12)
        flux.gradcheck(lambda x, layer=layer: layer(x), x)
        np.testing.assert_array_equal((layer.running_mean, layer.running_var), before)


@given(st.data())
def test_other_layers_are_their_formulas(data):
    x = drawn(data, 1, 3, 4)
    sizes = x.shape[1 + data.draw(st.integers(0, x.ndim - 2)) :]
    space = tuple(range(1, x.ndim - 1))
    layer = with_numbers(flux.LayerNorm(*sizes, activation=np.tanh, epsilon=1e-3))
    expected = formula(x, tuple(range(x.ndim - len(sizes), x.ndim)), layer)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-12, atol=1e-12)
    flux.gradcheck(lambda layer, x: layer(x), layer, x, tolerance=1e-5)
    layer = with_numbers(flux.InstanceNorm(4, np.tanh, epsilon=1e-3, affine=True))
    np.testing.assert_allclose(layer(x), formula(x, space, layer), rtol=1e-12, atol=1e-12)
    flux.gradcheck(lambda layer, x: layer(x), layer, x, tolerance=1e-5)
    layer = with_numbers(flux.GroupNorm(4, 2, np.tanh, epsilon=1e-3))
    for part in (slice(0, 2), slice(2, 4)):
        one = copy.deepcopy(layer)
        one.weight, one.bias = layer.weight[part], layer.bias[part]
        expected = formula(x[..., part], tuple(range(1, x.ndim)), one)
        np.testing.assert_allclose(layer(x)[..., part], expected, rtol=1e-12, atol=1e-12)
    flux.gradcheck(lambda layer, x: layer(x), layer, x, tolerance=1e-5)


def test_the_weights_gradient_depends_on_the_mean():
    """The derivative for x of the gradient for the weight, taken apart: one inside, the other outside."""
    x = np.random.default_rng(0).normal(size=(5, 2))
    layer = flux.trainmode(flux.f64(flux.BatchNorm(2)))

    def inner(x):
        return flux.gradient(lambda layer: np.sum(np.sin(layer(x))), copy.deepcopy(layer)).weight

    flux.gradcheck(inner, x, order=1)


@compiled
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "layer",
    [
        flux.trainmode(flux.BatchNorm(4, flux.relu, track=False)),
        flux.trainmode(flux.BatchNorm(4, affine=False, track=False)),
        flux.testmode(flux.BatchNorm(4, np.tanh)),
        flux.LayerNorm(5, 4),
        flux.GroupNorm(4, 2),
        flux.InstanceNorm(4, affine=True),
    ],
    ids=repr,
)
def test_compiled_is_the_same(layer, dtype):
    x = np.random.default_rng(0).normal(size=(3, 6, 5, 4)).astype(dtype)
    layer = layer if dtype == np.float32 else flux.f64(layer)

    def f(x):
        return layer(x)

    def first(x):
        return flux.gradient(lambda x: np.sum(np.sin(3 * f(x))), x)

    def second(x):
        return flux.gradient(lambda x: np.sum(np.cos(first(x))), x)

    assert f(x).dtype == dtype
    for function in (f, first, second):
        agree(function, x, tolerance=1e-11 if dtype == np.float64 else 2e-4)


# Training


def images(n=24):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 6, 6, 2)), rng.normal(size=(n, 3))


def network():
    entry = [flux.Conv((3, 3), 2, 4, pad=1, bias=False), flux.BatchNorm(4, flux.relu), flux.MaxPool((2, 2))]
    middle = [flux.Dropout(0.2, dims=(0, 3), seed=1), flux.Conv((2, 2), 4, 4, bias=False)]
    end = [
        flux.BatchNorm(4, flux.tanh, momentum=0.3),
        flux.MeanPool((2, 2)),
        flux.flatten,
        flux.Dense(4, 6, bias=False),
    ]
    return flux.f64(
        flux.Chain(*entry, *middle, *end, flux.BatchNorm(6, affine=False), flux.LayerNorm(6), flux.Dense(6, 3))
    )


@compiled
@pytest.mark.parametrize("batchsize", [5, 16])
def test_training_is_compiled_with_the_same_numbers(batchsize):
    check(mse, network(), images(), flux.Momentum(0.01), batchsize, rtol=1e-10)


@compiled
@pytest.mark.parametrize("batchsize", [7, 700])  # 700: several blocks of rows
def test_rows_are_normalised_over_the_whole_batch(batchsize):
    rng = np.random.default_rng(0)
    model = flux.f64(flux.Chain(flux.Dense(6, 8, bias=False), flux.BatchNorm(8, flux.tanh), flux.Dense(8, 3)))
    check(
        mse, model, (rng.normal(size=(900, 6)), rng.normal(size=(900, 3))), flux.Momentum(0.01), batchsize, rtol=1e-10
    )


def run(model, opt, way, start=0):
    loader = flux.DataLoader(images(), batchsize=8, shuffle=True, rng=np.random.default_rng(start))
    return flux.train(mse, model, loader, opt, epochs=2, compile=way)


@compiled
def test_train_moves_running_numbers_compiled_as_plain():
    models, losses = [network(), network()], []
    models[1] = copy.deepcopy(models[0])
    for model, way in zip(models, (True, False), strict=True):
        losses.append(run(model, flux.setup(flux.Momentum(0.01), model), way))
    np.testing.assert_allclose(*losses, rtol=1e-10)
    ours, theirs = ([(path, x.copy()) for path, x in flux.tree.walk(model)] for model in models)
    for (path, a), (_, b) in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12, err_msg=path)
    assert not (models[0][1].running_mean == 0).any()
    assert models[0][1].active is None
    x = images()[0]
    np.testing.assert_allclose(models[0](x), models[1](x), rtol=1e-9, atol=1e-12)  # in inference
    np.testing.assert_array_equal(models[0](x)[:3], models[0](x[:3]))  # where samples are by themselves


@compiled
@pytest.mark.parametrize("option", [pytest.param(True, marks=compiled), False])
def test_one_layer_in_two_places(option):
    """Without weight and bias it is trained; its running numbers move once at each place, in the order of the calls."""
    x, layer = np.random.default_rng(0).normal(size=(8, 3)), flux.f64(flux.BatchNorm(3, affine=False))
    model = {"scale": np.full(3, 2.0), "layers": [layer, layer]}
    loss = lambda m, x: np.mean(m["layers"][0](np.tanh(m["layers"][1](x) * m["scale"])))  # noqa: E731
    flux.train(loss, model, [x], flux.setup(flux.Descent(0.1), model), compile=option)
    then = np.tanh((x - x.mean(0)) / np.sqrt(x.var(0) + layer.epsilon) * 2)
    for found, start, numbers in (
        (layer.running_mean, 0, [z.mean(0) for z in (x, then)]),
        (layer.running_var, 1, [z.var(0, ddof=1) for z in (x, then)]),
    ):
        np.testing.assert_allclose(found, 0.9 * (0.9 * start + 0.1 * numbers[0]) + 0.1 * numbers[1], rtol=1e-12)
    assert model["layers"][0] is model["layers"][1]


@pytest.mark.parametrize("option", [pytest.param(True, marks=compiled), False])
def test_two_layers_with_one_weight(option):
    """What the error for one layer in two places says to do."""
    first, second = (flux.f64(flux.BatchNorm(3)) for _ in range(2))
    model, x = flux.Chain(first, np.tanh, first), np.random.default_rng(0).normal(size=(8, 3)) + 1
    loss = lambda m, x: np.mean(m(x) ** 4)  # noqa: E731
    with pytest.raises(ValueError, match=r"a BatchNorm stands in several .*\(b\.weight = a\.weight\)"):
        flux.train(loss, model, [x], flux.setup(flux.Descent(0.1), model), compile=option)
    second.weight, second.bias = first.weight, first.bias
    model = flux.Chain(first, np.tanh, second)
    parts = flux.gradient(loss, model, x)[0]
    flux.train(loss, model, [x], flux.setup(flux.Descent(0.1), model), compile=option)
    np.testing.assert_allclose(first.weight, 1 - 0.1 * (parts[0].weight + parts[2].weight), rtol=1e-12)
    assert first.weight is second.weight
    assert not np.allclose(first.running_mean, second.running_mean)


@pytest.mark.parametrize("way", [True, False])
def test_a_checkpoint_holds_running_numbers(tmp_path, way):
    model = network()
    opt = flux.setup(flux.Momentum(0.01), model)
    run(model, opt, way)
    flux.save(tmp_path / "run.npz", model, opt)
    losses = run(model, opt, way, start=1)
    other = network()
    other_opt = flux.setup(flux.Momentum(0.01), other)
    flux.load(tmp_path / "run.npz", other, other_opt)
    assert (other[1].running_var != 1).all()
    assert run(other, other_opt, way, start=1) == losses
    for a, b in zip(flux.leaves(model), flux.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


@compiled
def test_a_layer_that_is_no_argument_is_not_lost_in_a_compiled_function():
    layer, x = flux.trainmode(flux.BatchNorm(3)), np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    with pytest.raises(flux.NotCompilable, match=r"BatchNorm\(3\) is no argument.*flux\.testmode"):
        flux.compile(lambda x: layer(x))(x)
    with pytest.raises(flux.NotCompilable):
        flux.compile(lambda layer, x: layer(x))(layer, x)
    assert (layer.running_mean == 0).all()
    flux.compile(lambda x: flux.testmode(layer)(x))(x)


def test_a_batch_without_samples_is_normalised_to_one():
    for layer in (flux.GroupNorm(4, 2), flux.LayerNorm(4), flux.BatchNorm(4)):
        assert layer(np.zeros((0, 3, 3, 4))).shape == (0, 3, 3, 4)


def test_modes_choose_between_batch_and_running_numbers():
    x = np.random.default_rng(0).normal(size=(8, 3)) + 5
    layer = flux.f64(flux.BatchNorm(3))
    assert abs(layer(x).mean()) > 1
    assert abs(flux.trainmode(layer)(x).mean()) < 1e-12
    mean = layer.running_mean
    assert abs(flux.gradient(lambda x: np.sum(flux.testmode(layer)(x)), x)).min() > 0.1
    assert layer.running_mean is mean
    flux.trainmode(layer, None)
    y = flux.withgradient(lambda m: (np.sum(m(x)), m(x)), layer)[0][1]
    assert abs(y.mean()) < 1e-12
    assert type(layer.running_mean) is np.ndarray
    assert abs(flux.BatchNorm(3, track=False)(x).mean()) < 1e-6


def test_running_numbers_keep_their_dtype_and_are_no_parameters():
    layer = flux.trainmode(flux.BatchNorm(3))
    layer(np.random.default_rng(0).normal(size=(8, 3)))
    assert layer.running_mean.dtype == layer.running_var.dtype == np.float32
    assert flux.parameter_count(layer) == 6
    assert [path for path, _ in flux.tree.walk(layer)] == [".weight", ".bias", ".running_mean", ".running_var"]
    assert flux.f64(layer).running_var.dtype == np.float64
    assert layer(np.ones((2, 3), np.float32)).dtype == np.float32


def test_large_means_do_not_spoil_the_variance():
    x = np.random.default_rng(0).normal(size=(1000, 2)).astype(np.float32) + np.float32(1000)
    y = flux.trainmode(flux.BatchNorm(2))(x)
    np.testing.assert_allclose(y.std(axis=0), 1, rtol=1e-3)


def test_repr():
    code = {
        "BatchNorm(3, relu)": flux.BatchNorm(3, flux.relu),
        "BatchNorm(3, momentum=0.2, epsilon=0.001, track=False, affine=False)": flux.BatchNorm(
            3, momentum=0.2, epsilon=1e-3, track=False, affine=False
        ),
        "LayerNorm(5, 3, activation=tanh)": flux.LayerNorm(5, 3, activation=flux.tanh),
        "GroupNorm(4, 2, relu)": flux.GroupNorm(4, 2, flux.relu),
        "InstanceNorm(3, affine=True)": flux.InstanceNorm(3, affine=True),
        "MaxPool((3, 3), stride=2, pad='same')": flux.MaxPool((3, 3), stride=2, pad="same"),
        "MeanPool(2, pad=1, count_pad=False)": flux.MeanPool(2, pad=1, count_pad=False),
        "AdaptiveMeanPool(3)": flux.AdaptiveMeanPool(3),
        "GlobalMaxPool()": flux.GlobalMaxPool(),
        "GlobalMeanPool()": flux.GlobalMeanPool(),
        "Upsample(2, 'bilinear', align_corners=False)": flux.Upsample(2, "bilinear", align_corners=False),
        "PixelShuffle(2)": flux.PixelShuffle(2),
        "Dropout(0.5, dims=(0, -1))": flux.Dropout(0.5, dims=(0, -1)),
    }
    for expected, layer in code.items():
        assert repr(layer).split("  ")[0] == expected
        again = eval(expected, vars(flux))
        assert repr(again) == repr(layer)
    layer = flux.trainmode(flux.BatchNorm(3))
    gradient = flux.gradient(lambda m: np.sum(m(np.eye(3))), layer)
    assert repr(gradient).startswith("BatchNorm(3) ")


IMAGE = np.zeros((1, 1, 1, 3), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: flux.BatchNorm(0), ValueError, "channels to be an integer, at least 1, got 0"),
        (lambda: flux.BatchNorm(3, momentum=2), ValueError, "momentum to be a number from 0 to 1, got 2"),
        (lambda: flux.BatchNorm(3, epsilon=0), ValueError, "epsilon to be a number above 0, got 0"),
        (lambda: flux.BatchNorm(3, "relu"), TypeError, "activation to be a function, got 'relu'"),
        (lambda: flux.BatchNorm(3, affine=None), TypeError, "affine to be True or False"),
        (lambda: flux.BatchNorm(3)([1.0]), TypeError, r"BatchNorm\(3\): expected an array, got a list"),
        (lambda: flux.BatchNorm(3)(np.zeros((2, 3, 4))), ValueError, r"shape \(N, \*space, 3\), got.*np.moveaxis"),
        (lambda: flux.BatchNorm(3)(np.zeros(3)), ValueError, r"got shape \(3,\)"),
        (lambda: flux.trainmode(flux.BatchNorm(3))(IMAGE), ValueError, "at least two numbers .* partial=False"),
        (lambda: flux.trainmode(flux.BatchNorm(3))(IMAGE[:0]), ValueError, "at least two numbers for each channel"),
        (lambda: flux.LayerNorm(), TypeError, "expected at least one size"),
        (lambda: flux.LayerNorm(2, 0), ValueError, "size to be an integer, at least 1"),
        (lambda: flux.LayerNorm(4)(IMAGE), ValueError, r"LayerNorm\(4\): expected an input of shape \(..., 4\)"),
        (lambda: flux.GroupNorm(4, 3), ValueError, "groups to divide channels=4, got 3"),
        (lambda: flux.GroupNorm(4, 2)(IMAGE), ValueError, r"expected an input of shape \(N, \*space, 4\)"),
        (lambda: flux.InstanceNorm(3)(IMAGE), ValueError, "images of at least two pixels"),
        (lambda: flux.InstanceNorm(3)(np.zeros((2, 3))), ValueError, r"shape \(N, \*space, 3\), got shape \(2, 3\)"),
        (lambda: flux.MaxPool(0), ValueError, "MaxPool: expected window"),
        (lambda: flux.InstanceNorm(3)(np.zeros((2, 3))), ValueError, "takes a batch, with 1 to 3 axes of space"),
        (lambda: flux.MaxPool(2, (1, 0)), ValueError, "MaxPool: expected stride"),
        (lambda: flux.MaxPool((2, 2), 0), ValueError, "stride .* or a tuple of one to three of them, got 0"),
        (lambda: flux.MaxPool((2, 2), (1, 1, 1)), ValueError, "MaxPool: expected stride .* a tuple of 2 of them"),
        (lambda: flux.MeanPool((2, 2), pad=-1), ValueError, "MeanPool: expected pad .* got -1"),
        (lambda: flux.MaxPool(2)(IMAGE), ValueError, r"MaxPool\(2\): expected images at least as large"),
        (lambda: flux.MeanPool(2, count_pad=3), TypeError, "count_pad to be True or False"),
        (lambda: flux.AdaptiveMeanPool(2)(IMAGE), ValueError, r"AdaptiveMeanPool\(2\): expected images of at least"),
        (lambda: flux.Upsample(2, "area"), ValueError, "mode to be 'nearest' or 'bilinear', got 'area'"),
        (lambda: flux.PixelShuffle(2)(IMAGE), ValueError, r"PixelShuffle\(2\): expected a multiple of 4 channels"),
        (lambda: flux.Dropout(0.5, dims="all"), TypeError, "dims to be an integer or a tuple of them"),
        (lambda: flux.trainmode(flux.Dropout(0.5, dims=4))(IMAGE), ValueError, r"has the axes dims, got shape"),
    ],
)
def test_refusals_name_the_fix(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("layer", [flux.InstanceNorm(3, affine=True), flux.GroupNorm(3, 1), flux.LayerNorm(3)])
def test_a_batch_without_images(layer):
    x = np.zeros((0, 2, 2, 3), np.float32)
    value, (layer_gradient, gradient) = flux.withgradient(lambda m, x: np.sum(m(x)), layer, x)
    assert (value, gradient.shape) == (0, x.shape)
    np.testing.assert_array_equal(layer_gradient.bias, np.zeros(3))

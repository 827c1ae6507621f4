"""Layers: forward passes, gradients, shape errors, and how models print."""

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import tinyflux as flux


def four_layers():
    sizes = [784, 16, 16, 16, 10]
    return flux.Chain(*(flux.Dense(n, m, flux.sigmoid) for n, m in itertools.pairwise(sizes)))


def three_layers():
    return flux.Chain(
        flux.Dense(784, 60, flux.sigmoid), flux.Dense(60, 60, flux.sigmoid), flux.Dense(60, 10, flux.sigmoid)
    )


def two_layers():
    return flux.Chain(flux.Dense(784, 32, flux.relu), flux.Dense(32, 10), flux.softmax)


def normal(*shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize(("build", "count"), [(four_layers, 13_274), (three_layers, 51_370), (two_layers, 25_450)])
def test_models_of_the_article(build, count):
    model = build()
    assert flux.parameter_count(model) == count
    assert f"# {count:,} parameters in all" in repr(model)
    y = model(np.zeros((5, 784), np.float32))
    assert y.shape == (5, 10)
    assert y.dtype == np.float32


# Dense


def test_dense_starts_as_flux_does():
    layer = flux.Dense(784, 32, rng=np.random.default_rng(0))
    assert layer.weight.shape == (32, 784)
    assert layer.bias.shape == (32,)
    assert layer.weight.dtype == layer.bias.dtype == np.float32
    assert (layer.bias == 0).all()
    bound = np.sqrt(6 / (784 + 32))
    assert 0.99 * bound < np.abs(layer.weight).max() <= bound * (1 + 1e-6)
    assert layer.activation is flux.identity


def test_dense_takes_an_initialiser_and_a_generator():
    layer = flux.Dense(3, 2, init=lambda shape, rng: rng.random(shape), rng=np.random.default_rng(0))
    np.testing.assert_array_equal(layer.weight, np.random.default_rng(0).random((2, 3)))
    assert (flux.Dense(3, 2, init=flux.ones).weight == 1).all()
    flux.seed(5)
    a = flux.Dense(3, 2)
    flux.seed(5)
    np.testing.assert_array_equal(flux.Dense(3, 2).weight, a.weight)


@given(st.data())
def test_dense_is_its_formula_for_any_batch_axes(data):
    batch = data.draw(array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    nin, nout = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))
    bias = data.draw(st.booleans())
    layer = flux.f64(flux.Dense(nin, nout, np.tanh, bias=bias, rng=np.random.default_rng(1)))
    if bias:
        layer.bias = normal(nout)
    x = data.draw(arrays(np.float64, (*batch, nin), elements=st.floats(-3, 3)))
    y = layer(x)
    expected = np.einsum("...i,oi->...o", x, layer.weight) + (layer.bias if bias else 0)
    assert y.shape == (*batch, nout)
    np.testing.assert_allclose(y, np.tanh(expected), rtol=1e-12, atol=1e-12)
    flux.gradcheck(lambda layer, x: layer(x), layer, x)


@pytest.mark.parametrize("batch", [(), (1,), (7,), (2, 3), (1, 1, 1), (0,)])
def test_dense_gradients_have_the_shape_and_layout_of_the_parameters(batch):
    layer = flux.Dense(3, 2, flux.relu)
    x = normal(*batch, 3, dtype=np.float32)
    g, d = flux.gradient(lambda layer, x: np.sum(layer(x) ** 2), layer, x)
    assert g.weight.flags.c_contiguous
    assert (g.weight.shape, g.bias.shape, d.shape) == ((2, 3), (2,), x.shape)
    assert g.weight.dtype == g.bias.dtype == d.dtype == np.float32


def test_dense_is_one_record():
    layer = flux.Dense(3, 2)
    seen = []
    flux.gradient(lambda layer: seen.append(layer(np.ones((1, 3)))) or np.sum(layer.bias), layer)
    assert seen[0].index == 2  # after the two leaves


@pytest.mark.parametrize(
    ("shape", "fix"),
    [
        ((5, 28, 28), "flux.flatten"),
        ((28, 28), "x.reshape(1, 784)"),
        ((784, 5), "x.T"),
        ((5, 7), "Dense(7, 32)"),
        ((7,), "Dense(7, 32)"),
        ((), "Reshape the input"),
    ],
)
def test_a_wrong_shape_is_an_error_with_a_fix(shape, fix):
    layer = flux.Dense(784, 32, flux.relu)
    for model in (layer, flux.Chain(layer)):
        for call in (model, lambda x, model=model: flux.gradient(lambda m: np.sum(m(x)), model)):
            with pytest.raises(ValueError) as error:
                call(np.zeros(shape, np.float32))
            text = str(error.value)
            assert text.startswith("Dense(784, 32, relu): expected an input of shape (..., 784), got shape ")
            assert f"got shape {shape}." in text
            assert fix in text


def test_unknown_keywords_are_errors():
    for build in (
        lambda: flux.Dense(3, 2, activatoin=flux.relu),
        lambda: flux.Dropout(0.5, active=True),
        lambda: flux.Chain(a=flux.relu),
    ):
        with pytest.raises(TypeError, match=r"^\w+ has no (activatoin|active|a); it has \w+"):
            build()


# Chain, SkipConnection, Parallel, flatten


def test_chain_is_composition():
    model = flux.Chain(lambda x: x + 1, np.square, flux.Dense(3, 2))
    x = normal(4, 3)
    np.testing.assert_array_equal(model(x), model[2](np.square(x + 1)))
    assert flux.Chain()(x) is x


def test_chain_can_be_indexed_sliced_and_iterated():
    model = two_layers()
    assert len(model) == 3
    assert model[0] is model.layers[0]
    assert model[-1] is flux.softmax
    assert list(model) == list(model.layers)
    assert isinstance(model[:2], flux.Chain)
    assert model[:2].layers == model.layers[:2]
    with pytest.raises(IndexError):
        model[3]
    with pytest.raises(TypeError, match=r"can't be replaced in place\. .*flux\.Chain\(\*model\[:-1\], layer\)"):
        model[-1] = flux.relu


@pytest.mark.parametrize(
    "build",
    [
        lambda: flux.Chain(flux.relu, 3),
        lambda: flux.Chain([flux.relu]),
        lambda: flux.SkipConnection("+", flux.relu),
        lambda: flux.Parallel(np.add, None),
    ],
)
def test_what_cannot_be_called_is_no_layer(build):
    with pytest.raises(TypeError, match="to be a layer or a function"):
        build()


def test_skip_connection_gives_output_then_input():
    layer = flux.SkipConnection(lambda x: 2 * x, np.subtract)
    np.testing.assert_array_equal(layer(np.array([1.0, 2.0])), [1.0, 2.0])
    model = flux.f64(flux.SkipConnection(flux.Dense(3, 3, np.tanh), np.add))
    flux.gradcheck(lambda model, x: model(x), model, normal(2, 3))


PIXELS, CHANNELS = "pad='same' in convolutions", "take Parallel(np.add, layer, flux.Conv((1, 1), nin, nout))"


@pytest.mark.parametrize(
    ("layer", "shape", "fixes"),
    [
        (flux.Conv((3, 3), 2, 2), (1, 5, 5, 2), [PIXELS]),
        (flux.Conv((3, 3), 2, 4, pad=1), (1, 5, 5, 2), [CHANNELS]),
        (flux.Conv((3, 3), 1, 4, pad=1), (1, 5, 5, 1), [CHANNELS]),  # NumPy would repeat the one
        (flux.Conv((3, 3), 4, 1, pad=1), (1, 5, 5, 4), [CHANNELS]),
        (flux.Conv((3, 3), 2, 4), (1, 5, 5, 2), [PIXELS, CHANNELS]),
        (flux.Dense(3, 1), (5, 3), ["the same number of features"]),
    ],
)
def test_a_sum_of_other_shapes(layer, shape, fixes):
    x = np.zeros(shape, np.float32)
    with pytest.raises(ValueError, match=r"SkipConnection: np\.add can't join what its layer") as error:
        flux.SkipConnection(layer, np.add)(x)
    for text in (repr(layer).split("  ")[0], str(layer(x).shape), str(shape), *fixes):
        assert text in str(error.value)
    assert (PIXELS in str(error.value)) == (PIXELS in fixes)
    assert (CHANNELS in str(error.value)) == (CHANNELS in fixes)


def test_an_error_that_is_not_about_different_shapes():
    with pytest.raises(ValueError, match="matmul: Input operand 1 has a mismatch") as error:
        flux.SkipConnection(flux.identity, np.matmul)(np.ones((2, 3)))
    (note,) = error.value.__notes__
    assert "its connection, matmul, was called with" in note


def test_what_may_be_broadcast():
    """Gates, numbers for whole channels, and a Parallel whose branches are meant to differ."""
    x = np.ones((2, 5, 5, 3), np.float32)
    assert flux.SkipConnection(flux.Conv((1, 1), 3, 1), np.multiply)(x).shape == x.shape
    assert flux.SkipConnection(flux.GlobalMeanPool(), np.add)(x).shape == x.shape
    assert flux.Parallel(np.add, flux.Dense(3, 1), flux.identity)(x).shape == x.shape
    assert flux.SkipConnection(np.sum, np.add)(np.float32(1)) == 2


def test_parallel():
    x, y = normal(2, 3), normal(2, 3, seed=1)
    layer = flux.Parallel(np.subtract, np.sin, np.cos)
    np.testing.assert_array_equal(layer(x), np.sin(x) - np.cos(x))
    np.testing.assert_array_equal(layer(x, y), np.sin(x) - np.cos(y))
    np.testing.assert_array_equal(layer((x, y)), np.sin(x) - np.cos(y))
    with pytest.raises(ValueError, match="expected 1 or 2 inputs, got 3"):
        layer(x, y, x)


def test_parallel_folds_a_function_of_two_arrays():
    x = normal(2, 3)
    kept = x.copy()
    layer = flux.Parallel(np.subtract, flux.identity, np.sin, flux.identity, np.cos)
    np.testing.assert_array_equal(layer(x), x - np.sin(x) - x - np.cos(x))
    np.testing.assert_array_equal(x, kept)


def test_parallel_with_a_function_of_many_arrays():
    def joined(*parts):
        return np.concatenate(parts, axis=-1)

    model = flux.f64(flux.Parallel(joined, flux.Dense(3, 2), flux.Dense(3, 4, np.tanh), flux.identity))
    assert model(normal(5, 3)).shape == (5, 9)
    flux.gradcheck(lambda model, x: model(x), model, normal(5, 3))


@pytest.mark.parametrize("shape", [(5, 28, 28), (5,), (5, 784), (0, 28, 28), (3, 0, 2)])
def test_flatten(shape):
    rest = int(np.prod(shape[1:]))
    assert flux.flatten(np.zeros(shape)).shape == (shape[0], rest)
    g = flux.gradient(lambda x: np.sum(flux.flatten(x)), np.zeros(shape))
    assert g.shape == shape


# repr


def test_repr_of_layers():
    assert repr(flux.Dense(784, 32, flux.relu)) == "Dense(784, 32, relu)                    # 25,120 parameters"
    assert repr(flux.Dense(3, 2, bias=False)).startswith("Dense(3, 2, bias=False)  ")
    assert repr(flux.Dense(3, 2, flux.sigmoid)).startswith("Dense(3, 2, sigmoid)  ")
    assert repr(flux.Dense(1, 1, np.tanh, bias=False)).endswith("# 1 parameter")
    assert repr(flux.Dropout(0.5)) == "Dropout(0.5)"
    assert repr(flux.Chain()) == "Chain()"


def test_repr_of_a_model_nests():
    class Scale:
        def __init__(self):
            self.factor = np.ones(3, np.float32)

        def __call__(self, x):
            return x * self.factor

    model = flux.Chain(
        flux.Chain(flux.Dense(4, 3), flux.Dropout(0.1)),
        flux.SkipConnection(flux.Dense(3, 3, flux.relu), np.add),
        Scale(),
        functools.partial(flux.softmax, axis=-1),
    )
    assert repr(model).splitlines() == [
        "Chain(",
        "  Chain(",
        "    Dense(4, 3),                        # 15 parameters",
        "    Dropout(0.1),",
        "  ),                                    # 15 parameters in all",
        "  SkipConnection(",
        "    Dense(3, 3, relu),                  # 12 parameters",
        "    add,",
        "  ),                                    # 12 parameters in all",
        "  Scale(...),                           # 3 parameters",
        "  partial(softmax, axis=-1),",
        ")                                       # 30 parameters in all",
    ]


def test_repr_of_a_shallow_model_is_the_code_that_builds_it():
    names = {name: getattr(flux, name) for name in ("Chain", "Dense", "Dropout", "relu", "sigmoid", "softmax")}
    model = flux.Chain(flux.Dense(4, 3, flux.relu), flux.Dropout(0.1), flux.Dense(3, 2, flux.sigmoid), flux.softmax)
    assert repr(eval(repr(model), names)) == repr(model)


def test_a_tied_layer_counts_once():
    layer = flux.Dense(3, 3)
    assert "# 12 parameters in all" in repr(flux.Chain(layer, layer))


def test_repr_inside_a_gradient():
    seen = []
    model = two_layers()
    flux.gradient(lambda m: seen.append(repr(m)) or np.sum(m[1].bias), model)
    assert seen == [repr(model)]


def test_a_gradient_with_nothing_in_it_prints():
    model = flux.Chain(flux.Dense(3, 2), flux.Dense(3, 2))
    grads = flux.gradient(lambda m: np.sum(m[1](np.ones((1, 3), np.float32))), model)
    assert repr(grads).splitlines()[1] == "  Dense(weight=None, bias=None, activation=identity),"

"""Losses: values and derivatives against recorded ones, their checks, aggregation and dtypes."""

import contextlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import tinyflux as flux
from tests.support.reference import REFERENCE, agrees, derivatives
from tinyflux.compile.backends.c.build import available

LOSSES = [
    flux.mse,
    flux.mae,
    flux.huber,
    flux.crossentropy,
    flux.logitcrossentropy,
    flux.binarycrossentropy,
    flux.logitbinarycrossentropy,
]
by_name = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
PER_SAMPLE = [flux.crossentropy, flux.logitcrossentropy]


def drawn(data, dtype=np.float64, shape=None):
    """A prediction and a target of one shape, both in 0..1: good for every loss."""
    shape = shape or data.draw(array_shapes(min_dims=1, max_dims=4, max_side=5))
    numbers = st.floats(0.0625, 0.9375, width=32)
    return data.draw(arrays(dtype, shape, elements=numbers)), data.draw(arrays(dtype, shape, elements=numbers))


@pytest.mark.parametrize("name", REFERENCE["losses"])
def test_values_and_derivatives_are_those_of_torch(name):
    record = REFERENCE["losses"][name]
    value, first, second = derivatives(getattr(flux, name.split()[0]), *record["inputs"])
    agrees(value, record["value"])
    for actual, expected in zip(first + second, record["first"] + record["second"], strict=True):
        agrees(actual, expected)


@by_name
@given(data=st.data())
def test_gradients_to_second_order(loss, data):
    prediction, target = drawn(data)
    if loss in (flux.mae, flux.huber):  # away from the kinks, |d| = 0 and |d| = 1
        prediction = np.where(np.abs(prediction - target) < 1e-3, target + 0.01, prediction)
    flux.gradcheck(loss, prediction, target)


@by_name
@given(data=st.data(), dtype=st.sampled_from([np.float32, np.float64]))
def test_shapes_and_dtypes(loss, data, dtype):
    prediction, target = drawn(data, dtype)
    value, gradient = flux.withgradient(lambda p: loss(p, target), prediction)
    assert value.dtype == gradient.dtype == dtype
    assert value.shape == ()
    assert gradient.shape == prediction.shape
    each = loss(prediction, target, flux.identity)
    assert each.dtype == dtype
    assert each.shape == (prediction.shape[:-1] if loss in PER_SAMPLE else prediction.shape)
    assert loss(prediction, target) == pytest.approx(np.mean(each), rel=1e-6)
    assert loss(prediction, target, agg=np.sum) == pytest.approx(np.sum(each), rel=1e-6)


@by_name
@pytest.mark.parametrize("shapes", [((4, 3), (4,)), ((4, 1), (4,)), ((1, 3), (4, 3)), ((3,), (4, 3)), ((2, 3), (3, 2))])
def test_nothing_is_broadcast(loss, shapes):
    prediction, target = (np.full(shape, 0.5) for shape in shapes)
    with pytest.raises(ValueError) as error:
        loss(prediction, target)
    text = str(error.value)
    assert text.startswith(f"{loss.__name__}: ")
    assert f"got {shapes[0]} and {shapes[1]}" in text
    assert ("y[:, np.newaxis]" if shapes == ((4, 1), (4,)) else "onehotbatch") in text
    with pytest.raises(ValueError, match=loss.__name__):
        flux.gradient(lambda p: loss(p, target), prediction)


@by_name
def test_a_list_is_named_as_what_it_is(loss):
    with pytest.raises(TypeError, match=r"expected arrays as prediction and target, got a list. Give np.array\(x\)."):
        loss(np.ones(2), [1.0, 1.0])


@by_name
def test_unknown_keywords_are_errors(loss):
    with pytest.raises(TypeError, match="reduction"):
        loss(np.ones(2), np.ones(2), reduction="sum")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_predictions(dtype):
    """Probabilities of exactly 0 and 1, logits of ±1e4: finite values and gradients, and no warning."""
    onehot = np.array([[1, 0], [0, 1]], dtype)
    wrong = 1 - onehot
    eps = float(np.finfo(dtype).eps)
    assert flux.crossentropy(wrong, onehot) == pytest.approx(-math.log(eps), rel=1e-6)
    assert flux.binarycrossentropy(wrong, onehot) == pytest.approx(-math.log(eps), rel=1e-6)
    assert flux.logitcrossentropy(1e4 * wrong, onehot) == 1e4
    assert flux.logitbinarycrossentropy(1e4 * (wrong - onehot), onehot) == 1e4
    assert flux.crossentropy(onehot, onehot) == pytest.approx(0, abs=2 * eps)
    assert flux.logitbinarycrossentropy(1e4 * (onehot - wrong), onehot) == 0
    losses = [flux.crossentropy, flux.binarycrossentropy, flux.logitcrossentropy, flux.logitbinarycrossentropy]
    for loss in losses:
        for prediction in (onehot, wrong):
            scale = 1e4 if "logit" in loss.__name__ else 1
            g = flux.gradient(lambda p, loss=loss: loss(p, onehot), scale * prediction)
            assert np.isfinite(g).all()


def test_crossentropy_of_softmax_is_logitcrossentropy():
    rng = np.random.default_rng(0)
    logits, target = rng.standard_normal((7, 5, 10)), flux.softmax(rng.standard_normal((7, 5, 10)))
    assert flux.crossentropy(flux.softmax(logits), target) == pytest.approx(flux.logitcrossentropy(logits, target))
    scores = rng.standard_normal((7, 3))
    labels = (rng.random((7, 3)) > 0.5) * 1.0
    expected = flux.logitbinarycrossentropy(scores, labels)
    assert flux.binarycrossentropy(flux.sigmoid(scores), labels) == pytest.approx(expected)


def test_crossentropy_is_the_mean_over_samples():
    p = np.full((2, 3, 4), 0.25)
    t = np.zeros((2, 3, 4))
    t[..., 0] = 1
    assert flux.crossentropy(p, t) == pytest.approx(math.log(4))
    assert flux.crossentropy(p, t, np.sum) == pytest.approx(6 * math.log(4))


def test_mse_is_the_mean_over_all_numbers():
    """A constant 0.1 against one-hot labels of ten classes: 0.09, the plateau of a net that has learned nothing."""
    assert flux.mse(np.full((5, 10), 0.1), np.eye(10)[:5]) == pytest.approx(0.09)


@pytest.mark.parametrize("delta", [0.5, 1.0, 3.0])
def test_huber(delta):
    d = np.array([-4.0, -0.4, 0.0, 0.2, 2.0, 5.0])
    expected = np.where(np.abs(d) < delta, d * d / 2, delta * (np.abs(d) - delta / 2))
    np.testing.assert_allclose(flux.huber(d, 0 * d, flux.identity, delta=delta), expected)
    flux.gradcheck(lambda p: flux.huber(p, 0 * d, delta=delta), d)


def test_integer_and_boolean_targets():
    p = np.array([[0.25, 0.75]])
    for loss in LOSSES:
        expected = loss(p, np.array([[0.0, 1.0]]))
        assert loss(p, np.array([[0, 1]])) == pytest.approx(expected)
        assert loss(p, np.array([[False, True]])) == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64, bool])
@pytest.mark.parametrize(
    "loss",
    [flux.mse, flux.mae, flux.huber, flux.logitcrossentropy, flux.logitbinarycrossentropy],
    ids=lambda f: f.__name__,
)
def test_integers_as_predictions_do_not_overflow(loss, dtype):
    """They count as the numbers they are: 0 − 1 is no 255, and 127 + 127 no −2."""
    p, t = np.array([[0, 127], [127, 1]]).astype(dtype), np.array([[1, 0], [0, 1]]).astype(dtype)
    assert loss(p, t) == pytest.approx(loss(p.astype(float), t.astype(float)), rel=1e-15)
    assert loss(p, t).dtype == np.float64


def test_the_slope_of_huber_in_delta():
    """|d| − δ beyond δ, and nothing before it."""
    d = np.array([-4.0, -0.4, 0.0, 0.2, 2.0, 5.0])
    assert flux.gradient(lambda delta: flux.huber(d, 0 * d, np.sum, delta=delta), 1.5) == 2.5 + 0.5 + 3.5
    flux.gradcheck(lambda delta, p: flux.huber(p, 0 * d, np.sum, delta=delta), np.array(1.5), d)


SWAPPED = "the target is being differentiated, and the prediction holds labels, all 0 or 1. The prediction comes first"


@pytest.mark.parametrize("loss", [flux.logitcrossentropy, flux.logitbinarycrossentropy])
def test_prediction_and_target_swapped(loss):
    """−Σ ŷ·log y falls without end; a prediction that is constant for other reasons, or differentiated too, is fine."""
    p, labels = np.array([[0.25, 0.75], [0.5, 0.5]]), np.eye(2)
    with pytest.raises(ValueError, match=rf"{loss.__name__}: {SWAPPED}: flux\.{loss.__name__}\(model\(x\), y\)"):
        flux.gradient(lambda p: loss(labels, p), p)
    for constant in (p, np.zeros((2, 2)), np.ones((2, 2)), (1 + labels) / 2):
        assert flux.gradient(lambda t, c=constant: loss(c, t, np.sum), p).shape == p.shape
    assert flux.gradient(lambda p, t: loss(p, t), labels, p)[1].shape == p.shape
    assert loss(labels, p).shape == ()


def test_reverse_crossentropies_are_no_mistake():
    """−log(y + ε) is their slope in the target, and, for two classes of one number, log(1 − y + ε) − log(y + ε)."""
    p, labels = np.array([[0.25, 0.75], [0.5, 0.5]]), np.eye(2)
    least = -np.log(np.finfo(float).eps)  # what a label of 0 costs
    slope = flux.gradient(lambda p: flux.crossentropy(labels, p, np.sum), p)
    np.testing.assert_allclose(slope, least * (1 - labels), atol=1e-15)
    slope = flux.gradient(lambda p: flux.binarycrossentropy(labels, p, np.sum), p)
    np.testing.assert_allclose(slope, least * (1 - 2 * labels), rtol=1e-15)


@pytest.mark.parametrize("compile", [False, True])
def test_training_with_prediction_and_target_swapped(compile):  # noqa: A002
    if compile and not available():
        pytest.skip("there is no C compiler here")
    model = flux.Dense(2, 2)
    opt, before, x = flux.setup(flux.Descent(), model), model.weight.copy(), np.ones((4, 2), np.float32)
    for y, refused in ((np.full((4, 2), 0.5, np.float32), False), (np.eye(2, dtype=np.float32)[[0, 1, 1, 0]], True)):
        data = flux.DataLoader((x, y), 2)
        with pytest.raises(ValueError, match=SWAPPED) if refused else contextlib.nullcontext():
            flux.train(lambda m, x, y: flux.logitcrossentropy(y, m(x)), model, data, opt, compile=compile)
        changed, before = not np.array_equal(before, model.weight), model.weight.copy()
        assert changed is not refused


def test_in_a_scan_a_constant_prediction_is_compiled():
    """A step's numbers aren't looked at there: they differ from step to step."""

    def loss(m, x, y):
        step = lambda total, xy: (total + flux.logitcrossentropy(xy[1], xy[0] * m), None)  # noqa: E731
        return flux.scan(step, np.zeros(()), (x, y))[0]

    x = np.linspace(-1, 1, 12).reshape(3, 4)
    losses = []
    for compile in (False, True)[: 1 + available()]:  # noqa: A001
        m = [np.ones(4)]
        losses.append(
            flux.train(lambda m, x, y: loss(m[0], x, y), m, [(x, x**2)], flux.setup(flux.Descent(), m), compile=compile)
        )
    assert losses[0] == pytest.approx(losses[-1], rel=1e-12)

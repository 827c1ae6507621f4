"""Validation data, metrics, and names to stop by that can't be meant: what the error says to write instead."""

import functools

import numpy as np
import pytest

import tinyflux as flux
from tests.test_messages import TENSOR, check, table
from tests.test_train_validation import HELD, HELD_LABELS, HELD_X, HELD_Y, X, Y, loss, network, trained


def train(validation=HELD, callbacks=(), model=None, **options):
    model = flux.Dense(6, 3) if model is None else model
    return flux.train(
        loss, model, [(X, Y)], flux.setup(flux.Descent(), model), 1, callbacks, validation=validation, **options
    )


def stop(name, **options):
    return [flux.early_stopping(name, 2, **options)]


@table(
    (lambda: train(metrics={"a": lambda s, y: None}), TypeError, "the metric 'a' to return a number, got None."),
    (
        lambda: train(metrics=flux.accuracy),
        TypeError,
        "expected metrics to be a list of functions, or a dict, got a func",
    ),
    (lambda: train(metrics=flux.accuracy), TypeError, "Write metrics=[f]."),
    (
        lambda: train(metrics="accuracy"),
        TypeError,
        "expected metrics to be a list of functions, or a dict, got 'accuracy",
    ),
    (
        lambda: train(metrics=["accuracy"]),
        TypeError,
        "metrics[0] to be a function of scores and labels, got 'accuracy'.",
    ),
    (
        lambda: train(metrics={"a": 0.5}),
        TypeError,
        "expected metrics['a'] to be a function of scores and labels, got 0.5",
    ),
    (
        lambda: train(metrics=[lambda s, y: 0.0]),
        ValueError,
        "metrics of different names, and none 'loss', got '<lambda>'",
    ),
    (
        lambda: train(metrics=[lambda s, y: 0.0]),
        ValueError,
        'Give a dict: metrics={"top 3": lambda scores, labels: …}.',
    ),
    (lambda: train(metrics=[functools.partial(flux.metrics.topk_accuracy, k=2)]), ValueError, "got ''. Give a dict"),
    (lambda: train(metrics={"loss": flux.mse}), ValueError, "metrics of different names, and none 'loss', got 'loss'."),
    (
        lambda: train(metrics=[flux.mse, flux.mse]),
        ValueError,
        "metrics of different names, and none 'loss', got 'mse'.",
    ),
    (
        lambda: train(metrics=[flux.softmax, len]),
        TypeError,
        "the metric 'len' takes obj, but is called with scores and la",
    ),
    (lambda: train(None, metrics=[flux.accuracy]), ValueError, "but there is none. Give validation=(x, labels)."),
    (
        lambda: train(metrics=[flux.metrics.confusion_matrix]),
        TypeError,
        "the metric 'confusion_matrix' to return a number",
    ),
    (
        lambda: train(iter([HELD])),
        TypeError,
        "got a list_iterator, which lasts for one pass. Give arrays, (x, y), a Data",
    ),
    (
        lambda: train((HELD_X, HELD_Y[:5])),
        ValueError,
        "train: validation: DataLoader: expected first axes of one length",
    ),
    (
        lambda: train((TENSOR, TENSOR)),
        TypeError,
        "train: validation: DataLoader: expected data[0] to be an array, or a",
    ),
    (lambda: train(0.1), TypeError, "train: expected validation to be data such as (x, y), got 0.1. Split the arrays"),
    (lambda: train([]), ValueError, "train: the validation data gave no item."),
    (
        lambda: train(HELD_X),
        TypeError,
        "the loss takes model, x, y, but is called with the model and an array of shape (",
    ),
    (
        lambda: train([HELD_X], metrics=[flux.accuracy]),
        TypeError,
        "the loss takes model, x, y, but is called with the mod",
    ),
    (lambda: trained(validation=[(*HELD, 1)], metrics=[flux.accuracy]), TypeError, "the loss takes model, x, y, but"),
    (lambda: train((HELD_X[:, :2], HELD_Y)), ValueError, "Dense(6, 3): expected"),
    (
        lambda: train((HELD_X, HELD_LABELS)),
        ValueError,
        "expected prediction and target of one shape, got (23, 3) and (23,",
    ),
    (
        lambda: train(None, stop("loss")),
        ValueError,
        "the validation value 'loss', but there is no validation data. Give v",
    ),
    (
        lambda: train(HELD, stop("f1", best=max)),
        ValueError,
        "validation value 'f1', but there is only 'loss'. Add it to m",
    ),
    (
        lambda: stop("accuracy"),
        ValueError,
        "early_stopping: is more or less of 'accuracy' better? Give best=max or best=m",
    ),
    (
        lambda: train(HELD, [flux.keep_best("best.npz", "f1", best=max)]),
        ValueError,
        "train: keep_best looks at the validation value 'f1', but there is only 'loss'. Add it to m",
    ),
    (
        lambda: flux.keep_best("best.npz", "accuracy"),
        ValueError,
        "keep_best: is more or less of 'accuracy' better? Give best=max or best=m",
    ),
    (
        lambda: flux.keep_best("loss", 3),
        TypeError,
        "keep_best: expected metric to be a function without arguments, got 3",
    ),
    (lambda: flux.keep_best(network(), "loss"), TypeError, "keep_best: expected a path, got "),
    (lambda: stop("loss", best="max"), ValueError, "early_stopping: expected best to be min or max, got 'max'."),
    (lambda: train(verbose=1), TypeError, "train: expected verbose to be True or False, got 1."),
)
def test_refused(typed, error, said):
    check(typed, error, said)


def test_metrics_want_pairs():
    model = flux.Dense(6, 3)
    opt = flux.setup(flux.Descent(), model)
    f = lambda m, *batch: np.sum(m(batch[0]))  # noqa: E731
    with pytest.raises(TypeError, match=r"expected validation items \(x, labels\) for the metrics, got an array"):
        flux.train(f, model, [X], opt, validation=X, metrics=[flux.accuracy])
    with pytest.raises(TypeError, match=r"got a tuple. Several inputs come before the labels: \(\*inputs, labels\)\."):
        flux.train(f, model, [(X,)], opt, validation=[(X,)], metrics=[flux.accuracy])


def test_all_parts_but_the_last_are_inputs():
    model = flux.Dense(6, 3)
    opt = flux.setup(flux.Descent(), model)
    f = lambda m, *batch: np.sum(m(batch[0]))  # noqa: E731
    with pytest.raises(TypeError, match=r"train: the model takes x, but is called with an array of .*, an array of "):
        flux.train(f, model, [(X, X, Y)], opt, validation=(X, X, Y), metrics=[flux.accuracy])
    with pytest.raises(
        TypeError, match=r"called as model\(\*inputs\): all parts of an item but the last, which are the"
    ):
        flux.train(f, model, [(X, X, Y)], opt, validation=(X, X, Y), metrics=[flux.accuracy])


@pytest.mark.parametrize(
    "options", [{"validation": (HELD_X[:, :2], HELD_Y)}, {"metrics": [flux.metrics.confusion_matrix]}]
)
def test_a_mistake_shows_itself_before_the_training(options):
    model = flux.Dense(6, 3)
    before = model.weight.copy()
    with pytest.raises((ValueError, TypeError)) as raised:
        train(model=model, **options)
    assert "when train tried the first batch of the validation data, before it began" in raised.value.__notes__[0]
    np.testing.assert_array_equal(model.weight, before)

"""Callbacks that look for the best epoch: early stopping, and keeping the model."""

import math

import numpy as np
import pytest

import tinyflux as flux
from tests.test_train import prepared, quadratic


def stops_at(values, patience):
    """The epoch at which training stops when the metric goes through `values`."""
    model, opt = prepared()
    metric = iter(values)
    stop = flux.early_stopping(lambda: next(metric), patience=patience)
    return len(flux.train(quadratic, model, [0.0] * 2, opt, epochs=len(values), callbacks=[stop]))


def test_early_stopping_begins_anew_in_a_second_training():
    values = iter([1.0, 2.0, 2.0, 5.0, 4.0, 3.0, 3.0, 3.0])
    stop = flux.early_stopping(lambda: next(values), patience=2)
    model = flux.Dense(1, 1)
    opt = flux.setup(flux.Descent(0.0), model)
    data = [np.ones((1, 1))]
    train = lambda: flux.train(lambda m, x: np.mean(m(x)), model, data, opt, epochs=9, callbacks=[stop], compile=False)  # noqa: E731
    assert [len(train()), len(train())] == [3, 5]


def test_early_stopping_begins_anew_after_a_training_of_one_epoch():
    """The first one's best value, 1, is none of the second's, which is better in each of its epochs."""
    model, opt = prepared()
    values = iter([1.0, 5.0, 4.0, 3.0])
    stop = flux.early_stopping(lambda: next(values), patience=2)
    assert [len(flux.train(quadratic, model, [0.0], opt, epochs=n, callbacks=[stop])) for n in (1, 3)] == [1, 3]


@pytest.mark.parametrize(
    ("values", "patience", "epoch"),
    [
        ([5, 4, 3, 2], 1, 4),
        ([5, 5, 1, 1], 1, 2),
        ([5, 6, 4, 6, 7, 1], 2, 5),
        ([5, 6, 5.5, 4, 4, 4, 4], 3, 7),
        ([5, 6, 4, 6, 4.5, 3, 2, 1], 3, 8),
        ([1, 2, 3], 2, 3),
        ([math.nan] * 4, 2, 2),
        ([3, math.nan, 2, math.nan, math.nan, 1], 2, 5),
        ([math.inf, math.inf, 1], 2, 2),
        ([np.float32(2), np.array(3.0), np.array([4.0])[0], 5], 3, 4),
    ],
)
def test_early_stopping(values, patience, epoch):
    assert stops_at(values, patience) == epoch


@pytest.mark.parametrize(
    ("best", "expected"), [(None, [1, 1, 3, 3, 3, 6]), (min, [1, 1, 3, 3, 3, 6]), (max, [1, 2, 2, 4, 4, 4])]
)
def test_the_best_model_is_kept(best, expected, tmp_path):
    """The one of epoch n holds n; a second training with the same callback begins anew."""
    model = {"epoch": np.zeros(1)}
    opt = flux.setup(flux.Descent(1.0), model)
    values = iter([5, 6, 4, 6.5, math.nan, 3] * 2)
    kept, found = flux.keep_best(tmp_path / "best.npz", lambda: next(values), best), []

    def look(progress):
        if progress.epoch_ended:
            flux.load(tmp_path / "best.npz", into)
            found.append(into["epoch"][0])

    for _ in range(2):
        model["epoch"][...], into = 0, {"epoch": np.zeros(1)}
        flux.train(lambda m, x: -np.sum(m["epoch"]), model, [0.0], opt, 6, [kept, look], compile=False)
    assert found == expected * 2
    assert model["epoch"] == 6  # which goes on as it would


def test_the_best_model_of_a_validation_is_kept(tmp_path):
    model = {"x": np.array([4.0])}
    opt = flux.setup(flux.Descent(0.1), model)
    square = lambda m, target: np.sum((m["x"] - target) ** 2)  # noqa: E731
    history = flux.train(square, model, [0.0], opt, 5, [flux.keep_best(tmp_path / "best.npz")], validation=[3.0])
    flux.load(tmp_path / "best.npz", model)  # x goes 3.2, 2.56, 2.05 … to 0
    np.testing.assert_allclose(model["x"], 3.2)
    np.testing.assert_allclose(min(history.validation["loss"]), 0.04)


def test_a_folder_that_is_not_there_is_refused_at_once(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"^keep_best: there is no folder .*missing; make it before the training"
    ):
        flux.keep_best(tmp_path / "missing" / "best.npz", "loss")


def test_patience_is_checked():
    with pytest.raises(ValueError, match="expected patience to be an integer, at least 1, got 0"):
        flux.early_stopping(lambda: 1.0, patience=0)

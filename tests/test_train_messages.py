"""What `train` was given by mistake, and what the error says to write instead."""

import sys

import numpy as np
import pytest

import tinyflux as flux
from tests.test_messages import FRAME, TENSOR, X, Y, check, table

MODEL = flux.Dense(2, 1)
OPT = flux.setup(flux.Descent(), MODEL)
BATCHES = "Give [(x, y)] for one batch of all samples, or flux.DataLoader((x, y), batchsize=32)."


def loss(model, x, y):
    return flux.mse(model(x), y)


def stop(metric, patience):
    return [flux.early_stopping(metric, patience)]


def train(loss=loss, model=MODEL, data=None, opt=OPT, **options):
    return flux.train(loss, model, [(X, Y)] if data is None else data, opt, **options)


@table(
    (lambda: train(data=(X, Y)), TypeError, f"this tuple holds arrays, not batches. {BATCHES}"),
    (lambda: train(data=(TENSOR, TENSOR)), TypeError, f"this tuple holds arrays, not batches. {BATCHES}"),
    (
        lambda: train(data=[X, Y]),
        TypeError,
        "the loss takes model, x, y, but is called with the model and an array of sh",
    ),
    (lambda: train(data=[X, Y]), TypeError, f"Data is iterated over. {BATCHES}"),
    (lambda: train(data=X), TypeError, f"Data is iterated over. {BATCHES}"),
    (lambda: train(data=flux.DataLoader(X)), TypeError, "missing a required argument: 'y'"),
    (lambda: train(data=[[X, Y]]), TypeError, "Make the item a tuple, whose parts become the arguments."),
    (lambda: train(data=[{"x": X, "y": Y}]), TypeError, "An item that is a dict is one argument: loss(model, batch)."),
    (lambda: train(data=flux.DataLoader({"x": X, "y": Y})), TypeError, "An item that is a dict is one argument"),
    (lambda: train(data={"x": X, "y": Y}), TypeError, f"train: expected data to iterate over, got a dict. {BATCHES}"),
    (lambda: train(data=5), TypeError, "train: expected data to iterate over, got 5."),
    (
        lambda: train(data=TENSOR),
        TypeError,
        "tensor of shape (4, 2). Give an array of NumPy's, x.detach",
    ),
    (lambda: train(data=[]), ValueError, "train: the data gave no item in epoch 1."),
    (lambda: train(data=iter([(X, Y)]), epochs=2), ValueError, "An iterator lasts for one pass: give a list, or a Da"),
    (
        lambda: train(data=[(X, Y), (X[:0], Y[:0])]),
        ValueError,
        "item 1 of the data holds no samples: an array of",
    ),
    (lambda: train(data=[(TENSOR, Y)]), TypeError, "train: expected arrays in item 0 of the data, got a torch tensor"),
    (
        lambda: train(data=iter([(X, FRAME)])),
        TypeError,
        "DataFrame of shape (4, 2). Give an array of NumPy's, x.to_num",
    ),
    (lambda: train(epochs="2"), TypeError, "train: expected epochs to be an integer, at least 0, got '2'."),
    (lambda: train(epochs=-1), ValueError, "expected epochs to be an integer, at least 0, got -1."),
    (lambda: train(epochs=True), TypeError, "got True"),
    (
        lambda: train(callbacks=print),
        TypeError,
        "expected callbacks to be a list of functions, got a builtin_function_or_m",
    ),
    (lambda: train(callbacks=print), TypeError, "Write callbacks=[f]."),
    (lambda: train(callbacks=None), TypeError, "expected callbacks to be a list of functions, got None."),
    (
        lambda: train(callbacks=(print for _ in "ab")),
        TypeError,
        "expected callbacks to be a list of functions, got a gen",
    ),
    (lambda: train(callbacks=[3]), TypeError, "expected callbacks[0] to be a function of a Progress, got 3."),
    (
        lambda: train(callbacks=[flux.early_stopping]),
        TypeError,
        "callbacks[0] takes metric, patience, best, but is called with a",
    ),
    (lambda: train(callbacks=stop(lambda p: 1.0, 2)), TypeError, "the metric takes p, but is called with no argument"),
    (lambda: train(callbacks=stop(0.5, 2)), TypeError, "expected metric to be a function without arguments, got 0.5."),
    (lambda: train(callbacks=stop(float, 2.5)), TypeError, "expected metric to be a function"),
    (
        lambda: train(callbacks=stop(lambda: 1.0, 2.5)),
        TypeError,
        "expected patience to be an integer, at least 1, got 2.5.",
    ),
    (
        lambda: train(callbacks=[flux.progress_bar("a")]),
        TypeError,
        "progress_bar: expected total to be an integer, at lea",
    ),
    (
        lambda: train(callbacks=[flux.progress_bar]),
        TypeError,
        "expected callbacks[0] to be a bar, got the function that makes it. Give flux.progress_bar().",
    ),
    (
        lambda: train(loss=lambda x, y: 0.0),
        TypeError,
        "the loss takes x, y, but is called with the model and an array of",
    ),
    (lambda: train(loss=lambda x, y: 0.0), TypeError, "It is called as loss(model, *item)."),
    (lambda: train(loss=flux.mse), TypeError, "got a Dense. Give what the model returns, model(x)."),
    (
        lambda: train(loss=MODEL, model=loss),
        TypeError,
        "train: expected the loss first, got a Dense. Write flux.train(l",
    ),
    (lambda: train(model=loss), ValueError, "train: a function holds no floating-point array"),
    (lambda: train(loss=MODEL), TypeError, "the loss takes x, but is called with the model and"),
    (lambda: train(model=flux.Dense), TypeError, "train: expected a model, got the class Dense. Make one: Dense(…)."),
    (lambda: train(opt=flux.Adam), TypeError, "expected the state opt = flux.setup(rule, model), got the class Adam."),
    (lambda: train(opt=[(X, Y)], data=OPT), TypeError, "expected the state opt = flux.setup(rule, model), got a list."),
)
def test_train(typed, error, said):
    check(typed, error, said)


@pytest.mark.parametrize("how", [False, "auto", True])
@pytest.mark.parametrize(
    ("more", "error", "said"),
    [
        (lambda value: (value, 3), TypeError, "expected the loss to return a number, got a tuple. Return the loss alo"),
        (lambda value: {"loss": value}, ValueError, "training: expected the loss to return a number, got a dict."),
        (lambda value: [value], ValueError, "expected the loss to return a number, got a list."),
        (lambda value: None, ValueError, "expected the loss to return a number, got None. Is a return missing?"),
        (
            lambda value: value * np.ones((1, 1)),
            ValueError,
            "got an array of shape (1, 1). Take the mean over all of it",
        ),
    ],
)
def test_a_loss_that_returns_more_than_a_number(how, more, error, said):
    before = MODEL.weight.copy()
    check(lambda: train(loss=lambda m, x, y: more(loss(m, x, y)), compile=how), error, said)
    assert (before == MODEL.weight).all()


def test_what_takes_items_of_another_form():
    """Losses with defaults or any arguments, an array of samples one by one, data with an index alone."""

    class Batches:
        def __getitem__(self, i):
            return [(X, Y)][i]

    model = flux.Dense(2, 1)
    opt = flux.setup(flux.Descent(0.0), model)
    for data, f in [
        (X, lambda m, x: np.sum(m(x))),
        ([X, X], lambda m, x, y=0.0: np.sum(m(x)) + y),
        ([(X, Y)], lambda m, *batch: loss(m, *batch)),
        ([{"x": X, "y": Y}], lambda m, batch: loss(m, **batch)),
        ([(X, Y[:0])], lambda m, x, y: np.sum(m(x)) + np.sum(y)),
        (Batches(), loss),
    ]:
        assert len(flux.train(f, model, data, opt, compile=False)) == 1


@pytest.mark.parametrize(
    ("data", "given", "total"),
    [
        (flux.DataLoader((X, Y), 3), None, 6),
        ([(X, Y)] * 5, None, 15),
        ([(X, Y)] * 5, 7, 7),
    ],
)
def test_a_progress_bar_knows_its_total(monkeypatch, data, given, total):
    tqdm = pytest.importorskip("tqdm")
    shown = []

    class Noted(tqdm.tqdm):
        def close(self):
            shown.append(self.total)
            super().close()

    monkeypatch.setattr(tqdm, "tqdm", Noted)
    train(data=data, epochs=3, callbacks=[flux.progress_bar(given)], compile=False)
    assert shown[0] == total


def test_without_tqdm(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ImportError, match=r'progress_bar: expected tqdm, got none; pip install ".*\[examples\]"'):
        flux.progress_bar()

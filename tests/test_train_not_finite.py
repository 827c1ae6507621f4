"""What the error says of a loss that is NaN or infinite: where it comes from, and nothing that isn't so."""

import sys

import numpy as np
import pytest

import tinyflux as flux
from tests.support import device_standin as standin
from tinyflux.training import not_finite

X, Y = np.ones((20, 3), np.float32), np.zeros((20, 1), np.float32)
HOW = pytest.mark.parametrize("how", [False, "auto"], ids=["NumPy", "native"])
MADE = (
    "the model or the loss made it: 0/0, the logarithm of 0, or an overflow, as after steps that were too large. "
    "Take a smaller learning rate, or look for that operation."
)


def spoiled(x, *place, value=np.nan):
    x = x.copy()
    x[place] = value
    return x


class Once(list):
    """Items that are taken one by one from an iterator."""

    def __iter__(self):
        yield from list(super().__iter__())


def mse(model, x, y):
    return flux.mse(model(x), y)


def said(data, how=False, loss=mse, model=None):
    """The end of the message."""
    model = flux.Dense(3, 1) if model is None else model
    with np.errstate(all="ignore"), pytest.raises(flux.NonFiniteLoss) as caught:
        flux.train(loss, model, data, flux.setup(flux.Descent(0.0), model), compile=how)
    return str(caught.value).partition("(Items count from 0, epochs from 1.) ")[2]


@HOW
@pytest.mark.parametrize(
    ("data", "place"),
    [
        (flux.DataLoader((spoiled(X, 13, 1), Y), 4), "item[0], row 1"),
        (flux.DataLoader((X, spoiled(Y, 19, 0, value=np.inf)), 4), "item[1], row 3"),
        (flux.DataLoader((X, spoiled(Y, 19)), 4, shuffle=True), "data[1], row 19"),
        (flux.DataLoader((X, spoiled(Y, 19)), 6), "item[1], row 1"),  # of the last batch, which has two
        (flux.DataLoader((X, Y), 4, transform=lambda batch, rng: (spoiled(batch[0], 2), batch[1])), "item[0], row 2"),
        ([(X, Y), (X, spoiled(Y, 7))], "item[1], row 7"),
        (Once([(X, Y), (spoiled(X, 5), Y)]), "item[0], row 5"),
        ([(X, np.float32(np.nan))], "item[1]"),
        ([(X, float("inf"))], "item[1]"),
        ([(X, np.array(np.nan))], "item[1]"),
    ],
)
def test_the_place_in_the_data(data, place, how):
    loss = lambda m, x, y: np.sum(m(x)) + np.sum(y)  # noqa: E731
    assert said(data, how, loss) == f"The parameters are finite. NaN or infinity is in the data: {place}."


def test_the_place_in_an_item_that_is_no_tuple():
    f = lambda m, batch: np.sum(m["w"] * (batch["x"] if isinstance(batch, dict) else batch))  # noqa: E731
    model = {"w": np.ones(3, np.float32)}
    for item, place in [({"x": spoiled(X, 4)}, "item['x'], row 4"), (spoiled(X, 4), "item, row 4"), (np.nan, "item")]:
        text = said([item], loss=f, model=model)
        assert text.startswith(f"The parameters are finite. NaN or infinity is in the data: {place}")


@HOW
@pytest.mark.parametrize("shuffle", [False, True])
def test_what_the_loss_makes_of_clean_data(how, shuffle):
    """0/0, with integers in the data, which can't be NaN."""
    data = flux.DataLoader((X, np.zeros(20, np.int64)), 4, shuffle=shuffle)
    words = "data" if shuffle else "item"
    loss = lambda m, x, n: np.sum(m(x)) * (np.sum(n) / np.sum(n))  # noqa: E731
    assert said(data, how, loss) == f"The parameters and the {words} are finite: {MADE}"


def test_an_item_that_cannot_be_looked_into():
    class Batch(list):
        pass

    batch = Batch([X])
    batch.mean = X  # a list with attributes is no tree
    f = lambda m, batch: np.sum(m(batch[0])) * np.float32(np.nan)  # noqa: E731
    assert said([(batch,)], loss=f) == (
        f"The parameters are finite. Look for NaN in the data; if there is none, {MADE}"
    )


def test_large_data_is_looked_at_piece_by_piece(monkeypatch):
    monkeypatch.setattr(not_finite, "AT_ONCE", 7)  # two rows
    for row in (0, 1, 2, 19):
        data = flux.DataLoader((spoiled(X, row, 2), Y), 20, shuffle=True)
        assert said(data).endswith(f"is in the data: data[0], row {row}.")
    assert said(flux.DataLoader((np.asfortranarray(X), Y * np.nan), 20, shuffle=True)).endswith("data[1], row 0.")


def test_compile_training_names_the_sample_of_the_batch():
    x = spoiled(X, 13, 1)
    model = flux.Dense(3, 1)
    step = flux.compile_training(mse, model, flux.setup(flux.Descent(), model), 4)
    with pytest.raises(flux.NonFiniteLoss) as caught:
        step((x, Y), np.array([[0, 1, 2, 3], [4, 5, 13, 6], [7, 8, 9, 13]]))
    assert str(caught.value).endswith("NaN or infinity is in the data: batch[0], row 2.")


def test_on_the_gpu(monkeypatch):
    """Losses are read later there: an item that is gone isn't blamed."""
    monkeypatch.setitem(sys.modules, "cupy", standin.cupy_module())
    x = spoiled(X, 3)
    bad, good = (standin.asarray(x), standin.asarray(Y)), (standin.asarray(X), standin.asarray(Y))
    item = not_finite.item_at(flux.DataLoader(bad, 4), 0)
    assert not_finite.what_to_do({"w": good[0]}, *item).endswith("data: item[0], row 3.")
    items = not_finite.CheckedItems(mse, flux.Dense(3, 1), [good, good])
    assert [not_finite.item_at(items, 0)[0] for _ in items] == ["item", ""]


@HOW
@pytest.mark.parametrize("held", [(spoiled(X, 7, 1), Y), [(X, Y), (X, spoiled(Y, 3))]], ids=["arrays", "items"])
def test_a_validation_loss_that_is_nan_is_told_once(how, held):
    model = flux.Dense(3, 1)
    place = "[0], row 7" if isinstance(held, tuple) else "[1][1], row 3"
    with pytest.warns(RuntimeWarning) as warned:
        history = flux.train(
            mse, model, [(X, Y)], flux.setup(flux.Descent(0.0), model), 3, compile=how, validation=held
        )
    assert np.isnan(history.validation["loss"]).all()
    (warning,) = warned
    assert warning.filename == __file__
    assert str(warning.message) == (
        "train: the validation loss is nan, and no epoch like this counts as the best one. The parameters are finite. "
        f"NaN or infinity is in the data: validation data{place}."
    )


class Reciprocals(flux.DataLoader):
    """Divides by what is 0."""

    def __iter__(self):
        return ((x / 0, y) for x, y in super().__iter__())


@pytest.mark.parametrize(
    "held",
    [flux.DataLoader((X, Y), 8, transform=lambda batch, rng: (batch[0] * np.nan, batch[1])), Reciprocals((X, Y), 8)],
    ids=["transform", "iteration"],
)
def test_finite_validation_data_of_which_nan_is_made(held):
    """The arrays are finite, but nobody knows whether the items are."""
    model = flux.Dense(3, 1)
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning, match=r"The parameters are finite\. Look for NaN in"):
        flux.train(mse, model, [(X, Y)], flux.setup(flux.Descent(0.0), model), compile=False, validation=held)

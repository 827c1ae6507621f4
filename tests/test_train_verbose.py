"""What a training shows: lines and bars of `verbose=True`, and the History that it returns."""

import copy
import functools
import io
import json
import math
import pickle
import re
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tinyflux as flux
from tinyflux.training import callbacks

X, Y = np.ones((12, 2), np.float32), np.zeros((12, 1), np.float32)


class Terminal(io.StringIO):
    """What can be watched."""

    def isatty(self):
        return True


class Notebook(io.StringIO):
    __module__ = "ipykernel.iostream"


class Full(Terminal):
    def write(self, text):
        raise OSError(28, "No space left on device")


def train(monkeypatch, stream, epochs=2, data=None, **options):
    """What appears on a stream."""
    model = {"w": np.array([1.0])}
    opt = flux.setup(flux.Descent(0.25), model)
    data = flux.DataLoader((X, Y), 4) if data is None else data
    monkeypatch.setattr(sys, "stderr", stream)
    flux.train(
        lambda m, x, y: np.sum((m["w"] - y[0]) ** 2), model, data, opt, epochs, verbose=True, compile=False, **options
    )
    return stream.getvalue() if stream is not None else None


def kept(text):
    """The lines that stay, with times left out."""
    lines = [line.rpartition("\r")[2] for line in text.removesuffix("\n").split("\n")]
    return [re.sub(r"\d+\.\d s$", "… s", line) for line in lines]


# w is 1, ½, ¼, ⅛ … before the updates, and the loss its square.
FIRST, SECOND = (1 + 1 / 4 + 1 / 16) / 3, (1 + 1 / 4 + 1 / 16) / 3 / 64
LINES = [f"epoch 1/2: loss {FIRST:.4g}; … s", f"epoch 2/2: loss {SECOND:.4g}; … s"]


def test_a_line_for_each_epoch(monkeypatch):
    assert kept(train(monkeypatch, io.StringIO())) == LINES
    assert kept(train(monkeypatch, io.StringIO(), epochs=12))[0].startswith("epoch  1/12: ")


def test_the_values_of_validation(monkeypatch):
    text = train(monkeypatch, io.StringIO(), validation=(X, Y))
    assert kept(text)[0] == f"epoch 1/2: loss {FIRST:.4g}; validation: loss {1 / 64:.4g}; … s"


def always_drawn(monkeypatch):
    """A bar is drawn after every update, however fast they are."""
    tqdm = pytest.importorskip("tqdm")
    monkeypatch.setattr(tqdm, "tqdm", functools.partial(tqdm.tqdm, mininterval=0))


@pytest.mark.parametrize("stream", [Terminal, Notebook])
def test_the_same_lines_stay_where_there_is_a_bar(monkeypatch, stream):
    always_drawn(monkeypatch)
    text = train(monkeypatch, stream())
    assert kept(text) == LINES
    assert "epoch 1/2:  33%|" in text
    assert "1/3 [" in text  # the number of batches
    assert "loss 1]" in text  # the mean so far


def test_a_bar_without_a_total(monkeypatch):
    always_drawn(monkeypatch)
    text = train(monkeypatch, Terminal(), epochs=1, data=((X, Y) for _ in range(3)))
    assert "1it [" in text
    assert len(kept(text)) == 1


def test_without_tqdm_there_are_lines(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert train(monkeypatch, Terminal()).count("\r") == 0
    assert kept(train(monkeypatch, Terminal())) == LINES


def test_a_bar_is_closed_whatever_happens(monkeypatch):
    pytest.importorskip("tqdm")
    screen = Terminal()

    def stop(progress):
        if progress.iteration == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(monkeypatch, screen, callbacks=[stop])
    assert screen.getvalue().endswith("\r")  # the line is free
    with pytest.raises(flux.NonFiniteLoss):
        train(monkeypatch, screen, data=[(X, Y), (X, Y * np.nan)])


def bars_lock_is_free():
    locks = pytest.importorskip("tqdm").tqdm.get_lock().locks
    taken = [lock for lock in locks if lock.acquire(False)]
    for lock in taken:
        lock.release()
    return taken == locks


@pytest.mark.parametrize("stream", [Full, lambda: None])
def test_what_cannot_be_shown_stops_nothing(monkeypatch, stream, capsys):
    train(monkeypatch, stream())
    assert capsys.readouterr().out == ""
    with ThreadPoolExecutor(1) as beside:  # tqdm would leave the lock of all bars taken
        assert beside.submit(bars_lock_is_free).result()


def test_native_code_is_not_interrupted_for_lines(monkeypatch):
    """Nobody looks before the end of an epoch where there is no bar."""
    assert callbacks.EpochLines(2, 3).due(0) == math.inf
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert callbacks.EpochLines(2, 3).due(0) == 0


# The history


def test_it_is_a_list():
    history = flux.History([0.5, 0.25], {"loss": [1.0, 2.0]})
    assert history == [0.5, 0.25]
    assert isinstance(history, list)
    assert json.loads(json.dumps(history)) == [0.5, 0.25]
    assert history[-1] == min(history) == 0.25
    np.testing.assert_array_equal(np.array(history), [0.5, 0.25])
    assert flux.History() == []
    assert flux.History().validation == {}
    for again in (pickle.loads(pickle.dumps(history)), copy.copy(history), copy.deepcopy(history)):
        assert (type(again), again, again.validation) == (flux.History, [0.5, 0.25], {"loss": [1.0, 2.0]})


def test_how_it_is_printed():
    history = flux.History([0.123456, 1e-7], {"loss": [123456.7, math.nan], "accuracy": [0.5, 1.0]})
    assert repr(history).splitlines() == [
        "epoch     loss   validation loss   validation accuracy",
        "    1   0.1235            123457                   0.5",
        "    2    1e-07               nan                     1",
    ]
    assert str(history) == repr(history)
    assert repr(flux.History()) == "History of no epoch"
    assert cells(history) == [
        ["epoch", "loss", "validation loss", "validation accuracy"],
        ["1", "0.1235", "123457", "0.5"],
        ["2", "1e-07", "nan", "1"],
    ]
    assert cells(flux.History([1.0], {"a<b": [2.0]}))[0][2] == "validation a&lt;b"


def cells(history):
    """The rows of the table that a notebook shows."""
    rows = re.findall("<tr.*?>(.*?)</tr>", history._repr_html_())
    return [re.findall("<t[hd].*?>(.*?)</t[hd]>", row) for row in rows]


def test_a_long_one_is_shortened():
    lines = repr(flux.History([1.0] * 100)).splitlines()
    assert [line.split()[0] for line in lines] == ["epoch", *"1234", "…", *map(str, range(93, 101))]
    assert len(repr(flux.History([1.0] * 12)).splitlines()) == 13


def test_one_that_was_changed_can_still_be_printed():
    assert repr(flux.History(["a"])) == "History(...)"
    history = flux.History([1.0, 2.0], {"loss": [3.0]})
    history.append(0.5)
    assert repr(history).splitlines()[1:] == [
        "    1      1                 3",
        "    2      2" + " " * 18,
        "    3    0.5" + " " * 18,
    ]


def test_progress_is_printed_in_a_line():
    progress = flux.Progress(flux.Dense(2, 1), None, epoch=2, iteration=7, loss=0.5, losses=[1.0] * 1000)
    progress.validation = {"loss": 0.25}
    assert repr(progress) == ("Progress(epoch 2, iteration 7, loss 0.5, validation loss 0.25)")

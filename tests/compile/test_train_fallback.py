"""train(compile=…) where the training can't be compiled: it runs as plain NumPy, and says why."""

import importlib.util
import io
import logging
import math
import sys
import types

import numpy as np
import pytest

import tinyflux as flux
from tests.support.train_option import (
    DATA,
    LOADER,
    OFF,
    ON,
    RANDOM,
    X,
    Y,
    assert_equal,
    mse,
    needs_compiler,
    network,
    trained,
)
from tinyflux.compile.trace import programs


def flag():
    return types.SimpleNamespace(on=False)


GENERATOR = np.random.default_rng(1)
COUNTER = []


def counting(m, x, y):
    COUNTER.append(0)
    return mse(m, x, y) * len(COUNTER)


def keeping_in_a_dict():
    kept = {"h": np.zeros(3)}

    def loss(m, x, y):
        kept["h"], kept["n"] = kept["h"] / 2 + np.mean(m(x), axis=0), kept.get("n", 0) + 1
        return mse(m, x, y) + np.sum(kept["h"] ** 2) * kept["n"]

    return loss


def keeping_in_a_list():
    kept = [np.zeros(3)]

    def loss(m, x, y):
        kept[0] = kept[0] / 2 + np.mean(m(x), axis=0)
        return mse(m, x, y) + np.sum(kept[0] ** 2)

    return loss


def keeping_in_a_variable():
    kept = (np.zeros(3), 0)

    def loss(m, x, y):
        nonlocal kept
        kept = kept[0] / 2 + np.mean(m(x), axis=0), kept[1] + 1
        return mse(m, x, y) + np.sum(kept[0] ** 2) * kept[1]

    return loss


def keeping_in_an_object():
    kept = types.SimpleNamespace(h=(np.zeros(3),), n=0)

    def loss(m, x, y):
        kept.new = (getattr(kept, "new", kept.h)[0] / 2 + np.mean(m(x), axis=0),)
        kept.h, kept.n = kept.new, kept.n + 1
        return mse(m, x, y) + np.sum(kept.h[0] ** 2) * kept.n

    return loss


class Keeper:
    __slots__ = ("h",)
    n = 0


def keeping_in_a_slot():
    Keeper.n, kept = 0, Keeper()
    kept.h = np.zeros(3)

    def loss(m, x, y):
        kept.h, Keeper.n = kept.h / 2 + np.mean(m(x), axis=0), Keeper.n + 1
        return mse(m, x, y) + np.sum(kept.h**2) * Keeper.n

    return loss


def keeping_in_a_set():
    kept = set()

    def loss(m, x, y):
        kept.add(len(kept))
        return mse(m, x, y) * len(kept)

    return loss


def keeping_where_nothing_was():
    """A global name and a slot that the first call makes, beside a level of logging that every call sets."""
    names = {"np": np, "mse": mse, "kept": Keeper(), "log": logging.Logger("tests", 1000)}
    exec(
        "def loss(m, x, y):\n"
        "    global h\n"
        "    log.setLevel(log.getEffectiveLevel() + 1)\n"
        "    try:\n"
        "        h = h / 2\n"
        "    except NameError:\n"
        "        h = np.mean(m(x), axis=0)\n"
        "    kept.h = getattr(kept, 'h', np.mean(m(x), axis=0)) / 3\n"
        "    return mse(m, x, y) + np.sum(h**2) + np.sum(kept.h**2)\n",
        names,
    )
    return names["loss"]


KEEPING = keeping_in_a_dict, keeping_in_a_list, keeping_in_a_variable, keeping_in_an_object, keeping_in_a_slot
KEEPING += keeping_in_a_set, keeping_where_nothing_was


@needs_compiler
@pytest.mark.parametrize("make", KEEPING)
def test_what_a_loss_keeps_is_put_back_where_recording_fails(make, capsys):
    """As a recurrent network's state from batch to batch: the plain path begins where the recording began."""
    one, other = [trained(option, DATA["none"], loss=make()) for option in ("auto", False)]
    assert_equal(one, other)
    assert "Error" not in capsys.readouterr().err  # of putting back


UNCOMPILABLE = {
    "np.unique can't be compiled": lambda m, x, y: mse(m, x, y) * len(np.unique(x)),
    "float, int or item": lambda m, x, y: mse(m, x, y) * float(np.mean(x)),
    "branch that depends": lambda m, x, y: mse(m, x, y) if np.mean(x) > 0 else 2 * mse(m, x, y),
    "draws random numbers": lambda m, x, y: mse(m, x + GENERATOR.normal(size=x.shape), y),
    "TypeError: type Symbolic doesn't define __round__": lambda m, x, y: mse(m, x, y) * round(np.mean(x)),
}


@needs_compiler
@pytest.mark.parametrize("reason", UNCOMPILABLE)
def test_what_cannot_be_compiled_runs_on_the_plain_path(reason, capsys):
    state = GENERATOR.bit_generator.state
    results = []
    for option in ("auto", False, "auto"):
        GENERATOR.bit_generator.state = state
        results.append(trained(option, DATA["shuffled"], loss=UNCOMPILABLE[reason], epochs=3))
    assert_equal(results[0], results[1])
    assert_equal(results[2], results[1])
    err = capsys.readouterr().err
    assert err.count(OFF) == 1
    assert reason in err
    assert ON not in err
    with pytest.raises(TypeError, match=reason.removeprefix("TypeError: ")):
        trained(True, DATA["shuffled"], loss=UNCOMPILABLE[reason])


@needs_compiler
def test_a_list_whose_second_item_cannot_be_compiled(capsys):
    """What was done is not done again."""
    data = lambda: [(X[:8], Y[:8], 1.0), (X[8:16], Y[8:16], "a"), (X[:8], Y[:8], 1.0)]  # noqa: E731
    loss = lambda m, x, y, z: mse(m, x, y) * (len(np.unique(x)) if z == "a" else z)  # noqa: E731
    both = [trained(c, data, loss=loss, epochs=2) for c in ("auto", False)]
    assert_equal(*both)
    err = capsys.readouterr().err
    assert err.count(ON) == err.count(OFF) == 1


def without_compiler(monkeypatch, tmp_path):
    (tmp_path / "bin").mkdir()
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def test_without_a_compiler_it_is_the_plain_path(monkeypatch, tmp_path, capsys):
    plain = trained(False, DATA["shuffled"], epochs=2)
    without_compiler(monkeypatch, tmp_path)
    for _ in range(2):
        assert_equal(trained("auto", DATA["shuffled"], epochs=2), plain)
        assert_equal(trained("auto", DATA["a list"]), trained(False, DATA["a list"]))
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith(f"tinyflux: {OFF}: there is no C compiler here (")
    for data in DATA.values():
        with pytest.raises(flux.CompilerNotFound, match="there is no C compiler here"):
            trained(True, data)


def test_a_compiler_that_is_none_is_said_once(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("CC", "nonsense")
    assert_equal(trained("auto", DATA["shuffled"]), trained(False, DATA["shuffled"]))
    assert "$CC is 'nonsense'" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["yes", None, 2])
def test_other_options_are_refused(option):
    with pytest.raises(ValueError, match="expected compile to be True, False or 'auto', got"):
        trained(option, DATA["a list"])


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("record", [True, False])
def test_constants_that_change_between_epochs_are_honoured(record):
    def run(option):
        options = types.SimpleNamespace(factor=1.0)

        def change(model, opt):
            def callback(p):
                if p.epoch_ended:
                    options.factor += 1

            callback.due = lambda iteration: iteration + 1 if record else 10**9
            return callback

        loss = lambda m, x, y: options.factor * mse(m, x, y)  # noqa: E731
        return trained(option, DATA["shuffled"], loss=loss, callbacks=[change], record=record, epochs=3)

    assert_equal(run(True), run(False))


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("each", ["epoch", "iteration"])
def test_after_some_programs_it_goes_on_in_numpy(each, monkeypatch, capsys):
    monkeypatch.setattr(programs, "MAX_PROGRAMS", 3)

    def run(option):
        options = types.SimpleNamespace(factor=1.0)

        def change(model, opt):
            def callback(p):
                if p.epoch_ended or each == "iteration":
                    options.factor += 1

            return callback

        loss = lambda m, x, y: options.factor * mse(m, x, y)  # noqa: E731
        data = DATA["shuffled"] if each == "iteration" else lambda: LOADER((X, Y), batchsize=10)
        return trained(option, data, loss=loss, callbacks=[change], epochs=6 if each == "epoch" else 2)

    assert_equal(run("auto"), run(False))
    err = capsys.readouterr().err
    assert err.count(ON) == err.count(OFF) == 1
    assert "change again and again; 4 programs were compiled" in err


@needs_compiler
def test_what_becomes_compilable_later_is_not_done_twice():
    def run(option):
        options = types.SimpleNamespace(unique=True)

        def change(model, opt):
            return lambda p: setattr(options, "unique", False)

        loss = lambda m, x, y: mse(m, x, y) * (len(np.unique(x)) if options.unique else 1.0)  # noqa: E731
        return trained(option, DATA["shuffled"], loss=loss, callbacks=[change], epochs=3)

    assert_equal(run("auto"), run(False))


@needs_compiler
def test_an_error_in_the_loss_is_shown_as_it_is(capsys):
    """Not as the compiler sees it."""

    def loss(m, x, y):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        trained("auto", DATA["shuffled"], loss=loss)
    assert capsys.readouterr().err == ""
    model = network()
    opt = flux.setup(flux.Adam(), model)
    model[0].weight = model[0].weight.copy()
    with pytest.raises(ValueError, match=r"^train: the parameter .*weight is not the array"):
        flux.train(mse, model, DATA["shuffled"](), opt)


@needs_compiler
def test_labels_out_of_range_are_an_index_error_on_either_path():
    labels = RANDOM.integers(0, 3, 50)
    labels[20] = 3
    loss = lambda m, x, i: np.mean(-np.log(flux.softmax(m(x))[np.arange(len(i)), i]))  # noqa: E731
    for option in (True, False, "auto"):
        with pytest.raises(IndexError, match="out of bounds for a"):
            trained(option, lambda: LOADER((X, labels), batchsize=8), loss=loss)


@needs_compiler
class Broken(io.StringIO):
    """A stream whose disk is full."""

    def write(self, text):
        raise OSError(28, "No space left on device")


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [lambda: None, Broken, closed], ids=["none", "full", "closed"])
@pytest.mark.parametrize("option", ["auto", True])
def test_training_does_not_depend_on_a_note(stream, option, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", stream())
    loss = mse if option is True else lambda m, x, y: float(np.random.rand() * 0) + mse(m, x, y)
    assert math.isfinite(trained(option, DATA["shuffled"], loss=loss)[0][0])
    assert capsys.readouterr().out == ""

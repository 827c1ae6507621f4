"""train(compile=…): the same results on either path, and a word on stderr about which it is."""

import copy
import importlib.util
import io
import math
import sys
import types
import warnings

import numpy as np
import pytest

import tinyflux as flux
from tinyflux.compile.backends.c.build import available
from tinyflux.compile.trace import programs
from tinyflux.training import report

needs_compiler = pytest.mark.skipif(not available(), reason="there is no C compiler here")
RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(50, 6)), RANDOM.normal(size=(50, 3))
ON, OFF = "training runs as native code", "training runs as plain NumPy"


@pytest.fixture(autouse=True)
def _said_nothing_yet():
    report.report_once.cache_clear()


def mse(m, x, y):
    return flux.mse(m(x), y)


def network():
    flux.seed(0)
    return flux.f64(flux.Chain(flux.Dense(6, 4, flux.tanh), flux.Dropout(0.2, seed=1), flux.Dense(4, 3)))


class Recorder:
    def __init__(self, model):
        self.calls, self.model = [], model

    def __call__(self, p):
        assert p.model is self.model
        self.calls.append((p.epoch, p.iteration, p.loss, p.epoch_ended, *[x.sum() for x in flux.parameters(p.model)]))


def trained(compile, data, loss=mse, make=network, rule=None, callbacks=(), record=True, **options):  # noqa: A002
    """All that can be seen of a training: the means, what callbacks saw, the weights and the numbers of the state."""
    model = make()
    opt = flux.setup(rule or flux.Adam(0.01), model)
    seen = Recorder(model)
    callbacks = [make(model, opt) for make in callbacks] + [seen] * record
    means = flux.train(loss, model, data(), opt, callbacks=callbacks, compile=compile, **options)
    state = [np.asarray(x) for leaf in opt._leaves for x in leaf.state]
    return means, seen.calls, flux.leaves(model), state


def assert_equal(one, other):
    for a, b in zip(one[:2], other[:2], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)
    for a, b in zip([*one[2], *one[3]], [*other[2], *other[3]], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


LOADER = flux.DataLoader
DATA = {
    "a partial batch": lambda: LOADER((X, Y), batchsize=8),
    "none": lambda: LOADER((X, Y), batchsize=8, partial=False),
    "shuffled": lambda: LOADER((X, Y), batchsize=8, shuffle=True, rng=np.random.default_rng(3)),
    "single samples, shuffled": lambda: LOADER((X, Y), shuffle=True, rng=np.random.default_rng(3)),
    "a list": lambda: [(X[i : i + 8], Y[i : i + 8]) for i in range(0, 50, 8)],
    "lists of arrays that are not contiguous": lambda: [(X[::2], Y[25:]), (X[1::2], Y[:25])],
}


@needs_compiler
@pytest.mark.parametrize("record", [True, False])
@pytest.mark.parametrize("name", DATA)
def test_results_are_equal(name, record, capsys):
    plain = trained(False, DATA[name], epochs=3, record=record)
    assert capsys.readouterr().err == ""
    assert_equal(trained(True, DATA[name], epochs=3, record=record), plain)
    assert_equal(trained("auto", DATA[name], epochs=3, record=record), plain)
    err = capsys.readouterr().err
    assert err.count(ON) == 1
    assert "compile=False is the plain path" in err
    assert OFF not in err


@needs_compiler
def test_a_dict_and_an_array_of_samples():
    for data, loss in (
        ({"x": X, "y": Y}, lambda m, d: flux.mse(m(d["x"]), d["y"])),
        (X, lambda m, x: flux.mse(m(x), x[:, :3])),
    ):
        both = [trained(c, lambda: LOADER(data, batchsize=8), loss=loss, epochs=2) for c in (True, False)]  # noqa: B023
        assert_equal(*both)


@needs_compiler
def test_shuffling_draws_the_same_numbers_from_the_shared_generator():
    ends = []
    for option in (True, False, "auto"):
        result = trained(option, lambda: LOADER((X, Y), batchsize=8, shuffle=True), epochs=2)
        ends.append((result, flux.default_rng().random()))
    for result, number in ends[1:]:
        assert_equal(result, ends[0][0])
        assert number == ends[0][1]


@needs_compiler
@pytest.mark.parametrize("loss", [mse, lambda m, x, y: mse(m, x, y) + 0 * len(np.unique(x))])
def test_a_generator_is_taken_item_by_item(loss):
    taken = []

    def data():
        taken.clear()
        for i in range(3):
            taken.append(i)
            yield X[8 * i : 8 * i + 8], Y[8 * i : 8 * i + 8]

    both = []
    for option in ("auto", False):
        counts = []
        watch = lambda model, opt: lambda p: counts.append(len(taken))  # noqa: B023, E731
        both.append(trained(option, data, loss=loss, callbacks=[watch]))
        assert counts == [1, 2, 3, 3]
    assert_equal(*both)


@needs_compiler
def test_early_stopping():
    def stop(model, opt):
        values = iter([3, 2, 2, 2, 1])
        return flux.early_stopping(lambda: next(values), patience=2)

    both = [trained(c, DATA["shuffled"], callbacks=[stop], epochs=5) for c in (True, False)]
    assert len(both[0][0]) == 4
    assert_equal(*both)


@needs_compiler
def test_a_callback_that_stops_within_an_epoch():
    stop = lambda model, opt: lambda p: p.iteration == 9  # noqa: E731
    both = [trained(c, DATA["shuffled"], callbacks=[stop], epochs=5) for c in (True, False)]
    assert both[0][1][-1][1] == 9
    assert_equal(*both)


@needs_compiler
def test_a_callback_that_adjusts_and_freezes():
    def schedule(model, opt):
        def change(p):
            flux.adjust(opt, eta=0.01 / (1 + p.iteration))
            if p.iteration == 4:
                flux.freeze(opt[0])
            if p.iteration == 9:
                flux.thaw(opt[0])

        return change

    both = [trained(c, DATA["a partial batch"], callbacks=[schedule], epochs=2) for c in (True, False)]
    assert_equal(*both)


@needs_compiler
def test_no_epoch_and_too_large_batches():
    assert trained(True, DATA["shuffled"], epochs=0)[:2] == ([], [])
    results = []
    for option in (True, False):
        with pytest.warns(UserWarning, match="batchsize 80 is above the number of samples; using 50"):
            results.append(trained(option, lambda: LOADER((X, Y), batchsize=80), epochs=2))
    assert_equal(*results)


@needs_compiler
@pytest.mark.parametrize("record", [True, False])
def test_a_loss_that_is_not_finite_has_the_same_message(record):
    bad = X.copy()
    bad[29] = np.nan
    messages, weights = [], []
    for option in (True, False, "auto"):
        model = network()
        opt = flux.setup(flux.Adam(0.01), model)
        seen = Recorder(model)
        with pytest.raises(flux.NonFiniteLoss) as caught:
            flux.train(mse, model, LOADER((bad, Y), batchsize=8), opt, callbacks=[seen] * record, compile=option)
        messages.append(str(caught.value))
        weights.append(flux.parameters(model))  # Dropout's position moves on in the plain path's last iteration alone
        assert len(seen.calls) == 3 * record
    assert messages[0] == messages[1] == messages[2]
    assert "the loss is nan at item 3 of epoch 1" in messages[0]
    for a, b in zip(weights[0], weights[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11)


def flag():
    return types.SimpleNamespace(on=False)


GENERATOR = np.random.default_rng(1)
COUNTER = []


def counting(m, x, y):
    COUNTER.append(0)
    return mse(m, x, y) * len(COUNTER)


UNCOMPILABLE = {
    "np.unique can't be compiled": lambda m, x, y: mse(m, x, y) * len(np.unique(x)),
    "float, int or item": lambda m, x, y: mse(m, x, y) * float(np.mean(x)),
    "branch that depends": lambda m, x, y: mse(m, x, y) if np.mean(x) > 0 else 2 * mse(m, x, y),
    "draws random numbers": lambda m, x, y: mse(m, x + GENERATOR.normal(size=x.shape), y),
    "TypeError: unsupported format string": lambda m, x, y: mse(m, x, y) * len(f"{np.mean(x):.2f}"),
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


LAYOUTS = {"Fortran": np.asfortranarray, "strided": lambda x: np.repeat(x, 2, axis=1)[:, ::2], "C": np.array}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("shuffle", [True, False])
def test_data_that_is_changed_in_the_middle_of_a_pass(layout, shuffle):
    """Whatever its layout, compiled code reads it as it is by then."""
    ends = []
    for compile in (True, False):  # noqa: A001
        x, model = layout(X), network()
        opt = flux.setup(flux.Descent(0.1), model)
        loader = LOADER((x, Y), batchsize=5, shuffle=shuffle, rng=np.random.default_rng(0))

        def change(progress, x=x):
            if progress.iteration == 4:
                x[...] = x[::-1] * 2

        flux.train(mse, model, loader, opt, epochs=2, callbacks=[change], compile=compile)
        ends.append(flux.leaves(model))
    for a, b in zip(*ends, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@needs_compiler
def test_no_warning_is_raised():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        means = trained("auto", DATA["shuffled"])[0]
    assert math.isfinite(means[0])


def test_models_are_left_as_they_are_when_nothing_is_trained():
    model = network()
    before = copy.deepcopy(flux.leaves(model))
    opt = flux.setup(flux.Adam(), model)
    assert flux.train(mse, model, LOADER((X, Y)), opt, epochs=0) == []
    for a, b in zip(flux.leaves(model), before, strict=True):
        np.testing.assert_array_equal(a, b)

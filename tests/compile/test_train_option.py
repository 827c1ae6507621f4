"""train(compile=…): the same results on either path, and a word on stderr about which it is."""

import copy
import math
import warnings

import numpy as np
import pytest

import tinyflux as flux
from tests.support.train_option import (
    DATA,
    LOADER,
    OFF,
    ON,
    Recorder,
    X,
    Y,
    assert_equal,
    mse,
    needs_compiler,
    network,
    trained,
)


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


def test_data_in_the_place_of_others_in_the_middle_of_a_pass():
    """Every engine takes them from the next pass on."""
    ends = []
    for compile in (True, False):  # noqa: A001
        loader, model = LOADER({"in": ({"x": X},)}, batchsize=5), [np.zeros(X.shape[1], np.float32)]

        def change(progress, data=loader.data):
            if progress.iteration == 1:
                data["in"][0]["x"] = X * 2

        opt = flux.setup(flux.Descent(1.0), model)
        flux.train(lambda m, item: np.sum(m[0] * item["in"][0]["x"]), model, loader, opt, 2, [change], compile)
        ends.append(model[0])
    np.testing.assert_allclose(ends, [-3 * X.sum(axis=0)] * 2, rtol=1e-5)


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

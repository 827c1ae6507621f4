"""train: the order of things in a step, what callbacks see, and how training stops."""

import io
import math
from contextlib import redirect_stderr

import numpy as np
import pytest

import tinyflux as flux


def quadratic(m, target=0.0):
    return np.sum((m["x"] - target) ** 2) / 2


def prepared(x=8.0, eta=0.5):
    model = {"x": np.array([x])}
    return model, flux.setup(flux.Descent(eta), model)


class Recorder:
    """A callback that keeps what it is told."""

    def __init__(self, answer=None):
        self.calls, self.answer = [], answer

    def __call__(self, p):
        self.calls.append((p.epoch, p.iteration, p.loss, p.epoch_ended, p.model["x"].item()))
        return self.answer


def test_the_loss_is_taken_before_the_update():
    model, opt = prepared()
    seen = Recorder()
    means = flux.train(quadratic, model, [0.0, 0.0], opt, epochs=2, callbacks=[seen])
    assert seen.calls == [
        (1, 1, 32.0, False, 4.0),
        (1, 2, 8.0, False, 2.0),
        (1, 2, 8.0, True, 2.0),
        (2, 3, 2.0, False, 1.0),
        (2, 4, 0.5, False, 0.5),
        (2, 4, 0.5, True, 0.5),
    ]
    assert means == [20.0, 1.25]
    assert all(type(mean) is float for mean in means)


def test_the_callback_is_given_model_and_state():
    model, opt = prepared()
    seen = []
    flux.train(quadratic, model, [0.0], opt, callbacks=[lambda p: seen.append((p.model is model, p.opt is opt))])
    assert seen == [(True, True)] * 2


def test_a_schedule_in_a_callback():
    """adjust in a callback counts from the next update on."""
    model, opt = prepared()
    flux.train(quadratic, model, [0.0] * 3, opt, callbacks=[lambda p: flux.adjust(p.opt, eta=0.25)])
    assert model["x"].item() == 8 * 0.5 * 0.75**2


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ((1.0, 2.0), (1.0, 2.0)),
        ((1.0,), (1.0,)),
        ([1.0, 2.0], ([1.0, 2.0],)),
        ({"a": 1.0}, ({"a": 1.0},)),
        (3.0, (3.0,)),
        ((), ()),
    ],
)
def test_items(item, expected):
    model, opt = prepared()
    got = []

    def loss(m, *batch):
        got.append(batch)
        return quadratic(m)

    flux.train(loss, model, [item], opt, compile=False)
    assert got == [expected]


def test_data_of_a_loader():
    model, opt = prepared()
    x, y = np.arange(5.0), np.arange(5) * 10
    got = []

    def loss(m, *batch):
        got.append(batch)
        return quadratic(m)

    flux.train(loss, model, flux.DataLoader((x, y), batchsize=2), opt, epochs=2, compile=False)
    assert [len(batch) for batch in got] == [2] * 6
    np.testing.assert_array_equal(np.concatenate([a for a, _ in got]), [*x, *x])
    got.clear()
    flux.train(loss, model, flux.DataLoader(x, batchsize=5), opt, compile=False)
    np.testing.assert_array_equal(got[0][0], x)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("rule", [flux.Descent(0.5), flux.Adam(0.5)])
def test_a_loss_that_is_not_finite(bad, rule):
    """The updates before it stand, its own is not applied."""
    model = {"x": np.array([8.0])}
    opt = flux.setup(rule, model)
    seen = Recorder()
    data = [1.0, 1.0, bad, 1.0]
    with pytest.raises(flux.NonFiniteLoss, match=rf"the loss is {float(bad)} at item 2 of epoch 1. That update"):
        flux.train(lambda m, scale: quadratic(m) * scale, model, data, opt, callbacks=[seen])
    other = {"x": np.array([8.0])}
    other_opt = flux.setup(rule, other)
    flux.train(lambda m, scale: quadratic(m) * scale, other, data[:2], other_opt)
    np.testing.assert_array_equal(model["x"], other["x"])
    for a, b in zip(opt["x"].state, other_opt["x"].state, strict=True):
        np.testing.assert_array_equal(a, b)
    assert [call[1] for call in seen.calls] == [1, 2]
    assert issubclass(flux.NonFiniteLoss, ArithmeticError)


def test_the_item_of_a_later_epoch_is_named():
    model, opt = prepared()
    values = iter([1.0, 1.0, 1.0, math.nan])
    with pytest.raises(flux.NonFiniteLoss, match="item 1 of epoch 2") as caught:
        flux.train(lambda m, _: quadratic(m) * next(values), model, [0, 0], opt, epochs=2, compile=False)
    assert caught.value.history == [20.0]  # the mean of x² / 2 at 8 and 4
    assert flux.NonFiniteLoss("of a loop of one's own").history is None


def test_empty_data():
    model, opt = prepared()
    with pytest.raises(ValueError, match="the data gave no item in epoch 1"):
        flux.train(quadratic, model, [], opt)


def test_an_iterator_lasts_for_one_pass():
    model, opt = prepared()
    with pytest.raises(ValueError, match=r"no item in epoch 2\. An iterator lasts for one pass: give a list"):
        flux.train(quadratic, model, (0.0 for _ in range(3)), opt, epochs=2)
    assert model["x"].item() == 1.0
    assert len(flux.train(quadratic, model, (0.0 for _ in range(3)), opt)) == 1


def test_an_interrupt_goes_through():
    model, opt = prepared()

    def interrupt(p):
        if p.iteration == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        flux.train(quadratic, model, [0.0] * 5, opt, callbacks=[interrupt])
    assert model["x"].item() == 2.0


# Stopping


@pytest.mark.parametrize("answer", [True, np.True_])
def test_a_callback_stops(answer):
    model, opt = prepared()
    after = Recorder()
    stop = lambda p: answer if p.iteration == 3 else None  # noqa: E731
    means = flux.train(quadratic, model, [0.0] * 2, opt, epochs=5, callbacks=[stop, after])
    assert model["x"].item() == 1.0
    assert means == [20.0, 2.0]
    assert [call[:2] + call[3:4] for call in after.calls][-2:] == [(2, 3, False), (2, 3, True)]


@pytest.mark.parametrize("answer", [None, False, np.False_, 1, 1.0, "stop", [True], np.ones(3)])
def test_other_answers_stop_nothing(answer):
    model, opt = prepared()
    flux.train(quadratic, model, [0.0] * 2, opt, callbacks=[Recorder(answer)])
    assert model["x"].item() == 2.0


# Modes


def test_dropout_is_active_in_the_gradient_alone():
    model = flux.testmode(flux.Chain(flux.Dense(4, 64), flux.Dropout(0.5)))
    opt = flux.setup(flux.Descent(0.0), model)
    x = np.ones((1, 4), np.float32)
    dropped, seen = [], []

    def loss(m, _):
        y = m(x)
        dropped.append(y)
        return np.sum(y**2)

    means = flux.train(loss, model, [0] * 3, opt, callbacks=[lambda p: seen.append(p.model(x))])
    whole = model[0](x)
    assert len(seen) == 4
    for y in seen:
        np.testing.assert_array_equal(y, whole)
    assert means[0] != pytest.approx(np.sum(whole**2))
    assert model[1].active is None


@pytest.mark.parametrize("option", [False, "auto"])
def test_frozen_layers_in_inference_stay_in_it(option):
    """Fine-tuning: running numbers stay as they are. What is trained is put into the automatic mode all the same."""
    flux.seed(0)
    norm, drop, last, later = flux.BatchNorm(3), flux.Dropout(0.5), flux.BatchNorm(3), flux.Dropout(0.5)
    model = flux.Chain(
        flux.Dropout(0.5), flux.Dense(4, 3, bias=False), norm, drop, flux.Dense(3, 3, bias=False), last, later
    )
    opt = flux.setup(flux.Descent(0.1), model)
    flux.freeze(opt[:3])
    x = np.random.default_rng(0).normal(2, size=(32, 4)).astype(np.float32)
    loss = lambda m, x: np.mean(m(x) ** 2)  # noqa: E731
    flux.testmode(model)
    flux.train(loss, model, [x] * 3, opt, compile=option)
    assert [layer.active for layer in (model[0], norm, drop, last, later)] == [None, False, False, None, None]
    assert not norm.running_mean.any()
    assert not drop.state[1]
    assert last.running_mean.all()
    flux.thaw(opt[2].bias)
    flux.train(loss, model, [x], opt, compile=option)
    assert [layer.active for layer in (norm, drop)] == [None, None]
    assert norm.running_mean.all()


@pytest.mark.parametrize("mode", ["auto", True])
def test_frozen_layers_in_another_mode_are_put_into_the_automatic_one(mode):
    model = flux.trainmode(flux.Chain(flux.Dense(4, 3), flux.BatchNorm(3)), mode)
    opt = flux.setup(flux.Descent(0.1), model)
    flux.freeze(opt)
    flux.train(lambda m, x: np.mean(m(x)), model, [np.eye(4, dtype=np.float32)], opt, compile=False)
    assert model[1].active is None
    assert model[1].running_mean.any()


def test_a_linear_model_learns():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 3))
    y = x @ np.array([[1.0], [-2.0], [0.5]]) + 3
    model = flux.f64(flux.Dense(3, 1))
    opt = flux.setup(flux.Adam(0.1), model)
    data = flux.DataLoader((x, y), batchsize=16, shuffle=True, rng=rng)
    means = flux.train(lambda m, x, y: flux.mse(m(x), y), model, data, opt, epochs=100)
    np.testing.assert_allclose(model.weight, [[1, -2, 0.5]], atol=1e-3)
    assert means[-1] < 1e-5 < means[0]


# The bar


def test_the_bar():
    pytest.importorskip("tqdm")
    model, opt = prepared()
    with redirect_stderr(io.StringIO()) as screen:
        bar = flux.progress_bar(total=4)
        flux.train(quadratic, model, [0.0] * 2, opt, epochs=2, callbacks=[bar])
    text = screen.getvalue()
    assert "4/4" in text
    assert "epoch=2, loss=0.5000" in text
    assert text.endswith("\n")


@pytest.mark.parametrize("total", [None, 10])
def test_the_bar_is_closed_however_training_ends(total):
    pytest.importorskip("tqdm")
    for data, error in (([1.0, 1.0], None), ([1.0, math.nan], flux.NonFiniteLoss)):
        model, opt = prepared()
        with redirect_stderr(io.StringIO()) as screen:
            bar = flux.progress_bar(total)
            if error is None:
                flux.train(lambda m, s: quadratic(m) * s, model, data, opt, callbacks=[bar, lambda p: True])
            else:
                with pytest.raises(error):
                    flux.train(lambda m, s: quadratic(m) * s, model, data, opt, callbacks=[bar])
        assert screen.getvalue().endswith("\n")


class Full(io.StringIO):
    """A stream that takes the first frame, and then its disk is full."""

    frames = 0

    def write(self, text):
        self.frames += 1
        if self.frames > 3:
            raise OSError(28, "No space left on device")


@pytest.mark.parametrize("stream", [Full, lambda: None])
def test_a_bar_that_cannot_be_drawn_stops_nothing(stream, monkeypatch, capsys):
    pytest.importorskip("tqdm")
    monkeypatch.setattr("sys.stderr", stream())
    model, opt = prepared()
    flux.train(quadratic, model, [0.0] * 2, opt, epochs=2, callbacks=[flux.progress_bar(total=4)])
    assert model["x"].item() == 0.5
    assert capsys.readouterr().out == ""


def test_a_callback_with_close_is_closed():
    class Closing(Recorder):
        closed = 0

        def close(self):
            self.closed += 1

    model, opt = prepared()
    callback = Closing()
    flux.train(quadratic, model, [0.0], opt, callbacks=[callback])
    with pytest.raises(ValueError, match="no item"):
        flux.train(quadratic, model, [], opt, callbacks=[callback])
    assert callback.closed == 2


def test_a_rule_without_setup_is_refused():
    model = flux.Dense(1, 1)
    grads = flux.gradient(lambda m: np.sum(m.weight), model)
    for call in (
        lambda: flux.update(flux.Adam(0.1), model, grads),
        lambda: flux.train(lambda m, x: np.sum(m(x)), model, [np.ones((1, 1))], flux.Adam(0.1)),
    ):
        with pytest.raises(TypeError, match=r"expected the state opt = flux.setup\(rule, model\), got Adam\(eta=0.1"):
            call()
    with pytest.raises(TypeError, match="got a Dense"):
        flux.update(model, flux.setup(flux.Adam(), model), grads)

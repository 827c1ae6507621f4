"""Where a training on the device fails, by CuPy or by kernels: all is as on the plain path in NumPy."""

from contextlib import nullcontext as nothing

import numpy as np
import pytest

import tinyflux as flux
from tests.support.program_cases import data
from tests.support.state_cases import Counter, Running, loss
from tinyflux.optimise.kernels import loss_guard

pytestmark = pytest.mark.usefixtures("compiling")

RULES = [flux.Adam(0.01), flux.OptimiserChain(flux.ClipNorm(1.0), flux.Adam(0.01))]
BATCH = data(10)
BAD = np.full((10, 6), np.nan, np.float32), BATCH[1]


def normalised():
    return flux.Chain(
        flux.Dense(6, 6, bias=False), flux.BatchNorm(6, flux.relu), Running(True), flux.Dropout(0.5, seed=1),
        flux.Dense(6, 3),
    )  # fmt: skip


def counting():
    return flux.Chain(Counter(0, True), Counter(0, False), *normalised())


def ended(make, move, option, items, rule, error=None, due=None, loss=loss):
    """What a training leaves behind."""
    flux.seed(0)
    model = move(make())
    opt = flux.setup(rule, model)

    def look(progress):
        return None

    look.due = lambda iteration: iteration + due
    callbacks = [look] if due else []
    with np.errstate(all="ignore"):
        if error is None:
            flux.train(loss, model, [move(x) for x in items], opt, compile=option, callbacks=callbacks)
        else:
            with pytest.raises(error):
                flux.train(loss, model, (move(x) for x in items), opt, compile=option, callbacks=callbacks)
    state = [np.asarray(flux.cpu(x)) for leaf in opt._leaves for x in leaf.state]
    counters = [np.array(layer.n) for layer in model if isinstance(layer, Counter)]
    return [*flux.leaves(flux.cpu(model)), *state, *counters]


def check_same(found, expected, exactly):
    for a, b in zip(found, expected, strict=True):
        if exactly:
            np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("make", [normalised, counting])
@pytest.mark.parametrize("option", [False, "auto"])
@pytest.mark.parametrize("at", [0, 2, 4])
@pytest.mark.parametrize("due", [None, 1, 3])
def test_a_loss_that_is_not_finite_leaves_the_state_before_it(make, option, at, due, rule):
    items = [BATCH] * 5
    items[at] = BAD
    found = ended(make, flux.gpu, option, items, rule, flux.NonFiniteLoss, due)
    check_same(found, ended(make, flux.gpu, option, items[:at], rule) if at else start(make, rule), True)
    check_same(found, ended(make, lambda x: x, False, items, rule, flux.NonFiniteLoss), False)


def start(make, rule):
    flux.seed(0)
    model = make()
    opt = flux.setup(rule, model)
    state = [np.asarray(x) for leaf in opt._leaves for x in leaf.state]
    return [*flux.leaves(model), *state, *[np.array(layer.n) for layer in model if isinstance(layer, Counter)]]


@pytest.mark.parametrize("room", [1, 2, 1024])
def test_losses_that_are_read_together(room, monkeypatch):
    monkeypatch.setattr(loss_guard, "ROOM", room)
    items = [*[BATCH] * 4, BAD, BATCH, BATCH]
    found = ended(counting, flux.gpu, False, items, RULES[0], flux.NonFiniteLoss)
    check_same(found, ended(counting, flux.gpu, False, items[:4], RULES[0]), True)


@pytest.mark.parametrize("bad", [True, False])
def test_watched_losses_before_one_that_is_read(bad):
    """A loss of another dtype is read before its update: of two updates that aren't made the first counts."""

    class Half:
        calls = 0

        def __call__(self, model, x, y):
            self.calls += 1
            value = loss(model, x, y)
            return value.astype(np.float64) if self.calls == 4 else value

    items = [BATCH, BAD if bad else BATCH, BATCH, BATCH]
    error = flux.NonFiniteLoss if bad else None
    found = ended(normalised, flux.gpu, False, items, RULES[0], error, loss=Half())
    check_same(found, ended(normalised, flux.gpu, False, items[: 1 if bad else 4], RULES[0]), bad)


@pytest.mark.parametrize("error", [KeyError, ValueError])
@pytest.mark.parametrize("bad", [True, False])
def test_an_error_behind_losses_that_were_not_read(error, bad):
    class Failing:
        calls = 0

        def __call__(self, model, x, y):
            self.calls += 1
            value = loss(model, x, y)
            if self.calls == 4:
                raise error("in the loss")
            return value

    items = [BATCH, BAD if bad else BATCH, BATCH, BATCH]
    found = ended(counting, flux.gpu, False, items, RULES[0], flux.NonFiniteLoss if bad else error, loss=Failing())
    check_same(found, ended(counting, flux.gpu, False, items[: 1 if bad else 3], RULES[0]), True)


def of_ten(model, x, y):
    return np.mean(model(x) ** 2) if len(x) == 10 else np.mean(model(x) @ x)


def plain():
    return flux.Chain(flux.Dense(6, 6, bias=False), flux.BatchNorm(6, flux.relu), Running(True), flux.Dense(6, 3))


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("form", ["loader", "items", "source"])
@pytest.mark.parametrize("option", [False, "auto", True])
def test_the_updates_before_an_error_stand(option, form, rule):
    """Of a last batch that doesn't fit, and of a source that fails."""
    x, y = flux.gpu(data(24))
    ends = []

    def items(n):
        yield from [(x[:10], y[:10]), (x[10:20], y[10:20])]
        if n == 24 and form == "source":
            raise ValueError("in the data")
        if n == 24:
            yield x[20:], y[20:]

    for n in (24, 20):
        flux.seed(0)
        model = flux.gpu(plain())
        opt = flux.setup(rule, model)
        batches = flux.DataLoader((x[:n], y[:n]), batchsize=10) if form == "loader" else items(n)
        with pytest.raises(ValueError, match="in the data" if form == "source" else "matmul") if n == 24 else nothing():
            flux.train(of_ten, model, batches, opt, compile=option)
        ends.append([*flux.leaves(flux.cpu(model)), *[np.asarray(flux.cpu(s)) for f in opt._leaves for s in f.state]])
    check_same(*ends, True)

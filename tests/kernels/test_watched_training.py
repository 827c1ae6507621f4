"""Training whose losses are read later: the kernels see to it that nothing comes of one that is not finite."""

import contextlib
import math

import numpy as np
import pytest

import tinyflux as flux
from tests.support import cuda_shim
from tests.support.device_standin import counted
from tests.support.kernel_cases import plant
from tinyflux import device
from tinyflux.optimise.kernels import loss_guard

STEP = flux.schedules.Step(0.1, every=3, gamma=0.5)
RULES = [
    flux.Descent(0.1),
    flux.Adam(0.01),
    flux.Descent(STEP),
    flux.OptimiserChain(flux.WeightDecay(0.1), flux.Adam(STEP)),
]
READ_EACH = flux.OptimiserChain(flux.ClipNorm(1.0), flux.Adam(0.01))
SCALES = [1.0, 0.5, 2.0, 1.0, 0.1, 1.0, 3.0]
every_rule = pytest.mark.parametrize("rule", RULES, ids=repr)


@pytest.fixture(autouse=True)
def _gpu(cupy):
    device._fault.cache_clear()
    flux.gpu_status()  # which reads from the device, once
    yield
    device._fault.cache_clear()


def prepared(rule, dtype=np.float32):
    flux.seed(0)
    model = flux.Chain(flux.Dense(3, 5, flux.tanh), flux.Dense(5, 4, flux.relu), flux.Dense(4, 1))
    model = flux.gpu(flux.tree.map(lambda x: x.astype(dtype), model) if dtype != np.float32 else model)
    return model, flux.setup(rule, model)


class Loss:
    """A loss that is scaled, item by item."""

    def __init__(self, scales, dtype=np.float32):
        self.x, self.scales = flux.gpu(np.linspace(-1, 1, 12).reshape(4, 3).astype(dtype), np.array(scales, dtype))

    def __call__(self, model, i):
        return np.mean(model(self.x) ** 2) * self.scales[i]


def plainly(*arguments):
    """A training whose losses and gradients are CuPy's operations: here only the updates are looked at."""
    return flux.train(*arguments, compile=False)


def train(rule, scales, items, *, dtype=np.float32, loss=Loss, change=lambda opt: None, callbacks=()):
    """The mean loss or the error, the model, and its state."""
    model, opt = prepared(rule, dtype)
    change(opt)
    with np.errstate(all="ignore"):
        try:
            result = flux.train(loss(scales, dtype), model, items, opt, callbacks=callbacks, compile=False)
        except flux.NonFiniteLoss as error:
            result = error
    return result, model, opt


def reads(*args, **options):
    """How often a training read from the device."""
    return counted(lambda: train(*args, **options))[1]


def check_same(one, other):
    """Bit for bit: parameters, the arrays of the state, and its numbers."""
    (_, model, opt), (_, expected, expected_opt) = one, other
    for x, y in zip(flux.leaves(flux.cpu(model)), flux.leaves(flux.cpu(expected)), strict=True):
        np.testing.assert_array_equal(x, y)
    for a, b in zip(opt._leaves, expected_opt._leaves, strict=True):
        assert a.numbers == b.numbers
        for x, y in zip(flux.cpu(a.arrays), flux.cpu(b.arrays), strict=True):
            np.testing.assert_array_equal(x, y)


def check_stopped(rule, bad, at, **options):
    """A loss that is not finite, with good ones behind it: what was before stands, and nothing is done any more."""
    items = list(range(len(SCALES)))
    scales = [*SCALES[:at], bad, *SCALES[at + 1 :]]
    stopped = train(rule, scales, items, **options)
    assert isinstance(stopped[0], flux.NonFiniteLoss)
    assert f"the loss is {bad} at item {at} of epoch 1. That update was not applied" in str(stopped[0])
    model, opt = prepared(rule, options.get("dtype", np.float32))
    options.get("change", lambda opt: None)(opt)
    if at:
        plainly(Loss(scales, options.get("dtype", np.float32)), model, items[:at], opt)
    check_same(stopped, (None, model, opt))
    return stopped, (None, model, opt)


@every_rule
def test_losses_are_read_once_a_pass(rule):
    once, one = counted(train, rule, SCALES, range(7))
    each, seven = counted(lambda: train(rule, SCALES, range(7), callbacks=[lambda progress: None]))
    assert (one, seven) == (1, 7)
    assert once[0] == each[0]
    check_same(once, each)


def test_losses_are_read_when_a_callback_is_due():
    seen = []

    def look(progress):
        seen.append((progress.iteration, len(progress.losses), progress.epoch_ended))

    look.due = lambda iteration: iteration + 3
    assert reads(RULES[1], SCALES, range(7), callbacks=[look]) == 3
    assert seen == [(3, 3, False), (6, 3, False), (7, 1, True)]


def test_losses_are_the_losses():
    """In their order, whatever is read together."""
    kept = []

    def keep(progress):
        kept.extend(progress.losses)

    keep.due = lambda iteration: iteration + 4
    train(RULES[0], SCALES, range(7), callbacks=[keep])
    loss = Loss(SCALES)
    model, opt = prepared(RULES[0])
    expected = []
    for i in range(7):
        value, grads = flux.withgradient(lambda m: loss(m, i), model)  # noqa: B023
        flux.update(opt, model, grads)
        expected.append(float(value))
    assert kept == expected


@pytest.mark.parametrize("order", cuda_shim.ORDERS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at", [0, 3, 6])
@every_rule
def test_nothing_comes_of_a_loss_that_is_not_finite(rule, at, bad, order, monkeypatch):
    monkeypatch.setattr(cuda_shim, "order", order)
    check_stopped(rule, bad, at)


@pytest.mark.parametrize("room", [1, 3])
@every_rule
def test_more_losses_than_there_is_room_for(rule, room, monkeypatch):
    monkeypatch.setattr(loss_guard, "ROOM", room)
    assert reads(rule, SCALES, range(7)) == -(-7 // room)
    check_stopped(rule, math.nan, 4)


def test_losses_are_read_after_a_while(monkeypatch):
    monkeypatch.setattr(loss_guard, "SECONDS", -1.0)
    assert reads(RULES[0], SCALES, range(7)) == 7


@every_rule
def test_float64(rule):
    check_stopped(rule, math.nan, 2, dtype=np.float64)


@every_rule
def test_several_kernels_stop_together(rule):
    check_stopped(rule, math.inf, 3, change=lambda opt: flux.adjust(opt.layers[1], eta=0.03))
    launches = len(cuda_shim.launches)
    train(rule, SCALES, [0], change=lambda opt: flux.adjust(opt.layers[1], eta=0.03))
    assert len(cuda_shim.launches) == launches + 3


class Skipping(Loss):
    """In every second item the layer in the middle has no gradient: the step is planned anew each time."""

    def __call__(self, model, i):
        if i % 2:
            hidden = model.layers[0](self.x)
            return np.mean(model.layers[2](hidden[:, :4]) ** 2) * self.scales[i]
        return super().__call__(model, i)


@every_rule
def test_a_plan_that_changes(rule):
    items = list(range(7))
    stopped = train(rule, [*SCALES[:4], math.nan, *SCALES[5:]], items, loss=Skipping)
    assert "at item 4 " in str(stopped[0])
    check_same(stopped, train(rule, SCALES, items[:4], loss=Skipping))


def gone_on(model, opt):
    """Trained on, without a look at the state before."""
    plainly(Loss(SCALES), model, range(7), opt)
    return None, model, opt


@every_rule
def test_training_goes_on_after_a_stop(rule):
    """Schedules count the updates that were made."""
    stopped = train(rule, [*SCALES[:2], math.nan, *SCALES[3:]], range(7))
    expected = train(rule, SCALES, [0, 1])
    check_same(gone_on(*stopped[1:]), gone_on(*expected[1:]))


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt])
@every_rule
def test_an_error_behind_a_loss_that_is_not_finite(rule, error):
    class Failing(Loss):
        def __call__(self, model, i):
            if i == 5:
                raise error("in the loss")
            return super().__call__(model, i)

    model, opt = prepared(rule)
    first = flux.NonFiniteLoss if error is KeyError else error  # the loss came first; an interrupt has its way
    with pytest.raises(first), np.errstate(all="ignore"):
        plainly(Failing([*SCALES[:2], math.nan, *SCALES[3:]]), model, range(7), opt)
    check_same(gone_on(model, opt), gone_on(*train(rule, SCALES, [0, 1])[1:]))


def test_parameters_of_two_dtypes():
    """Each item steps those of one: the losses alternate between two types."""

    def trained(last, items):
        model = flux.gpu({"a": np.ones(3, np.float32), "b": np.ones(3)})
        opt = flux.setup(RULES[3], model)
        failing = pytest.raises(flux.NonFiniteLoss, match="item 3 ") if math.isnan(last) else contextlib.nullcontext()
        with np.errstate(all="ignore"), failing:
            plainly(lambda m, i: np.sum(m["ab"[i % 2]] ** 2) * (last if i == 3 else 1), model, items, opt)
        return None, model, opt

    check_same(trained(math.nan, range(7)), trained(1, range(3)))
    assert trained(1, range(7))[2]["b"].numbers[-1] == 3


class Wider(Loss):
    """A loss in float64 of parameters in float32: no kernel can look at it."""

    def __call__(self, model, i):
        return super().__call__(model, i).astype(np.float64)


@pytest.mark.parametrize(
    ("rule", "loss", "change"),
    [
        (READ_EACH, Loss, lambda opt: None),
        (flux.YellowFin(), Loss, lambda opt: None),
        (RULES[1], Wider, lambda opt: None),
        (RULES[1], Loss, flux.freeze),
    ],
    ids=["ClipNorm", "YellowFin", "another dtype", "frozen"],
)
def test_what_kernels_cannot_see_to_is_read_each_time(rule, loss, change):
    items = list(range(7))
    assert reads(rule, SCALES, items, loss=loss, change=change) >= 7
    stopped = train(rule, [*SCALES[:4], math.nan, *SCALES[5:]], items, loss=loss, change=change)
    assert "at item 4 " in str(stopped[0])
    check_same(stopped, train(rule, SCALES, items[:4], loss=loss, change=change))


class Both(Loss):
    """Kernels can look at some of the losses only."""

    def __call__(self, model, i):
        value = super().__call__(model, i)
        return value.astype(np.float64) if i in (2, 5) else value


@pytest.mark.parametrize("at", range(7))
@every_rule
def test_watched_and_read_losses_in_turn(rule, at):
    scales = [*SCALES[:at], math.nan, *SCALES[at + 1 :]]
    stopped = train(rule, scales, range(7), loss=Both)
    assert f"at item {at} " in str(stopped[0])
    model, opt = prepared(rule)
    if at:
        plainly(Both(scales), model, range(at), opt)
    check_same(stopped, (None, model, opt))


FAULTS = [
    ("step.cuh", "if (*stopped) return false;", ""),
    ("step.cuh", "if (first) *stopped = 1;", ""),
    ("step.cuh", "if (*loss - *loss == 0) return true;", "return true;"),
    ("step.cuh", "*loss - *loss == 0", "*loss == *loss"),
    ("step.cuh", "losses[place] = *loss;", "losses[0] = *loss;"),
    ("step.cuh", "if (first) losses[place]", "if (blockIdx.x == 1) losses[place]"),
    ("rule.cuh", "n[0] += 1;", "n[0] += 2;"),
]


def everything():
    """What finds the faults."""
    for rule in RULES:
        test_losses_are_read_once_a_pass(rule)
        check_stopped(rule, math.inf, 3)
        check_stopped(rule, math.nan, 6)
    test_losses_are_the_losses()
    test_schedules_count_on_the_device()


@pytest.mark.parametrize(("name", "old", "new"), FAULTS, ids=[f"{f[1]} > {f[2]}" for f in FAULTS])
def test_a_fault_is_found(name, old, new, monkeypatch):
    everything()
    plant(monkeypatch, name, old, new)
    with pytest.raises((AssertionError, flux.NonFiniteLoss)):
        everything()


def test_schedules_count_on_the_device():
    _, _, opt = train(RULES[2], SCALES, range(7))
    assert opt.layers[0].weight.numbers == (7,)
    assert type(opt.layers[0].weight.numbers[0]) is int

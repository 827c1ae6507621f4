"""Large parameters are stepped by native code: the same numbers as NumPy's, but for the last bits."""

import numpy as np
import pytest

import tinyflux as flux
from tinyflux.compile.backends.c.compiler import available
from tinyflux.optimise import MODIFIERS, RULES, plan, schedules
from tinyflux.optimise.kernels import native as kernel
from tinyflux.optimise.modifiers import size_of_state
from tinyflux.training import native_update as stepping

pytestmark = pytest.mark.skipif(not available(), reason="there is no C compiler here")
BLOCK = 64  # elements
SIZES = (7 * BLOCK + 5, 3, 2 * BLOCK)  # a large parameter with a piece of a block left over, and small ones
Chain = flux.OptimiserChain
RULED = [
    *(kind() for kind in RULES if kind().whole is None),
    flux.AdamW(couple=False),
    flux.RMSProp(centred=True),
    flux.NAdam(psi=4e-3),
    Chain(flux.ClipGrad(0.5), flux.WeightDecay(0.1), flux.SignDecay(), flux.Maximize(), flux.Adam(0.01)),
    flux.Adam(schedules.Cosine(0.1, 5)),
    Chain(flux.Adam(0.1), flux.Lookahead(k=2), flux.EMA(0.9)),
    Chain(flux.Adam(schedules.Cosine(0.1, 5)), flux.Lookahead(k=3, alpha=0.8)),
    Chain(flux.AccumGrad(2), flux.Adam(schedules.Cosine(0.1, 5))),
    pytest.param(
        flux.Momentum(eta=lambda t: 0.1 if t < 2 else 0.01, rho=schedules.Demon(0.9, 10)), id="Momentum, scheduled"
    ),
]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(plan, "BLOCK_BYTES", BLOCK * 8)
    monkeypatch.setattr(plan, "IN_PLACE", 2)
    monkeypatch.setattr(kernel, "NATIVE", 4)


@pytest.fixture
def calls(monkeypatch):
    """The sizes of the blocks that native code has stepped."""
    seen, plain = [], stepping.NativeStep.__call__
    monkeypatch.setattr(stepping.NativeStep, "__call__", lambda self, x, *a: seen.append(x.size) or plain(self, x, *a))
    return seen


def stepped(rule, native, steps=5, dtype=np.float64):
    rng = np.random.default_rng(0)
    model = [rng.normal(size=n).astype(dtype) for n in SIZES]
    opt = flux.setup(rule, model)
    opt.native = native
    for _ in range(steps):
        flux.update(opt, model, [rng.normal(size=n).astype(dtype) for n in SIZES])
    return model, opt


@pytest.mark.parametrize("rule", RULED, ids=repr)
def test_the_same_numbers(rule, calls):
    model, opt = stepped(rule, native=True)
    assert calls.count(BLOCK) == len(calls) >= 5 * 7
    calls.clear()
    expected, plain = stepped(rule, native=False)
    assert calls == []
    for got, want in zip(model, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14)
    for leaf, other in zip(opt._leaves, plain._leaves, strict=True):
        assert leaf.numbers == other.numbers  # by the same arithmetic, so to the last bit
        for got, want in zip(leaf.state, other.state, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14)


def test_the_list_is_whole():
    inside = {type(part) for rule in RULED for part in getattr(rule, "rules", (rule,))}
    assert {kind for kind in (*RULES, *MODIFIERS) if kind().whole is None} - inside == {Chain}


def test_single_precision(calls):
    model, _ = stepped(flux.Adam(0.1), native=True, dtype=np.float32)
    assert calls
    expected, _ = stepped(flux.Adam(0.1), native=False, dtype=np.float32)
    for got, want in zip(model, expected, strict=True):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


class Own(flux.Descent):
    """A user's rule, in which anything may happen."""


@pytest.mark.parametrize("rule", [kind() for kind in RULES if kind().whole is None], ids=repr)
def test_no_element_of_float32_is_calculated_in_float64(rule):
    arrays, numbers = size_of_state(rule)
    step = stepping.NativeStep(rule, arrays, numbers, np.dtype(np.float32), BLOCK)
    kinds = {node.dtype for node in step.source.schedule.nodes if node.size > 1}
    assert kinds <= {np.dtype(np.float32), np.dtype(bool)}


@pytest.mark.parametrize(
    ("rule", "dtype"),
    [
        (Own(), np.float64),
        (Chain(flux.ClipGrad(), Own()), np.float64),
        (flux.YellowFin(), np.float64),
        (flux.Descent(), np.float16),
    ],
    ids=repr,
)
def test_what_stays_with_numpy(rule, dtype, calls):
    stepped(rule, native=True, dtype=dtype)
    assert calls == []


def test_small_models_are_not_compiled(calls, monkeypatch):
    monkeypatch.setattr(kernel, "NATIVE", 1000)
    stepped(flux.Adam(), native=True)
    assert calls == []


def test_without_a_compiler(calls, monkeypatch):
    stepping._built.clear()

    def none(*args):
        raise flux.CompilerNotFound("none")

    monkeypatch.setattr(stepping, "Library", none)
    model, _ = stepped(flux.Adam(), native=True)
    stepping._built.clear()
    assert calls == []
    for got, want in zip(model, stepped(flux.Adam(), native=False)[0], strict=True):
        np.testing.assert_array_equal(got, want)


def test_gradients_that_are_not_in_one_piece(calls):
    model = [np.zeros((40, 20))]
    opt = flux.setup(flux.Descent(1.0), model)
    gradient = np.arange(800.0).reshape(20, 40).T
    flux.update(opt, model, [gradient])
    np.testing.assert_array_equal(model[0], -gradient)


def test_a_changed_rate_is_seen(calls):
    model = [np.zeros(BLOCK * 8)]
    opt = flux.setup(flux.Descent(1.0), model)
    for eta in (1.0, 0.25):
        flux.adjust(opt, eta=eta)
        flux.update(opt, model, [np.ones(BLOCK * 8)])
    np.testing.assert_array_equal(model[0], -1.25)
    assert len(calls) == 16


def test_faded_averages_become_zero(calls):
    model = [np.ones(BLOCK * 8, np.float32)]
    opt = flux.setup(flux.Momentum(1.0, 0.5), model)
    flux.update(opt, model, [np.full(BLOCK * 8, 2e-38, np.float32)])
    flux.update(opt, model, [np.zeros(BLOCK * 8, np.float32)])
    assert calls
    assert np.all(opt[0].state[0] == 0)


def test_plain_training_is_plain(calls):
    model = [np.ones(BLOCK * 8)]
    opt = flux.setup(flux.Descent(0.1), model)
    flux.train(lambda m, x: np.sum(m[0] * x), model, [np.ones(1)], opt, compile=False)
    assert calls == []
    assert opt.native
    flux.update(opt, model, [np.ones(BLOCK * 8)])
    assert len(calls) == 8

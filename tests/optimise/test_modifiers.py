"""The modifiers and the chain, worked out by hand."""

import dataclasses
import math

import numpy as np
import pytest

import tinyflux as flux
from tinyflux.compile.backends.c.build import available

MODIFIERS = [
    flux.WeightDecay(0.5),
    flux.SignDecay(0.5),
    flux.ClipGrad(2.0),
    flux.ClipNorm(2.0),
    flux.ClipNorm(2.0, over="model"),
    flux.AccumGrad(2),
    flux.Maximize(),
]


def stepped(rule, start, *gradients):
    """The parameters after one step for every gradient."""
    model = [np.array(x) for x in start]
    opt = flux.setup(rule, model)
    for gradient in gradients:
        flux.update(opt, model, [np.array(g) for g in gradient])
    return model


def passed_on(modifier, start, *gradients):
    """What reaches the rule at the end, for a single parameter."""
    chain = flux.OptimiserChain(modifier, flux.Descent(1.0))
    return np.array(start) - stepped(chain, [start], *[[g] for g in gradients])[0]


# One after the other


def test_weight_decay():
    np.testing.assert_allclose(passed_on(flux.WeightDecay(0.25), [4.0, -8.0, 0.0], [1.0, 1.0, 3.0]), [2, -1, 3])
    assert flux.WeightDecay().lambda_ == 5e-4


def test_sign_decay():
    np.testing.assert_allclose(passed_on(flux.SignDecay(0.25), [4.0, -8.0, 0.0], [1.0, 1.0, 3.0]), [1.25, 0.75, 3])
    assert flux.SignDecay().lambda_ == 1e-3


def test_clip_grad():
    g = [9.0, -9.0, 1.5, -1.5, 2.0, 0.0]
    np.testing.assert_array_equal(passed_on(flux.ClipGrad(2.0), np.zeros(6), g), [2, -2, 1.5, -1.5, 2, 0])
    assert flux.ClipGrad().delta == 10


def test_clip_grad_keeps_nan():
    np.testing.assert_array_equal(passed_on(flux.ClipGrad(2.0), np.zeros(2), [np.nan, 3.0]), [np.nan, 2])


def test_maximize():
    np.testing.assert_array_equal(passed_on(flux.Maximize(), np.zeros(2), [3.0, -4.0]), [-3, 4])


def test_maximize_goes_uphill():
    model = [np.array([1.0, -1.0])]
    opt = flux.setup(flux.OptimiserChain(flux.Maximize(), flux.Adam(0.05)), model)
    for _ in range(200):
        flux.update(opt, model, flux.gradient(lambda m: -np.sum((m[0] - 3) ** 2), model))
    np.testing.assert_allclose(model[0], 3, atol=0.05)


# ClipNorm


@pytest.mark.parametrize("over", ["array", "model"])
def test_clip_norm_of_one_array(over):
    clip = flux.ClipNorm(2.0, over)
    np.testing.assert_allclose(passed_on(clip, np.zeros(2), [3.0, -4.0]), [1.2, -1.6], rtol=1e-15)
    np.testing.assert_array_equal(passed_on(clip, np.zeros(2), [0.3, -0.4]), [0.3, -0.4])  # a shorter one stays
    np.testing.assert_array_equal(passed_on(clip, np.zeros(2), [0.0, 2.0]), [0, 2])
    np.testing.assert_array_equal(passed_on(clip, np.zeros(2), [0.0, 0.0]), [0, 0])
    assert flux.ClipNorm() == flux.ClipNorm(omega=10, over="array")


def test_clip_norm_per_array_and_per_model():
    """The norms are 5 and 12, that of all is 13."""
    start, gradient = [np.zeros(2), np.zeros((1, 3))], [[3.0, 4.0], [[0.0, -12.0, 0.0]]]
    per_array = stepped(flux.OptimiserChain(flux.ClipNorm(6.0), flux.Descent(1.0)), start, gradient)
    np.testing.assert_allclose(per_array[0], [-3, -4])
    np.testing.assert_allclose(per_array[1], [[0, 6, 0]])
    per_model = stepped(flux.OptimiserChain(flux.ClipNorm(6.5, over="model"), flux.Descent(1.0)), start, gradient)
    np.testing.assert_allclose(per_model[0], [-1.5, -2])
    np.testing.assert_allclose(per_model[1], [[0, 6, 0]])


@pytest.mark.parametrize("compile", [False, True])
def test_the_norm_of_a_model_whose_parts_are_at_other_steps(compile):  # noqa: A002
    """Behind gathered gradients with a schedule, too, the norm of (3, 4) is 5, though the 3 starts a step later."""
    chain = flux.OptimiserChain(
        flux.ClipNorm(2.5, over="model"), flux.AccumGrad(1), flux.Descent(flux.schedules.Constant(1.0))
    )
    model, data = [np.zeros(1), np.zeros(1)], [np.ones(1)]
    opt = flux.setup(chain, model)
    flux.freeze(opt[0])
    flux.update(opt, model, [np.ones(1), np.ones(1)])
    flux.thaw(opt[0])
    flux.train(lambda m, x: np.sum((3 * m[0] + 4 * m[1]) * x), model, data, opt, compile=compile)
    np.testing.assert_allclose(np.ravel(model), [-1.5, -3], rtol=1e-15)


@pytest.mark.parametrize("last", [flux.ClipNorm(1e9, over="model"), flux.YellowFin()])
def test_both_norms_in_one_chain(last):
    with pytest.raises(ValueError, match=r"each array, or rules that measure the model, got both: ClipNorm, "):
        flux.OptimiserChain(flux.ClipNorm(6.0), last, flux.Descent(1.0))


def test_clip_norm_over_dtypes_and_blocks():
    """The norm is that of all parameters, also where they lie in several buffers, and are large."""
    model = [np.zeros(3, np.float32), np.zeros(40_000), np.zeros((2, 2), np.float16)]
    opt = flux.setup(flux.OptimiserChain(flux.ClipNorm(1.0, over="model"), flux.Descent(1.0)), model)
    gradient = [np.ones_like(x) for x in model]
    flux.update(opt, model, gradient)
    for x, rtol in zip(model, (1e-6, 1e-12, 1e-3), strict=True):
        np.testing.assert_allclose(x, -1 / math.sqrt(3 + 40_000 + 4), rtol=rtol)
    assert [x.dtype for x in model] == [np.float32, np.float64, np.float16]


def test_clip_norm_of_float32():
    """Its square is beyond float32, and below it."""
    g = np.array([3e30, -4e30], np.float32)
    np.testing.assert_allclose(passed_on(flux.ClipNorm(1.0), np.zeros(2, np.float32), g), [0.6, -0.8], rtol=1e-6)
    g = np.array([3e-30, -4e-30], np.float32)
    np.testing.assert_allclose(passed_on(flux.ClipNorm(1e-30), np.zeros(2, np.float32), g), [6e-31, -8e-31], rtol=1e-6)


@pytest.mark.parametrize("over", ["array", "model"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1])
def test_clip_norm_refuses_a_norm_that_is_not_finite(over, value, place):
    """Neither parameters nor any rule's state are changed then, those before and after it in the chain included."""
    model = [np.ones(2), np.ones((2, 2)), np.ones(1, np.float32)]
    chain = flux.OptimiserChain(flux.AccumGrad(1), flux.ClipNorm(1.0, over), flux.Adam())
    opt = flux.setup(chain, model)
    flux.update(opt, model, [np.ones_like(x) for x in model])
    kept = [np.copy(a) for leaf in opt for a in (leaf.view, *leaf.state)]
    gradient = [np.ones_like(x) for x in model]
    gradient[2 * place][0] = value
    with pytest.raises(flux.NonFiniteNorm, match=r"ClipNorm: the norm of the gradient is (nan|inf)"):
        flux.update(opt, model, gradient)
    for before, after in zip(kept, [a for leaf in opt for a in (leaf.view, *leaf.state)], strict=True):
        np.testing.assert_array_equal(before, after)
    flux.update(opt, model, [np.ones_like(x) for x in model])  # and training goes on
    assert np.all(np.isfinite(model[1]))


@pytest.mark.skipif(not available(), reason="there is no C compiler here")
def test_clip_norm_in_native_code_turns_all_into_nan():
    """Compiled code can't refuse: the whole gradient becomes NaN, so that the next loss is."""
    clip = flux.compile(lambda g: flux.ClipNorm(1.0).apply((), g, g)[1])
    np.testing.assert_allclose(clip(np.array([3.0, -4.0])), [0.6, -0.8])
    np.testing.assert_array_equal(clip(np.array([3.0, np.nan])), [np.nan, np.nan])
    np.testing.assert_array_equal(clip(np.array([3.0, np.inf])), [np.nan, np.nan])


def test_clip_norm_knows_two_ways():
    with pytest.raises(ValueError, match=r'ClipNorm: expected over to be "array" or "model", got "?\'?layer'):
        flux.ClipNorm(over="layer")


# AccumGrad


@pytest.mark.parametrize("rule", [flux.Adam(0.1), flux.Adam(flux.schedules.Cosine(0.1, 5)), flux.YellowFin()])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_accum_grad_is_a_step_with_the_mean(rule, n):
    rng = np.random.default_rng(1)
    start = [rng.normal(size=(2, 3)), rng.normal(size=4)]
    gradients = [[rng.normal(size=x.shape) for x in start] for _ in range(6)]
    means = [[sum(g) / n for g in zip(*gradients[i : i + n], strict=True)] for i in range(0, 6, n)]
    got = stepped(flux.OptimiserChain(flux.AccumGrad(n), rule), start, *gradients)
    for a, b in zip(got, stepped(rule, start, *means), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_accum_grad_changes_nothing_in_between():
    model = [np.ones(2)]
    opt = flux.setup(flux.OptimiserChain(flux.AccumGrad(3), flux.Adam(0.1)), model)

    def later():
        """The state of Adam: m, v and its numbers."""
        _, m, v, *numbers = opt[0].state
        return [model[0].copy(), m.copy(), v.copy(), *numbers[1:]]

    kept = later()
    for t in range(1, 7):
        flux.update(opt, model, [np.array([1.0, -2.0 * t])])
        same = all(np.array_equal(a, b) for a, b in zip(kept, later(), strict=True))
        assert same == (t % 3 != 0)
        kept = later()


def test_accum_grad_passes_over_what_stands_before_it():
    """A modifier before it sees every gradient, one after it the mean."""
    gradients = [[[9.0]], [[1.0]]]
    before = flux.OptimiserChain(flux.ClipGrad(2.0), flux.AccumGrad(2), flux.Descent(1.0))
    np.testing.assert_allclose(stepped(before, [[0.0]], *gradients)[0], -1.5)
    after = flux.OptimiserChain(flux.AccumGrad(2), flux.ClipGrad(3.0), flux.Descent(1.0))
    np.testing.assert_allclose(stepped(after, [[0.0]], *gradients)[0], -3)


def test_accum_grad_counts_for_each_parameter():
    """A parameter without a gradient waits."""
    model = [np.zeros(1), np.zeros(1)]
    opt = flux.setup(flux.OptimiserChain(flux.AccumGrad(2), flux.Descent(1.0)), model)
    for g in ([1.0, 1.0], [3.0, None], [5.0, 3.0]):
        flux.update(opt, model, [None if x is None else np.array([x]) for x in g])
    np.testing.assert_array_equal(model, [[-2], [-2]])


@pytest.mark.parametrize("n", [0, -1])
def test_accum_grad_of_nothing(n):
    with pytest.raises(ValueError, match="AccumGrad: expected n to be an integer, at least 1"):
        flux.AccumGrad(n)


def test_accum_grad_has_four():
    assert flux.AccumGrad().n == 4


# The chain


def test_the_order_matters():
    """Decay within the clipped gradient, or beside it."""
    start, g = [10.0], [9.0]
    inside = flux.OptimiserChain(flux.WeightDecay(0.1), flux.ClipGrad(2.0), flux.Descent(0.5))
    np.testing.assert_allclose(stepped(inside, [start], [g])[0], 10 - 0.5 * 2)
    beside = flux.OptimiserChain(flux.ClipGrad(2.0), flux.WeightDecay(0.1), flux.Descent(0.5))
    np.testing.assert_allclose(stepped(beside, [start], [g])[0], 10 - 0.5 * (2 + 1))


def test_states_do_not_mix():
    """Two rules with arrays and numbers, one after the other: as if each were alone."""
    rng = np.random.default_rng(3)
    first, second = flux.Adam(0.5, (0.6, 0.8)), flux.AMSGrad(0.3, (0.5, 0.7), form="torch")
    x, chained = np.ones(3), flux.OptimiserChain(first, second)
    states = [first.init(x), second.init(x), chained.init(x)]
    for _ in range(5):
        g = rng.normal(size=3)
        states[0], between = first.apply(states[0], x, g)
        states[1], expected = second.apply(states[1], x, between)
        states[2], delta = chained.apply(states[2], x, g)
        np.testing.assert_array_equal(delta, expected)
        x = x - delta


def test_chains_in_chains():
    rule = flux.OptimiserChain(flux.WeightDecay(0.1), flux.ClipGrad(2.0), flux.Adam(0.5))
    nested = flux.OptimiserChain(flux.WeightDecay(0.1), flux.OptimiserChain(flux.ClipGrad(2.0), flux.Adam(0.5)))
    gradients = [[[3.0, 1.0]], [[-1.0, 5.0]], [[0.0, 0.5]]]
    np.testing.assert_array_equal(stepped(nested, [[1.0, 2.0]], *gradients), stepped(rule, [[1.0, 2.0]], *gradients))


@dataclasses.dataclass(frozen=True)
class Halved:
    """A rule of one's own, without any name but these."""

    def init(self, x):
        return ()

    def apply(self, state, x, g):
        return (), 0.5 * g


def test_rules_of_ones_own_in_a_chain():
    chain = flux.OptimiserChain(flux.ClipNorm(6.0), Halved(), flux.Descent(1.0))
    np.testing.assert_allclose(stepped(chain, [[0.0, 0.0]], [[6.0, 8.0]])[0], [-1.8, -2.4])


def test_only_norms_keep_parameters_apart():
    """A chain is stepped over many parameters at once, unless one of its rules measures them."""
    assert flux.OptimiserChain(flux.ClipGrad(), Halved(), flux.Adam()).whole is None
    assert flux.OptimiserChain(flux.ClipNorm(), Halved()).whole == "array"
    assert flux.OptimiserChain(Halved(), flux.YellowFin()).whole == "model"


def test_adjust_reaches_the_rules_of_a_chain():
    model = [np.array([1.0])]
    opt = flux.setup(flux.OptimiserChain(flux.WeightDecay(0.5), flux.Descent(1.0)), model)
    flux.adjust(opt, eta=0.25)
    flux.update(opt, model, [np.array([1.5])])
    np.testing.assert_array_equal(model[0], [0.5])
    flux.adjust(opt, lambda_=0.0)
    flux.update(opt, model, [np.array([1.0])])
    np.testing.assert_array_equal(model[0], [0.25])
    with pytest.raises(TypeError, match="epsilon"):
        flux.adjust(opt, epsilon=1.0)


@pytest.mark.parametrize("rule", [flux.Adam, 0.1, None, "Adam"])
def test_a_chain_of_something_else(rule):
    with pytest.raises(TypeError, match="OptimiserChain"):
        flux.OptimiserChain(flux.ClipGrad(), rule)


# All of them


@pytest.mark.parametrize("modifier", MODIFIERS, ids=repr)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtypes_stay(modifier, dtype):
    x, g = np.ones((2, 2), dtype), np.full((2, 2), 3, dtype)
    state = modifier.init(x)
    for _ in range(2):
        kept = [np.copy(a) for a in (x, g, *state)]
        new, delta = modifier.apply(state, x, g)
        for before, after in zip(kept, (x, g, *state), strict=True):
            np.testing.assert_array_equal(before, after)
        state = new
        assert all(s.dtype == dtype for s in state if isinstance(s, np.ndarray))
    assert delta.dtype == dtype
    assert delta.shape == x.shape


@pytest.mark.parametrize("modifier", MODIFIERS, ids=repr)
def test_unknown_hyperparameters_are_refused(modifier):
    with pytest.raises(TypeError, match=f"{type(modifier).__name__}.*momentum"):
        type(modifier)(momentum=0.1)

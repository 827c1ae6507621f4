"""What setup finds when it tries out a user's rule: elements brought together, a rule that changes."""

import collections
import dataclasses
import functools
import random

import numpy as np
import pytest

import tinyflux as flux


def rule_of_step(step, **attributes):
    """A user's rule without a state."""

    class Own:
        def init(self, x):
            return ()

        def apply(self, state, x, g):
            return state, step(x, g)

    for name, value in attributes.items():
        setattr(Own, name, value)
    return Own()


def two_parameters():
    return {"w": np.zeros((2, 2)), "b": np.ones(2)}


@pytest.mark.parametrize(
    "step",
    [
        lambda x, g: g / np.linalg.norm(g),
        lambda x, g: g - np.mean(g),
        lambda x, g: g * np.max(np.abs(x)),
        lambda x, g: np.cumsum(g),
        lambda x, g: np.sort(g),
        lambda x, g: g[::-1],
    ],
)
def test_a_rule_that_sees_elements_together_must_say_so(step):
    with pytest.raises(ValueError, match=r'setup: Own brings the elements of an array together.* whole = "array"'):
        flux.setup(rule_of_step(step), two_parameters())
    chain = flux.OptimiserChain(flux.WeightDecay(0.1), rule_of_step(step))
    with pytest.raises(ValueError, match="brings the elements of an array together"):
        flux.setup(chain, two_parameters())
    flux.setup(rule_of_step(step, whole="array"), two_parameters())


@pytest.mark.parametrize(
    "step",
    [
        lambda x, g: 0.1 * np.sign(g),
        lambda x, g: np.where(np.abs(x) > 1, g, 0.0),
        lambda x, g: g / (np.sqrt(g * g) + 1e-8),
        lambda x, g: 1.0,
        lambda x, g: g / (g - g),
        lambda x, g: np.random.default_rng().normal(size=g.shape),
    ],
)
def test_an_elementwise_rule_needs_not(step):
    flux.setup(rule_of_step(step), two_parameters())


def test_a_rule_that_draws_random_numbers_is_left_alone():
    """Whether it holds its generator or takes the one of all: setup neither refuses it nor draws from them."""

    class Noisy:
        def __init__(self, rng):
            self.rng = rng

        def init(self, x):
            return ()

        def apply(self, state, x, g):
            return state, (self.rng or flux.default_rng()).normal(size=g.shape)

    own = np.random.default_rng(0)
    for rng in (own, None):
        generator = (rng or flux.default_rng()).bit_generator
        before = generator.state
        flux.setup(Noisy(rng), two_parameters())
        assert generator.state == before


@pytest.mark.parametrize("whole", ["arrays", "modle", True, 1])
def test_whole_is_a_word_of_two(whole):
    with pytest.raises(ValueError, match=r'setup: Own: expected whole to be None, "array" or "model", got'):
        flux.setup(rule_of_step(lambda x, g: g, whole=whole), two_parameters())


@pytest.mark.parametrize("wrap", [flux.ClipNorm(1.0), flux.ClipNorm(1.0, over="model"), flux.AccumGrad(3)], ids=repr)
def test_a_rule_is_tried_wherever_it_stands_in_a_chain(wrap):
    """ClipNorm sees each array whole, what comes after it doesn't; AccumGrad makes no step at first."""
    with pytest.raises(ValueError, match=r"^setup: Own brings the elements"):
        flux.setup(flux.OptimiserChain(wrap, rule_of_step(lambda x, g: g - np.mean(g))), two_parameters())


class Stateless:
    def __init__(self):
        self.t, self.m, self.all = 0, None, [0, {"t": 0}]
        self.array, self.window = np.zeros(1), collections.deque([0.0, 0.0], maxlen=2)

    def init(self, x):
        return ()

    def apply(self, state, x, g):
        return (), self.step(x, g)


def counting(rule, x, g):
    rule.t += 1
    return g / rule.t


def gathering(rule, x, g):
    rule.m = (0 if rule.m is None or rule.m.shape != x.shape else 0.9 * rule.m) + g
    return rule.m


def counting_in_a_dict(rule, x, g):
    rule.all[1]["t"] += 1
    return g / rule.all[1]["t"]


def counting_in_an_array(rule, x, g):
    rule.array += 1
    return g / rule.array[0]


def starting(rule, x, g):
    """Changes the rule in its first call alone."""
    if rule.m is None:
        rule.m = 0.5
        return g
    return rule.m * g


def in_a_window(rule, x, g):
    """What a deque holds, nothing shows."""
    rule.window.append(g)
    return rule.window[0]


def made(step, whole=None, base=Stateless):
    return type("Own", (base,), {"step": step, "whole": whole})()


CHANGING = {
    counting: "Own.t",
    gathering: "Own.m",
    counting_in_a_dict: r"Own.all\[1\]\['t'\]",
    counting_in_an_array: "Own.array",
    starting: "Own.m",
    in_a_window: "what no attribute shows",
}
CALLED = {None: "as often as is fastest", "array": "once for each parameter"}


@pytest.mark.parametrize("whole", CALLED)
@pytest.mark.parametrize("step", CHANGING)
def test_a_rule_that_changes_itself(step, whole):
    """It would be changed by the pieces of a large parameter, or by other parameters."""
    rule = made(step, whole)
    message = (
        rf"^setup: Own\.apply changes {CHANGING[step]}, a part of the rule, but update calls apply {CALLED[whole]}"
    )
    for first in (None, flux.WeightDecay(0.1), flux.AccumGrad(9)):
        with pytest.raises(ValueError, match=message):
            flux.setup(flux.OptimiserChain(first, rule) if first else rule, two_parameters())
    assert (rule.t, rule.m, rule.all, rule.array[0]) == (0, None, [0, {"t": 0}], 0)  # it was a copy that was tried


def counting_for_later(rule, x, g):
    rule.t += 1
    return g if rule.t < 1000 else 0.1 * g


def measuring(rule, x, g):
    rule.m = float(np.sum(g))
    return 0.1 * g


@pytest.mark.parametrize("whole", CALLED)
@pytest.mark.parametrize(("step", "name"), [(counting_for_later, "t"), (measuring, "m")])
def test_a_rule_whose_first_steps_do_not_depend_on_what_changes(step, name, whole):
    """They may later, or it is there to be looked at."""
    with pytest.warns(RuntimeWarning, match=rf"^setup: Own\.apply changes Own\.{name}, .* {CALLED[whole]}") as caught:
        flux.setup(made(step, whole), two_parameters())
    assert [w.filename for w in caught] == [__file__]


@pytest.mark.parametrize("whole", [None, "array"])
@pytest.mark.parametrize(
    ("step", "said"),
    [
        (
            lambda x, g: x - 0.1 * g,
            r"seems to return the new parameter\. Return the step that is subtracted: 0\.1 \* g",
        ),
        (lambda x, g: x - np.sign(g), "seems to return the new parameter"),
        (lambda g, x: 0.1 * g, r"makes the same step for every gradient\. .* order: apply\(self, state, x, g\)\."),
        (lambda x, g: x, "makes the same step for every gradient"),
    ],
)
def test_a_step_that_is_the_new_parameter_or_asks_no_gradient(step, said, whole):
    with pytest.warns(RuntimeWarning, match=rf"^setup: Own\.apply {said}"):
        flux.setup(rule_of_step(step, whole=whole), two_parameters())


def test_a_first_step_of_a_matrix():
    rule = rule_of_step(lambda x, g: x - 0.1 * np.swapaxes(np.swapaxes(g, 0, 1), 0, 1), whole="array")
    with pytest.warns(RuntimeWarning, match="seems to return the new parameter"):
        flux.setup(rule, [np.ones((2, 2))])


@pytest.mark.parametrize("step", [lambda x, g: g + x, lambda x, g: 0 * g, lambda x, g: -0.1 * g])
def test_steps_that_only_look_odd(step):
    """A decay of 1, no step at all, and one uphill."""
    flux.setup(flux.OptimiserChain(rule_of_step(step), flux.Descent(0.1)), two_parameters())


def test_a_rule_may_tell_parameters_apart_by_their_order():
    class Layerwise(Stateless):
        whole = "array"

        def init(self, x):
            self.t += 1
            return (self.t,)

        def apply(self, state, x, g):
            return state, 0.5 * g / state[0]

    model = two_parameters()
    opt = flux.setup(Layerwise(), model)
    flux.update(opt, model, {"w": np.ones((2, 2)), "b": np.ones(2)})
    first, second = sorted([0.5 / -model["w"][0, 0], 0.5 / (1 - model["b"][0])])
    assert second - first == pytest.approx(1)


DRAWS = {
    "of NumPy": lambda g: np.random.random(g.shape) < 0.9,
    "of Python": lambda g: random.random() < 0.9,
    "of tinyflux": lambda g: flux.default_rng().random(g.shape) < 0.9,
}


@pytest.mark.parametrize("name", DRAWS)
def test_rules_that_draw_of_everybodys_numbers(name):
    """By chance two tries may look like anything; none of the numbers are used up."""
    np.random.seed(0)
    random.seed(0)
    for k in range(50):
        flux.seed(k)
        before = np.random.get_state()[2], random.getstate(), flux.default_rng().bit_generator.state
        flux.setup(rule_of_step(lambda x, g: g * DRAWS[name](g)), two_parameters())
        assert (np.random.get_state()[2], random.getstate(), flux.default_rng().bit_generator.state) == before
        np.random.random(), random.random()


def test_where_numpy_draws_by_another_generator():
    """As np.random.set_bit_generator has it; no position is known of most of them."""
    before = np.random.get_bit_generator()
    np.random.set_bit_generator(np.random.PCG64(0))
    try:
        state = np.random.get_bit_generator().state
        flux.setup(rule_of_step(lambda x, g: g * DRAWS["of NumPy"](g)), two_parameters())
        assert np.random.get_bit_generator().state == state
    finally:
        np.random.set_bit_generator(before)


@pytest.mark.parametrize("rng", [random.Random(1), np.random.RandomState(1)], ids=["Python", "NumPy"])
def test_rules_with_a_generator_of_their_own(rng):
    rule = made(lambda rule, x, g: g + (rule.rng.gauss(0, 1) if isinstance(rng, random.Random) else rule.rng.normal()))
    rule.rng = rng
    flux.setup(rule, two_parameters())


def test_a_rule_that_is_called_once_a_step_may_count_in_itself():
    """Of two parameters one is so large that others are stepped in pieces."""
    rule, model = made(counting, "model"), [np.zeros((600, 600)), np.zeros(2)]
    opt = flux.setup(rule, model)
    for _ in range(3):
        flux.update(opt, model, [np.ones((600, 600)), np.ones(2)])
    assert rule.t == 3
    for x in model:
        np.testing.assert_allclose(x, -(1 + 1 / 2 + 1 / 3))


@pytest.mark.parametrize("whole", [None, "array", "model"])
def test_a_rule_with_a_schedule_that_changes_itself(whole):
    """It is another object in each step, which begins to count anew."""

    @dataclasses.dataclass
    class Own:
        eta: float = 0.1
        t: int = 0

        def init(self, x):
            return ()

        def apply(self, state, x, g):
            self.t += 1
            return (), self.eta * g / self.t

    Own.whole = whole
    with pytest.raises(ValueError, match=r"^setup: Own\.apply changes Own\.t, a part of the rule"):
        flux.setup(Own(flux.schedules.Constant(0.1)), two_parameters())


class Remembering(Stateless):
    @functools.cached_property
    def rate(self):
        return 0.5


def with_a_cached_property(rule, x, g):
    return rule.rate * g


def with_a_cache_for_each_size(rule, x, g):
    rule.all[1].setdefault(x.size, np.full_like(x, 0.5))
    return rule.all[1][x.size] * g


def working_out_a_number_again(rule, x, g):
    rule.half = rule.array.size / 2
    return rule.half * g


def logging(rule, x, g):
    rule.all.append(float(g.flat[0]))
    rule.window.append(g.size)
    return 0.5 * g


@pytest.mark.parametrize("whole", [None, "array"])
@pytest.mark.parametrize(
    "step", [with_a_cached_property, with_a_cache_for_each_size, working_out_a_number_again, logging]
)
def test_a_rule_may_hold_what_its_steps_do_not_depend_on(step, whole):
    model = [np.zeros((600, 600)), np.zeros(2)]
    opt = flux.setup(made(step, whole, Remembering), model)
    for _ in range(2):
        flux.update(opt, model, [np.ones((600, 600)), np.ones(2)])
    for x in model:
        np.testing.assert_array_equal(x, -1)


@pytest.mark.parametrize("whole", [None, "array"])
def test_a_rule_may_draw_a_number_for_each_call(whole):
    rule = made(lambda rule, x, g: rule.array.rng.random() + g, whole)
    rule.array = type("Holder", (), {"rng": np.random.default_rng(0)})()
    flux.setup(rule, two_parameters())


def test_a_rule_for_matrices_alone_that_changes_itself():
    """It is tried on a matrix, as it would fail for anything else."""

    def step(rule, x, g):
        rule.t += 1
        return np.linalg.norm(x, axis=1, keepdims=True) * g / rule.t

    with pytest.raises(ValueError, match=r"^setup: Own\.apply changes Own\.t, a part of the rule"):
        flux.setup(made(step, "array"), [np.ones((2, 2))])

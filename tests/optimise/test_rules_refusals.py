"""What no rule can mean is refused where it is written; and what a rule is given stays what it is."""

import copy
import dataclasses
import json
import pickle

import numpy as np
import pytest

import tinyflux as flux
from tinyflux.optimise import MODIFIERS, RULES, schedules

Chain = flux.OptimiserChain


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: flux.Descent(eta="0.1"), r"Descent: expected eta to be a finite number, at least 0, got '0.1'"),
        (lambda: flux.Descent(eta=None), "expected eta to be a finite number, at least 0, got None"),
        (lambda: flux.Descent(eta=np.nan), "expected eta to be a finite number, at least 0, got nan"),
        (lambda: flux.Descent(eta=True), "expected eta to be a finite number, at least 0, got True"),
        (lambda: flux.Adam(epsilon=-1e-8), "Adam: expected epsilon to be a finite number, at least 0"),
        (lambda: flux.Padam(p=-1), "expected p to be a finite number, at least 0"),
        (lambda: flux.ClipNorm(-1), "expected omega to be a finite number, at least 0"),
        (lambda: flux.ClipGrad(-1), "expected delta to be a finite number, at least 0"),
        (lambda: flux.AccumGrad(2.5), "expected n to be an integer, at least 1, got 2.5"),
        (lambda: flux.AccumGrad(True), "expected n to be an integer"),
        (lambda: flux.AccumGrad(lambda t: 4), "expected n to be an integer"),
        (lambda: flux.AccumGrad(0), "at least 1, got 0"),
        (lambda: flux.YellowFin(window=2.5), "expected window to be an integer"),
        (lambda: flux.AdamW(couple="no"), "expected couple to be True or False, got 'no'"),
        (lambda: flux.RMSProp(centred=1), "expected centred to be True or False"),
        (lambda: flux.AdaGrad(initial="0"), "expected initial to be a finite number or None, at least 0"),
        (lambda: flux.Momentum(rho=None), "expected rho to be a finite number"),
        (lambda: flux.Adam(beta=("0.9", 0.9)), r"expected beta to be two numbers in \[0, 1\)"),
        (lambda: flux.AggMo(beta=()), r"expected beta to be numbers in \[0, 1\)"),
        (lambda: flux.AMSGrad(form="other"), "expected form to be one of flux, torch, optax; got 'other'"),
        (lambda: flux.ClipNorm(over="all"), "expected over to be"),
        (lambda: schedules.Cosine(0.1, over=0), "Cosine: expected over to be a finite number, at least 1, got 0"),
        (lambda: schedules.Step(0.1, every=-5), "expected every to be a finite number, at least 1"),
        (lambda: schedules.CosineRestarts(0.1, 5, factor=0), "expected factor to be a finite number, at least 1"),
        (lambda: schedules.OneCycle(0.1, 10, rise=1.0), "expected rise to be a share between 0 and 1"),
        (lambda: schedules.Sequence((schedules.Constant(1.0),), (3,)), "one schedule more than steps"),
    ],
)
def test_nonsense(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_a_sequence_of_numbers():
    with pytest.raises(TypeError, match="Sequence: expected a tuple of schedules"):
        schedules.Sequence((0.1, 0.2), (3,))


def test_a_sequence_asks_no_schedule_outside_of_its_steps():
    schedule = schedules.Sequence((schedules.Exponential(1e-6, 1.1), schedules.Constant(0.1)), (120,))
    assert schedule(119) == 1e-6 * 1.1**119
    assert schedule(100_000) == 0.1  # 1.1 to that power is no number


@pytest.mark.parametrize(
    "rule", [*(kind() for kind in (*RULES, *MODIFIERS)), Chain(flux.ClipNorm(), flux.Adam())], ids=repr
)
def test_copies(rule):
    for other in (copy.deepcopy(rule), pickle.loads(pickle.dumps(rule)), eval(repr(rule), vars(flux))):
        assert other == rule
        assert hash(other) == hash(rule)


def test_an_array_as_a_number(tmp_path):
    model = [np.ones(3)]
    opt = flux.setup(flux.Adam(np.array(0.5)), model)
    assert type(opt[0].rule.eta) is float
    flux.save(tmp_path / "m.npz", model, opt)


class Scaled(flux.Descent):
    """A subclass with arguments of its own."""

    def __init__(self, rate):
        super().__init__(eta=2 * rate)


def test_a_subclass_with_its_own_arguments():
    assert Scaled(rate=0.25).eta == 0.5
    with pytest.raises(TypeError, match="rat"):
        Scaled(rat=1)


@dataclasses.dataclass
class Noted:
    """A user's rule with a function and a list, which are no schedules."""

    transform: object = np.tanh
    eta: float = 1.0
    log: list = dataclasses.field(default_factory=list)

    def init(self, x):
        return ()

    def apply(self, state, x, g):
        self.log.append(g.size)
        return (), self.eta * self.transform(g)


def test_a_users_functions_and_lists_stay():
    rule, model = Noted(), [np.zeros(2), np.zeros((2, 2))]
    opt = flux.setup(rule, model)
    flux.update(opt, model, [np.ones(2), np.ones((2, 2))])
    np.testing.assert_allclose(model[0], -np.tanh(1.0))
    assert rule.log == [6]  # one call, for both
    scheduled = flux.setup(Noted(eta=schedules.Step(1.0, 1, 0.5)), model)
    for _ in range(2):
        flux.update(scheduled, model, [np.ones(2), np.ones((2, 2))])
    np.testing.assert_allclose(model[0], -2.5 * np.tanh(1.0))


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        (flux.AggMo(), {"beta": (0.0, 0.5)}),
        (flux.YellowFin(), {"window": 5}),
        (flux.AMSGrad(), {"form": "torch"}),
        (flux.RMSProp(), {"centred": True}),
        (Chain(flux.ClipGrad(), flux.NAdam()), {"psi": 4e-3}),
    ],
    ids=repr,
)
def test_adjust_refuses_what_asks_for_another_state(rule, change):
    model = [np.ones(2), np.ones(3)]
    opt = flux.setup(rule, model)
    with pytest.raises(ValueError, match=r"has another state than .*; call setup with the new rule"):
        flux.adjust(opt, **change)
    assert opt[0].rule == rule
    flux.update(opt, model, [np.ones(2), np.ones(3)])


def test_a_schedule_of_integers_is_one_of_numbers():
    """Native code is made for numbers, not for each integer anew."""
    seen = []

    class Told(flux.Descent):
        def apply(self, state, x, g):
            seen.append(self.eta)
            return super().apply(state, x, g)

    model = [np.zeros(1)]
    opt = flux.setup(Told(lambda t: t + 1), model)
    seen.clear()  # setup has tried the rule out
    for _ in range(2):
        flux.update(opt, model, [np.ones(1)])
    assert [(type(eta), eta) for eta in seen] == [(float, 1.0), (float, 2.0)]


def test_adjust_to_a_schedule_and_back(tmp_path):
    model = [np.zeros(1)]
    opt = flux.setup(flux.Descent(1.0), model)
    for eta, expected in ((lambda t: 1.0 + t, -3.0), (0.5, -4.0), (lambda t: 1.0 + t, -7.0)):
        flux.adjust(opt, eta=eta)
        for _ in range(2):
            flux.update(opt, model, [np.ones(1)])
        assert model[0] == expected
    flux.adjust(opt, eta=0.25)
    assert opt[0].rule == flux.Descent(0.25)
    flux.save(tmp_path / "m.npz", model, opt)
    flux.load(tmp_path / "m.npz", model, flux.setup(flux.Descent(), model))


def test_a_scheduled_rule_shows_its_numbers():
    opt = flux.setup(flux.Adam(schedules.Cosine(0.1, 10), epsilon=1e-6), [np.zeros(1)])
    assert opt[0].rule.eta == schedules.Cosine(0.1, 10)
    assert opt[0].rule.epsilon == 1e-6


def test_gathered_gradients_are_averaged_over_those_that_came(tmp_path):
    model, loaded = [np.zeros(1)], [np.ones(1)]
    opt, loaded_opt = (flux.setup(Chain(flux.AccumGrad(4), flux.Descent(1.0)), m) for m in (model, loaded))
    for _ in range(3):
        flux.update(opt, model, [np.ones(1)])
    flux.adjust(opt, n=2)
    flux.save(tmp_path / "run.npz", model, opt)
    flux.load(tmp_path / "run.npz", loaded, loaded_opt)
    for found, its_opt in ((model, opt), (loaded, loaded_opt)):
        flux.update(its_opt, found, [np.full(1, 5.0)])
        assert found[0] == -2.0


@pytest.mark.parametrize("omega", [1.0, schedules.Step(2.0, 1, gamma=0.5)], ids=repr)
def test_the_norm_of_the_model_under_several_states(omega):
    """A layer that had no gradient for once has other powers of β; it counts all the same, the norm being 7."""
    model = [np.zeros(1), np.zeros(1, np.float32), np.zeros(1)]
    rule = Chain(flux.ClipNorm(omega, over="model"), flux.Adam(1e-9, (0.0, 0.5)))  # whose average of g is g
    opt = flux.setup(rule, model)
    flux.update(opt, model, [None, np.zeros(1, np.float32), np.zeros(1)])
    flux.update(opt, model, [np.array([2.0]), np.array([3.0], np.float32), np.array([6.0])])
    assert opt[0].numbers != opt[2].numbers
    np.testing.assert_allclose([leaf.state[0].item() for leaf in opt], [2 / 7, 3 / 7, 6 / 7], rtol=1e-6)
    assert opt[1].state[0].dtype == np.float32
    before = [x.copy() for x in model]
    with pytest.raises(flux.NonFiniteNorm):
        flux.update(opt, model, [np.array([2.0]), np.array([np.nan], np.float32), np.array([6.0])])
    assert model == before


def test_the_norm_of_each_array_and_a_schedule_behind_gathered_gradients():
    """What waits for gradients keeps the schedule waiting, too: the second step has the second rate."""
    model = [np.zeros(1)]
    rule = Chain(flux.ClipNorm(2.0), flux.AccumGrad(2), flux.Descent(schedules.Step(1.0, 1, gamma=0.5)))
    opt = flux.setup(rule, model)
    for expected in (0, -2, -2, -3):
        flux.update(opt, model, [np.array([8.0])])
        np.testing.assert_allclose(model[0], expected, rtol=1e-15)


def test_a_scheduled_norm_before_gathered_gradients_waits_with_them():
    """The bound halves with every step that is made, not with every gradient."""
    model = [np.zeros(1)]
    norm = flux.ClipNorm(schedules.Step(4.0, 1, gamma=0.5))
    opt = flux.setup(Chain(norm, flux.AccumGrad(2), flux.Descent(1.0)), model)
    for expected in (0, -4, -4, -6):
        flux.update(opt, model, [np.array([8.0])])
        np.testing.assert_allclose(model[0], expected, rtol=1e-15)


def test_load_refuses_a_state_of_more_arrays(tmp_path):
    model = [np.zeros(2)]
    flux.save(tmp_path / "m.npz", model, flux.setup(flux.AggMo(), model))
    with pytest.raises(flux.CheckpointError, match="has a state of another size"):
        flux.load(tmp_path / "m.npz", model, flux.setup(flux.AggMo(beta=(0.0, 0.5)), model))


@dataclasses.dataclass(frozen=True)
class Own(schedules.Schedule):
    start: float = 0.1

    def __call__(self, t):
        return self.start


def test_a_schedule_that_the_library_does_not_have(tmp_path):
    model = [np.zeros(2)]
    flux.save(tmp_path / "m.npz", model, flux.setup(flux.Descent(Own()), model))
    flux.load(tmp_path / "m.npz", model, flux.setup(flux.Descent(Own(0.2)), model))
    with pytest.raises(flux.CheckpointError, match="'Own'"):
        flux.load(tmp_path / "m.npz", model, flux.setup(flux.Descent(schedules.Constant(0.2)), model))


@pytest.mark.parametrize("rule", [5, {"record": "Descent", "fields": {"eta": "0.1"}}, {"function": "f"}])
def test_a_file_without_a_rule(rule, tmp_path):
    model = [np.zeros(2)]
    opt = flux.setup(flux.Descent(), model)
    flux.save(tmp_path / "m.npz", model, opt)
    with np.load(tmp_path / "m.npz") as file:
        arrays = dict(file)
    about = json.loads(arrays["about"].tobytes())
    about["optimiser"][0]["rule"] = rule
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    np.savez(tmp_path / "m.npz", **arrays)
    with pytest.raises(flux.CheckpointError, match="is not as a training could have left it"):
        flux.load(tmp_path / "m.npz", model, opt)
    assert opt[0].rule == flux.Descent()


class Plain:
    def init(self, x):
        return ()

    def apply(self, state, x, g):
        return (), g


def test_a_rule_that_is_no_record_is_not_saved(tmp_path):
    model = [np.zeros(2)]
    with pytest.raises(TypeError, match="save: a Plain can't be saved; make a rule of your own a dataclass"):
        flux.save(tmp_path / "m.npz", model, flux.setup(Plain(), model))


class Given:
    """A user's rule that gives what it is told to."""

    def __init__(self, init, apply):
        self.init, self.apply = init, apply


ZERO = lambda x: (np.zeros_like(x),)  # noqa: E731
WRONG = [
    (ZERO, lambda s, x, g: (g, s), r"Given.apply: expected \(state, step\), .* got \(an ndarray, \(an ndarray\)\)"),
    (ZERO, lambda s, x, g: (s[0], g), r"Given.apply: expected .* got \(an ndarray, an ndarray\)"),
    (ZERO, lambda s, x, g: ([s[0]], g), r"Given.apply: expected .* got \(\[an ndarray\], an ndarray\)"),
    (ZERO, lambda s, x, g: ((), g), r"Given.apply: expected .* a tuple of 1 as init gives"),
    (ZERO, lambda s, x, g: g, r"Given.apply: expected .* got an ndarray"),
    (ZERO, lambda s, x, g: (s, np.ones((3, 2))), r"Given.apply gives what doesn't fit"),
    (ZERO, lambda s, x, g: (s, g * 1j), r"Given.apply gives what doesn't fit"),
    (lambda x: np.zeros_like(x), lambda s, x, g: (s, g), r"Given.init: expected a tuple .* got an ndarray"),
    (lambda x: None, lambda s, x, g: (s, g), r"Given.init: expected a tuple .* got a NoneType"),
]


@pytest.mark.parametrize(("init", "apply", "message"), WRONG)
@pytest.mark.parametrize("wrapped", [False, True])
def test_what_a_rule_of_ones_own_gives_back_is_named(init, apply, message, wrapped):
    model, rule = [np.ones(3)], Given(init, apply)

    def run():
        opt = flux.setup(Chain(flux.WeightDecay(), rule) if wrapped else rule, model)
        flux.update(opt, model, [np.ones(3)])

    with pytest.raises((TypeError, ValueError), match=message.replace("Given.apply gives", r"\w+.apply gives")):
        run()
    np.testing.assert_array_equal(model[0], 1)

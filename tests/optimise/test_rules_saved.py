"""A run that is saved, and goes on from the file in a fresh setup, ends with the same bits as one that was not."""

import collections
import copy
import dataclasses
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import tinyflux as flux

REFERENCE = json.loads((Path(__file__).parent / "reference.json").read_text())
CHAINS = [
    "OptimiserChain(WeightDecay(0.1), Adam())",
    "OptimiserChain(SignDecay(0.1), Momentum())",
    "OptimiserChain(ClipGrad(1.0), Adam())",
    "OptimiserChain(ClipNorm(1.0), Adam())",
    "OptimiserChain(ClipNorm(1.0, over='model'), YellowFin())",
    "OptimiserChain(AccumGrad(3), Adam())",
    "OptimiserChain(AccumGrad(2), OptimiserChain(AccumGrad(2), YellowFin()), Momentum(rho=schedules.Demon(0.9, 20)))",
    "OptimiserChain(Maximize(), AggMo())",
    "OptimiserChain(ClipNorm(1.0, over='model'), Muon(schedules.Cosine(0.1, 9), others=Adam()))",
    "OptimiserChain(Adam(schedules.Cosine(0.1, 9)), Lookahead(3), EMA(0.9))",
    "OptimiserChain(ClipNorm(1.0), SOAP(schedules.Cosine(0.1, 9), every=3), Lookahead(3), EMA(0.9))",
]
SCHEDULES = [
    "Constant(0.1)",
    "Step(0.1, 2, 0.5)",
    "MultiStep(0.1, (3, 7), 0.5)",
    "Exponential(0.1, 0.9)",
    "InverseTime(0.1, 0.5)",
    "Polynomial(0.1, 9, 2.0, 0.01)",
    "Cosine(0.1, 9, 0.01)",
    "CosineRestarts(0.1, 2, 2, 0.01)",
    "Warmup(0.1, 8)",
    "OneCycle(0.1, 12)",
    "Demon(0.9, 12)",
    "Sequence((schedules.Warmup(0.1, 3), schedules.Cosine(0.1, 8)), (3,))",
]
ELSEWHERE = [
    "Adam(beta=(schedules.Demon(0.9, 12), 0.999))",
    "Padam(p=schedules.Polynomial(0.5, 10, stop=0.125))",
    "OptimiserChain(WeightDecay(schedules.Exponential(0.5, 0.8)), Adam(eta=schedules.Cosine(0.1, 9)))",
]
RULES = [
    *REFERENCE["cases"][0]["paths"],
    *CHAINS,
    *[f"Adam(eta=schedules.{schedule})" for schedule in SCHEDULES],
    *ELSEWHERE,
]


def start(seed):
    rng = np.random.default_rng(seed)
    return {"w": rng.normal(size=(2, 3)), "b": [rng.normal(size=4).astype(np.float32)], "c": np.array(rng.normal())}


def run(model, opt, steps):
    """Steps with the gradients that the table holds for them; `b` has none in some."""
    for t in steps:
        rng = np.random.default_rng(100 + t)
        b = rng.normal(size=4).astype(np.float32)
        c, w = np.array(rng.normal()), rng.normal(size=(2, 3))
        flux.update(opt, model, {"w": w, "b": [b if t % 4 else None], "c": c})


@pytest.mark.parametrize("expression", RULES)
def test_goes_on_exactly(expression, tmp_path):
    rule = eval(expression, dict(vars(flux)))
    whole = start(1)
    opt = flux.setup(rule, whole)
    run(whole, opt, range(12))

    first = start(1)
    opt_first = flux.setup(rule, first)
    run(first, opt_first, range(5))
    flux.save(tmp_path / "run.npz", first, opt_first)
    second = start(2)
    opt_second = flux.setup(rule, second)
    run(second, opt_second, range(50, 52))  # what it holds by then is replaced by the file's
    flux.load(tmp_path / "run.npz", second, opt_second)
    run(second, opt_second, range(5, 12))

    for got, expected in zip(flux.leaves(second), flux.leaves(whole), strict=True):
        np.testing.assert_array_equal(got, expected)
    for leaf, other in [(opt_second["w"], opt["w"]), (opt_second["b"][0], opt["b"][0]), (opt_second["c"], opt["c"])]:
        assert leaf.rule == other.rule
        for got, expected in zip(leaf.state, other.state, strict=True):
            np.testing.assert_array_equal(got, expected)


@dataclasses.dataclass
class Holding:
    """A rule of a user's own that holds something."""

    held: object

    def init(self, x):
        return ()

    def apply(self, state, x, g):
        return (), 0.1 * g


class Rates(NamedTuple):
    eta: float
    of: tuple


HELD = [
    {},
    {"a": 1.0, "b": [1, (True, "x")]},
    [{"record": 2.5}],
    ([], ()),
    None,
    Rates(0.5, ()),
    ({"a": Rates(1, (2,))},),
]


@pytest.mark.parametrize("held", HELD)
def test_what_a_rule_holds(held, tmp_path):
    opt = flux.setup(Holding(held), {"w": np.ones(2)})
    flux.save(tmp_path / "run.npz", {"w": np.ones(2)}, opt)
    opt["w"].rule.held = copy.copy(held)
    flux.load(tmp_path / "run.npz", {"w": np.ones(2)}, opt)
    assert repr(opt["w"].rule.held) == repr(held)


def test_a_namedtuple_of_another_length(tmp_path):
    opt = flux.setup(Holding(Rates(0.5, ())), {"w": np.ones(2)})
    flux.save(tmp_path / "run.npz", {"w": np.ones(2)}, opt)
    opt["w"].rule.held = collections.namedtuple("Rates", "eta")(0.1)
    with pytest.raises(flux.CheckpointError, match=r"Rates\(eta=0.1\) stands in the place of 2 items"):
        flux.load(tmp_path / "run.npz", {"w": np.ones(2)}, opt)


def test_adjust_keeps_a_namedtuple():
    opt = flux.setup(flux.OptimiserChain(Holding(Rates(0.5, ())), flux.Adam(0.1)), {"w": np.ones(2)})
    flux.adjust(opt, eta=0.2)
    assert repr(opt["w"].rule.rules[0].held) == "Rates(eta=0.5, of=())"


@pytest.mark.parametrize(
    ("held", "got"),
    [
        (1j, " is 1j"),
        ({"a": ({1: 2.0},)}, "['a'][0] has the key 1"),
        ({"a"}, " is a set"),
        ([np.ones(2)], "[0] is an array of shape (2,)"),
    ],
)
def test_what_a_file_does_not_know(held, got, tmp_path):
    chain = flux.OptimiserChain(flux.WeightDecay(flux.schedules.Constant(0.1)), Holding(held))
    for rule in Holding(held), chain:
        opt = flux.setup(rule, {"w": np.ones(2)})
        with pytest.raises(TypeError) as caught:
            flux.save(tmp_path / "run.npz", {"w": np.ones(2)}, opt)
        assert str(caught.value).startswith(f"save: Holding.held{got}, which can't be saved. A rule may hold numbers, ")
    assert not list(tmp_path.iterdir())

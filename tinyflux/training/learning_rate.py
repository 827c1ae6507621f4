"""find_learning_rate: a short training in which the rate grows, and what its losses suggest."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from typing import Any

import numpy as np

from .. import tree
from ..checks import check_integer, check_number, shown
from ..data.loader import generators_kept
from ..display import careful
from ..errors import NonFiniteLoss
from ..optimise import schedules
from ..optimise.adjusting import adjust
from ..optimise.checks import check_trainable
from ..optimise.rule import is_rule
from ..optimise.state import setup
from ..types import Array, Loss, Rule, Tree
from .callbacks import Progress
from .history import number
from .loop import train

BETA = 0.9  # of the average of losses
DIVERGED = 4.0  # times the best loss


@dataclasses.dataclass(frozen=True, eq=False)
class LearningRates:
    """What `find_learning_rate` returns; `flux.plot` draws it.

    Attributes:
        rates: the learning rate of each step that was made, growing.
        losses: the smoothed loss of each step, from before its update.
        suggestion: where to begin: a tenth of the rate at which the smoothed loss is least.

    >>> import numpy as np, tinyflux as flux
    >>> flux.LearningRates(np.array([0.01, 0.1, 1.0]), np.array([0.5, 0.2, 0.9]), suggestion=0.01)
    LearningRates(suggestion=0.01; 3 steps from 0.01 to 1, least loss 0.2 at 0.1)
    """

    rates: Array
    losses: Array
    suggestion: float

    @careful
    def __repr__(self) -> str:
        least = _least(self.losses)
        ends = {len(self.losses) // 10: "first", len(self.losses) - 1: "last"}
        edge = f"; no valley, as this is the {ends[least]} step" if least in ends else ""
        return (
            f"LearningRates(suggestion={self.suggestion:.2g}; {len(self.rates)} steps from {self.rates[0]:.2g} to "
            f"{self.rates[-1]:.2g}, least loss {number(self.losses[least])} at {self.rates[least]:.2g}"
            f"{edge})"
        )


def find_learning_rate(
    loss: Loss,
    model: Tree,
    data: Iterable[Any],
    rule: Rule | Callable[[Array], Rule],
    *,
    lowest: float = 1e-6,
    highest: float = 10.0,
    steps: int = 100,
    compile: bool | str = "auto",  # noqa: A002
) -> LearningRates:
    """Find a learning rate by the range test: a short training in which the rate grows from step to step.

    Step t of T, from 0 on, has the rate ηₜ = lowest·(highest/lowest)^(t/(T−1)). Its loss ℓₜ is smoothed by an average
    whose start is corrected, as Adam's are:

        mₜ = β·mₜ₋₁ + (1−β)·ℓₜ,  m₋₁ = 0,  β = 0.9;     sₜ = mₜ / (1 − βᵗ⁺¹)

    The test ends after T steps. It ends before when a loss isn't finite, or when sₜ is more than four times the least s
    so far. (Where that least one is negative, sₜ must lie above it by three times its size.)

    The suggestion is **a tenth of the rate at which s is least**, leaving out the first tenth of the steps, whose
    averages are of few losses. At the least loss the rate begins to be too large; at a tenth of it the loss still
    falls. **Try three times the suggestion, itself and a third of it**, and keep what validates best. Measured with an
    MLP on the digits of `flux.data.digits` after 5 epochs, for 23 rules, the best of the three rates came within 20 %
    of the least loss of a fine grid for all 23, the suggestion alone for 13. The suggestion was right for Adam and its
    kin, too small by a factor of three to nine for `Descent`, `Nesterov`, `QHM` and
    `AdaGrad`, and too large by a factor of two to three for `Lion` and `Muon`, whose steps have a size that doesn't
    depend on the gradient's; no other reading of the curve did better for all. With batches of 8 images the three
    rates sufficed for 8 of 10 rules, with three layers for 6, and were within 57 % for all.

    A hundred updates don't tell what a long training stands: for one, try a tenth, too. For a small convolutional
    network with BatchNorm, trained by Adam for 8 epochs, the test suggested 0.05. The accuracies on images held back
    were 0.886 with 0.05, 0.962 with 0.01, and 0.983 with 0.003.

    The other usual suggestion, the rate at which the loss falls most steeply, is the difference of noisy numbers: with
    batches of one image it was almost ten times too large. Draw the result with `flux.plot` to see whether the loss has
    a valley at all. Where it is least at the first step or at the last one, there is none; the result says so when it
    is printed.

    All of this happens to a copy: the model, its buffers and the random generators stay as they are.

    Arguments:
        loss, data, compile: as for `train`; the data is gone through as often as the steps need.
        model: what is to be trained.
        rule: as for `setup`, any rule with an `eta`, or a chain of some; its own is not looked at. Where several rules
            have one, all get the same.
        lowest, highest: the first rate, and that of the last step.
        steps: how many, at least 2.

    Returns: a LearningRates: `rates`, `losses`, `suggestion`.

    Errors: TypeError or ValueError for arguments of a wrong type or value, a rule without `eta`, data for one pass
    only; NonFiniteLoss where the very first loss isn't finite; those of `train`.

    Smith, "Cyclical learning rates for training neural networks", 2017.

    >>> import numpy as np, tinyflux as flux
    >>> flux.seed(0)
    >>> x = np.random.default_rng(0).normal(size=(256, 4)).astype(np.float32); y = x @ np.ones((4, 1), np.float32)
    >>> loss = lambda m, x, y: flux.mse(m(x), y)
    >>> data = flux.DataLoader((x, y), batchsize=32, shuffle=True)
    >>> found = flux.find_learning_rate(loss, flux.Dense(4, 1), data, flux.Descent())
    >>> 0.05 < found.suggestion < 0.5
    True
    >>> bool(found.losses[-1] > 4 * found.losses.min())
    True
    """
    owner = "find_learning_rate"
    check_trainable(owner, model)
    check_number(owner, "lowest", lowest, "a number above 0", lambda x: x > 0)
    check_number(owner, "highest", highest, f"a number above lowest, {lowest:g}", lambda x: x > lowest)
    check_integer(owner, "steps", steps, 2)
    if isinstance(data, Iterator):
        raise TypeError(
            f"{owner}: expected data that can be gone through again, got {shown(data)}, which lasts for one pass. Give "
            "a DataLoader, or a list of items."
        )
    growth = (float(highest) / float(lowest)) ** (1 / (steps - 1))
    trial = copy.deepcopy(model)
    opt = setup(_rule_for(trial, rule, model), trial)
    try:
        adjust(opt, eta=schedules.Exponential(float(lowest), growth))
    except TypeError as error:
        raise TypeError(f"{owner}: expected a rule with a learning rate, eta, got {shown(rule)}.") from error
    losses: list[float] = []
    average = 0.0

    def watch(progress: Progress) -> bool:
        nonlocal average
        for value in progress.losses:
            average = BETA * average + (1 - BETA) * value
            losses.append(average / (1 - BETA ** (len(losses) + 1)))
        best = min(losses)
        return len(losses) >= steps or losses[-1] > best + (DIVERGED - 1) * abs(best)

    epochs = -(-steps // max(len(data), 1)) if isinstance(data, Sized) else steps
    with generators_kept(data), np.errstate(all="ignore"):
        try:
            train(loss, trial, data, opt, epochs, [watch], compile)
        except NonFiniteLoss:
            if not losses:
                raise
    rates = float(lowest) * growth ** np.arange(len(losses))
    return LearningRates(rates, np.array(losses), float(rates[_least(losses)] / 10))


def _least(losses: Sequence[float] | Array) -> int:
    """Where the smoothed loss is least; the first tenth doesn't count, whose averages are of few losses."""
    start = len(losses) // 10
    return start + int(np.argmin(losses[start:]))


def _rule_for(trial: Tree, rule: Any, model: Tree) -> Any:
    """The rule for a copy of a model; a function that gives each parameter its rule is asked for the model's own."""
    if is_rule(rule) or not callable(rule) or isinstance(rule, type):
        return rule
    own = dict(zip(map(id, tree.leaves(trial)), tree.leaves(model)))
    return lambda x: rule(own[id(x)])

"""The texts' conclusions as checks, each with a verdict from our data and the figures that decide it.

A conclusion on the end of a training is judged after as many epochs as the text trained for; until then it is not run,
and the figures so far stand beside it. Others are judged after the epochs that were run.
"""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable
from fractions import Fraction

import numpy as np

from examples.common.checks import NOT_RUN, Check, Conclusion, verdict

from .published import REPRODUCTION, TUTORIAL, WIDE_RESNET
from .table import MEASURES, Comparison, Table, cell

AHEAD = ["AdaMax", "SGD", "Adam", "AdamW"]  # of the tutorial's seven
BEHIND = ["AdaGrad", "AdaDelta"]
SEVEN = [*AHEAD, *BEHIND, "ASGD"]
FIRST = 3  # epochs: "the first"
ALIKE = 2.0  # percentage points: test accuracies as near are alike
HALVES = 10  # epochs after which one can tell a line from a curve
LATE = 10  # epochs: "towards the end"
FOUR = list(WIDE_RESNET.percent)
MARKS = sorted(WIDE_RESNET.percent["Padam"])  # epochs whose accuracies the reproduction gives
FALLING = "Padam falling"


def conclusions(table: Table) -> list[Conclusion]:
    """Those of the text that a preset is about."""
    if table.preset.text == "tutorial":
        c = table.contests[0]
        return [_training(c), _first(c), _unseen(c), _behind(c), _losses(c)]
    wide, grid = table.contest(WIDE_RESNET.model), table.grid
    return [
        *([_lowest(wide), _order(wide)] if wide else []),
        *([_powers(grid), _rates(grid), *_falling(grid)] if grid else []),
    ]


Judgement = tuple[str, bool]  # the evidence, and whether the statement is true of it


def _check(
    c: Comparison, statement: str, names: Iterable[str], judge: Callable[[], Judgement], needed: int = 1
) -> Check:
    """A check that needs some optimisers, and some epochs, to be run."""
    missing = [name for name in names if name not in c.runs]
    if missing:
        return Check(statement, f"not begun: {', '.join(missing)}", NOT_RUN)
    evidence, true = judge()
    if c.epoch < needed:
        run = f"{c.epoch} {'was' if c.epoch == 1 else 'were'} run"
        return Check(statement, f"needs {needed} epochs, {run}; so far: {evidence}", NOT_RUN)
    return Check(statement, evidence, verdict(true))


def shown(c: Comparison, name: str, measure: str, epoch: int | None = None) -> str:
    """What an optimiser measured, with the deviation over seeds, accuracies in percent."""
    text = c.text(name, measure, epoch)
    return f"{text} %" if measure.endswith("accuracy") and text[0].isdigit() else text


def _ranking(c: Comparison, names: Iterable[str], measure: str, epoch: int | None = None) -> str:
    ranked = c.ranked(measure, names, epoch)
    return ", ".join(f"{name} {shown(c, name, measure, epoch)}" for name in ranked) + _caution(
        c, ranked, measure, epoch
    )


def _caution(c: Comparison, ranked: list[str], measure: str, epoch: int | None) -> str:
    """A word where the seeds of the first and the second overlap."""
    if len(c.seeds) < 2 or len(ranked) < 2:
        return ""
    a, b = (c.ends(name, measure, epoch) for name in ranked[:2])
    return " (the seeds of the first two overlap)" if min(a) <= max(b) and min(b) <= max(a) else ""


def _best(c: Comparison, name: str, measure: str, names: list[str]) -> Callable[[], Judgement]:
    """Whether one is the best of several."""
    return lambda: (_ranking(c, names, measure), c.ranked(measure, names)[0] == name)


def _are_first(
    c: Comparison, some: list[str], measure: str, names: list[str], epoch: int | None = None
) -> Callable[[], Judgement]:
    """Whether some are the best of all, in whichever order."""
    return lambda: (
        _ranking(c, names, measure, epoch),
        set(c.ranked(measure, names, epoch)[: len(some)]) == set(some),
    )


# The tutorial


def _training(c: Comparison) -> Conclusion:
    others = [name for name in SEVEN if name != "AdaMax"]
    end = TUTORIAL.epochs
    return Conclusion(
        "AdaMax is best in training throughout, then SGD, Adam and AdamW.",
        [
            _check(
                c, "AdaMax has the highest training accuracy in every epoch that was run", SEVEN, lambda: _throughout(c)
            ),
            _check(
                c,
                "AdaMax has the lowest training loss in the end",
                SEVEN,
                _best(c, "AdaMax", "train_loss", SEVEN),
                end,
            ),
            _check(
                c,
                "of the others, SGD, Adam and AdamW have the highest training accuracies in the end",
                SEVEN,
                _are_first(c, ["SGD", "Adam", "AdamW"], "train_accuracy", others),
                end,
            ),
        ],
    )


def _throughout(c: Comparison) -> Judgement:
    """In how many epochs which optimiser was first."""
    counts = Counter(c.ranked("train_accuracy", SEVEN, epoch)[0] for epoch in range(1, c.epoch + 1))
    others = [f"{name} in {count}" for name, count in counts.most_common() if name != "AdaMax"]
    evidence = ", ".join([f"first in {counts['AdaMax']} of {c.epoch} epochs", *others])
    return evidence, counts["AdaMax"] == c.epoch


def _first(c: Comparison) -> Conclusion:
    def check(measure: str) -> Check:
        statement = f"after {FIRST} epochs AdaMax and SGD have the highest {MEASURES[measure].replace('cy', 'cies')}"
        judge = _are_first(c, ["AdaMax", "SGD"], measure, SEVEN, min(FIRST, c.epoch))
        return _check(c, statement, SEVEN, judge, FIRST)

    return Conclusion(
        "AdaMax and SGD gain most in the first epochs.", [check("train_accuracy"), check("test_accuracy")]
    )


def _unseen(c: Comparison) -> Conclusion:
    def check(measure: str, images: str) -> Check:
        statement = f"in the end their accuracies on {images} are at most {ALIKE:g} percentage points apart"
        return _check(c, statement, AHEAD, lambda: _apart(c, measure), TUTORIAL.epochs)

    return Conclusion(
        "On unseen data AdaMax, SGD, Adam and AdamW are alike in the end.",
        [
            check("test_accuracy", "the test images"),
            check("augmented_accuracy", "test images that are augmented, as the tutorial's were,"),
        ],
    )


def _apart(c: Comparison, measure: str) -> Judgement:
    best, *_, worst = c.ranked(measure, AHEAD)
    gap = c.mean(best, measure).mean - c.mean(worst, measure).mean
    ends = " to ".join(f"{shown(c, name, measure)} ({name})" for name in (worst, best))
    return f"{ends}: {gap:.2f} points apart", gap <= ALIKE


def _behind(c: Comparison) -> Conclusion:
    after = f"after {c.epoch} epochs ({TUTORIAL.epochs} there)"
    behind = [
        _check(
            c,
            f"{after} {name} has a lower test accuracy than each of {', '.join(AHEAD)}",
            [*AHEAD, name],
            lambda name=name: _below(c, name),
            FIRST,
        )
        for name in BEHIND
    ]
    linear = [
        _check(
            c,
            f"{name} improves linearly, that is, the second half of the epochs adds at least half as much training "
            "accuracy as the first",
            [name],
            lambda name=name: _halves(c, name),
            HALVES,
        )
        for name in BEHIND
    ]
    return Conclusion("AdaGrad and AdaDelta improve linearly and stay behind.", [*behind, *linear])


def _below(c: Comparison, name: str) -> Judgement:
    last = c.ranked("test_accuracy", AHEAD)[-1]
    names = [name, last]
    evidence = ", ".join(f"{n} {shown(c, n, 'test_accuracy')}" for n in names)
    return f"{evidence}, the lowest of the four", c.ranked("test_accuracy", names)[-1] == name


def _halves(c: Comparison, name: str) -> Judgement:
    middle = (1 + c.epoch) // 2
    start, half, end = (c.mean(name, "train_accuracy", epoch).mean for epoch in (1, middle, c.epoch))
    evidence = f"{half - start:+.2f} points from epoch 1 to {middle}, {end - half:+.2f} from there to {c.epoch}"
    return evidence.replace("-", "−"), end - half >= (half - start) / 2


def _losses(c: Comparison) -> Conclusion:
    lowest = _check(
        c,
        "Adam and AdamW have the lowest test losses in the end",
        SEVEN,
        _are_first(c, ["Adam", "AdamW"], "test_loss", SEVEN),
        TUTORIAL.epochs,
    )
    statement = f"the test loss of {{}} is higher in the last {LATE} epochs than in the {LATE} before"
    rising = [
        _check(c, statement.format(name), [name], lambda name=name: _rises(c, name), TUTORIAL.epochs)
        for name in ("SGD", "AdaMax")
    ]
    text = "Test losses are lowest for Adam and AdamW; those of SGD and AdaMax rise towards the end."
    return Conclusion(text, [lowest, *rising])


def _rises(c: Comparison, name: str) -> Judgement:
    late = min(LATE, c.epoch // 2)
    if not late:
        return f"{shown(c, name, 'test_loss')} after an epoch", False
    losses = [c.mean(name, "test_loss", epoch).mean for epoch in range(1, c.epoch + 1)]
    before, after = np.mean(losses[-2 * late : -late]), np.mean(losses[-late:])
    if math.isnan(after):
        return "diverged", False
    count = f"{late} epochs" if late > 1 else "epoch"
    return f"mean of the last {count} {after:.3f}, before {before:.3f}", bool(after > before)


# The reproduction of Padam


def _lowest(c: Comparison) -> Conclusion:
    return Conclusion(
        "Padam has the lowest training loss on the Wide ResNet.",
        [
            _check(
                c,
                f"after {c.epoch} epochs ({REPRODUCTION.epochs} there) Padam's training loss is the lowest",
                FOUR,
                _best(c, "Padam", "train_loss", FOUR),
                MARKS[0],
            )
        ],
    )


def _order(c: Comparison) -> Conclusion:
    def check(mark: int) -> Check:
        order = sorted(FOUR, key=lambda name: -WIDE_RESNET.percent[name][mark])
        epoch = min(mark, c.epoch)

        def judge() -> Judgement:
            ranked = c.ranked("test_accuracy", FOUR, epoch)
            return _ranking(c, FOUR, "test_accuracy", epoch), (ranked[0], ranked[-1]) == (order[0], order[-1])

        return _check(c, f"after {mark} epochs {order[0]} is first and {order[-1]} last", FOUR, judge, mark)

    return Conclusion(
        "On the Wide ResNet's test images the first and the last are the same as there.", list(map(check, MARKS))
    )


def grid_cells(c: Comparison) -> dict[tuple[Fraction, float], str]:
    """The entries of the grid by power and rate, whether they have begun or not."""
    found = {cell(name): name for name in [*c.runs, *c.missing]}
    return {key: name for key, name in found.items() if key is not None}


def _powers(c: Comparison) -> Conclusion:
    grid = grid_cells(c)
    names = [name for (_, rate), name in grid.items() if rate == 0.1]
    best = grid[Fraction(1, 16), 0.1]
    return Conclusion(
        "At the rate 0.1, p = 1/16 is best.",
        [
            _check(
                c,
                f"{c.title}, after {c.epoch} epochs ({REPRODUCTION.epochs} there): p = 1/16 has the highest test "
                "accuracy of those with η = 0.1",
                names,
                _best(c, best, "test_accuracy", names),
                MARKS[0],
            )
        ],
    )


def best_rate(c: Comparison, power: Fraction) -> float:
    """The rate of the highest mean test accuracy, of those that were tried with a power."""
    names = {name: rate for (p, rate), name in grid_cells(c).items() if p == power and name in c.runs}
    return names[c.ranked("test_accuracy", names)[0]]


def _rates(c: Comparison) -> Conclusion:
    grid = grid_cells(c)
    powers = sorted({p for p, _ in grid})

    def check(small: Fraction, large: Fraction, strictly: bool) -> Check:
        def judge() -> Judgement:
            a, b = best_rate(c, small), best_rate(c, large)
            evidence = f"the best rate of p = {small} is {a:g}, of p = {large} {b:g}"
            return evidence, b < a if strictly else b <= a

        names = [name for (p, _), name in grid.items() if p in (small, large)]
        words = "a smaller rate than" if strictly else "no larger rate than"
        return _check(c, f"p = {large} wants {words} p = {small}", names, judge, MARKS[0])

    checks = [check(small, large, False) for small, large in itertools.pairwise(powers)]
    return Conclusion("The larger p, the smaller the rate it wants.", [*checks, check(powers[0], powers[-1], True)])


def _falling(c: Comparison) -> list[Conclusion]:
    """What the reproduction suggests and doesn't try, if it takes part."""
    if FALLING not in [*c.runs, *c.missing]:
        return []
    constant = list(grid_cells(c).values())

    def judge() -> Judgement:
        both = [c.ranked("test_accuracy", constant)[0], FALLING]
        return _ranking(c, both, "test_accuracy"), c.ranked("test_accuracy", both)[0] == FALLING

    statement = "it ends with a higher test accuracy than every constant pair"
    check = _check(c, statement, [FALLING, *constant], judge, REPRODUCTION.epochs)
    return [Conclusion("A p that falls while the rate rises is better (suggested there, not tried).", [check])]

"""The articles' conclusions as checks, each with a verdict from our data."""

import itertools
from collections.abc import Callable

from examples.common.checks import FAILS, HOLDS, NOT_RUN, Check, Conclusion, verdict

from .grid import MODELS, OPTIMISERS, PRESETS, VARIANTS, checkpoints
from .table import Cell, Cells, Claimed, Kind

STUCK, LEARNT = 20, 80  # percent: a training that never gets above the one fails, one that gets above the other learns
END = PRESETS["article"].iterations  # how far the articles go
# The cases of the rescue, with the iterations for which the articles show Descent, and ADAM.
RESCUED = {("4LS", "batch"): (500, 1_000), ("3LS", "batch"): (500, 1_000), ("2LR", "stochastic"): (2_048_000,) * 2}


def conclusions(table: Cells) -> list[Conclusion]:
    """All conclusions of the third article. One that needs more iterations than were run is not run."""
    rescued = [check for case in RESCUED for check in _rescue(table, *case)]
    others = [(model, variant) for variant in VARIANTS for model in MODELS if (model, variant) not in RESCUED]
    return [
        Conclusion("ADAM rescues the three cases in which Descent fails.", rescued),
        Conclusion("Elsewhere ADAM is ahead early.", [_early(table, *case) for case in others]),
        Conclusion("Elsewhere Descent ends higher.", [_late(table, *case) for case in others]),
        Conclusion("Neither optimiser is best for all purposes.", [_neither(table)]),
        Conclusion("Best results overall: 3LS with Descent, then 2LR with Descent; 4LS trails.", _ranking(table)),
        Conclusion("What the articles say of single curves.", _curves(table)),
    ]


def answered(goals: dict[Kind, int]) -> list[Conclusion]:
    """The conclusions that trainings of such lengths answer, where all comes about as in the full runs.

    Arguments:
        goals: how many iterations each kind is trained for.
    """
    cells = {
        kind: {i: Cell((_expected(kind),), (1.0,), (1.0,)) for i in checkpoints(goal)} for kind, goal in goals.items()
    }
    return [c for c in conclusions(Cells(cells)) if all(check.verdict != NOT_RUN for check in c.checks)]


def _expected(kind: Kind) -> float:
    """An accuracy in percent: Descent fails where ADAM rescues it, and is ahead elsewhere."""
    return {"ADAM": 90.0, "Descent": 10.0 if kind[:2] in RESCUED else 95.0}[kind[2]]


def _rescue(table: Cells, model: str, variant: str) -> list[Check]:
    case, (short, long) = f"{model} {variant}", RESCUED[model, variant]
    descent, adam = (model, variant, "Descent"), (model, variant, "ADAM")
    learnt = table.best(adam, long)
    known = learnt is not None and learnt[1].accuracy > LEARNT  # however far it has come
    return [
        _check(
            f"{case}: Descent doesn't get above {STUCK} % in {short:,} iterations",
            [_highest(table, descent, short)],
            lambda d: d[1].accuracy <= STUCK,
        ),
        _check(
            f"{case}: ADAM gets above {LEARNT} % in {long:,} iterations",
            [_highest(table, adam, min(long, max(table.shared(adam))) if known else long)],
            lambda a: a[1].accuracy > LEARNT,
        ),
    ]


def _early(table: Cells, model: str, variant: str) -> Check:
    cells = [_at(table, (model, variant, rule), 500) for rule in OPTIMISERS]
    return _check(f"{model} {variant}: ADAM is ahead after 500 iterations", cells, _second_higher)


def _late(table: Cells, model: str, variant: str) -> Check:
    cells = [_at(table, (model, variant, rule), END[variant]) for rule in OPTIMISERS]
    statement = f"{model} {variant}: Descent is ahead after {END[variant]:,} iterations"
    return _check(statement, cells, lambda d, a: _second_higher(a, d))


def _neither(table: Cells) -> Check:
    """Each of the optimisers ends higher in some of the cases."""
    ahead, missing = dict.fromkeys(OPTIMISERS, 0), 0
    for model, variant in itertools.product(MODELS, VARIANTS):
        descent, adam = (_at(table, (model, variant, rule), END[variant]) for rule in OPTIMISERS)
        if descent is None or adam is None:
            missing += 1
            continue
        ahead["Descent"] += _second_higher(adam, descent)
        ahead["ADAM"] += _second_higher(descent, adam)
    evidence = ", ".join(f"{rule} in {count}" for rule, count in ahead.items())
    verdict = HOLDS if all(ahead.values()) else NOT_RUN if missing else FAILS
    return Check("each of them ends higher in some of the nine cases", evidence, verdict)


def _ranking(table: Cells) -> list[Check]:
    """The best of each model and optimiser, over the variants; all must have been run for a verdict."""
    best = {}
    for model in MODELS:
        for rule in OPTIMISERS:
            found = [_highest(table, (model, variant, rule), END[variant]) for variant in VARIANTS]
            if all(found):
                best[model, rule] = max(point[1].accuracy for point in found if point)
    order = sorted(best, key=lambda pair: -best[pair])
    models = list(dict.fromkeys(model for model, _ in order))  # by the best of each
    first = [next(pair for pair in order if pair[0] == model) for model in models]
    checks = [
        ("3LS with Descent is the best", order[:2], order[:1] == [("3LS", "Descent")]),
        ("2LR with Descent comes next", order[1:3], order[1:2] == [("2LR", "Descent")]),
        ("4LS has the lowest best result of the three models", first, models[-1:] == ["4LS"]),
    ]
    complete = len(best) == len(MODELS) * len(OPTIMISERS)
    return [
        Check(statement, _ranked(pairs, best), verdict(true if complete else None)) for statement, pairs, true in checks
    ]


def _ranked(pairs: list[tuple[str, str]], best: dict[tuple[str, str], float]) -> str:
    texts = {f"{best[pair]:.2f}" for pair in pairs}
    digits = 2 if len(texts) == len(pairs) else 3  # that the order is seen
    return ", ".join(f"{model} {rule} {best[model, rule]:.{digits}f} %" for model, rule in pairs)


def _curves(table: Cells) -> list[Check]:
    batch, adam, stochastic = ("2LR", "batch", "Descent"), ("2LR", "batch", "ADAM"), ("2LR", "stochastic", "ADAM")
    return [
        _check(
            "2LR batch Descent needs 4,000 iterations to get above 96 %",
            [_at(table, batch, 2_000), _at(table, batch, 4_000)],
            lambda before, after: before[1].accuracy <= 96 < after[1].accuracy,
        ),
        _check(
            "2LR batch ADAM decreases after 500 iterations",
            [_at(table, adam, 500), _at(table, adam, 1_000)],
            _second_lower,
        ),
        _check(
            "2LR stochastic ADAM gets worse after about half a million iterations",
            [_at(table, stochastic, 512_000), _at(table, stochastic, 2_048_000)],
            _second_lower,
        ),
    ]


Point = tuple[str, Cell]  # a cell with a word on which it is


def _at(table: Cells, kind: Kind, iterations: int) -> Point | None:
    cell = table.cells.get(kind, {}).get(iterations)
    return cell and (f"{kind[2]} at {iterations:,}", cell)


def _highest(table: Cells, kind: Kind, iterations: int) -> Point | None:
    """The highest of the checkpoints up to an iteration, which must have been come to."""
    best = table.best(kind, iterations)
    if best is None or max(table.shared(kind)) < iterations:
        return None
    return f"{kind[2]} at most, at {best[0]:,}", best[1]


def _check(statement: str, points: list[Point | None], true: Callable[..., bool]) -> Check:
    known = [point for point in points if point is not None]
    evidence = "; ".join(f"{words}: {percent(cell)}" for words, cell in known)
    if len(known) < len(points):
        return Check(statement, evidence, NOT_RUN)
    if len(known) == 2:
        evidence += _caution(*known)
    return Check(statement, evidence, verdict(true(*known)))


def _second_higher(first: Point, second: Point) -> bool:
    return second[1].accuracy > first[1].accuracy


def _second_lower(first: Point, second: Point) -> bool:
    return second[1].accuracy < first[1].accuracy


def _caution(first: Point, second: Point) -> str:
    """A word where another seed might have turned it round."""
    a, b = first[1].accuracies, second[1].accuracies
    if len(a) == len(b) == 1:
        return " (one seed each)"
    return " (the seeds overlap)" if min(a) <= max(b) and min(b) <= max(a) else ""


def percent(cell: Cell) -> str:
    """The accuracy, with its spread where there are several seeds."""
    spread = f" ± {cell.spread:.2f}" if len(cell.accuracies) > 1 else ""
    return f"{cell.accuracy:.2f}{spread} %"


def signed(difference: float) -> str:
    """A difference with its sign, a true minus."""
    return f"{difference:+.2f}".replace("-", "−")


def compared(claimed: Claimed, cell: Cell | None) -> tuple[str, str]:
    """How our figure differs from one of the articles', in percentage points, and a verdict on bounds."""
    if cell is None:
        return "", NOT_RUN
    difference = cell.accuracy - claimed.percent
    if claimed.relation == "=":
        return signed(difference), ""
    inside = difference > 0 if claimed.relation == ">" else difference < 0
    return ("" if inside else signed(difference)), verdict(inside)

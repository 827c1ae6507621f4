"""The articles' conclusions as checks, each with a verdict from our data."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from .grid import MODELS, OPTIMISERS, PRESETS, VARIANTS
from .table import Cell, Claimed, Kind, Table

HOLDS, FAILS, NOT_RUN = "holds", "doesn't hold", "not run"
STUCK, LEARNT = 20, 80  # percent: a training that never gets above the one fails, one that gets above the other learns
END = PRESETS["article"].iterations  # how far the articles go
RESCUED = {("4LS", "batch"): 500, ("3LS", "batch"): 500, ("2LR", "stochastic"): END["stochastic"]}  # so far they look


class Check(NamedTuple):
    """A statement that our data can confirm or refute."""

    statement: str
    evidence: str  # the figures that decide it
    verdict: str  # HOLDS, FAILS or NOT_RUN


class Conclusion(NamedTuple):
    """What the articles conclude, and the checks of it."""

    text: str
    checks: list[Check]

    @property
    def verdict(self) -> str:
        """It holds where all checks hold, and doesn't where one fails."""
        verdicts = {check.verdict for check in self.checks}
        return FAILS if FAILS in verdicts else NOT_RUN if NOT_RUN in verdicts else HOLDS


def conclusions(table: Table) -> list[Conclusion]:
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


def _rescue(table: Table, model: str, variant: str) -> list[Check]:
    descent = _highest(table, (model, variant, "Descent"), RESCUED[model, variant])
    adam = _highest(table, (model, variant, "ADAM"))
    if adam and adam[1].accuracy <= LEARNT and not _highest(table, (model, variant, "ADAM"), END[variant]):
        adam = None  # it may still come
    case = f"{model} {variant}"
    return [
        _check(f"{case}: Descent never gets above {STUCK} %", [descent], lambda d: d[1].accuracy <= STUCK),
        _check(f"{case}: ADAM gets above {LEARNT} %", [adam], lambda a: a[1].accuracy > LEARNT),
    ]


def _early(table: Table, model: str, variant: str) -> Check:
    cells = [_at(table, (model, variant, rule), 500) for rule in OPTIMISERS]
    return _check(f"{model} {variant}: ADAM is ahead after 500 iterations", cells, _second_higher)


def _late(table: Table, model: str, variant: str) -> Check:
    cells = [_at(table, (model, variant, rule), END[variant]) for rule in OPTIMISERS]
    statement = f"{model} {variant}: Descent is ahead after {END[variant]:,} iterations"
    return _check(statement, cells, lambda d, a: _second_higher(a, d))


def _neither(table: Table) -> Check:
    """Each of the optimisers ends higher in some of the cases that were run."""
    ahead = dict.fromkeys(OPTIMISERS, 0)
    for model in MODELS:
        for variant in VARIANTS:
            verdict = _late(table, model, variant).verdict
            if verdict != NOT_RUN:
                ahead["Descent" if verdict == HOLDS else "ADAM"] += 1
    statement = "each of them ends higher in some of the nine cases"
    if not sum(ahead.values()):
        return Check(statement, "", NOT_RUN)
    evidence = ", ".join(f"{rule} in {count}" for rule, count in ahead.items())
    return Check(statement, evidence, HOLDS if all(ahead.values()) else FAILS)


def _ranking(table: Table) -> list[Check]:
    """The best of each model and optimiser, over the variants; all must have been run for a verdict."""
    best = {}
    for model in MODELS:
        for rule in OPTIMISERS:
            found = [_highest(table, (model, variant, rule), END[variant]) for variant in VARIANTS]
            if all(found):
                best[model, rule] = max(point[1].accuracy for point in found if point)
    order = sorted(best, key=lambda pair: -best[pair])
    evidence = ", ".join(f"{model} {rule} {best[model, rule]:.2f} %" for model, rule in order)
    statements = {
        "3LS with Descent is the best": order[:1] == [("3LS", "Descent")],
        "2LR with Descent comes next": order[1:2] == [("2LR", "Descent")],
        "4LS has the lowest best result of the three models": order and _last_model(order) == "4LS",
    }
    complete = len(best) == len(MODELS) * len(OPTIMISERS)
    return [
        Check(statement, evidence, (HOLDS if true else FAILS) if complete else NOT_RUN)
        for statement, true in statements.items()
    ]


def _last_model(order: list[tuple[str, str]]) -> str:
    """The model whose best place is the last."""
    return list(dict.fromkeys(model for model, _ in order))[-1]


def _curves(table: Table) -> list[Check]:
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


def _at(table: Table, kind: Kind, iterations: int) -> Point | None:
    cell = table.cells.get(kind, {}).get(iterations)
    return cell and (f"{kind[2]} at {iterations:,}", cell)


def _highest(table: Table, kind: Kind, iterations: int | None = None) -> Point | None:
    """The highest of the checkpoints up to an iteration, which must have been come to; or of all."""
    cells = table.cells.get(kind, {})
    if not cells or (iterations is not None and max(cells) < iterations):
        return None
    seen = {i: cell for i, cell in cells.items() if iterations is None or i <= iterations}
    at = max(seen, key=lambda i: seen[i].accuracy)
    return f"{kind[2]} at most, at {at:,}", seen[at]


def _check(statement: str, points: Iterable[Point | None], true: Callable[..., bool]) -> Check:
    known = [point for point in points if point is not None]
    evidence = "; ".join(f"{words}: {percent(cell)}" for words, cell in known)
    if len(known) < len(list(points)):
        return Check(statement, evidence, NOT_RUN)
    if len(known) == 2 and _overlap(*known):
        evidence += " (the seeds overlap)"
    return Check(statement, evidence, HOLDS if true(*known) else FAILS)


def _second_higher(first: Point, second: Point) -> bool:
    return second[1].accuracy > first[1].accuracy


def _second_lower(first: Point, second: Point) -> bool:
    return second[1].accuracy < first[1].accuracy


def _overlap(first: Point, second: Point) -> bool:
    a, b = first[1].accuracies, second[1].accuracies
    return min(a) <= max(b) and min(b) <= max(a)


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
    return ("" if inside else signed(difference)), HOLDS if inside else FAILS

"""examples/flux_mnist/table.py and claims.py: what the runs come to, and whether the articles' conclusions hold."""

import math
import statistics

import numpy as np
import pytest

from examples.common.command import Refused
from examples.flux_mnist import claims, grid
from examples.flux_mnist.claims import FAILS, HOLDS, NOT_RUN
from examples.flux_mnist.table import KINDS, Cell, Table, article
from tests.support.flux_mnist_results import AGREEING, all_kinds, changed, leave, table

KIND = ("4LS", "batch", "ADAM")
RESCUES, EARLY, LATE, NEITHER, RANKING, CURVES = range(6)


def verdicts(table):
    return [conclusion.verdict for conclusion in claims.conclusions(table)]


def check(table, conclusion, words):
    """The one check of a conclusion whose statement has these words."""
    (found,) = [c for c in claims.conclusions(table)[conclusion].checks if words in c.statement]
    return found


# The table


def test_seeds_come_together_in_a_cell(tmp_path):
    for seed, percent in [(0, 70.0), (1, 76.0), (5, 73.0)]:
        leave(tmp_path, KIND, {500: percent, 1_000: percent + 10}, seed, seconds=0.01 * (seed + 1))
    found = Table(tmp_path)
    cell = found.cells[KIND][500]
    assert cell.accuracies == pytest.approx((70, 76, 73))
    assert cell.accuracy == pytest.approx(73)
    assert cell.spread == pytest.approx(statistics.stdev([70, 76, 73]))
    assert cell.time == pytest.approx(500 * (0.01 + 0.02 + 0.06) / 3)
    assert cell.effort == pytest.approx(cell.time / 73)
    assert cell.losses == pytest.approx((2 / 500,) * 3)
    assert found.seeds(KIND) == [0, 1, 5]


def test_a_single_seed_has_no_spread():
    assert math.isnan(Cell((70.0,), (1.0,), (0.1,)).spread)


def test_the_best_is_the_highest_of_the_checkpoints_that_all_seeds_have_come_to(tmp_path):
    leave(tmp_path, KIND, {500: 90, 1_000: 70, 2_000: 99}, seed=0)
    leave(tmp_path, KIND, {500: 92, 1_000: 72}, seed=1)
    found = Table(tmp_path)
    assert found.best(KIND) == (500, found.cells[KIND][500])
    assert found.best(("3LS", "batch", "ADAM")) is None


def test_kinds_stand_in_the_order_of_the_grid():
    assert all_kinds() == KINDS
    assert len(KINDS) == 18


def test_a_curve_is_read_back(tmp_path):
    losses = np.random.default_rng(0).random(5_000)
    leave(tmp_path, KIND, {500: 70}, curve=losses)
    leave(tmp_path, KIND, {500: 70}, seed=1)
    found = Table(tmp_path)
    iterations, means = found.curve(KIND, 0).means()
    assert iterations[-1] == 5_000
    np.testing.assert_allclose(means, losses.reshape(-1, 100).mean(axis=1), rtol=1e-6)
    assert found.curve(KIND, 1) is None


def test_what_is_no_run_is_passed_over(tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / "4LS-batch-ADAM-seedling").mkdir()
    (tmp_path / "4LS-batch-ADAM-seedling" / "settings.json").write_text("{}")
    leave(tmp_path, KIND, {500: 70})
    assert list(Table(tmp_path).cells) == [KIND]


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(Refused, match="holds no run that has come to a checkpoint; train some"):
        Table(tmp_path)


@pytest.mark.parametrize("setting", [{"data_sha256": "other"}, {"batchsize": 64}])
def test_runs_that_do_not_belong_together_are_refused(tmp_path, setting):
    kind = ("4LS", "minibatch", "ADAM")
    leave(tmp_path, kind, {500: 70}, seed=0)
    leave(tmp_path, kind, {500: 70}, seed=1, **setting)
    with pytest.raises(Refused, match=f"differ in {next(iter(setting))}"):
        Table(tmp_path)


def test_runs_that_diverged_are_told_of(tmp_path):
    folder = leave(tmp_path, KIND, {500: 70})
    folder.append({"diverged": "the loss is nan", "at": 612})
    assert Table(tmp_path).diverged == ["4LS batch ADAM seed 0, after 612 iterations: the loss is nan"]


# The articles' figures


def test_the_articles_figures_are_those_of_the_grid():
    figures = article()
    assert len(figures) == 22
    assert {figure.kind for figure in figures} <= set(KINDS)
    assert {figure.relation for figure in figures} == {"=", "<", ">"}
    assert all(figure.iterations in grid.checkpoints(grid.LONGEST) for figure in figures)


@pytest.mark.parametrize(
    ("relation", "ours", "expected"),
    [
        ("=", 92.5, ("+0.50", "")),
        ("=", 91.25, ("−0.75", "")),
        (">", 92.01, ("", HOLDS)),
        (">", 90.5, ("−1.50", FAILS)),
        ("<", 91.99, ("", HOLDS)),
        ("<", 93, ("+1.00", FAILS)),
        ("=", None, ("", NOT_RUN)),
    ],
)
def test_compared(relation, ours, expected):
    claimed = article()[0]._replace(relation=relation, percent=92.0)
    assert claims.compared(claimed, ours and Cell((ours,), (1.0,), (0.1,))) == expected


# The conclusions


def test_all_conclusions_hold_where_the_figures_are_the_articles(tmp_path):
    found = table(tmp_path)
    assert verdicts(found) == [HOLDS] * 6
    for claimed in article():
        assert claims.compared(claimed, found.cells[claimed.kind][claimed.iterations]) in [("+0.00", ""), ("", HOLDS)]


@pytest.mark.parametrize(
    ("kind", "percents", "conclusion", "words"),
    [
        (("4LS", "batch", "Descent"), {"at_500": 20.1}, RESCUES, "4LS batch: Descent doesn't"),
        (("3LS", "batch", "ADAM"), {"at_500": 70, "at_1000": 79, "at_4000": 79.9}, RESCUES, "3LS batch: ADAM gets"),
        (("2LR", "stochastic", "Descent"), {"at_1000": 55}, RESCUES, "2LR stochastic: Descent doesn't"),
        (("2LR", "minibatch", "ADAM"), {"at_500": 90.9}, EARLY, "2LR minibatch"),
        (("3LS", "stochastic", "Descent"), {"at_2048000": 93.7}, LATE, "3LS stochastic"),
        (("2LR", "batch", "ADAM"), {"at_4000": 96.3}, LATE, "2LR batch"),
        (("3LS", "stochastic", "ADAM"), {"at_2048000": 97.3}, RANKING, "2LR with Descent comes next"),
        (("4LS", "stochastic", "ADAM"), {"at_2048000": 97.1}, RANKING, "4LS has the lowest"),
        (("2LR", "stochastic", "ADAM"), {"at_1000": 99}, RANKING, "3LS with Descent is the best"),
        (("2LR", "batch", "Descent"), {"at_2000": 96.1}, CURVES, "needs 4,000"),
        (("2LR", "batch", "Descent"), {"at_4000": 95.9}, CURVES, "needs 4,000"),
        (("2LR", "batch", "ADAM"), {"at_1000": 96.6}, CURVES, "decreases after 500"),
        (("2LR", "stochastic", "ADAM"), {"at_2048000": 87.6}, CURVES, "gets worse"),
    ],
)
def test_a_conclusion_falls_with_the_figure_that_contradicts_it(tmp_path, kind, percents, conclusion, words):
    found = table(tmp_path, changed(kind, **percents))
    assert check(found, conclusion, words).verdict == FAILS
    assert verdicts(found)[conclusion] == FAILS


def test_what_matters_is_the_highest_accuracy_up_to_where_the_articles_look(tmp_path):
    later = changed(("4LS", "batch", "Descent"), at_1000=50)  # they look at its first 500 iterations
    assert check(table(tmp_path, later), RESCUES, "4LS batch: Descent").verdict == HOLDS


def test_neither_is_best_says_in_how_many_cases_each_is_ahead(tmp_path):
    assert check(table(tmp_path), NEITHER, "nine cases").evidence == "Descent in 6, ADAM in 3"


def test_one_that_is_best_everywhere_refutes_that_neither_is(tmp_path):
    percents = {
        kind: {i: p if kind[2] == "ADAM" else p / 2 for i, p in some.items()} for kind, some in AGREEING.items()
    }
    assert verdicts(table(tmp_path, percents))[NEITHER] == FAILS


def test_what_was_run_in_part_decides_neither_that_one_is_best(tmp_path):
    kinds = [("2LR", "minibatch", rule) for rule in grid.OPTIMISERS]
    found = check(table(tmp_path, {kind: AGREEING[kind] for kind in kinds}), NEITHER, "nine cases")
    assert (found.verdict, found.evidence) == (NOT_RUN, "Descent in 1, ADAM in 0")


def test_a_tie_is_nobodys(tmp_path):
    kinds = [("2LR", "minibatch", rule) for rule in grid.OPTIMISERS]
    found = table(tmp_path, {kind: {500: 90, 2_048_000: 95} for kind in kinds})
    assert check(found, NEITHER, "nine cases").evidence == "Descent in 0, ADAM in 0"
    assert check(found, LATE, "2LR minibatch").verdict == FAILS


def test_one_seed_that_decides_is_said(tmp_path):
    assert check(table(tmp_path), EARLY, "3LS minibatch").evidence.endswith("ADAM at 500: 94.47 % (one seed each)")


def test_what_was_not_run_has_no_verdict(tmp_path):
    found = table(tmp_path, {kind: {500: some[500]} for kind, some in AGREEING.items()})
    assert verdicts(found) == [NOT_RUN, HOLDS, NOT_RUN, NOT_RUN, NOT_RUN, NOT_RUN]
    assert check(found, RESCUES, "4LS batch: Descent").verdict == HOLDS
    assert check(found, RESCUES, "2LR stochastic: Descent").verdict == NOT_RUN


@pytest.mark.parametrize("kind", list(AGREEING))
def test_without_a_kind_no_check_of_it_has_a_verdict(tmp_path, kind):
    found = table(tmp_path, {other: some for other, some in AGREEING.items() if other != kind})
    model, variant, optimiser = kind
    for conclusion in claims.conclusions(found):
        for c in conclusion.checks:
            of_both = c.statement.startswith(f"{model} {variant}: ") and "is ahead" in c.statement
            if c.statement.startswith(f"{model} {variant}: {optimiser} ") or of_both or "with Descent" in c.statement:
                assert c.verdict == NOT_RUN


def test_the_evidence_is_the_mean_over_the_seeds_and_says_where_they_overlap(tmp_path):
    kinds = [("3LS", "minibatch", rule) for rule in grid.OPTIMISERS]
    for seed, percents in enumerate([(90, 91), (94, 95)]):
        for kind, percent in zip(kinds, percents):
            leave(tmp_path, kind, {500: percent}, seed)
    found = check(Table(tmp_path), EARLY, "3LS minibatch")
    spread = statistics.stdev([90, 94])
    assert found.evidence == (
        f"Descent at 500: 92.00 ± {spread:.2f} %; ADAM at 500: 93.00 ± {spread:.2f} % (the seeds overlap)"
    )
    assert found.verdict == HOLDS


def test_which_conclusions_a_preset_answers(tmp_path):
    """What is promised at the start is what the report on such runs has, where ADAM soon learns, as it does."""
    goals = {name: {run[:3]: p.iterations[run.variant] for run in grid.grid()} for name, p in grid.PRESETS.items()}
    assert len(claims.answered(goals["article"])) == 6
    promised = {conclusion.text for conclusion in claims.answered(goals["quick"])}
    quick = {
        kind: {i: percent for i, percent in some.items() if i <= goals["quick"][kind]}
        for kind, some in changed(KIND, at_500=90).items()
    }
    found = claims.conclusions(table(tmp_path, quick))
    assert {c.text for c in found if all(check.verdict != NOT_RUN for check in c.checks)} == promised
    assert len(promised) == 3
    assert claims.answered({}) == []

"""The conclusions on CIFAR-10: each check's verdict, from runs whose figures decide it one way or the other."""

import math

import pytest

from examples.cifar10_optimisers.claims import FALLING, conclusions
from examples.cifar10_optimisers.contest import PRESETS
from examples.cifar10_optimisers.published import REPRODUCTION
from examples.cifar10_optimisers.table import Table
from examples.common.checks import FAILS, HOLDS, NOT_RUN
from tests.support.cifar10_results import (
    CELLS,
    GRID,
    PADAM,
    SPEEDS,
    TUTORIAL,
    epoch,
    grid,
    learning,
    padam,
    preset,
    result,
    tutorial,
    wide,
)


def checks(results, text="tutorial"):
    """The checks by conclusion, in their order."""
    return [conclusion.checks for conclusion in conclusions(Table(preset(text), results))]


def verdicts(results, text="tutorial"):
    return [[check.verdict for check in some] for some in checks(results, text)]


def changed(entry, n=50, **measures):
    """The epochs of an optimiser of the tutorial with other measures, each a number or a function of the epoch."""
    history = learning(entry, n)
    for i, measured in enumerate(history, 1):
        measured.update({name: x(i) if callable(x) else x for name, x in measures.items()})
    return history


@pytest.mark.parametrize("name", PRESETS)
def test_the_presets_have_what_the_conclusions_are_about(name):
    cells = {model: {entry.name for entry in entries} for model, entries in PRESETS[name].cells}
    if PRESETS[name].text == "tutorial":
        assert next(iter(cells.values())) >= set(TUTORIAL)
    else:
        assert set(cells) == set(REPRODUCTION.models)
        assert all(names >= set(PADAM) for names in cells.values())
        assert cells["vgg16"] == {*PADAM, *GRID, FALLING}


# The tutorial


def test_all_of_the_tutorial_holds_where_the_runs_are_as_it_says():
    assert verdicts(tutorial(50)) == [[HOLDS] * count for count in (3, 2, 2, 4, 3)]


def test_what_is_said_of_the_end_needs_the_tutorials_epochs():
    found = checks(tutorial(49))
    ends = [found[0][1], found[0][2], *found[2], *found[4]]
    assert {check.verdict for check in ends} == {NOT_RUN}
    assert all(check.evidence.startswith("needs 50 epochs, 49 were run; so far: ") for check in ends)
    others = [check for some in found for check in some if check not in ends]
    assert {check.verdict for check in others} == {HOLDS}


def test_the_first_epochs_are_three():
    for n, verdict in [(2, NOT_RUN), (3, HOLDS)]:
        found = verdicts(tutorial(n))
        assert found[1] == found[3][:2] == [verdict] * 2


@pytest.mark.parametrize("name", TUTORIAL)
def test_an_optimiser_that_has_not_begun_leaves_its_checks_open(name):
    found = [check for some in checks([r for r in tutorial(50) if r.entry != name]) for check in some]
    left = [check for check in found if check.evidence == f"not begun: {name}"]
    assert left
    assert {check.verdict for check in left} == {NOT_RUN}
    assert {check.verdict for check in found if check not in left} <= {HOLDS}


def test_best_throughout_is_best_in_every_epoch():
    once = changed("SGD", train_accuracy=lambda e: 0.999 if e == 7 else 0.3)
    check = checks(tutorial(50, SGD=once))[0][0]
    assert (check.verdict, check.evidence) == (FAILS, "first in 49 of 50 epochs, SGD in 1")


@pytest.mark.parametrize(
    ("entry", "measures", "failing"),
    [
        ("Adam", {"train_loss": 0.0}, (0, 1)),
        ("ASGD", {"train_accuracy": 0.97}, (0, 2)),
        ("AdamW", {"train_accuracy": lambda e: 0.9 if e == 3 else 0.1 + 0.01 * e}, (1, 0)),
        ("Adam", {"test_accuracy": lambda e: 0.99 if e == 3 else 0.84}, (1, 1)),
        ("SGD", {"test_accuracy": 0.85 - 0.0201}, (2, 0)),
        ("SGD", {"augmented_accuracy": 0.84 - 0.0201}, (2, 1)),
        ("AdaGrad", {"test_accuracy": 0.8411}, (3, 0)),
        ("AdaDelta", {"test_accuracy": 0.8411}, (3, 1)),
        ("AdaGrad", {"train_accuracy": lambda e: 0.1 + 0.3 * min(e, 25) / 25}, (3, 2)),
        ("AdaDelta", {"train_accuracy": lambda e: 0.1 + 0.3 * min(e, 25) / 25}, (3, 3)),
        ("ASGD", {"test_loss": 0.1}, (4, 0)),
        ("SGD", {"test_loss": lambda e: 2 - 0.01 * e}, (4, 1)),
        ("AdaMax", {"test_loss": lambda e: 2 - 0.01 * e}, (4, 2)),
    ],
)
def test_figures_that_refute_a_check(entry, measures, failing):
    conclusion, place = failing
    found = verdicts(tutorial(50, **{entry: changed(entry, **measures)}))
    assert found[conclusion][place] == FAILS


@pytest.mark.parametrize(("gap", "verdict"), [(1.99, HOLDS), (2.01, FAILS)])
def test_alike_is_at_most_two_points_apart(gap, verdict):
    lowest = changed("AdamW", test_accuracy=0.85 - gap / 100)
    check = checks(tutorial(50, AdamW=lowest))[2][0]
    assert check.verdict == verdict
    assert check.evidence == f"{85 - gap:.2f} % (AdamW) to 85.00 % (AdaMax): {gap:.2f} points apart"


def test_a_line_gains_in_its_second_half_at_least_half_of_what_it_gained_in_the_first():
    def rising(second):
        return lambda e: 0.1 + 0.024 * min(e - 1, 24) / 24 + second * max(e - 25, 0) / 25

    for second, verdict in [(0.0121, HOLDS), (0.0119, FAILS)]:
        check = checks(tutorial(50, AdaGrad=changed("AdaGrad", train_accuracy=rising(second))))[3][2]
        assert check.verdict == verdict
        assert check.evidence.startswith("+2.40 points from epoch 1 to 25")


def test_a_line_is_told_from_a_curve_after_ten_epochs():
    assert verdicts(tutorial(9))[3][2:] == [NOT_RUN] * 2
    assert verdicts(tutorial(10))[3][2:] == [HOLDS] * 2


def test_late_losses_are_those_of_ten_epochs():
    dip = changed("SGD", test_loss=lambda e: 1.0 if e <= 40 else 1.09 if e < 50 else 0.0)  # their mean is 0.981
    check = checks(tutorial(50, SGD=dip))[4][1]
    assert (check.verdict, check.evidence) == (FAILS, "mean of the last 10 epochs 0.981, before 1.000")


def test_what_diverged_is_last():
    results = [r._replace(history=r.history[:20], diverged=99) if r.entry == "AdaMax" else r for r in tutorial(50)]
    found = checks(results)
    assert found[0][0].evidence.startswith("first in 20 of 50 epochs")
    assert found[0][1].verdict == FAILS
    assert found[0][1].evidence.endswith("AdaMax diverged")
    assert [check.verdict for check in found[2]] == [FAILS] * 2
    assert found[4][2] == (found[4][2].statement, "diverged", FAILS)


def test_seeds_are_averaged_and_overlaps_named():
    results = tutorial(50, seeds=(0, 1))  # seed 1 is 0.4 points worse
    evidence = checks(results)[0][2].evidence
    sgd = 98 - 88 * math.exp(-SPEEDS["SGD"] * 50**0.6) - 0.2
    assert evidence.startswith(f"SGD {sgd:.2f} ± {0.4 / math.sqrt(2):.2f} %, AdamW ")
    assert "overlap" not in evidence
    assert "overlap" not in checks(results)[0][1].evidence  # nor do the losses, of which the lowest is the first
    near = changed("AdamW", train_accuracy=lambda e: 0.9695)
    results = [r._replace(history=near) if r.entry == "AdamW" and r.seed == 1 else r for r in results]
    assert checks(results)[0][2].evidence.endswith(" (the seeds of the first two overlap)")


# Padam


def test_all_of_the_reproduction_holds_where_the_runs_are_as_it_says():
    assert verdicts(padam(100), "padam") == [[HOLDS], [HOLDS] * 4, [HOLDS], [HOLDS] * 3, [HOLDS]]


def test_what_the_reproduction_says_needs_a_quarter_of_its_epochs_or_its_mark():
    assert verdicts(padam(24), "padam") == [[NOT_RUN], [NOT_RUN] * 4, [NOT_RUN], [NOT_RUN] * 3, [NOT_RUN]]
    assert verdicts(padam(25), "padam") == [[HOLDS], [HOLDS, *[NOT_RUN] * 3], [HOLDS], [HOLDS] * 3, [NOT_RUN]]


def test_padams_training_loss_on_the_wide_resnet():
    found = checks(wide(25, losses=(0.21, 0.4, 0.2, 0.3)), "padam")
    assert (found[0][0].verdict, found[0][0].evidence) == (
        FAILS,
        "Adam 0.200, Padam 0.210, AMSGrad 0.300, SGDM 0.400",
    )
    assert {check.evidence for check in found[2]} == {"not begun: " + ", ".join(n for n in GRID if n.endswith("=0.1"))}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"Adam": {50: 88.09}}, [HOLDS, FAILS, HOLDS, HOLDS]),
        ({"SGDM": {100: 88.44}}, [HOLDS, HOLDS, HOLDS, FAILS]),
        ({"Padam": {25: 86.82}}, [FAILS, HOLDS, HOLDS, HOLDS]),
    ],
)
def test_the_first_and_the_last_at_each_mark(change, expected):
    assert verdicts(wide(100, **change), "padam")[1] == expected


@pytest.mark.parametrize(
    ("cells", "powers", "rates"),
    [
        ({(8, 0.1): 88.1}, FAILS, [HOLDS, HOLDS, HOLDS]),  # the best rate of 1/8 is 0.1, as that of 1/16
        ({(4, 0.1): 88.1}, FAILS, [HOLDS, FAILS, FAILS]),
        ({(16, 0.001): 88.1}, HOLDS, [FAILS, HOLDS, FAILS]),
        ({(4, 0.01): 86.1}, HOLDS, [HOLDS, HOLDS, HOLDS]),
        ({(16, 0.01): 89.0, (8, 0.001): 89.0}, HOLDS, [HOLDS, HOLDS, HOLDS]),
    ],
)
def test_powers_and_rates(cells, powers, rates):
    found = verdicts(grid(100, {**CELLS, **cells}), "padam")
    assert found[2] == [powers]
    assert found[3] == rates


@pytest.mark.parametrize(("falling", "verdict"), [(88.01, HOLDS), (87.99, FAILS)])
def test_a_power_that_falls(falling, verdict):
    check = checks(grid(100, falling=falling), "padam")[4][0]
    assert check.verdict == verdict
    assert f"Padam falling {falling:.2f} %" in check.evidence


def test_a_cell_that_diverged_is_not_the_best():
    results = [r._replace(history=[], diverged=3) if r.entry == "Padam p=1/16 η=0.1" else r for r in grid(100)]
    found = checks(results, "padam")
    assert found[2][0].verdict == FAILS
    assert found[2][0].evidence.endswith("Padam p=1/16 η=0.1 diverged")


def test_other_optimisers_do_not_take_part_in_the_texts_conclusions():
    more = preset("tutorial", resnet20=(*TUTORIAL, "Muon"))
    muon = result("resnet20", "Muon", [epoch(100, 100, 0.0, 0.0)] * 50)
    assert {c.verdict for c in conclusions(Table(more, [*tutorial(50), muon]))} == {HOLDS}


def test_a_model_that_is_not_in_the_preset_is_not_asked_about():
    few = preset("padam", vgg16=(*PADAM, *GRID))
    assert [c.text for c in conclusions(Table(few, padam(100)))] == [
        "At the rate 0.1, p = 1/16 is best.",
        "The larger p, the smaller the rate it wants.",
    ]

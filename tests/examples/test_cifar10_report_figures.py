"""The figures of examples/cifar10_optimisers: that they show what the runs have come to, and can be read."""

import itertools

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from matplotlib.text import Text

from examples.cifar10_optimisers import figures
from examples.cifar10_optimisers.table import Table
from examples.common.pictures import STYLE
from tests.support.cifar10_results import TUTORIAL, epoch, grid, learning, padam, preset, result, tutorial


def pictures(results, text="tutorial"):
    """The figures and their axes, by name."""
    with matplotlib.rc_context(STYLE):
        return {f.name: (f, p.axes[0]) for f, p in figures.pictures_of(Table(preset(text), results))}


@pytest.fixture(scope="module")
def three():
    """After ten epochs, with three seeds."""
    return pictures(tutorial(10, seeds=(0, 1, 2)))


def lines(axes):
    """The curves by colour and dashes, which tell the optimisers apart."""
    return {(line.get_color(), line.get_linestyle()): line.get_data() for line in axes.get_lines()}


def line(axes, name):
    colour, _, dashes = figures.LOOKS[name]
    return lines(axes)[colour, dashes]


def labels(axes):
    return {text.get_text(): text for text in axes.texts}


def test_a_figure_for_each_measure_of_each_model():
    found = pictures(padam(3), "padam")
    names = [f"{m}-{x}" for m in ("wide_resnet-16-4", "vgg16", "resnet18") for x in ("train-accuracy", "train-loss")]
    assert set(names) < set(found)
    assert len(found) == 3 * 5 + 1
    assert "grid" in found


@pytest.mark.parametrize("name", TUTORIAL)
def test_a_line_is_the_mean_over_the_seeds(three, name):
    for measure in figures.CURVES:
        epochs, values = line(three[f"resnet20-{measure.replace('_', '-')}"][1], name)
        runs = [[measured[measure] for measured in learning(name, 10, 0.4 * seed)] for seed in range(3)]
        factor = 100 if measure.endswith("accuracy") else 1
        np.testing.assert_allclose(values, factor * np.mean(runs, axis=0), rtol=1e-12)
        assert list(epochs) == list(range(1, 11))


def test_bands_and_their_caption_are_there_with_several_seeds(three):
    figure, axes = three["resnet20-train-accuracy"]
    assert len(axes.collections) == len(TUTORIAL)
    assert "Lines: the mean over 3 seeds; bands" in figure.caption
    figure, axes = pictures(tutorial(3))["resnet20-train-accuracy"]
    assert len(axes.collections) == 0
    assert figure.caption == ""


def test_time_is_summed_up():
    history = [epoch(50, 50 + e, 1.0, 1.0, seconds) for e, seconds in enumerate((100, 20, 24))]
    axes = pictures(tutorial(3, SGD=history))["resnet20-time"][1]
    assert axes.get_xlabel() == "minutes of training, without tests"
    minutes, percent = line(axes, "SGD")
    np.testing.assert_allclose(minutes, [100 / 60, 2, 2.4])
    np.testing.assert_allclose(percent, [50, 51, 52])


def test_times_of_a_busy_machine_are_not_drawn():
    for seconds, drawn in (((6, 15, 12), True), ((6, 15, 5), False)):
        results = tutorial(3, SGD=[epoch(50, 50, 1.0, 1.0, s) for s in seconds])
        assert ("resnet20-time" in pictures(results)) == drawn


def test_the_epoch_with_which_a_run_goes_on_may_take_longer():
    results = tutorial(3, SGD=[epoch(50, 50, 1.0, 1.0, s) for s in (6, 15, 5)])
    gone_on = [r._replace(events=[{**r.events[0], "at": at} for at in (0, 1)]) for r in results]
    assert "resnet20-time" in pictures(gone_on)


def test_every_line_has_its_name_beside_it(three):
    for figure, axes in three.values():
        texts = labels(axes)
        assert set(texts) == set(TUTORIAL), figure.name
        assert [texts[name].xyann[0] > 1 for name in TUTORIAL] == [True] * 7  # to the right of the axes
        ends = {name: line(axes, name)[1][-1] for name in TUTORIAL}
        places = {name: texts[name].xyann[1] for name in TUTORIAL}
        for one, other in itertools.combinations(TUTORIAL, 2):
            if abs(ends[one] - ends[other]) > 1e-9:
                assert (ends[one] < ends[other]) == (places[one] < places[other])


def test_names_do_not_overlap(three):
    for figure, axes in three.values():
        axes.get_figure().draw_without_rendering()
        boxes = [Text.get_window_extent(text) for text in axes.texts]  # without the lines that lead to them
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2)), figure.name
        width = axes.get_figure().bbox.width
        assert all(box.x1 <= width + 1 for box in boxes), figure.name


def test_optimisers_of_a_contest_are_told_apart():
    for names in (TUTORIAL, ("Padam", "SGDM", "Adam", "AMSGrad", "Muon")):
        looks = [figures.LOOKS.get(name, figures.OTHER) for name in names]
        assert len({colour for colour, _, _ in looks}) == len({mark for _, mark, _ in looks}) == len(names)


def test_letters_are_large_enough_on_a_phone():
    picture = pictures(tutorial(3))["resnet20-time"][1].get_figure()
    assert STYLE["font.size"] * 358 / (72 * picture.get_size_inches()[0]) > 9  # pixels, where a figure is 358 wide


def test_a_run_that_is_behind_is_told():
    results = [r._replace(history=r.history[:4]) if r.entry == "ASGD" else r for r in tutorial(10)]
    figure, axes = pictures(results)["resnet20-test-accuracy"]
    assert "Dotted: epoch 4, to which all have come." in figure.caption
    assert lines(axes)[figures.GREY, ":"][0] == [4, 4]
    assert len(line(axes, "ASGD")[0]) == 4
    assert len(line(axes, "Adam")[0]) == 10


def test_a_run_that_diverged_is_shown_as_such():
    results = [r._replace(history=r.history[:4], diverged=9) if r.entry == "SGD" else r for r in tutorial(10)]
    results = [r._replace(history=[], diverged=9) if r.entry == "Adam" else r for r in results]
    figure, axes = pictures(results)["resnet20-test-accuracy"]
    assert "SGD ✗" in labels(axes)
    assert "✗: diverged" in figure.caption
    assert "Without a line, since it diverged in the first epoch: Adam." in figure.caption
    assert "Dotted" not in figure.caption
    several = [r._replace(diverged=9) if r.entry == "SGD" and r.seed else r for r in tutorial(5, seeds=(0, 1, 2))]
    assert "SGD ✗ 2 of 3" in labels(pictures(several)["resnet20-test-accuracy"][1])


def test_losses_that_are_too_high_are_counted():
    high = [epoch(10, 10, 2.3, loss) for loss in (90.0, 3.1, 2.9)]
    figure, axes = pictures(tutorial(3, SGD=high))["resnet20-test-loss"]
    assert axes.get_ylim() == (0, 3)
    assert "Losses above 3 aren't shown (2 of 21)." in figure.caption
    assert "aren't shown" not in pictures(tutorial(3))["resnet20-test-loss"][0].caption


def test_the_grid_shows_every_pair_and_frames_the_best():
    results = [r for r in grid(30) if r.entry != "Padam p=1/8 η=0.001"]
    results = [r._replace(history=[], diverged=3) if r.entry == "Padam p=1/4 η=0.1" else r for r in results]
    _, axes = pictures(results, "padam")["grid"]
    found = {text.get_position(): text.get_text() for text in axes.texts}
    rates = [label.get_text() for label in axes.get_xticklabels()]
    powers = [label.get_text() for label in axes.get_yticklabels()]
    assert (rates, powers) == (["0.001", "0.01", "0.1"], ["1/16", "1/8", "1/4"])
    assert [found[column, 0] for column in range(3)] == ["70.00", "83.00", "88.00"]
    assert [found[column, 1] for column in range(3)] == ["not begun", "87.00", "84.00"]
    assert [found[column, 2] for column in range(3)] == ["86.00", "85.00", "diverged"]
    (frame,) = axes.patches
    assert frame.get_center() == pytest.approx((2, 0))


def test_a_single_epoch_can_be_drawn():
    axes = pictures([result("resnet20", name, learning(name, 1)) for name in TUTORIAL])["resnet20-train-loss"][1]
    assert axes.get_xlim()[0] < 1 < axes.get_xlim()[1]


@given(some.lists(some.floats(0, 100), max_size=9))
def test_names_are_spread_out_in_their_order(wanted):
    places = figures.spread_out(wanted, 10, 100)
    order = sorted(range(len(wanted)), key=lambda i: (wanted[i], i))
    gaps = np.diff([places[i] for i in order])
    assert (gaps >= 10 - 1e-9).all()
    assert all(-1e-9 <= place <= 100 + 1e-9 for place in places)


@pytest.mark.parametrize(
    ("wanted", "places"),
    [([30, 60, 90], [30, 60, 90]), ([50, 52], [46, 56]), ([0, 0], [0, 10]), ([100, 99], [100, 90])],
)
def test_names_move_as_little_as_they_can(wanted, places):
    assert figures.spread_out(wanted, 10, 100) == pytest.approx(places)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_test_loss_that_is_not_finite(value):
    """The last update of an epoch can be the one that is too large: the training has not met it yet."""
    history = learning("Adam", 4)
    history[-1] = {**history[-1], "test_loss": value, "augmented_loss": value}
    lost = [{**noted, "test_loss": value} for noted in learning("SGD", 4)]
    found = pictures(tutorial(4, Adam=history, SGD=lost))
    _, axes = found["resnet20-test-loss"]
    assert np.isfinite(axes.get_ylim()).all()
    np.testing.assert_array_equal(line(axes, "Adam")[1], [noted["test_loss"] for noted in history])
    assert "Adam" in labels(axes)
    assert ("SGD" in labels(axes)) == (value == np.inf)
    assert "SGD" in labels(found["resnet20-test-accuracy"][1])

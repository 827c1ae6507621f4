"""The figures of examples/flux_mnist: that they show what the runs have come to, and can be read."""

import functools
import itertools
import os
import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb

import tinyflux as flux
from examples.common import models
from examples.common.folder import Folder
from examples.common.pictures import STYLE
from examples.flux_mnist import figures
from examples.flux_mnist.grid import MODELS, OPTIMISERS, VARIANTS, Run, grid
from examples.flux_mnist.state import State
from examples.flux_mnist.table import Table

NAMES = [*(f"learning-{variant}" for variant in VARIANTS), "average-2LR-stochastic-ADAM"]
NAMES += ["accuracy-time", "top-performers", "effort"]
LENGTHS = {"batch": 1_200, "stochastic": 1_100_000, "minibatch": 520_000}
RNG = np.random.default_rng(0)
NOISE = (1 + RNG.random(max(LENGTHS.values()))).astype(np.float32)


def write_run(results, kind, losses=None, tests=(), seed=0):
    """The folder of a run; tests are iteration, accuracy in percent, seconds."""
    folder = Folder(results, Run(*kind, seed, 128))
    folder.path.mkdir(parents=True)
    folder.begin({**folder.run.settings(), "data_sha256": "none", "threads": 1})
    for iteration, percent, seconds in tests:
        entry = {"iteration": iteration, "accuracy": percent / 100, "loss": 0.1, "mean_loss": 0.1}
        folder.append({**entry, "seconds": seconds})
    if losses is not None:
        state = State(folder, models.build(kind[0]))
        state.curve.add(losses)
        flux.save(folder.state, state._tree(state._mark()))


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """All kinds, as far as the articles' ranges and farther, with losses that tell the kinds apart."""
    results = tmp_path_factory.mktemp("full")
    for number, run in enumerate(grid()):
        kind = (run.model, run.variant, run.optimiser)
        losses = NOISE[: LENGTHS[run.variant]] * (1 + number)
        write_run(results, kind, losses, [(500, 95, 1 + number), (1000, 91, 3 + number)])
    return Table(results)


def loss_of(kind):
    """The factor that `full` gives to the losses of a kind."""
    return 1 + [(run.model, run.variant, run.optimiser) for run in grid()].index(kind)


@functools.cache
def pictures(table):
    with matplotlib.rc_context(STYLE):
        return {figure.name: picture for figure, picture in figures._drawn(table)}


def picture(table, name):
    return pictures(table)[name]


def panel(table, kind):
    """The learning curve of a kind."""
    axes = picture(table, f"learning-{kind[1]}").axes[2 * MODELS.index(kind[0]) + OPTIMISERS.index(kind[2])]
    assert axes.get_title("left") == ", ".join(kind)
    return axes


def line(axes):
    return next(line for line in axes.get_lines() if line.get_linestyle() != "None").get_data()


def words(axes):
    return [text.get_text() for text in axes.texts]


# Learning curves


def test_the_line_is_the_mean_of_all_losses_of_each_stretch(full):
    kind = ("3LS", "stochastic", "ADAM")
    iterations, losses = line(panel(full, kind))
    np.testing.assert_array_equal(iterations, np.arange(1, 205) * 5_000)
    expected = loss_of(kind) * NOISE[:1_020_000].reshape(-1, 5_000).mean(axis=1)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_points_are_losses_of_single_iterations_that_lie_evenly(full):
    kind = ("2LR", "minibatch", "Descent")
    points = next(line for line in panel(full, kind).get_lines() if line.get_linestyle() == "None")
    iterations, losses = points.get_data()
    np.testing.assert_allclose(losses, loss_of(kind) * NOISE[iterations - 1], rtol=1e-5)
    assert 200 < len(iterations) <= 256
    assert np.diff(iterations).max() < 1.1 * 508_000 / len(iterations)


def test_the_loss_of_a_batch_is_shown_as_it_is(full):
    kind = ("4LS", "batch", "Descent")
    axes = panel(full, kind)
    iterations, losses = line(axes)
    np.testing.assert_array_equal(iterations, np.arange(1, 501))
    np.testing.assert_allclose(losses, loss_of(kind) * NOISE[:500], rtol=1e-6)
    assert len(axes.get_lines()) == 1
    assert axes.get_ylim()[1] > losses.max()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("variant", "optimiser", "first", "last"),
    [
        ("batch", "Descent", 0, 500),
        ("batch", "ADAM", 0, 1_000),
        ("stochastic", "Descent", 0, 1_024_000),
        ("stochastic", "ADAM", 0, 1_024_000),
        ("minibatch", "Descent", 4_000, 512_000),
        ("minibatch", "ADAM", 0, 512_000),
    ],
)
def test_a_panel_has_the_range_of_the_articles_and_a_scale_of_its_own(full, model, variant, optimiser, first, last):
    kind = (model, variant, optimiser)
    axes = panel(full, kind)
    last = 1_000 if model == "2LR" and variant == "batch" else last
    iterations, losses = line(axes)
    assert axes.get_xlim() == (first, last)
    assert first < iterations[0] < first + last / 200
    assert last - (iterations[1] - iterations[0]) < iterations[-1] <= last
    assert 0 < losses.max() < axes.get_ylim()[1] < 3 * loss_of(kind)
    assert axes.get_lines()[0].get_color() == figures.COLOURS[model][variant]


def test_a_mean_that_begins_late_is_that_of_the_iterations_it_shows(full):
    iterations, losses = line(panel(full, ("4LS", "minibatch", "Descent")))
    assert iterations[0] == 6_000
    expected = loss_of(("4LS", "minibatch", "Descent")) * NOISE[4_000:6_000].mean()
    np.testing.assert_allclose(losses[0], expected, rtol=1e-5)


def test_a_short_run_is_shown_as_far_as_it_goes(tmp_path):
    kind = ("4LS", "stochastic", "ADAM")
    write_run(tmp_path, kind, NOISE[:3_050], [(500, 50, 1)])
    axes = panel(Table(tmp_path), kind)
    iterations, losses = line(axes)
    assert axes.get_xlim() == (0, 3_050)
    np.testing.assert_array_equal(iterations, np.arange(1, 31) * 100)
    np.testing.assert_allclose(losses, NOISE[:3_000].reshape(-1, 100).mean(axis=1), rtol=1e-5)


def test_a_loss_that_jumps_does_not_squash_the_curve(tmp_path):
    kind = ("3LS", "stochastic", "Descent")
    losses = NOISE[:100_000].copy()
    losses[[70, 50_000, 70_000]] = 1e6
    write_run(tmp_path, kind, losses, [(500, 50, 1)])
    assert panel(Table(tmp_path), kind).get_ylim()[1] < 3


def test_several_seeds_are_a_mean_and_a_band_where_they_have_come_so_far(tmp_path):
    kind = ("2LR", "batch", "ADAM")
    for seed, (loss, iterations) in enumerate([(1, 200), (3, 200), (8, 100)]):
        write_run(tmp_path, kind, np.full(iterations, loss), [(100, 50, 1)], seed)
    axes = panel(Table(tmp_path), kind)
    np.testing.assert_array_equal(line(axes)[1], [4] * 100 + [2] * 100)
    (band,) = axes.collections
    corners = band.get_paths()[0].vertices
    heights = {x: set(corners[corners[:, 0] == x, 1]) for x in (50, 150)}
    assert heights == {50: {1, 8}, 150: {1, 3}}
    caption = figures._learning(Table(tmp_path), "batch")[0].caption
    assert "the mean over the seeds, up to 3" in caption
    assert "the lowest to the highest" in caption


def test_what_was_not_run_says_so(tmp_path):
    write_run(tmp_path, ("3LS", "minibatch", "ADAM"), NOISE[:9_000], [(500, 50, 1)])
    write_run(tmp_path, ("3LS", "minibatch", "Descent"), NOISE[:4_000], [(500, 50, 1)])
    table = Table(tmp_path)
    assert [figure.name for figure, _ in figures._drawn(table)] == ["learning-minibatch", "accuracy-time", "effort"]
    assert words(panel(table, ("4LS", "minibatch", "ADAM"))) == ["not run"]
    assert words(panel(table, ("3LS", "minibatch", "Descent"))) == ["not run beyond iteration 4,000"]
    assert words(panel(table, ("3LS", "minibatch", "ADAM"))) == []


def test_the_average_is_that_of_each_hundred_iterations(full):
    (axes,) = picture(full, "average-2LR-stochastic-ADAM").axes
    losses = loss_of(("2LR", "stochastic", "ADAM")) * NOISE[:128_000]
    for shown, width in zip(axes.get_lines(), (100, 2_000)):
        np.testing.assert_array_equal(shown.get_xdata(), np.arange(width, 128_001, width))
        np.testing.assert_allclose(shown.get_ydata(), losses.reshape(-1, width).mean(axis=1), rtol=1e-5)


def test_iterations_are_written_with_separators(full):
    axes = panel(full, ("4LS", "stochastic", "ADAM"))
    axes.figure.draw_without_rendering()
    assert "1,000,000" in [label.get_text() for label in axes.get_xticklabels()]


# Accuracy and effort


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A few kinds: useful ones, and useless ones of little effort; one of them with two seeds."""
    results = tmp_path_factory.mktemp("few")
    write_run(results, ("4LS", "batch", "Descent"), tests=[(500, 11, 0.1), (1000, 19, 0.2)])
    write_run(results, ("3LS", "stochastic", "Descent"), tests=[(500, 97, 10), (1000, 80, 20), (2000, 93, 40)])
    write_run(results, ("2LR", "minibatch", "Descent"), tests=[(500, 90, 3), (1000, 96, 6000)])
    write_run(results, ("4LS", "stochastic", "ADAM"), tests=[(500, 92, 1), (1000, 94, 2)])
    write_run(results, ("4LS", "stochastic", "ADAM"), tests=[(500, 94, 3), (1000, 98, 6)], seed=1)
    return Table(results)


def drawn(axes):
    """Of each label the points and the look."""
    found = {}
    for container in axes.containers:
        points = container[0]
        data = [(x, round(y, 9)) for x, y in zip(*points.get_data()) if y == y]  # but NaN
        found[container.get_label()] = (data, points.get_color(), points.get_marker(), points.get_linestyle())
    return found


def test_every_checkpoint_stands_at_its_time(few):
    descent, adam = picture(few, "accuracy-time").axes
    assert (descent.get_title("left"), adam.get_title("left")) == ("Descent", "ADAM")
    found = drawn(descent)
    assert found.keys() == {"4LS, batch", "3LS, stochastic", "2LR, minibatch"}
    look = (figures.COLOURS["3LS"]["stochastic"], "o", "--")
    assert found["3LS, stochastic"] == ([(10, 97), (20, 80), (40, 93)], *look)
    assert found["4LS, batch"][0] == [(0.1, 11), (0.2, 19)]
    assert drawn(adam)["4LS, stochastic"][0] == [(2, 93), (4, 96)]
    assert descent.get_xscale() == "log"
    assert descent.get_ylim() == adam.get_ylim()
    assert descent.get_ylim()[0] == 0
    low, high = descent.get_xlim()
    assert low < 0.1
    assert high > 6000


def test_the_spread_over_seeds_is_a_bar(few):
    _, adam = picture(few, "accuracy-time").axes
    (bars,) = adam.collections
    ends = [segment[:, 1] for segment in bars.get_segments()]
    np.testing.assert_allclose(ends, [(93 - 2**0.5, 93 + 2**0.5), (96 - 8**0.5, 96 + 8**0.5)])


def test_top_performers_are_those_above_ninety_percent(few):
    descent, _ = picture(few, "top-performers").axes
    found = drawn(descent)
    assert {label: data for label, (data, *_) in found.items()} == {
        "3LS, stochastic": [(10, 97), (40, 93)],
        "2LR, minibatch": [(6000, 96)],
    }
    low, high = descent.get_ylim()
    assert low == 90
    assert 96 + 8**0.5 < high < 100


def test_a_panel_without_top_performers_says_so(tmp_path):
    write_run(tmp_path, ("4LS", "batch", "Descent"), tests=[(500, 50, 1)])
    write_run(tmp_path, ("4LS", "batch", "ADAM"), tests=[(500, 91, 1)])
    descent, adam = picture(Table(tmp_path), "top-performers").axes
    assert words(descent) == ["none above 90 %"]
    assert words(adam) == []


def test_an_optimiser_that_was_not_run_says_so(tmp_path):
    write_run(tmp_path, ("4LS", "batch", "Descent"), tests=[(500, 50, 1)])
    descent, adam = picture(Table(tmp_path), "accuracy-time").axes
    assert words(descent) == []
    assert words(adam) == ["not run"]


def test_the_ranking_goes_from_little_effort_to_much_and_sets_useless_kinds_apart(few):
    (axes,) = picture(few, "effort").axes
    points = {line.get_ydata()[0]: line for line in axes.get_lines() if len(line.get_ydata()) == 1}
    labels = dict(zip(axes.get_yticks(), [label.get_text() for label in axes.get_yticklabels()]))
    bottom, top = axes.get_ylim()
    assert bottom > top  # the first place is at the top
    assert [labels[round(place)] for place in sorted(points)] == [
        "4LS, stochastic, ADAM",
        "3LS, stochastic, Descent",
        "2LR, minibatch, Descent",
        "4LS, batch, Descent",
    ]
    efforts = [points[place].get_xdata()[0] for place in sorted(points)]
    np.testing.assert_allclose(efforts, [4 / 96, 10 / 97, 6000 / 96, 0.2 / 19])
    assert [points[place].get_fillstyle() for place in sorted(points)] == ["full", "full", "full", "none"]
    assert [points[place].get_marker() for place in sorted(points)] == ["o", "o", "^", "s"]
    heading = next(text for text in axes.texts if "below 90 %" in text.get_text())
    assert sorted(points)[2] + 0.5 < heading.get_position()[1] < sorted(points)[3] - 0.5


def test_the_ranking_says_accuracy_time_and_iterations(few):
    (axes,) = picture(few, "effort").axes
    rows = {}
    for text in axes.texts:
        if hasattr(text, "xy"):
            rows.setdefault(text.xy[1], []).append(text.get_text())
    assert rows[0] == ["96.00 %", "4.00 s", "1,000"]
    assert rows[2] == ["96.00 %", "6,000 s", "1,000"]
    (spread,) = [line for line in axes.get_lines() if len(line.get_ydata()) == 2]
    np.testing.assert_allclose(spread.get_xdata(), (2 / 94, 6 / 98))


# The palette

MACHADO = {  # simulation of colour blindness, of linear RGB (Machado, Oliveira, Fernandes 2009)
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "none": np.eye(3),
}


def linear(colour):
    rgb = np.array(to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(light):
    """The CIE colour whose distances are those that eyes see: lightness, green to red, blue to yellow."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(to_xyz @ np.clip(light, 0, 1) / to_xyz.sum(axis=1))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("blindness", MACHADO)
def test_models_are_told_apart(blindness):
    for one, other in itertools.combinations(MODELS, 2):
        for a, b in itertools.product(figures.COLOURS[one].values(), figures.COLOURS[other].values()):
            seen = [lab(MACHADO[blindness] @ linear(colour)) for colour in (a, b)]
            assert np.linalg.norm(seen[0] - seen[1]) > 35


def test_models_differ_in_lightness_and_stand_out_from_white():
    light = [[lab(linear(colour))[0] for colour in figures.COLOURS[model].values()] for model in MODELS]
    for darker, lighter in itertools.pairwise(light):
        assert max(darker) + 5 < min(lighter)
    for colours in figures.COLOURS.values():
        for colour in colours.values():
            assert 1.05 / (linear(colour) @ (0.2126, 0.7152, 0.0722) + 0.05) > 3  # contrast, as WCAG asks of graphics


def test_variants_differ_in_more_than_colour():
    assert len(set(figures.MARKERS.values())) == len(set(figures.DASHES.values())) == len(VARIANTS)


# The files


def test_all_figures_are_written_in_the_order_of_the_articles(full, tmp_path):
    folder = tmp_path / "new" / "figures"
    drawn = figures.draw(full, folder)
    assert [figure.name for figure in drawn] == NAMES
    assert {path.name for path in folder.iterdir()} == {f"{name}.{end}" for name in NAMES for end in ("png", "svg")}
    for figure in drawn:
        assert figure.caption.endswith(".")
        assert not re.search(r"\d{4}|  ", figure.title + figure.caption)  # separators in long numbers
        png = folder / f"{figure.name}.png"
        assert matplotlib.image.imread(png).shape[1] == 9 * 150
        assert png.stat().st_size < 300_000
        svg = folder / f"{figure.name}.svg"
        assert ElementTree.parse(svg).getroot().tag == "{http://www.w3.org/2000/svg}svg"
        assert svg.stat().st_size < 300_000


def test_the_same_runs_give_the_same_files(few, tmp_path):
    folders = tmp_path / "one", tmp_path / "two"
    for folder in folders:
        figures.draw(few, folder)
    one, two = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert one == two
    assert b"<dc:date>" not in one["effort.svg"]


@pytest.mark.parametrize("broken", ["savefig", "replace"])
def test_a_picture_that_cannot_be_written_leaves_the_old_one(few, tmp_path, monkeypatch, broken):
    def fail(self, file, **options):
        file.write_text("half")
        raise OSError("disk full")

    folder = tmp_path / "figures"
    folder.mkdir()
    (folder / "accuracy-time.png").write_text("old")
    target, name = (matplotlib.figure.Figure, "savefig") if broken == "savefig" else (os, "replace")
    with monkeypatch.context() as patch:
        patch.setattr(target, name, fail if broken == "savefig" else lambda *paths: fail(None, paths[0]))
        with pytest.raises(OSError, match="disk full"):
            figures.draw(few, folder)
    assert [path.name for path in folder.iterdir()] == ["accuracy-time.png"]
    assert (folder / "accuracy-time.png").read_text() == "old"

"""The table, the figures and the report of examples/optimisers_mnist, from runs that were made up by hand."""

import csv
import io
import json
import math
import statistics
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from scipy import stats

import tinyflux as flux
from examples.common import pictures
from examples.common.command import Refused
from examples.common.spread import spread
from examples.optimisers_mnist import figures, timing
from examples.optimisers_mnist.contest import ADAM, CONTESTANTS, ENTRIES, PADAM
from examples.optimisers_mnist.job import Job, Task
from examples.optimisers_mnist.report import report
from examples.optimisers_mnist.table import Table
from tests.support.flux_mnist import NO_COMPILER

DATASET = {"dataset": "digits", "data_sha256": "0123456789abcdef0123"}
EVENT = {"event": "begun", "time": "2026-01-02T03:04:05+00:00", "versions": {"tinyflux": "1.2.3"}}
MACHINE = {"processor": "Abacus", "cores": 2, "memory_gib": 3, "system": "Wood"}
CHOOSING, REPORTING = (100, 101), (0, 1, 2)
CHOSEN = {100: 0.90, 101: 0.92}  # accuracies on the validation images, by seed, of the value that is best
TEST = {"Adam": (0.96, 0.97, 0.98), "Descent": (0.955, 0.964, 0.976), "Lion": (0.80, 0.70, 0.91)}
NAMES = ["accuracies", "learning-loss", "learning-accuracy", "values", "padam", "adam"]


def note(job, value, seed, validation, test=0.5, diverged=None):
    """Add a run to those that a job has made."""
    curve = {"iteration": [0, 5, 10]}
    for name, end in {"train": 0.99, "validation": validation, "test": test}.items():
        curve[f"{name} accuracy"], curve[f"{name} loss"] = [0.1, 0.8, end], [2.3, 1.0, 1 - end]
    if diverged is not None:
        curve = {name: values[:1] for name, values in curve.items()}
    rule = repr(job.entry.rule(value, job.run.iterations))
    run = {"value": value, "rule": rule, "seed": seed, "step": "NumPy", "seconds": 1.5}
    job.folder.append({**run, "diverged": diverged, "curve": curve})


def a_job(results, name, tests=None, diverged=()):
    """All runs of a rule; the middle one of its values is best. The last of them diverges."""
    entry = ENTRIES[name]
    reporting = REPORTING if entry in CONTESTANTS else ()
    made = Job(str(results), Task(name, 10), 1, DATASET, 1_198, 1, choosing=CHOOSING, reporting=reporting)
    made.folder.path.mkdir()
    made.folder.append({**EVENT, "machine": MACHINE})
    best = entry.values[len(entry.values) // 2]
    for value in entry.values:
        for seed in CHOOSING:
            lower = 0 if value == best else 0.05
            note(made, value, seed, CHOSEN[seed] - lower, diverged=7 if value == entry.values[-1] else None)
    for seed, test in zip(reporting, tests or (0.9, 0.911, 0.921)):
        note(made, best, seed, 0.5, test, 3 if seed in diverged else None)
    return made


@pytest.fixture(scope="module", name="table")
def _table(tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    diverged = {"Lion": (2,), "YellowFin": REPORTING}
    return Table([a_job(results, name, TEST.get(name), diverged.get(name, ())) for name in ENTRIES])


@pytest.fixture(scope="module", name="drawn")
def _drawn(table):
    """The figures, drawn once."""
    with matplotlib.rc_context(pictures.STYLE):
        return figures.pictures_of(table)


@pytest.fixture(scope="module", name="written")
def _written(table, drawn, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "pictures_of", {table: drawn}.__getitem__)
        report(table, {entry.name: 123.4 for entry in CONTESTANTS}, folder, "the command")
    return folder


@pytest.fixture(scope="module", name="pictures")
def _pictures(drawn, written):
    """The figures by name, as they were when they were written."""
    return {figure.name: picture for figure, picture in drawn}


def row_of(text, name):
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


# The table


def test_rules_stand_in_the_order_of_their_means(table):
    names = [result.name for result in table.contest]
    assert names[:2] == ["Adam", "Descent"]
    assert names[-2:] == ["Lion", "YellowFin"]  # 80 and 70, and nothing: what diverged doesn't count
    assert set(names) == {entry.name for entry in CONTESTANTS}


def test_a_row_of_the_table(written):
    text = (written / "report.md").read_text()
    percents = [100 * test for test in TEST["Descent"]]
    gaps = [100 * (one - other) for one, other in zip(TEST["Adam"], TEST["Descent"])]
    behind, error = statistics.mean(gaps), statistics.stdev(gaps) / math.sqrt(3)
    assert row_of(text, "Descent") == [
        "Descent",
        "η = 0.3",
        "91.00 ± 1.41",
        f"{statistics.mean(percents):.2f} ± {statistics.stdev(percents):.2f}",
        f"{behind:.2f} ± {error:.2f}",
        "0.010",
        f"{1 - statistics.mean(TEST['Descent']):.3f}",
        "123 µs",
        "0",
    ]
    assert row_of(text, "Adam")[3:5] == ["97.00 ± 1.00", ""]
    assert row_of(text, "Lion")[3] == "75.00 ± 7.07 (1 diverged)"
    assert row_of(text, "YellowFin")[3:7] == ["3 diverged", "", "", ""]


def test_state_is_that_of_the_rules(written):
    text = (written / "report.md").read_text()
    arrays = {"Momentum": 1, "AggMo": 3, "Adam": 2, "AMSGrad": 3, "OAdam": 3, "RMSProp": 1, "RMSProp centred": 2}
    assert {name: int(row_of(text, name)[-1]) for name in arrays} == {name: 4 * count for name, count in arrays.items()}


def test_a_difference_is_sure_by_a_paired_test_for_so_many_comparisons(table):
    others = len(CONTESTANTS) - 1
    best = table.contest[0].ends("test accuracy")
    for result, gap in zip(table.contest[1:], table.behind[1:]):
        ends = result.ends("test accuracy")
        if not np.isnan(ends).any():
            chance = stats.ttest_rel(best, ends).pvalue
            assert gap.sure == (chance * others < 0.05)
            assert gap.points == pytest.approx(np.mean(best - ends))
    assert {gap.sure for gap in table.behind} == {True, False}


def test_spread():
    assert str(spread([96.0])) == "96.00"
    assert str(spread([95.0, 96.0, math.nan])) == "95.50 ± 0.71 (1 diverged)"
    assert str(spread([math.nan, math.nan])) == "2 diverged"


def test_rules_that_are_not_done_are_left_out(tmp_path):
    done, begun = a_job(tmp_path, "Adam"), a_job(tmp_path, "Descent")
    path = begun.folder.path / "metrics.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    table = Table([done, begun])
    assert ([result.name for result in table.contest], table.missing) == (["Adam"], ["Descent"])
    with pytest.raises(Refused, match="no rule is done"):
        Table([begun])


# The report


def test_what_the_report_says(written):
    text = (written / "report.md").read_text()
    assert text.startswith("# All optimisers on scikit-learn's small digits, not MNIST\n")
    assert "- Adam has the highest mean on the test images, 97.00 ± 1.00 %." in text
    assert "Not told apart from it by these seeds: Descent, Lion." in text
    assert "Diverged with all seeds: YellowFin." in text
    assert "From the first to the last are 22.00 percentage points" in text
    assert "nan" not in text
    assert "Descent with η = 3 (2 of 2)" in text  # which diverged
    assert "Adam with η = 0.03 (2 of 2)" in text
    assert "Chosen at the edge" not in text
    assert "The best rate of each p is p = 1/4: 0.01; p = 1/8: 0.01; p = 1/16: 0.01." in text
    assert "at the edge of the grid" not in text
    cells = row_of(text, "β₁")
    assert cells[1] == cells[2] == "0.9: 91.00 ± 1.41"
    assert cells[4] == "0.9"
    assert "Trained 2026-01-02" in text
    assert "2 cores of Abacus, 3 GiB of memory, Wood" in text
    assert "```sh\nthe command\n```" in text
    for name in NAMES:
        assert f"](figures/{name}.png)" in text
        assert (written / "figures" / f"{name}.png").exists()


def test_a_choice_at_the_edge_is_told(tmp_path):
    entry, one = ENTRIES["Adam"], a_job(tmp_path, "Adam")
    for seed in CHOOSING:
        note(one, entry.values[0], seed, 0.99)
    for seed in REPORTING:
        note(one, entry.values[0], seed, 0.5)
    report(Table([one]), {"Adam": 1.0}, tmp_path, "")
    assert "so that a value beyond may be better: Adam (η = 0.0003)" in (tmp_path / "report.md").read_text()


def test_a_power_whose_best_rate_is_at_the_edge_is_told(tmp_path):
    one = a_job(tmp_path, "Padam p=0.25")
    for seed in CHOOSING:
        note(one, 0.1, seed, 0.99)
    report(Table([one]), {}, tmp_path, "")
    assert "p = 1/4: 0.1. For p = 1/4 it is at the edge of the grid" in (tmp_path / "report.md").read_text()


def test_tables_as_csv(written, table):
    rows = {row["rule"]: row for row in csv.DictReader(io.StringIO((written / "optimisers.csv").read_text()))}
    assert len(rows) == len(CONTESTANTS)
    assert [rows["Adam"][name] for name in ("chosen", "test_percent", "seeds", "diverged")] == [
        "0.003",
        "97.0000",
        "3",
        "0",
    ]
    runs = list(csv.DictReader(io.StringIO((written / "runs.csv").read_text())))
    assert len(runs) == sum(len(result.runs) for result in table.results)
    for row in runs:
        reports = int(row["seed"]) in REPORTING
        assert bool(row["test_accuracy"]) == reports  # the others are for choosing
    (row,) = [row for row in runs if (row["rule"], row["seed"], row["value"]) == ("Lion", "2", "0.001")]
    assert (row["diverged_after"], row["test_accuracy"]) == ("3", "nan")


def test_what_is_alike_is_a_row(written, table):
    text = (written / "report.md").read_text()
    first, second = [[r.name for r in group] for group in table.groups]
    assert first == ["Adam", "Descent", "Lion"]
    assert set(second) == {entry.name for entry in CONTESTANTS} - {*first, "YellowFin"}  # which came to nothing
    assert row_of(text, "97.00 to 75.00")[1] == "Adam, Descent, Lion"
    times = stats.t.isf(0.025 / (len(CONTESTANTS) - 1), 2)
    assert f"A difference is sure if it is {times:.1f} times its standard error." in text
    assert "`full` has 10." in text


def test_where_no_rule_is_told_apart_the_report_says_why(tmp_path):
    tests = {"Adam": (0.96, 0.97, 0.98), "Descent": (0.956, 0.966, 0.973), "Momentum": (0.95, 0.963, 0.976)}
    report(
        Table([a_job(tmp_path, name, some) for name, some in tests.items()]), dict.fromkeys(tests, 1.0), tmp_path, ""
    )
    text = (tmp_path / "report.md").read_text()
    assert "Not told apart from it by these seeds: any of the 2 others." in text
    assert "is a false alarm): none." in text
    assert row_of(text, "97.00 to 96.30")[1] == "Adam, Descent, Momentum"
    hint = stats.ttest_rel(tests["Adam"], tests["Descent"]).pvalue
    assert 0.025 < hint < 0.05
    assert "would be behind it, too: Descent. Of 2 rules" in text
    assert (tmp_path / "report.html").read_text().count("<table>") == 2


# The figures


def ticks(labels):
    return [label.get_text() for label in labels]


def test_accuracies_are_where_they_belong(pictures, table):
    (axes,) = pictures["accuracies"].axes
    assert ticks(axes.get_yticklabels())[:2] == ["Adam, η = 0.003", "Descent, η = 0.3"]
    assert axes.yaxis_inverted()
    seeds, mean = (line for line in axes.get_lines() if line.get_marker() == "o" and 1 in line.get_ydata())
    np.testing.assert_allclose(seeds.get_xdata(), [95.5, 96.4, 97.6])
    assert list(mean.get_xdata()) == pytest.approx([96.5])
    assert [text.get_text() for text in axes.texts] == ["✗ 1 of 3 diverged", "✗ 3 of 3 diverged"]


def test_each_rule_has_a_panel_of_curves(pictures, table):
    for measure in ("loss", "accuracy"):
        axes = pictures[f"learning-{measure}"].axes
        assert [panel.get_title("left").partition(",")[0] for panel in axes] == [
            result.name for result in table.contest
        ]
        train, test = (line for line in axes[0].get_lines() if line.get_label() in ("train", "test"))
        assert list(train.get_xdata()) == [0, 5, 10]
        end = 97 if measure == "accuracy" else 0.03
        assert test.get_ydata()[-1] == pytest.approx(end)
        for panel, lost in zip(axes[-2:], (1, 3)):
            assert [text.get_text() for text in panel.texts] == [f"✗ {lost} of 3\ndiverged"]


def test_values_that_diverged_are_crossed(pictures, table):
    axes = pictures["values"].axes[0]
    assert axes.get_title("left") == "Adam"
    (cross,) = [line for line in axes.get_lines() if line.get_marker() == "x"]
    assert cross.get_xdata()[0] == 0.03
    (means,) = [line for line in axes.get_lines() if len(line.get_xdata()) == len(ENTRIES["Adam"].values)]
    np.testing.assert_allclose(means.get_ydata(), [86, 86, 91, 86, np.nan])


def test_padams_squares(pictures):
    accuracies, losses, *_ = pictures["padam"].axes
    assert ticks(accuracies.get_xticklabels()) == ["0.001", "0.01", "0.1"]
    assert ticks(accuracies.get_yticklabels()) == ["1/4", "1/8", "1/16"]
    assert [text.get_text() for text in accuracies.texts][:3] == ["2 diverged", "91.00\n± 1.41", "86.00\n± 1.41"]
    assert "loss" in losses.get_title("left")


def test_adams_numbers(pictures):
    rows = pictures["adam"].axes
    assert [axes.get_title("left") for axes in rows[::2]] == [f"{entry.varied} varied" for entry in ADAM]
    for left, entry in zip(rows[::2], ADAM):
        legend = ticks(left.get_legend().get_texts())
        assert len(legend) == len(entry.values)
        assert sum(label.endswith(" (default)") for label in legend) == 1


@pytest.mark.parametrize("name", NAMES)
def test_files_of_figures(written, name):
    png, svg = (written / "figures" / f"{name}.{ending}" for ending in ("png", "svg"))
    pixels = matplotlib.image.imread(png)
    assert pixels.shape[1] == 9 * 120
    assert pixels.std() > 0.03  # there is something on it
    assert ElementTree.parse(svg).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert png.stat().st_size + svg.stat().st_size < 800_000


@pytest.mark.parametrize("name", NAMES)
def test_no_text_lies_over_another_or_outside(pictures, name):
    picture = pictures[name]
    picture.canvas.draw()
    renderer = picture.canvas.get_renderer()
    seen = [text for text in texts(picture) if text.get_visible() and text.get_text().strip()]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in seen]
    assert len(boxes) > 10
    for i, (one, box) in enumerate(boxes):
        assert -1 <= box.x0 < box.x1 <= picture.bbox.x1 + 1, one
        for other, another in boxes[i + 1 :]:
            assert not box.padded(-1).overlaps(another.padded(-1)), (one, other)


def texts(picture):
    """All that is written on a picture: axes also hold labels of ticks that lie outside of them."""
    yield from picture.texts
    for legend in picture.legends:
        yield from legend.get_texts()
    for axes in picture.axes:
        yield from [axes._left_title, *axes.texts]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            yield axis.label
            yield from (tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high)
        if axes.get_legend():
            yield from [axes.get_legend().get_title(), *axes.get_legend().get_texts()]


# The time of a step


def test_times_are_measured_once(tmp_path, monkeypatch):
    monkeypatch.setenv("CC", NO_COMPILER)
    found = timing.times(tmp_path, "digits", ["Descent"])
    assert found.keys() == {"Descent"}
    assert 10 < found["Descent"] < 1e6
    (tmp_path / "times.json").write_text(json.dumps({"Descent": 1.5, "Lion": 2.5}))
    assert timing.times(tmp_path, "digits", ["Lion"])["Lion"] == 2.5
    with pytest.raises(Refused, match=r"the time of the steps could not be measured: .*No such file"):
        timing.times(tmp_path / "nowhere", "digits", ["Adam"])


def test_families_are_those_of_the_rules():
    for entry in [*CONTESTANTS, *PADAM, *ADAM]:
        assert entry.family in figures.LOOKS
    assert ENTRIES["QHAdam"].family == "Adam"
    assert isinstance(ENTRIES["QHAdam"].rule(0.1, 1), flux.QHAdam)

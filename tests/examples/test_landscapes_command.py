"""python -m examples.landscapes: what it draws and writes, and what it refuses."""

import csv
import itertools
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from examples.common import pictures
from examples.landscapes import __main__ as command
from examples.landscapes import figures
from examples.landscapes.functions import LANDSCAPES
from tests.support.gif import frames
from tests.support.scripts import environment, refused, script

LINE = np.linspace(0, 1, 41)[:, None]
PATHS = {
    "Descent(0.1)": (1 - LINE) * [1, 1.5] + LINE * [3, 0.5],
    "Descent(9)": np.array([[1, 1.5], [-4, -4], [1e30, -1e200], [np.inf, np.nan]]),
}
OUTCOMES = {"Descent(0.1)": "40", "Descent(9)": "diverged"}


def landscapes(tmp_path, *arguments):
    return script(tmp_path, *arguments, command=("-m", "examples.landscapes"))


# The pictures


@pytest.mark.parametrize("name", LANDSCAPES)
def test_the_four_views(name, tmp_path, monkeypatch):
    drawn = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: drawn.append(self) or save(self, *a, **k))
    figures.draw_function(tmp_path / "view.png", LANDSCAPES[name])
    *views, bar = drawn[0].axes
    panels = {axes.get_title(): axes for axes in views}
    assert list(panels) == ["scatter", "contours, evenly spaced in log f", "contours in space", "surface"]
    assert [axes.name for axes in panels.values()] == ["3d", "rectilinear", "3d", "3d"]
    assert all(axes.collections for axes in panels.values())
    assert panels["contours, evenly spaced in log f"].get_aspect() == 1
    assert bar.get_xlabel().startswith("f(x, y)")
    assert bar.get_xscale() == "log"
    levels = figures.Grid(LANDSCAPES[name], LANDSCAPES[name].start).levels
    np.testing.assert_allclose(bar.get_xlim(), levels[[0, -1]])
    shown = [float(label.get_text().replace(",", "")) for label in bar.get_xticklabels()]
    np.testing.assert_allclose(shown, levels[1::2], rtol=0.05)
    for kind in ("scatter", "contours in space", "surface"):
        box = panels[kind].get_tightbbox()
        assert box.width > 0.7 * 550, f"{kind} leaves its panel white"
    with Image.open(tmp_path / "view.png") as image:
        assert image.size == (1100, 950)
        assert len(image.convert("RGB").getcolors(2**24)) > 1000


def test_levels_are_evenly_spaced_in_log_f():
    grid = figures.Grid(LANDSCAPES["booth"], (-8, 6))
    ratios = grid.levels[1:] / grid.levels[:-1]
    np.testing.assert_allclose(ratios, ratios[0])
    assert ratios[0] > 1
    assert grid.levels[-1] == pytest.approx((-10 - 20 - 7) ** 2 + (-20 - 10 - 5) ** 2)  # the corner (-10, -10)
    assert grid.shade().min() == 0
    assert grid.shade().max() == pytest.approx(1)


def test_a_start_outside_the_region_is_in_the_picture():
    grid = figures.Grid(LANDSCAPES["booth"], (-8, 50))
    assert grid.limits == [(-10, 10), (-10, 52)]


def test_a_rule_that_runs_away_does_not_spoil_the_picture(tmp_path, monkeypatch):
    drawn = []
    make = pictures.figure
    monkeypatch.setattr(pictures, "figure", lambda *a, **k: drawn.append(make(*a, **k)) or drawn[-1])
    figures.draw_paths(tmp_path / "paths.png", LANDSCAPES["beale"], PATHS, OUTCOMES, 0.02)
    left, right = drawn[0][1]
    assert (left.get_xlim(), left.get_ylim()) == ((-4.5, 4.5), (-4.5, 4.5))
    assert right.get_ylim()[1] < 1000
    labels = right.get_legend_handles_labels()[1]
    assert labels == ["Descent(0.1): 40 steps", "Descent(9): diverged"]
    np.testing.assert_array_equal(right.lines[0].get_ydata()[0], LANDSCAPES["beale"].function(np.array([1, 1.5])))
    looks = [(line.get_color(), line.get_marker(), line.get_linestyle()) for line in right.lines]
    assert all(a != b for a, b in zip(*looks))


def test_no_mark_at_the_end_hides_another(tmp_path, monkeypatch):
    drawn = []
    make = pictures.figure
    monkeypatch.setattr(pictures, "figure", lambda *a, **k: drawn.append(make(*a, **k)) or drawn[-1])
    paths = {name: np.linspace([1, 1.5], [3, 0.5], 20) for name in "abcdef"}
    figures.draw_paths(tmp_path / "paths.png", LANDSCAPES["beale"], paths, dict.fromkeys(paths, "19"), 0.02)
    left = drawn[0][1][0]
    ends = [
        line for line in left.lines if line.get_xdata()[-1] == 3 and len(line.get_xdata()) == 1 and line.zorder == 7
    ]
    sizes = [line.get_markersize() for line in ends]
    assert len(sizes) == 6
    assert (np.diff(sizes) < -1.5).all()
    assert left.get_aspect() == 1
    assert [text.get_text() for text in left.texts] == ["start", "minimum"]
    assert left.texts[1].xy == (3, 0.5)
    assert left.texts[1].zorder > 7


def test_lines_differ_by_more_than_colour():
    looks = figures.looks(22)
    assert len({(look["color"], look["marker"], look["linestyle"]) for look in looks}) == 22
    for a, b in itertools.pairwise(looks):
        assert a["marker"] != b["marker"]
        assert a["linestyle"] != b["linestyle"]


def test_the_animation(tmp_path):
    figures.animate(tmp_path / "paths.gif", LANDSCAPES["beale"], PATHS)
    steps = figures.frame_steps(40)
    found = frames(tmp_path / "paths.gif")
    assert len(found) == len(steps)
    assert all((a != b).any() for a, b in itertools.pairwise(found))
    # The line grows: ever more of the picture has its colour.
    blue = [np.abs(frame - np.multiply(255, to_rgb(figures.COLOURS[0]))).max(axis=-1) < 40 for frame in found]
    counts = [int(frame.sum()) for frame in blue]
    assert counts[-1] > counts[len(counts) // 2] > counts[0]


@pytest.mark.parametrize("last", [1, 7, 59, 1000, 12345])
def test_the_steps_of_an_animation(last):
    steps = figures.frame_steps(last)
    assert (steps[0], steps[-1]) == (0, last)
    assert len(steps) == len(set(steps)) == min(last + 1, len(steps))
    assert len(steps) <= figures.FRAMES
    gaps = np.diff(steps)
    assert (gaps > 0).all()
    assert gaps[-1] == max(gaps)
    assert gaps[0] == min(gaps)


# The command


FILES = ("{}.png", "{}-paths.png", "{}.gif")


def test_a_run(tmp_path):
    arguments = ["--function", "booth", "--rules", "Descent(0.05)", "Descent(9)", "--start", "-7", "6", "--steps", "30"]
    done = landscapes(tmp_path, *arguments)
    assert done.returncode == 0
    assert done.stderr == ""
    out = tmp_path / "results" / "landscapes"
    assert {file.name for file in out.iterdir()} == {*(f.format("booth") for f in FILES), "steps.csv", "steps.md"}
    with open(out / "steps.csv", newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    end = np.array([1, 3]) + np.linalg.matrix_power([[0.5, -0.4], [-0.4, 0.5]], 30) @ [-8, 3]
    value = (end[0] + 2 * end[1] - 7) ** 2 + (2 * end[0] + end[1] - 5) ** 2
    assert first == {
        "function": "booth",
        "start": "(-7, 6)",
        "rule": "Descent(0.05)",
        "steps": "–",
        "end": f"({end[0]:.3f}, {end[1]:.3f})",
        "f at the end": f"{value:.3g}",
    }
    assert (second["rule"], second["steps"], second["end"]) == ("Descent(9)", "diverged", "")
    table = (out / "steps.md").read_text(encoding="utf-8")
    assert done.stdout.startswith(table)
    assert "| booth    | (-7, 6) | Descent(9)    | diverged |" in table
    assert len(frames(out / "booth.gif")) == len(figures.frame_steps(30))


def test_the_tutorial_goes_with_ackley(tmp_path, capsys):
    arguments = ["--function", "ackley", "booth", "--steps", "5", "--no-animation", "--output", str(tmp_path / "out")]
    assert command.main(arguments) == 0
    written = {file.name for file in (tmp_path / "out").iterdir()}
    drawn = {f.format(name) for f in FILES[:2] for name in ("ackley", "booth")}
    assert written == {*drawn, "steps.csv", "steps.md", "tutorial.md", "tutorial.png"}
    shown = capsys.readouterr().out
    assert (tmp_path / "out" / "tutorial.md").read_text(encoding="utf-8") in shown
    cells = [[cell.strip() for cell in line.split("|")] for line in shown.splitlines()]
    for line in (tmp_path / "out" / "steps.md").read_text(encoding="utf-8").splitlines():
        assert line.startswith("|-") or [cell.strip() for cell in line.split("|")] in cells
    assert shown.count("| ackley ") == shown.count("| booth ") == 6
    with Image.open(tmp_path / "out" / "tutorial.png") as image:
        assert image.size == (1100, 1150)


def test_a_function_is_told_of_as_soon_as_it_is_done(tmp_path, capsys, monkeypatch):
    told = []
    monkeypatch.setattr(figures, "draw_function", lambda path, landscape: told.append(capsys.readouterr().out))
    arguments = ["--function", "beale", "booth", "--steps", "5", "--no-animation", "--output", str(tmp_path)]
    assert command.main(arguments) == 0
    assert ["| beale" in text for text in told] == [False, True]
    assert "| booth" in capsys.readouterr().out


def test_by_default_all_functions_with_their_own_rules():
    options = command.parse([])
    assert options.function == list(LANDSCAPES)
    assert (options.rules, options.start, options.steps) == (None, None, 1000)
    assert not options.no_animation
    assert str(options.output) == "results/landscapes"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rules", "Desent(0.1)"], "--rules: unknown: Desent; there are ADAM, "),
        (["--rules", "Descent(0.1)", "Descent(a)"], "--rules: expected plain numbers as arguments, got a"),
        (["--start", "1"], "--start: expected 2 arguments"),
        (["--start", "1", "x"], "--start: expected a number from -100 to 100, got 'x'"),
        (["--start", "nan", "1"], "--start: expected a number from -100 to 100, got 'nan'"),
        (["--start", "101", "1"], "--start: expected a number from -100 to 100, got '101'"),
        (["--steps", "0"], "--steps: expected a whole number from 1"),
        (["--tolerance", "-1"], "--tolerance: expected a number above 0, got '-1'"),
        (["--function", "acley"], "--function: invalid choice: 'acley'"),
    ],
)
def test_bad_options(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        command.main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_process_refuses_without_a_traceback(tmp_path):
    refused(landscapes(tmp_path, "--rules", "Foo(1)"), 2, "--rules: unknown: Foo; there are ")
    (tmp_path / "file").touch()
    done = landscapes(tmp_path, "--function", "booth", "--output", tmp_path / "file")
    refused(done, 1, "landscapes: --output", "cannot be written to", "name another folder")


def test_after_ctrl_c_nothing_is_left(tmp_path, capsys, monkeypatch):
    def interrupted(path, *rest):
        path.touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(figures, "draw_paths", interrupted)
    assert command.main(["--function", "booth", "--steps", "5", "--output", str(tmp_path)]) == 130
    assert "stopped by Ctrl-C; nothing was written" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# The window


def test_without_vispy_the_window_says_how_to_install_it(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "vispy", None)
    assert command.main(["--window", "--function", "booth"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("landscapes: --window needs VisPy")
    assert "pip install vispy PyQt6" in said
    assert "--interactive" in said


@pytest.mark.parametrize("arguments", [["--window"], ["--window", "--interactive", "--function", "booth"]])
def test_the_window_shows_one_function(arguments, capsys):
    with pytest.raises(SystemExit):
        command.main(arguments)
    assert "--window shows one function, and no page: add --function NAME" in capsys.readouterr().err


OFFSCREEN = """
import numpy as np, vispy
vispy.use("egl")
from examples.landscapes import window
from examples.landscapes.functions import LANDSCAPES
paths = {
    "a": np.linspace([1, 1.5], [3, 0.5], 21),
    "b": np.array([[1, 1.5], [-4, -4], [np.inf, np.nan]]),
    "leaving": np.array([[1, 1.5], [9, 9], [1, 1.5], [-4, -4]]),
}
canvas, at = window.scene(LANDSCAPES["beale"], paths)
images = []
for step in (0, 20):
    at(step)
    images.append(canvas.render()[..., :3].astype(int))
blue = [int((abs(image - [0, 0x72, 0xB2]).max(axis=-1) < 20).sum()) for image in images]
assert len(np.unique(images[0].reshape(-1, 3), axis=0)) > 100, "the surface is blank"
assert blue[1] > blue[0] + 100, blue
name = images[0][15:35, 45:120]
assert (name < 100).all(axis=-1).sum() > 5, "the path has no name"
green = int((abs(images[1] - [0, 0x9E, 0x73]).max(axis=-1) < 20)[100:].sum())
assert green < 100, f"a path goes on where it has left the surface: {green}"
"""


def test_the_scene_of_the_window(tmp_path):
    pytest.importorskip("vispy", reason="VisPy is no dependency of the tests")
    env = environment(tmp_path, EGL_PLATFORM="surfaceless")
    done = subprocess.run([sys.executable, "-c", OFFSCREEN], env=env, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr

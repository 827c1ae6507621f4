"""The interactive landscapes: paths from a grid of starts, what the page holds, and the page in a real browser."""

import base64
import html.parser
import io
import re
import zlib

import numpy as np
import pytest
from PIL import Image

import tinyflux as flux
from examples.landscapes import __main__ as command
from examples.landscapes import grid, interactive
from examples.landscapes.functions import LANDSCAPES
from examples.landscapes.paths import outcome, walk
from tests.support import browser

FEW = ("Descent", "Momentum", "Adam", "Lion", "AdamW")


def few():
    return {name: make for name, make in grid_rules().items() if name in FEW}


grid_rules = grid.rules


@pytest.fixture(scope="module")
def walked():
    """Two functions' paths, by some of the rules."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid, "rules", few)
        return {name: grid.walk_all(LANDSCAPES[name]) for name in ("booth", "rosenbrock")}


@pytest.fixture(scope="module")
def page(walked):
    return interactive.page(walked, 0.02)


# Paths


def test_the_rules_on_the_page():
    names = list(grid.rules())
    assert names[:6] == ["Descent", "Momentum", "Nesterov", "AdaGrad", "RMSProp", "Adam"]
    left_out = {rule.__name__ for rule in flux.optimise.RULES} - set(names)
    assert left_out == {"Muon", "SOAP", "YellowFin"}
    assert len(names) == 21


@pytest.mark.parametrize("landscape", LANDSCAPES.values(), ids=LANDSCAPES)
def test_the_starts(landscape):
    starts = grid.starts(landscape)
    assert starts.shape == (26, 2)
    assert tuple(starts[0]) == landscape.start
    assert len(np.unique(starts, axis=0)) == 26
    low, high = np.transpose(landscape.region)
    assert ((low < starts) & (starts < high)).all()
    assert min(np.linalg.norm(starts - minimum, axis=1).min() for minimum in landscape.minima) > 0.02


def test_all_at_once_is_as_one_by_one():
    landscape = LANDSCAPES["beale"]
    rules = [make(0.03) for make in grid.rules().values()]
    together = grid.walk_together(rules, landscape, steps=25)
    assert together.shape == (21, 26, 26, 2)
    for paths, rule in zip(together, rules):
        for path, start in list(zip(paths, grid.starts(landscape)))[::5]:
            alone = walk(rule, start, lambda p: flux.gradient(landscape.function, p), 25)
            np.testing.assert_allclose(path[: len(alone)], alone, rtol=1e-9, atol=1e-9)
            assert len(alone) == 26 or outcome(path, landscape.minima, 0.02) == "diverged"


def test_what_has_run_away_stays_there():
    booth = LANDSCAPES["booth"]
    path = grid.walk_together([flux.Descent(1.0)], booth, steps=30)[0, 0]
    far = np.flatnonzero(np.abs(path - booth.start).max(axis=1) >= 1000)
    assert 0 < far[0] < 10
    assert (path[far[0] :] == path[far[0]]).all()
    assert np.isfinite(path).all()


def test_the_best_rate_of_descent_on_booth(walked):
    """Its error shrinks by 1 − 2η along one axis and 1 − 18η along the other, so that 0.1 is best of the ladder."""
    descent = walked["booth"]["Descent"]
    assert descent.rates == (0.01, 0.03, 0.1, 0.3, 1.0)
    assert descent.rates[descent.best] == 0.1
    start, minimum = np.array([-8.0, 6.0]), np.array([1.0, 3.0])
    shrink = np.linalg.matrix_power(np.eye(2) - 0.1 * np.array([[10, 8], [8, 10]]), 7)
    np.testing.assert_allclose(descent.points[2, 0, 7], minimum + shrink @ (start - minimum), rtol=1e-12)
    assert descent.points.shape == (5, 26, 501, 2)


def test_a_path_that_leaves_the_minimum_again_costs_as_much_as_one_that_never_finds_it():
    booth = LANDSCAPES["booth"]
    far, near = [2.0, 3.0], [1.0, 3.0]
    value = 1**2 + 2**2  # of Booth's function at (2, 3)
    cost = grid._cost(np.array([[far, near, far]]), booth)
    assert cost == pytest.approx(np.log(value))
    assert grid._cost(np.array([[far, near, near]]), booth) == pytest.approx((np.log(value) + 2 * np.log(1e-10)) / 3)
    assert grid._cost(np.array([[far, [np.nan, 0], near]]), booth) == pytest.approx(
        (2 * np.log(1e6) + np.log(1e-10)) / 3
    )


# What the page holds


def test_points_as_the_page_reads_them():
    landscape = LANDSCAPES["booth"]
    points = np.random.default_rng(0).uniform(-9, 9, (2, 3, 4, grid.STEPS + 1, 2))
    points[0, 0, 0, 100:] = np.nan
    points[1, 1, 1, 50:] = [1e200, -1e200]
    data = np.frombuffer(interactive._rounded(points, landscape), np.uint8)
    low, high = data[: len(data) // 2].astype(int), data[len(data) // 2 :].astype(int)
    zigzag = low + 256 * high
    steps = np.where(zigzag % 2, -(zigzag + 1) // 2, zigzag // 2)
    numbers = np.cumsum(steps.reshape(2, 3, 4, 3, -1), axis=-1).astype(np.int16)
    expected = points[..., [*range(100), *range(100, 501, 5)], :]
    seen = -10 + 20 / 4096 * np.moveaxis(numbers[..., :2, :], -2, -1)
    inside = np.abs(expected).max(axis=-1) < 10
    np.testing.assert_allclose(seen[inside], expected[inside], atol=20 / 4096 / 2 * 1.001)
    x, y = expected[inside].T
    value = (x + 2 * y - 7) ** 2 + (2 * x + y - 5) ** 2
    np.testing.assert_allclose(numbers[..., 2, :][inside] / 64, np.log10(value), atol=1 / 128 * 1.001)
    assert (seen[1, 1, 1, 50:] == [20, -20]).all()  # half a region's width outside, each way
    assert (numbers[1, 1, 1, 2, 50:] == 6 * 64).all()


class Page(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.loaded, self.ids, self.labels = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.loaded += [found[name] for name in ("src", "href", "action") if name in found]
        self.ids += [found["id"]] if "id" in found else []
        self.labels += [found["for"]] if tag == "label" and "for" in found else []


def test_the_page_needs_no_other_file(page):
    read = Page(page)
    assert read.loaded == ["data:,"]
    assert len(read.ids) == len(set(read.ids))
    assert set(read.labels) <= set(read.ids)
    assert "<!-- " not in page
    packed = re.search(r'<script type="text/plain" id="plotly">(.*?)</script>', page)[1]
    library = zlib.decompress(base64.b64decode(packed)).decode()
    assert library.lstrip().startswith("/**\n* plotly.js v")
    used = set(re.findall(r'element\("([a-z-]+)"\)', interactive.HERE.joinpath("interactive.js").read_text()))
    assert used <= set(read.ids)


@pytest.mark.slow
def test_what_to_try_is_on_the_page(monkeypatch):
    some = {name: make for name, make in grid_rules().items() if name in ("Adam", "Lion", "Descent")}
    monkeypatch.setattr(grid, "rules", lambda: some)
    script = interactive.HERE.joinpath("interactive.js").read_text()
    tries = script[script.index("const TRIES") : script.index("const chosen")]
    wanted = re.findall(r'"[^"]+", "([a-z-]+)", \d+,\s*\{([^}]*)\}', tries)
    assert len(wanted) == 5
    walked = {name: grid.walk_all(LANDSCAPES[name]) for name in dict(wanted)}
    for name, rates in wanted:
        assert set(re.findall(r"(\w+):", rates)) <= set(grid_rules())
        for rule, rate in re.findall(r"(\w+): ([\d.]+)", rates):
            assert float(rate) in walked[name][rule].rates, f"{rule} at {rate} on {name}"


def test_the_claims_of_what_to_try():
    def end(name, rule):
        landscape = LANDSCAPES[name]
        path = walk(rule, landscape.start, lambda p: flux.gradient(landscape.function, p), 500)
        return path, outcome(path, landscape.minima, 0.02)

    held, free = (np.linalg.norm(end("ackley", flux.Adam(rate))[0][-1]) for rate in (0.3, 1.0))
    assert held > 2
    assert free < 0.05
    assert end("rosenbrock", flux.Adam(1.0))[1] != "–"
    lion = np.linalg.norm(np.diff(end("booth", flux.Lion(1.0))[0], axis=0), axis=1)
    np.testing.assert_allclose(lion, np.sqrt(2))


# The page in a browser

SCRIPT = """
    const now = () => document.getElementById("map").dataset.heads;
    const at = () => document.getElementById("step-text").textContent;
    const set = (id, value) => {
      const box = document.getElementById(id);
      box.value = value;
      box.dispatchEvent(new Event("change"));
    };
    const table = () => [...document.querySelectorAll("#table tr")]
      .map((row) => [...row.cells].map((cell) => cell.innerText.trim()));
    const key = (where, name) => where.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true }));
    seen.at_first = [document.getElementById("function").value, at(), now()];
    seen.space = await Plotly.toImage("space", { format: "png", width: 400, height: 300 });
    seen.surface = document.querySelector("#space canvas").getBoundingClientRect().width;
    seen.hills = document.querySelectorAll("#hills .contourfill path").length;
    seen.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
    seen.paper = getComputedStyle(document.body).backgroundColor;
    seen.table = table();

    const box = document.querySelector("#trails .nsewdrag").getBoundingClientRect();
    for (const kind of ["pointerdown", "pointerup"])
      document.querySelector("#trails .nsewdrag").dispatchEvent(new PointerEvent(kind,
        { clientX: box.left + 0.88 * box.width, clientY: box.bottom - 0.08 * box.height, bubbles: true }));
    seen.tapped = [document.getElementById("start").selectedOptions[0].textContent, now()];
    set("start", 0);
    seen.back = now();

    set("function", "rosenbrock");
    await until(() => document.getElementById("about").textContent.includes("bent valley"));
    await until(() => now() !== seen.back);
    seen.rosenbrock = now();
    const ranges = (id) => ["xaxis", "yaxis"].map((axis) => document.getElementById(id)._fullLayout[axis].range);
    const area = document.querySelector("#trails .nsewdrag").getBoundingClientRect();
    seen.map = [ranges("hills"), ranges("trails"), area.width / area.height];
    document.getElementById("none").click();
    seen.unticked = [now(), document.querySelectorAll("#table tr").length];
    document.querySelectorAll("#rules input")[2].click();
    seen.ticked = document.querySelector("#table td").innerText.trim();
    const rate = document.querySelectorAll("#rules select")[2];
    rate.selectedIndex = 0;
    rate.dispatchEvent(new Event("change"));
    seen.slow = now();

    key(document.body, ",");
    seen.one_back = at();
    document.getElementById("step").value = 0;
    document.getElementById("step").dispatchEvent(new Event("input"));
    seen.begin = [at(), now()];
    set("speed", "8");
    key(document.body, " ");
    seen.playing = document.getElementById("play").textContent;
    await until(() => now() !== seen.begin[1]);
    document.getElementById("play").click();
    seen.moved = now();
    seen.paused = document.getElementById("play").textContent;

    const eye = () => document.getElementById("space")._fullLayout.scene.camera.eye;
    const before = { ...eye() };
    key(document.getElementById("space"), "ArrowRight");
    key(document.getElementById("space"), "+");
    await until(() => eye().x !== before.x);
    seen.eyes = [before, { ...eye() }];
    set("speed", "80");
    document.querySelector("#tries button").click();
    await until(() => at() === "step 500 of 500");
    seen.tried = table();
"""


def heads(text):
    return [tuple(map(float, pair.split(","))) for pair in text.split()]


def ends(name, steps, *rules):
    landscape = LANDSCAPES[name]
    return [walk(r, landscape.start, lambda p: flux.gradient(landscape.function, p), steps)[-1] for r in rules]


@pytest.mark.slow
@pytest.mark.skipif(browser.CHROMIUM is None, reason="there is no chromium here")
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_the_page_in_a_browser(page, walked, tmp_path, width, dark):
    seen = browser.look(page, "document.body.dataset.ready", SCRIPT, tmp_path, width, 844, dark)
    assert seen["wrong"] == []
    assert seen["requests"] == []
    assert seen["wide"] <= 0, "the page is wider than the window"
    assert seen["paper"] == ("rgb(20, 23, 28)" if dark else "rgb(255, 255, 255)")
    name, at, now = seen["at_first"]
    assert (name, at) == ("booth", "step 500 of 500")
    booth = walked["booth"]
    best = [make(booth[rule].rates[booth[rule].best]) for rule, make in few().items()]
    np.testing.assert_allclose(heads(now), ends("booth", 500, *best), atol=20 / 4096)
    expected = {rule: outcome(booth[rule].points[booth[rule].best, 0], [(1, 3)], 0.02) for rule in booth}
    assert {row[0]: row[2] for row in seen["table"]} == expected
    with Image.open(io.BytesIO(base64.b64decode(seen["space"].partition(",")[2]))) as image:
        assert len(image.convert("RGB").getcolors(2**24)) > 1000, "the surface is blank"
    assert 250 < seen["surface"] <= width
    assert seen["hills"] >= 10

    start, now = seen["tapped"]
    assert start == "(8, −8.8)"
    assert heads(now) != heads(seen["at_first"][2])
    assert seen["back"] == seen["at_first"][2]

    assert seen["rosenbrock"] != seen["back"]
    assert seen["map"][:2] == [[[-2, 2], [-1, 3]]] * 2
    assert seen["map"][2] == pytest.approx(1, abs=0.01), "the map's scales differ"
    assert seen["unticked"] == ["", 0]
    assert seen["ticked"] == "Adam"
    slowest = walked["rosenbrock"]["Adam"].rates[0]
    np.testing.assert_allclose(heads(seen["slow"]), ends("rosenbrock", 500, flux.Adam(slowest)), atol=4 / 4096)
    assert seen["one_back"] == "step 495 of 500"
    assert seen["begin"][0] == "step 0 of 500"
    np.testing.assert_allclose(heads(seen["begin"][1]), [(-1.2, 1)], atol=4 / 4096)
    assert "Pause" in seen["playing"]
    assert "Play" in seen["paused"]
    assert heads(seen["moved"]) != heads(seen["begin"][1])
    before, after = ([eye[c] for c in "xyz"] for eye in seen["eyes"])
    assert np.linalg.norm(after) == pytest.approx(np.linalg.norm(before) / 1.15)
    turned = np.arctan2(after[1], after[0]) - np.arctan2(before[1], before[0])
    assert turned == pytest.approx(0.2)
    assert [row[0] for row in seen["tried"]] == ["Adam", "Descent", "Momentum"]
    adam = walked["rosenbrock"]["Adam"]
    assert seen["tried"][0][1:3] == ["1", outcome(adam.points[adam.rates.index(1.0), 0], [(1, 1)], 0.02)]


# The command


@pytest.mark.slow
def test_the_command_writes_the_page(tmp_path, capsys, monkeypatch):
    opened = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(interactive.webbrowser, "open", lambda address: opened.append(address) or True)
    out = tmp_path / "out"
    assert command.main(["--interactive", "--function", "himmelblau", "--output", str(out)]) == 0
    assert [file.name for file in out.iterdir()] == ["interactive.html"]
    assert opened == [(out / "interactive.html").as_uri()]
    shown = capsys.readouterr().out
    assert str(out / "interactive.html") in shown
    assert "No browser" not in shown
    text = (out / "interactive.html").read_text(encoding="utf-8")
    assert all(f'"{rule}"' in text for rule in grid_rules())
    packed = re.search(r'<script type="text/plain" id="plotly">(.*?)</script>', text)[1]
    assert 7 * (len(text) - len(packed)) + len(packed) < 8e6, "a page of all seven functions is too large"


@pytest.mark.parametrize(("arguments", "display"), [(["--no-browser"], ":0"), ([], None)])
def test_no_browser_is_opened(arguments, display, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    if display:
        monkeypatch.setenv("DISPLAY", display)
    monkeypatch.setattr(interactive.sys, "platform", "linux")
    monkeypatch.setattr(interactive.webbrowser, "open", lambda address: pytest.fail("opened"))
    monkeypatch.setattr(interactive, "write_page", lambda path, *rest: path.touch())
    assert command.main(["--interactive", *arguments, "--output", str(tmp_path)]) == 0
    assert ("No browser could be opened here" in capsys.readouterr().out) == (not arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--interactive", "--rules", "Adam"], "--rules belongs to the pictures"),
        (["--interactive", "--start", "1", "1"], "--start belongs to the pictures"),
        (["--interactive", "--steps", "50"], "--steps belongs to the pictures"),
        (["--interactive", "--no-animation"], "--no-animation belongs to the pictures"),
        (["--no-browser"], "--no-browser belongs to --interactive"),
    ],
)
def test_options_that_do_not_go_together(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err

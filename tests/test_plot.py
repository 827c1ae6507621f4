"""flux.plot: what is drawn, read from matplotlib's own objects."""

import subprocess
import sys

import numpy as np
import pytest

import tinyflux as flux
from tests.support import device_standin as standin
from tests.test_messages import TENSOR, check, table

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
pyplot = pytest.importorskip("matplotlib.pyplot")

LOSSES = [0.9, 0.5, 0.4]
HISTORY = flux.History(LOSSES, {"loss": [1.0, 0.7, 0.8], "accuracy": [0.5, 0.7, 0.75]})


@pytest.fixture(autouse=True)
def _closed():
    yield
    pyplot.close("all")


def lines(panel):
    """What a panel shows, by the words of its legend."""
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in panel.lines}


def legend(panel):
    box = panel.get_legend()
    return [text.get_text() for text in box.get_texts()] if box else []


def test_a_history():
    figure = flux.plot(HISTORY)
    above, below = figure.axes
    assert lines(above) == {"training": ([1, 2, 3], LOSSES), "validation": ([1, 2, 3], HISTORY.validation["loss"])}
    assert legend(above) == ["training", "validation"]
    assert [line[1] for line in lines(below).values()] == [HISTORY.validation["accuracy"]]
    assert (above.get_ylabel(), below.get_ylabel(), below.get_xlabel()) == ("loss", "accuracy", "epoch")
    assert (above.get_yscale(), legend(below)) == ("linear", [])
    assert len({line.get_color() for line in above.lines}) == 2
    assert all(float(tick).is_integer() for tick in below.get_xticks())


def test_a_history_alone():
    (panel,) = flux.plot(flux.History(LOSSES)).axes
    assert [line[1] for line in lines(panel).values()] == [LOSSES]
    assert legend(panel) == []
    (panel,) = flux.plot(flux.History([0.5])).axes
    assert panel.lines[0].get_marker() == "o"
    assert [tick for tick in panel.get_xticks() if 0.5 < tick < 1.5] == [1]


def test_several_metrics_and_several_histories():
    more = flux.History(LOSSES, {"loss": LOSSES, "accuracy": [0.1, 0.2, 0.3], "f1": [0.2, 0.3, 0.4]})
    above, below = flux.plot(more).axes
    assert legend(below) == ["accuracy", "f1"]
    assert len({line.get_color() for line in below.lines}) == 2
    above, below = flux.plot({"Adam": HISTORY, "Descent": more, "plain": flux.History(LOSSES)}).axes
    assert legend(above) == [
        "Adam training",
        "Adam validation",
        "Descent training",
        "Descent validation",
        "plain training",
    ]
    assert legend(below) == ["Adam accuracy", "Descent accuracy", "Descent f1"]
    assert below.get_ylabel() == "metrics of validation"
    colours = [line.get_color() for line in above.lines]
    assert colours[0] == colours[1] != colours[2] == colours[3] != colours[4]
    assert above.lines[0].get_linestyle() != above.lines[1].get_linestyle()


def test_losses_of_many_sizes_have_a_logarithmic_axis():
    (panel,) = flux.plot(flux.History([1.0, 0.1, 0.001])).axes
    assert panel.get_yscale() == "log"
    for least in (-0.001, 0.0, 0.06):
        (panel,) = flux.plot(flux.History([1.0, 0.1, least])).axes
        assert panel.get_yscale() == "linear"


@pytest.mark.parametrize("numbers", [LOSSES, tuple(LOSSES), np.array(LOSSES), np.array([3, 1, 2]), [0.5, np.nan, 1]])
def test_curves(numbers):
    (panel,) = flux.plot(numbers).axes
    np.testing.assert_array_equal(panel.lines[0].get_xdata(), [0, 1, 2])
    np.testing.assert_array_equal(panel.lines[0].get_ydata(), numbers)
    (panel,) = flux.plot({"a": numbers, "b": [1.0]}).axes
    assert legend(panel) == ["a", "b"]


def test_what_lies_on_the_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", standin.cupy_module())
    (panel,) = flux.plot(standin.asarray(np.array(LOSSES))).axes
    assert list(panel.lines[0].get_ydata()) == LOSSES
    assert len(flux.plot(standin.asarray(np.zeros((3, 4, 5)))).axes) == 3


@pytest.mark.parametrize("numbers", [[np.nan] * 3, [np.inf, -np.inf, np.nan]])
def test_numbers_of_which_none_is_finite(numbers):
    (panel,) = flux.plot(flux.History(numbers)).axes
    assert [text.get_text() for text in panel.texts] == ["no finite number"]
    assert (list(panel.get_yticks()), panel.get_xlim()) == ([], (0.0, 4.0))
    history = flux.History([0.5, 0.4, 0.3], {"accuracy": numbers})
    above, below = flux.plot(history).axes
    assert ([*above.texts], [text.get_text() for text in below.texts]) == ([], ["no finite number"])
    (panel,) = flux.plot({"a": numbers, "b": [1.0]}).axes
    assert list(panel.texts) == []


def test_many_names_and_long_ones(recwarn):
    figure = flux.plot({f"curve {i}": LOSSES for i in range(40)})
    figure.canvas.draw()
    (panel,) = figure.axes
    box = panel.get_legend().get_window_extent()
    frame = panel.get_window_extent()
    assert len(legend(panel)) == 40
    assert frame.height > 0.6 * figure.bbox.height
    assert box.height < frame.height
    assert box.width < frame.width
    (panel,) = flux.plot({"a" * 200: LOSSES, "b" * 40: LOSSES}).axes
    assert legend(panel) == ["a" * 39 + "…", "b" * 40]
    assert [str(warning.message) for warning in recwarn if "layout" in str(warning.message)] == []


def test_a_learning_rate_of_one_step():
    (panel,) = flux.plot(flux.LearningRates(np.array([0.1]), np.array([2.0]), 0.01)).axes
    assert panel.lines[0].get_marker() == "o"


def test_schedules():
    cosine = flux.schedules.Cosine(0.1, over=20)
    (panel,) = flux.plot(cosine).axes
    assert list(panel.lines[0].get_ydata()) == [cosine(t) for t in range(20)]
    (panel,) = flux.plot({"cosine": cosine, "steps": flux.schedules.Step(0.1, every=5), "mine": lambda t: t}, 30).axes
    assert [len(line.get_xdata()) for line in panel.lines] == [30, 30, 30]
    assert list(panel.lines[2].get_ydata()) == list(range(30))


def test_a_learning_rate():
    found = flux.LearningRates(np.geomspace(1e-4, 1, 30), np.linspace(3, 1, 30), 0.1)
    (panel,) = flux.plot(found).axes
    curve, mark = panel.lines
    np.testing.assert_array_equal(curve.get_xdata(), found.rates)
    np.testing.assert_array_equal(curve.get_ydata(), found.losses)
    assert list(mark.get_xdata()) == [0.1, 0.1]
    assert (panel.get_xscale(), legend(panel)) == ("log", ["suggestion: 0.1"])


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (np.arange(24, dtype=np.uint8).reshape(2, 3, 4), np.arange(12).reshape(3, 4)),
        (np.arange(24).reshape(2, 3, 4) / 24, np.arange(12).reshape(3, 4) / 24),
        (np.arange(24.0).reshape(2, 3, 4, 1), np.arange(12).reshape(3, 4) / 23),
        (np.linspace(-1, 1, 72).reshape(2, 3, 4, 3), (np.linspace(-1, 1, 72)[:36].reshape(3, 4, 3) + 1) / 2),
    ],
    ids=["bytes", "shares", "numbers", "colours"],
)
def test_images(images, expected):
    figure = flux.plot(images)
    first, second = figure.axes
    np.testing.assert_allclose(first.images[0].get_array(), expected)
    assert len(second.images) == 1
    assert first.images[0].norm.vmax == (255 if images.dtype == np.uint8 else 1)


def test_a_pixel_that_is_not_finite_leaves_the_others_as_they_are():
    images = np.full((2, 2, 2), 0.5)
    images[0] = [[np.nan, np.inf], [-np.inf, 0.25]]
    first, second = flux.plot(images).axes
    np.testing.assert_array_equal(first.images[0].get_array().filled(np.nan), [[np.nan, 1], [0, 0.25]])
    np.testing.assert_array_equal(second.images[0].get_array(), images[1])


def test_many_images_are_the_first_forty():
    figure = flux.plot(np.zeros((100, 2, 2)))
    assert sum(len(panel.images) for panel in figure.axes) == 40
    figure = flux.plot(np.zeros((100, 2, 2, 1)))
    assert sum(len(panel.images) for panel in figure.axes) == 40
    figure = flux.plot(np.zeros((11, 2, 2)))
    assert [len(panel.images) for panel in figure.axes] == [1] * 11 + [0] * 5


def colouring(image):
    return image.get_cmap().name, image.norm.vmin, image.norm.vmax


DIGIT = np.zeros((2, 6, 6))
DIGIT[:, 1:5, 1:5] = 0.8  # 16 of 36 are ink


@pytest.mark.parametrize("form", [np.array, lambda x: x[..., None]])
def test_drawings_are_dark_on_white_and_photographs_are_not(form):
    for images, name, most in [
        (DIGIT, "gray_r", 1),
        ((DIGIT * 255).astype(np.uint8), "gray_r", 255),
        (DIGIT + 0.1, "gray", 1),
        ((DIGIT * 255 + 1).astype(np.uint8), "gray", 255),
        (np.where(np.arange(72).reshape(2, 6, 6) < 24, 0, 0.5), "gray_r", 1),  # a third is empty
        (np.where(np.arange(72).reshape(2, 6, 6) < 23, 0, 0.5), "gray", 1),
    ]:
        assert colouring(flux.plot(form(images)).axes[1].images[0]) == (name, 0, most)
    assert colouring(flux.plot(np.zeros((2, 6, 6, 3))).axes[0].images[0])[0] == "gray"  # colours are their own


@pytest.mark.parametrize("form", [np.array, lambda x: x[..., None]])
def test_filters_have_colours_about_zero_and_a_bar(form):
    filters = np.linspace(-0.5, 0.25, 27).reshape(3, 3, 3)
    *panels, bar = flux.plot(form(filters)).axes
    assert len(panels) == 3
    for panel, weights in zip(panels, filters, strict=True):
        np.testing.assert_allclose(panel.images[0].get_array(), weights)
        assert colouring(panel.images[0]) == ("PuOr_r", -0.5, 0.5)
    assert bar.get_ylim() == (-0.5, 0.5)
    filters[0, 1, 1], filters[1, 1, 1] = np.nan, -np.inf  # which is drawn as the least one
    assert colouring(flux.plot(form(filters)).axes[0].images[0]) == ("PuOr_r", -0.5, 0.5)


def test_titles():
    figure = flux.plot(DIGIT, titles=("one\ntwo", 3))
    assert [panel.get_title() for panel in figure.axes] == ["one\ntwo", "3"]
    figure = flux.plot(np.zeros((50, 2, 2)), titles=list(map(str, range(50))))
    assert [panel.get_title() for panel in figure.axes] == list(map(str, range(40)))


def test_a_confusion_matrix():
    counts = np.array([[90, 10, 0], [0, 0, 0], [1, 2, 1]])
    (panel,) = flux.plot(counts).axes
    assert (panel.get_xlabel(), panel.get_ylabel()) == ("read as", "true")
    np.testing.assert_allclose(panel.images[0].get_array(), [[0.9, 0.1, 0], [0, 0, 0], [0.25, 0.5, 0.25]])
    written = {text.get_position(): text.get_text() for text in panel.texts}
    assert written == {(j, i): str(counts[i, j]) for i in range(3) for j in range(3)}
    assert list(panel.get_xticks()) == list(panel.get_yticks()) == [0, 1, 2]
    colours = {text.get_position(): text.get_color() for text in panel.texts}
    assert colours[0, 0] == "white" != colours[1, 0]  # on a dark cell
    (panel,) = flux.plot(np.eye(30, dtype=int)).axes
    assert not panel.texts  # nobody could read them


def test_the_figure_is_pyplots_but_not_in_a_notebook(monkeypatch):
    figure = flux.plot(LOSSES)
    assert pyplot.figure(figure.number) is figure  # plt.show() shows it
    monkeypatch.setattr(matplotlib, "get_backend", lambda: "module://matplotlib_inline.backend_inline")
    other = flux.plot(LOSSES)
    assert pyplot.get_fignums() == [figure.number]  # a cell that ends with it shows it once
    assert isinstance(other, matplotlib.figure.Figure)


def test_the_users_style_is_left_alone():
    with matplotlib.rc_context({"font.size": 7.0, "axes.grid": False}):
        flux.plot(HISTORY)
        assert (matplotlib.rcParams["font.size"], matplotlib.rcParams["axes.grid"]) == (7.0, False)


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'plot: expected matplotlib, got none .*; pip install ".*\[plot\]"'):
        flux.plot(LOSSES)
    with pytest.raises(TypeError):
        flux.plot("loss")


def test_nothing_is_imported_before_it_is_used():
    code = "import sys, tinyflux as flux; flux.History([1.0]); dir(flux); print('matplotlib' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout == "False\n"


@table(
    (
        lambda: flux.plot("loss"),
        TypeError,
        "plot: expected what to be a list of numbers, a history or a schedule, got",
    ),
    (lambda: flux.plot(3.0), TypeError, "for several curves a dict of them."),
    (lambda: flux.plot([LOSSES, LOSSES]), TypeError, "got a list. For images give (N, height, width), for several"),
    (
        lambda: flux.plot(np.zeros((3, 2))),
        TypeError,
        "got an array of shape (3, 2). For images give (N, height, width)",
    ),
    (lambda: flux.plot({"a": LOSSES, "b": "c"}), TypeError, "expected what['b'] to be a list of numbers, a history or"),
    (lambda: flux.plot(TENSOR), TypeError, "got a torch tensor of shape (4, 2). Give an array of NumPy's, x.detach"),
    (
        lambda: flux.plot([HISTORY, HISTORY]),
        TypeError,
        'for several curves a dict of them, {"one": …, "two": …}; at index 0 stands a History.',
    ),
    (lambda: flux.plot([1.0, True]), TypeError, "at index 1 stands True."),
    (lambda: flux.plot(range(3)), TypeError, "got a range. Give list(x)."),
    (lambda: flux.plot(np.ones(3) * 1j), TypeError, "got an array of shape (3,) of complex128."),
    (lambda: flux.plot(np.ma.masked_equal([1.0, 2.0], 2.0)), TypeError, "got a masked one. Give x.filled(np.nan)"),
    (lambda: flux.plot(np.ma.masked_equal(DIGIT, 0)), TypeError, "got a masked one. Give x.filled(np.nan)"),
    (lambda: flux.plot({"a": np.ma.array([1.0], mask=True)}), TypeError, "got a masked one. Give x.filled(np.nan)"),
    (lambda: flux.plot(np.array([[1, -3], [0, 2]])), ValueError, "expected a confusion matrix to hold counts, got -3"),
    (lambda: flux.plot(lambda t: "a", 3), TypeError, "expected a function to give a number, got 'a' at step 0."),
    (lambda: flux.plot(flux.Dense(2, 1)), TypeError, "a list of numbers, a history or a schedule, got a Dense"),
    (lambda: flux.plot({}), ValueError, "plot: expected at least one curve, got an empty dict."),
    (lambda: flux.plot([]), ValueError, "plot: expected what to have numbers, got none."),
    (lambda: flux.plot(flux.History()), ValueError, "plot: expected a history of at least one epoch, got one of none."),
    (lambda: flux.plot(flux.schedules.Step(0.1, 5)), ValueError, "Write flux.plot(schedule, steps=1000)."),
    (
        lambda: flux.plot(flux.schedules.Step(0.1, 5), 1),
        ValueError,
        "expected steps to be an integer, at least 2, got",
    ),
    (
        lambda: flux.plot(np.zeros((0, 4, 4))),
        ValueError,
        "plot: expected images (N, height, width), or with 1 or 3",
    ),
    (lambda: flux.plot(np.ones((2, 4, 4)) * 1j), TypeError, "plot: expected images of real numbers, got complex128."),
    (
        lambda: flux.plot(np.zeros((2, 2))),
        TypeError,
        "got an array of shape (2, 2). For images give",
    ),
    (
        lambda: flux.plot(np.zeros((2, 3), int)),
        TypeError,
        "got an array of shape (2, 3). For images give",
    ),
    (lambda: flux.plot(DIGIT, titles=["a"]), ValueError, "plot: expected a title for each of the 2 images, got 1."),
    (lambda: flux.plot(DIGIT, titles="ab"), TypeError, "plot: expected titles to be a list of strings, got 'ab'."),
    (lambda: flux.plot(LOSSES, titles=["a"]), TypeError, "plot: titles are for images, got a list."),
    (lambda: flux.plot(np.zeros((2, 4, 4, 2))), ValueError, "channels as the last axis, got shape (2, 4, 4, 2)."),
)
def test_refused(typed, error, said):
    check(typed, error, said)

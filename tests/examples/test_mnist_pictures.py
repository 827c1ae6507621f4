"""The pictures of examples/mnist.py: what they say."""

import numpy as np

from examples.common import pictures


def test_the_grid_marks_what_is_wrong(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    titles = []
    monkeypatch.setattr(Axes, "text", lambda self, x, y, text, **style: titles.append((text, style.get("color"))))
    images = np.zeros((3, 28, 28), np.float32)
    pictures.digit_grid(tmp_path / "grid.png", "", images, np.array([1, 2, 3]), np.array([1, 7, 3]))
    assert titles == [("1", None), ("✗ 7, is 2", pictures.ORANGE), ("3", None)]


def test_the_learning_curve_says_what_came_of_it(tmp_path, monkeypatch):
    drawn = []
    make = pictures.figure
    monkeypatch.setattr(pictures, "figure", lambda *size, **options: drawn.append(make(*size, **options)) or drawn[-1])
    curve = {"iteration": [1, 50, 100], "loss": [2.0, 0.001, 9.0], "mean": [2.0, 1.0, 0.5]}
    checkpoints = [{"iteration": 50, "accuracy": 0.5}, {"iteration": 100, "accuracy": 0.75}]
    pictures.learning_curve(tmp_path / "learning.png", "a run", curve, checkpoints)
    (_, (above, below)) = drawn[0]
    assert above.get_xscale() == below.get_xscale() == "linear"
    assert above.get_title("left").endswith(": 0.5 in the end")
    assert below.get_title("left").endswith(": 75.00 % in the end")
    assert [text.get_text() for text in above.get_legend().get_texts()] == [
        "one update (2 of 3 lie outside)",
        "average of the latest updates",
    ]
    low, high = above.get_ylim()
    assert 0.001 < low < 0.5
    assert 2 < high < 9

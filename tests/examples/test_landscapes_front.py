"""The animation of the README: what it shows, and that the file in the repository is one that the command draws."""

from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb

from examples.landscapes import front
from examples.landscapes.functions import LANDSCAPES
from tests.support.gif import frames

COMMITTED = Path(__file__).resolve().parents[2] / "docs" / "images" / "landscape.gif"


def of_colour(frame, colour):
    return int((np.abs(frame - np.multiply(255, to_rgb(colour))).max(axis=-1) < 12).sum())


def test_the_six_part_for_three_of_the_four_minima():
    landscape = LANDSCAPES["himmelblau"]
    ends = np.array([points[-1] for points in front.paths(landscape).values()])
    distances = np.linalg.norm(ends[:, None] - np.array(landscape.minima), axis=-1)
    assert len(ends) == 6
    assert (distances.min(axis=1) < 0.1).all()
    assert len(set(distances.argmin(axis=1))) == 3


def test_the_animation(tmp_path):
    path = tmp_path / "new" / "landscape.gif"
    front.draw(path)
    found = frames(path)
    assert path.stat().st_size < 1.5e6
    assert found[0].shape == (450, 800, 3)
    for colour in front.COLOURS:
        grown = [of_colour(frame, colour) for frame in (found[0], found[20], found[-1])]
        assert grown[0] < grown[1] <= 1.5 * grown[2], "a line is missing"
    corner = np.multiply(255, to_rgb(front.GROUND))
    assert all(np.abs(frame[[0, 0, -1, -1], [0, -1, 0, -1]] - corner).max() <= 6 for frame in found)
    committed = frames(COMMITTED)
    assert len(committed) == len(found)
    assert np.abs(committed[-1] - found[-1]).mean() < 4, (
        "draw docs/images/landscape.gif anew: python -m examples.landscapes.front"
    )
    assert COMMITTED.stat().st_size < 1.5e6

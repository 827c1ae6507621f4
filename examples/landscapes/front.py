"""The animation of the README and of the documentation's first page: six optimisers on one landscape.

python -m examples.landscapes.front docs/images/landscape.gif
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import tinyflux as flux

from .figures import drawable, frame_steps
from .functions import LANDSCAPES, Landscape, Point
from .paths import outcome, parse_rule, walk

NAME = "himmelblau"
START: Point = (-0.15, -1.8)  # near a ridge, from where the six part for three of the four minima
STEPS = 200
GROUND, INK = "#14171c", "#e8eaed"  # a page of its own, to be read on white and on dark ones
COLOURS = ("#56B4E9", "#FF8B3D", "#1FD6A0", "#F29AC8", "#FFFFFF", "#F0C929")


def paths(landscape: Landscape) -> dict[str, np.ndarray]:
    """The paths of the landscape's six rules, from START."""
    gradient = partial(flux.gradient, landscape.function)
    return {label: walk(parse_rule(label), START, gradient, STEPS) for label in landscape.rules}


def height(landscape: Landscape, points: np.ndarray) -> np.ndarray:
    """Where points are drawn: by the logarithm, which shows the four minima as hollows of one depth."""
    return np.log10(1 + landscape.function(points))


def draw(path: Path) -> None:
    """Draw the animation, as a GIF of 800 × 450 points."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import to_rgba_array
    from matplotlib.figure import Figure
    from PIL import Image

    landscape = LANDSCAPES[NAME]
    drawn = Figure(figsize=(8, 4.5), dpi=100, facecolor=GROUND)
    FigureCanvasAgg(drawn)
    axes: Any = drawn.add_axes((-0.03, -0.19, 0.8, 1.05), projection="3d", computed_zorder=False)
    draw_ground(axes, landscape)
    drawn.text(0.03, 0.9, "Six optimisers, one landscape", color=INK, fontsize=20, weight="bold")
    title = drawn.text(0.03, 0.83, "", color=INK, fontsize=15, animated=True)
    walkers = [
        Walker(axes, row, landscape, label, points, colour)
        for row, ((label, points), colour) in enumerate(zip(paths(landscape).items(), COLOURS))
    ]
    drawn.canvas.draw()
    background = drawn.canvas.copy_from_bbox(drawn.bbox)

    def frame(step: int) -> Any:
        drawn.canvas.restore_region(background)
        title.set_text(f"{landscape.title}'s function, step {step}")
        for artist in [title, *(part for walker in walkers for part in walker.at(step))]:
            drawn.draw_artist(artist)
        return Image.fromarray(np.asarray(drawn.canvas.buffer_rgba())).convert("RGB")

    images = [frame(step) for step in frame_steps(STEPS)]
    palette = Image.new("P", (1, 1))  # the ground's colours, and those of the lines as they are
    lines = (255 * to_rgba_array(COLOURS)[:, :3]).astype(np.uint8).ravel().tolist()
    palette.putpalette([*images[-1].quantize(240).getpalette()[: 3 * 240], *lines])
    first, *rest = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    path.parent.mkdir(parents=True, exist_ok=True)
    first.save(path, save_all=True, append_images=rest, duration=[90] * len(rest) + [3500], loop=0)


def draw_ground(axes: Any, landscape: Landscape) -> None:
    """Draw the surface with its contours, and a star at each minimum."""
    from matplotlib.colors import LightSource, LinearSegmentedColormap

    x, y = np.meshgrid(*(np.linspace(*limits, 181) for limits in landscape.region))
    z = height(landscape, np.stack([x, y], axis=-1))
    colours = LinearSegmentedColormap.from_list("ground", ["#0d3b66", "#1b6a8f", "#4fa3a5", "#b7cfa8", "#fbf3d5"])
    light = LightSource(300, 55).shade(z, colours, vert_exag=3, blend_mode="overlay", fraction=0.7)
    axes.plot_surface(x, y, z, facecolors=light, rstride=1, cstride=1, linewidth=0, antialiased=False, zorder=1)
    axes.contour(x, y, z + 0.01, np.linspace(0.2, 2.8, 14), colors="black", linewidths=0.5, alpha=0.35, zorder=2)
    stars = {"s": 110, "marker": "*", "color": "white", "edgecolor": "black", "depthshade": False, "zorder": 3}
    axes.scatter(*np.transpose(landscape.minima), 0.05, **stars)
    axes.set(xlim=landscape.region[0], ylim=landscape.region[1], zlim=(0, z.max()))
    axes.set_box_aspect((1, 1, 0.36), zoom=1.1)
    axes.view_init(elev=48, azim=-68)
    axes.patch.set_visible(False)
    axes.set_axis_off()


class Walker:
    """An optimiser in the animation: its line, its head, and its name, to which the steps are added when it arrives."""

    def __init__(self, axes: Any, row: int, landscape: Landscape, label: str, points: np.ndarray, colour: str) -> None:
        points = drawable(points)
        self.spots = np.column_stack([points, height(landscape, points) + 0.06])
        self.name, self.steps = label.partition("(")[0], outcome(points, landscape.minima, 0.1)
        (self.line,) = axes.plot([], [], [], color=colour, linewidth=2.4, animated=True, zorder=5)
        head = {"markersize": 13 - 1.2 * row, "markeredgecolor": GROUND, "zorder": 6, "animated": True}
        (self.head,) = axes.plot([], [], [], "o", color=colour, **head)
        place = {
            "transform": axes.figure.transFigure,
            "fontsize": 16,
            "linespacing": 1.15,
            "va": "top",
            "animated": True,
        }
        self.text = axes.text2D(0.755, 0.8 - 0.132 * row, "", color=colour, **place)

    def at(self, step: int) -> list[Any]:
        """What is drawn after so many steps."""
        spots = self.spots[: step + 1]
        self.line.set_data_3d(*spots.T)
        self.head.set_data_3d(*spots[-1:].T)
        arrived = self.steps.isdecimal() and step >= int(self.steps)
        self.text.set_text(f"● {self.name}" + (f"\n    in {self.steps} steps" if arrived else ""))
        return [self.line, self.head, self.text]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m examples.landscapes.front", description=__doc__)
    parser.add_argument("file", type=Path, help="where the GIF goes, such as docs/images/landscape.gif")
    draw(parser.parse_args().file)

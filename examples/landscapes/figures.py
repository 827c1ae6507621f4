"""The pictures: what a function looks like, the paths of rules over its contours, and the same as an animation."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from examples.common import pictures

from .functions import Landscape, Point

# Okabe and Ito's colours, but for the yellow: they can be told apart by colour-blind readers, too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
DASHES = ("-", (0, (6, 1.5)), (0, (8, 1, 1.5, 1)), (0, (3, 1)), (0, (5, 1, 1, 1, 1, 1)))
LEVELS = 14  # of contours
GRID = 201  # points of a picture, each way
FRAMES = 60
OUTLINE = 1e6  # where to draw what lies farther out: nobody sees it, and Agg's numbers don't overflow
SMALLEST = 1e-8  # values below this are at the bottom of the axis

Paths = dict[str, np.ndarray]  # for each rule's label its points, the start first


def looks(count: int) -> list[dict[str, Any]]:
    """For each of so many lines a colour, a marker and dashes."""
    return [
        {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)], "linestyle": DASHES[i % len(DASHES)]}
        for i in range(count)
    ]


class Grid:
    """A function over its region, widened where the start lies outside or near the edge.

    Attributes:
        x, y, values: of a picture's points, each of shape (GRID, GRID).
        levels: values at which contours are drawn, evenly spaced on a logarithmic scale.
    """

    def __init__(self, landscape: Landscape, start: Point) -> None:
        margins = [0.1 * (high - low) for low, high in landscape.region]
        self.limits = [
            (min(low, s - margin), max(high, s + margin))
            for (low, high), s, margin in zip(landscape.region, start, margins)
        ]
        self.x, self.y = np.meshgrid(*(np.linspace(*limits, GRID) for limits in self.limits))
        self.values = landscape.function(np.stack([self.x, self.y], axis=-1))
        self.levels = np.geomspace(np.quantile(self.values, 0.002), self.values.max(), LEVELS)

    def shade(self) -> np.ndarray:
        """The values as numbers from 0 to 1, from the lowest contour to the highest."""
        low, high = np.log(self.levels[[0, -1]])
        return (np.log(np.maximum(self.values, self.levels[0])) - low) / (high - low)


# What a function looks like


def draw_function(path: Path, landscape: Landscape) -> None:
    """Draw a function as scattered points, as contours, as contours in space, and as a surface."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    flat = "contours, evenly spaced in log f"
    kinds = [["scatter", flat], ["contours in space", "surface"]]
    drawn: Any = Figure(figsize=(11, 9.5), layout="constrained")
    panels = drawn.subplot_mosaic(
        kinds, subplot_kw={"projection": "3d"}, per_subplot_kw={flat: {"projection": "rectilinear"}}
    )
    drawn.suptitle(f"{landscape.title}: {landscape.trait}\nf(x, y) = {(landscape.function.__doc__ or '').rstrip('.')}")
    grid, colours = Grid(landscape, landscape.start), colormaps["viridis"]
    heights, levels = height(landscape, grid.values), height(landscape, grid.levels)

    some = np.random.default_rng(0).choice(grid.values.size, 2000, replace=False)
    x, y, z = (array.ravel()[some] for array in (grid.x, grid.y, heights))
    panels["scatter"].scatter(x, y, z, c=grid.shade().ravel()[some], cmap=colours, s=4)
    _draw_contours(panels[flat], grid, landscape, cmap=colours)
    shades = colours(np.linspace(0, 1, LEVELS))
    panels["contours in space"].contour(grid.x, grid.y, heights, levels, colors=shades)
    look = {"facecolors": colours(grid.shade()), "rstride": 2, "cstride": 2, "linewidth": 0, "antialiased": False}
    panels["surface"].plot_surface(grid.x, grid.y, heights, **look)
    for kind, axes in panels.items():
        axes.set(title=kind, xlabel="x", ylabel="y")
        axes.locator_params(nbins=5)
        if kind != flat:
            axes.set_zlabel("log₁₀(1 + f)" if landscape.steep else "f")
            axes.set_box_aspect((1, 1, 0.7), zoom=1.3)  # by default a third of the panel is left white
    scale = ScalarMappable(LogNorm(grid.levels[0], grid.levels[-1]), colours)
    marked = {"ticks": grid.levels[1::2], "format": lambda x, _: f"{float(f'{x:.2g}'):,g}"}
    bar = drawn.colorbar(scale, ax=list(panels.values()), location="bottom", shrink=0.7, aspect=50, pad=0.02, **marked)
    bar.set_label("f(x, y), at every second contour")
    bar.ax.minorticks_off()
    drawn.savefig(path, dpi=100)


def height(landscape: Landscape, values: np.ndarray) -> np.ndarray:
    """How high in space values are drawn: on a logarithmic scale where they span many powers of ten."""
    return np.log10(1 + values) if landscape.steep else values


def _draw_contours(axes: Any, grid: Grid, landscape: Landscape, **look: Any) -> None:
    """Fill the contours of a function, and mark its minima."""
    from matplotlib.colors import LogNorm

    values = np.maximum(grid.values, grid.levels[0])  # the logarithm of 0 is no number
    axes.contourf(grid.x, grid.y, values, grid.levels, norm=LogNorm(grid.levels[0], grid.levels[-1]), **look)
    axes.contour(grid.x, grid.y, values, grid.levels, colors="black", linewidths=0.4, alpha=0.5)
    star = {"markersize": 22, "color": "white", "markeredgecolor": "black", "linestyle": "none", "zorder": 3}
    axes.plot(*np.transpose(landscape.minima), "*", **star)
    axes.set(xlabel="x", ylabel="y", xlim=grid.limits[0], ylim=grid.limits[1], aspect="equal")


# The paths of rules


def draw_paths(path: Path, landscape: Landscape, paths: Paths, outcomes: dict[str, str], tolerance: float) -> None:
    """Draw paths over the contours, and beside them how the value falls.

    Arguments:
        path: the PNG file to write.
        landscape: the function.
        paths: those of the rules, from the same start.
        outcomes: for each rule the steps to convergence, or why there are none.
        tolerance: how near to a minimum convergence is.
    """
    labels = {label: f"{label}: {_words(outcomes[label])}" for label in paths}
    columns = max(1, min(3, 120 // max(map(len, labels.values()))))
    drawn, (left, right) = pictures.figure(12, 6.1 + 0.22 * math.ceil(len(paths) / columns), ncols=2)
    drawn.suptitle(f"{landscape.title}: {landscape.trait}")
    draw_stage(left, landscape, next(iter(paths.values()))[0])
    for (label, points), look, size in zip(paths.items(), looks(len(paths)), head_sizes(len(paths))):
        points = drawable(points)
        left.plot(*points.T, **look, linewidth=1.6, markersize=5, markevery=0.06, zorder=4)
        left.plot(*points[-1], **look, markersize=size, markeredgecolor="white", zorder=7)
        values = np.maximum(landscape.function(points), SMALLEST)
        right.plot(values, **look, markersize=5, markevery=0.08, label=labels[label])
    left.set_title(
        "paths of the rules, with a large mark at the end of each\n(where several end at one place, as rings)"
    )
    right.set(title="value at each step", xlabel="step", ylabel="f(x, y)", xscale="symlog", yscale="log")
    lowest = min(line.get_ydata().min() for line in right.lines)
    right.set(xlim=(0, None), ylim=(max(lowest / 2, SMALLEST), 5 * right.lines[0].get_ydata()[0]))
    right.grid(alpha=0.3)
    title = f"steps until the distance to a minimum stays within {tolerance:g}"
    drawn.legend(loc="outside lower center", ncols=columns, title=title, handlelength=4)
    drawn.savefig(path, dpi=100)


def head_sizes(count: int) -> list[float]:
    """The sizes of the marks at the ends of so many paths: smaller and smaller, so that no mark hides the one below."""
    return np.linspace(18, 7, count).tolist() if count > 1 else [10.0]


def _words(outcome: str) -> str:
    return {"–": "not reached", "diverged": "diverged"}.get(outcome, f"{outcome} steps")


def draw_stage(axes: Any, landscape: Landscape, start: Point) -> None:
    """Draw pale contours, the minima and the start, for paths to be drawn over."""
    _draw_contours(axes, Grid(landscape, start), landscape, cmap="Greys", alpha=0.4)
    look = {"markersize": 9, "color": "white", "markeredgecolor": "black", "markeredgewidth": 1.5, "zorder": 6}
    axes.plot(*start, "o", **look)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8}
    text = {"textcoords": "offset points", "bbox": box, "zorder": 8}
    axes.annotate("start", start, (-8, 8), ha="right", **text)
    for minimum in landscape.minima:
        axes.annotate("minimum", minimum, (0, -18), ha="center", va="top", **text)


def drawable(points: np.ndarray) -> np.ndarray:
    """The points of a path that can be drawn."""
    return np.clip(points[np.isfinite(points).all(axis=1)], -OUTLINE, OUTLINE)


def animate(path: Path, landscape: Landscape, paths: Paths) -> None:
    """Draw paths as they grow, into a GIF; its frames are closest together at the start, where most happens."""
    from PIL import Image

    drawn, axes = pictures.figure(5.9 + 0.09 * max(map(len, paths)), max(5.2, 0.25 * len(paths)))
    drawn.set_dpi(80)
    draw_stage(axes, landscape, next(iter(paths.values()))[0])
    title = axes.set_title(landscape.title, animated=True)
    styles = zip(looks(len(paths)), head_sizes(len(paths)))
    tracks = [Track(axes, label, points, *style) for (label, points), style in zip(paths.items(), styles)]
    drawn.legend(handles=[track.head for track in tracks], loc="outside right upper", handlelength=4)
    drawn.canvas.draw()
    background = drawn.canvas.copy_from_bbox(drawn.bbox)  # contours take long to draw: once for all frames

    def frame(step: int) -> Any:
        drawn.canvas.restore_region(background)
        title.set_text(f"{landscape.title}: step {step:,}")
        for artist in [title, *(part for track in tracks for part in track.at(step))]:
            axes.draw_artist(artist)
        return Image.fromarray(np.asarray(drawn.canvas.buffer_rgba())).convert("RGB")

    images = [frame(step) for step in frame_steps(max(map(len, paths.values())) - 1)]
    first, *rest = [image.quantize(palette=_palette(), dither=Image.Dither.NONE) for image in images]
    durations = [80] * len(rest) + [2000]  # milliseconds
    first.save(path, save_all=True, append_images=rest, duration=durations, loop=0)


def _palette() -> Any:
    """The 240 colours of an animation: greys, and each colour of a line faded in 16 steps. One found by itself, as GIF
    has no more than 256, would give up the lines for the contours, or tint these."""
    from matplotlib.colors import to_rgb
    from PIL import Image

    greys = np.repeat(np.arange(0, 256, 2), 3)
    shares = np.linspace(1, 0, 16, endpoint=False)[:, None]
    faded = [255 * (shares * to_rgb(colour) + (1 - shares) * to_rgb("lightgrey")) for colour in COLOURS]
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.concatenate([greys, *map(np.ravel, faded)]).astype(np.uint8).tobytes())
    return palette


class Track:
    """A path in an animation: a line, and the mark at its head."""

    def __init__(self, axes: Any, label: str, points: np.ndarray, look: dict[str, Any], size: float) -> None:
        self.points = drawable(points)
        (self.line,) = axes.plot([], [], **look | {"marker": ""}, linewidth=1.6, zorder=4, animated=True)
        head = {"markersize": size, "markeredgecolor": "white", "zorder": 7}
        (self.head,) = axes.plot([], [], **look, **head, label=label, animated=True)

    def at(self, step: int) -> tuple[Any, Any]:
        """The line and its head after so many steps, or as they were when the path ended."""
        points = self.points[: step + 1]
        self.line.set_data(*points.T)
        self.head.set_data(*points[-1:].T)
        return self.line, self.head


def frame_steps(last: int) -> list[int]:
    """The steps that an animation shows: squares, the first and the last among them, none twice."""
    return sorted({round(last * (i / (FRAMES - 1)) ** 2) for i in range(FRAMES)})

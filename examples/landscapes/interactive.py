"""The interactive page: one file of HTML that holds its program, its library and all paths, and needs no network."""

from __future__ import annotations

import base64
import functools
import html
import json
import os
import sys
import webbrowser
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from examples.common.files import write

from . import grid
from .functions import LANDSCAPES, Landscape
from .paths import outcome

HERE = Path(__file__).parent
# The steps of a path that are on the page: every one at first, where most happens, then every fifth. Five is odd: of a
# path that jumps to and fro both sides are seen.
SHOWN = (*range(100), *range(100, grid.STEPS + 1, 5))
SURFACE = 81  # points of the surface, each way
PLACES = 1 << 12  # across the region, to which a point on the page is rounded: finer than a screen
DECADE = 64  # steps of a power of ten, to which a value is rounded
OUTSIDE = 1.5  # widths of the region from its lower edge, and less one to the other side: as far as a point is known


def write_page(path: Path, names: Sequence[str], tolerance: float, done: Callable[[], Any]) -> None:
    """Walk all paths over some functions and write the page.

    Arguments:
        path: of the HTML file.
        names: of the functions.
        tolerance: how near to a minimum a path has to stay to count as converged.
        done: called after each function.
    """
    walked = {}
    with ProcessPoolExecutor(min(len(names), os.cpu_count() or 1)) as pool:
        for name, paths in zip(names, pool.map(_walk, names)):
            walked[name] = paths
            done()
    write(path, page(walked, tolerance), lasting=False)


def _walk(name: str) -> dict[str, grid.Walked]:
    return grid.walk_all(LANDSCAPES[name])


def page(walked: dict[str, dict[str, grid.Walked]], tolerance: float) -> str:
    """The page, for the paths of all rules over each of some functions."""
    functions = {name: _facts(LANDSCAPES[name], paths, tolerance) for name, paths in walked.items()}
    data = {"functions": functions, "steps": SHOWN, "tolerance": tolerance, "places": PLACES, "decade": DECADE}
    parts = {
        "style": (HERE / "interactive.css").read_text(encoding="utf-8"),
        "plotly": _packed(_plotly().encode()),
        "data": json.dumps(data, separators=(",", ":")).replace("</", "<\\/"),
        "script": (HERE / "interactive.js").read_text(encoding="utf-8"),
        "tolerance": html.escape(f"{tolerance:g}"),
        "last": str(grid.STEPS),
    }
    text = (HERE / "interactive.html").read_text(encoding="utf-8")
    for name, part in parts.items():
        text = text.replace(f"<!-- {name} -->", part)
    return text


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


def _facts(landscape: Landscape, paths: dict[str, grid.Walked], tolerance: float) -> dict[str, Any]:
    """What the page knows of a function and of the paths over it."""
    (left, right), (bottom, top) = landscape.region
    xy = np.stack(np.meshgrid(np.linspace(left, right, SURFACE), np.linspace(bottom, top, SURFACE)), axis=-1)
    points = np.stack([walked.points for walked in paths.values()])
    converged = functools.partial(outcome, minima=landscape.minima, tolerance=tolerance)
    return {
        "title": landscape.title,
        "trait": landscape.trait,
        "formula": (landscape.function.__doc__ or "").rstrip("."),
        "steep": landscape.steep,
        "region": landscape.region,
        "minima": landscape.minima,
        "starts": np.round(grid.starts(landscape), 6).tolist(),
        "surface": [[float(f"{z:.4g}") for z in row] for row in landscape.function(xy)],
        "rules": {name: {"rates": walked.rates, "best": walked.best} for name, walked in paths.items()},
        "outcomes": [[[converged(path) for path in at_rate] for at_rate in rule] for rule in points],
        "paths": _packed(_rounded(points, landscape)),
    }


def _rounded(points: np.ndarray, landscape: Landscape) -> bytes:
    """Points (rules, rates, starts, steps + 1, 2) as the page reads them: whole numbers of 16 bits, for each path those
    of x, of y, and of the value's logarithm. Each is the difference to the one before it, first the lower bytes of all,
    then the upper ones, which makes it short once it is compressed."""
    low, high = np.transpose(landscape.region)
    points = points[..., SHOWN, :]
    places = np.clip(np.nan_to_num((points - low) / (high - low), nan=OUTSIDE), 1 - OUTSIDE, OUTSIDE)
    heights = np.log10(grid.values(landscape, points))[..., None]
    numbers = np.concatenate([PLACES * places, DECADE * heights], axis=-1).round().astype(np.int16)
    steps = np.diff(np.moveaxis(numbers, -1, -2), axis=-1, prepend=np.int16(0))
    zigzag = ((steps << 1) ^ (steps >> 15)).astype(np.uint16)  # small ones of either sign have an upper byte of 0
    return (zigzag & 255).astype(np.uint8).tobytes() + (zigzag >> 8).astype(np.uint8).tobytes()


def _packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 9)).decode()


def show(path: Path) -> bool:
    """Open the page in a browser, where there is a display for one; returns whether that was done."""
    seen = sys.platform in ("win32", "darwin") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(seen) and webbrowser.open(path.resolve().as_uri())

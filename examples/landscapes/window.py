"""A desktop window by VisPy: a function as a surface to turn, and the paths of rules as they run over it."""

from __future__ import annotations

import itertools
import signal
from typing import Any

import numpy as np

from .figures import COLOURS, Grid, Paths, drawable, frame_steps, height
from .functions import Landscape

TALL = 0.5  # the surface's height, as a share of its width


def open_window(landscape: Landscape, paths: Paths) -> None:
    """Show the window until it is closed, or until Ctrl-C in the terminal."""
    from vispy import app

    canvas, at = scene(landscape, paths)
    steps = iter(frame_steps(max(map(len, paths.values())) - 1))

    def advance(event: Any) -> None:
        for step in itertools.islice(steps, 1):
            at(step)

    timer = app.Timer(0.08, connect=advance, start=True)  # it goes on: Python sees Ctrl-C only while it is called
    before = signal.signal(signal.SIGINT, lambda *_: canvas.close())
    try:
        canvas.show()
        app.run()
    finally:
        signal.signal(signal.SIGINT, before)
        timer.stop()


def scene(landscape: Landscape, paths: Paths) -> tuple[Any, Any]:
    """The canvas, and a function that shows the paths after so many steps."""
    from vispy import scene as vispy
    from vispy.color import get_colormap

    grid = Grid(landscape, next(iter(paths.values()))[0])
    width = grid.limits[0][1] - grid.limits[0][0]
    stretch = TALL * width / height(landscape, grid.values).max()
    title = f"{landscape.title} (drag to turn, scroll to zoom, Escape closes)"
    canvas = vispy.SceneCanvas(title=title, keys="interactive", size=(1000, 750), bgcolor="white")
    view = canvas.central_widget.add_view()
    heights = stretch * height(landscape, grid.values)
    ground = vispy.visuals.SurfacePlot(grid.x[0], grid.y[:, 0], heights.T, shading=None, parent=view.scene)
    ground.mesh_data.set_vertex_colors(get_colormap("viridis").map(grid.shade().T.ravel()))
    view.camera = vispy.TurntableCamera(
        elevation=45, azimuth=30, fov=45, center=[*map(np.mean, grid.limits), heights.mean()]
    )
    view.camera.scale_factor = 1.5 * width
    lines = []
    for i, (label, points) in enumerate(zip(paths, map(drawable, paths.values()))):
        outside = (points < np.min(grid.limits, axis=1)) | (points > np.max(grid.limits, axis=1))
        points = points[: outside.any(axis=1).argmax() or len(points)]  # up to where it leaves the surface
        points = np.column_stack([points, stretch * height(landscape, landscape.function(points))])
        colour = COLOURS[i % len(COLOURS)]
        line = vispy.visuals.Line(points[:1], color=colour, width=4, parent=view.scene)
        line.order = 1  # after the surface, and upon it, which would hide what lies just below
        line.set_gl_state("translucent", depth_test=False)
        lines.append((line, points))
        beside = {"anchor_x": "left", "parent": canvas.scene}
        vispy.visuals.Text("—", color=colour, bold=True, font_size=20, pos=(15, 25 + 24 * i), **beside)
        vispy.visuals.Text(label, color="black", font_size=10, pos=(50, 25 + 24 * i), **beside)

    def at(step: int) -> None:
        for line, points in lines:
            line.set_data(points[: step + 1])

    return canvas, at

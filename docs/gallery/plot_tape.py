"""
The tape of three lines
=======================

What is recorded while a function runs, and what flows back.
"""

import matplotlib.pyplot as plt
import numpy as np

import tinyflux as flux

x, w = 2.0, 3.0
a = x * w
b = np.sin(a)
y = b + x
dx, dw = flux.gradient(lambda x, w: np.sin(x * w) + x, x, w)

boxes = {  # name: (place, what is calculated, its value, what arrives on the way back)
    "x": ((0, 4.5), "x", x, dx),
    "w": ((3, 4.5), "w", w, dw),
    "a": ((3, 3), "a = x · w", a, np.cos(a)),
    "b": ((3, 1.5), "b = sin(a)", b, 1.0),
    "y": ((1.5, 0), "y = b + x", y, 1.0),
}
arrows = [  # from, to, the slope of this step, and where along the arrow it is written
    ("x", "a", "w = 3", 0.35),
    ("w", "a", "x = 2", 0.5),
    ("a", "b", f"cos a = {np.cos(a):.2f}", 0.5),
    ("b", "y", "    1", 0.5),
    ("x", "y", "1", 0.5),
]
figure, axes = plt.subplots(figsize=(5, 6.6), layout="constrained")
for start, end, slope, part in arrows:
    (x0, y0), (x1, y1) = boxes[start][0], boxes[end][0]
    axes.annotate(
        "", (x1, y1), (x0, y0),
        arrowprops={"arrowstyle": "-|>", "color": "#444444", "lw": 1.5, "shrinkA": 30, "shrinkB": 36},
    )  # fmt: skip
    axes.text(x0 + part * (x1 - x0) + 0.2, y0 + part * (y1 - y0) + 0.08, slope, fontsize=11, color="#a04000")
for (px, py), what, value, arriving in boxes.values():
    axes.text(
        px, py, f"{what}\n{value:.3f}", ha="center", va="center", fontsize=13,
        bbox={"boxstyle": "round,pad=0.4", "fc": "#e8f1fa", "ec": "#0072b2"},
    )  # fmt: skip
    axes.text(px - 0.75, py, f"{arriving:.3f}", ha="right", va="center", fontsize=12, color="#a04000", weight="bold")
axes.text(-1.7, 5.5, "values: from top to bottom", color="#0072b2", fontsize=12)
axes.text(-1.7, 5.15, "slope of y by each box: from bottom to top", color="#a04000", fontsize=12)
axes.set(xlim=(-1.8, 4.6), ylim=(-0.5, 5.7))
axes.set_axis_off()
plt.show()

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
    "x": ((0, 2), "x", x, dx),
    "w": ((0, 0), "w", w, dw),
    "a": ((3.2, 1), "a = x · w", a, np.cos(a)),
    "b": ((6.4, 1), "b = sin(a)", b, 1.0),
    "y": ((9.6, 2), "y = b + x", y, 1.0),
}
arrows = [  # from, to, the slope of this step
    ("x", "a", "w = 3"),
    ("w", "a", "x = 2"),
    ("a", "b", f"cos a = {np.cos(a):.2f}"),
    ("b", "y", " 1"),
    ("x", "y", "1"),
]
figure, axes = plt.subplots(figsize=(8.6, 4.2), layout="constrained")
for start, end, slope in arrows:
    (x0, y0), (x1, y1) = boxes[start][0], boxes[end][0]
    axes.annotate("", (x1 - 1.05, y1), (x0 + 1.05, y0), arrowprops={"arrowstyle": "-|>", "color": "#444444", "lw": 1.5})
    axes.text(
        (x0 + x1) / 2 + 0.1 * (y0 != y1),
        (y0 + y1) / 2 + 0.12,
        slope,
        ha="center" if y0 == y1 else "left",
        fontsize=9,
        color="#a04000",
    )
for (px, py), what, value, arriving in boxes.values():
    axes.text(
        px, py, f"{what}\n{value:.3f}", ha="center", va="center", fontsize=11,
        bbox={"boxstyle": "round,pad=0.5", "fc": "#e8f1fa", "ec": "#0072b2"},
    )  # fmt: skip
    axes.text(px, py - 0.62, f"∂y/∂· = {arriving:.3f}", ha="center", fontsize=10, color="#a04000")
axes.text(4.8, 2.75, "forward: values, left to right →", ha="center", color="#0072b2")
axes.text(4.8, -0.75, "← back: slopes multiply along a path, paths add up", ha="center", color="#a04000")
axes.set(xlim=(-1.4, 11), ylim=(-1, 3))
axes.set_axis_off()
plt.show()

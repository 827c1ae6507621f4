"""
The rooms of the compiler
=========================

From a NumPy function to a library: what each part of `tinyflux.compile` makes of what it is given.
"""

import matplotlib.pyplot as plt

rooms = [
    ("your function", "NumPy calls", "#ffffff"),
    ("trace", "runs it once with arrays that have shapes, but no values; writes down what is asked", "#e8f1fa"),
    ("ir", "the program: SSA nodes, views as index expressions, common subexpressions once", "#e8f1fa"),
    (
        "schedule",
        "which nodes share a loop (fusion), what is a product (tiling), what overlaps (pipelining)",
        "#e8f1fa",
    ),
    ("codegen", "loops and expressions, the same for both backends", "#e8f1fa"),
]
figure, axes = plt.subplots(figsize=(7.6, 6.4), layout="constrained")


def box(x, y, width, name, words, colour):
    axes.text(
        x, y, f"{name}\n", ha="center", va="center", fontsize=13, fontweight="bold", color="#003a63", linespacing=1.6
    )
    axes.text(x, y - 0.12, words, ha="center", va="center", fontsize=9.5, color="#222222")
    axes.add_patch(plt.Rectangle((x - width / 2, y - 0.36), width, 0.72, fc=colour, ec="#0072b2", zorder=-1))


def arrow(start, end):
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "#444444", "lw": 1.5})


for i, (name, words, colour) in enumerate(rooms):
    box(0, -i, 7.2, name, words, colour)
    if i:
        arrow((0, -i + 0.64), (0, -i + 0.36))
box(-1.85, -5, 3.5, "backends/c", "C text → your C compiler → .so, cached", "#fbeee0")
box(1.85, -5, 3.5, "backends/cuda", "CUDA kernels → NVRTC; cuBLAS, cuDNN", "#fbeee0")
arrow((-1.85, -4.36), (-1.85, -4.64))
arrow((1.85, -4.36), (1.85, -4.64))
box(
    0,
    -6,
    7.2,
    "guards",
    "in every call: has what the function read changed? The same program, or trace anew",
    "#eaf5ea",
)
arrow((-1.85, -5.36), (-1.85, -5.64))
arrow((1.85, -5.36), (1.85, -5.64))
axes.set(xlim=(-3.8, 3.8), ylim=(-6.5, 0.5))
axes.set_axis_off()
plt.show()

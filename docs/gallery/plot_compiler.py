"""
The rooms of the compiler
=========================

From a NumPy function to a library: what each part of `tinyflux.compile` makes of what it is given.
"""

import matplotlib.pyplot as plt

rooms = [
    ("your function", "NumPy calls", "#ffffff"),
    (
        "trace",
        "runs it once with arrays that have shapes but no values,\nand writes down what is asked of NumPy",
        "#e8f1fa",
    ),
    ("ir", "the program: few kinds of operations,\nviews as affine indices", "#e8f1fa"),
    ("schedule", "which operations share a loop (fusion),\ntiles, pipelining, where arrays lie", "#e8f1fa"),
    ("codegen", "loops and expressions, alike for both backends", "#e8f1fa"),
]
figure, axes = plt.subplots(figsize=(5.2, 7.4), layout="constrained")


def box(x, y, width, name, words, colour):
    axes.text(x, y + 0.2, name, ha="center", va="center", fontsize=13, fontweight="bold", color="#003a63")
    axes.text(x, y - 0.1, words, ha="center", va="center", fontsize=10, color="#222222")
    axes.add_patch(plt.Rectangle((x - width / 2, y - 0.38), width, 0.76, fc=colour, ec="#0072b2", zorder=-1))


def arrow(start, end):
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": "#444444", "lw": 1.5})


for i, (name, words, colour) in enumerate(rooms):
    box(0, -i, 7.4, name, words, colour)
    if i:
        arrow((0, -i + 0.62), (0, -i + 0.38))
box(-1.9, -5, 3.6, "backends/c", "C text, your compiler,\na library in the cache", "#fbeee0")
box(1.9, -5, 3.6, "backends/cuda", "kernels by NVRTC,\ncuBLAS, cuDNN", "#fbeee0")
box(
    0,
    -6,
    7.4,
    "guards",
    "in every call: has what the function read changed?\nThe same program, or trace anew",
    "#eaf5ea",
)
for x in (-1.9, 1.9):
    arrow((x, -4.38), (x, -4.62))
    arrow((x, -5.38), (x, -5.62))
axes.set(xlim=(-3.8, 3.8), ylim=(-6.45, 0.45))
axes.set_axis_off()
plt.show()

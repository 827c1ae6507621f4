"""
Speed beside other libraries
============================

The tables of :doc:`/speed`, drawn: the time of one training step on two cores. Further left is faster.
"""

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.ticker import EngFormatter

page = Path("../speed.md").read_text(encoding="utf-8")
UNITS = {"µs": 1e-6, "ms": 1e-3, "s": 1.0}
STYLES = {
    "tinyflux compiled": ("#d55e00", "o"),
    "PyTorch": ("#0072b2", "s"),
    "torch.compile": ("#56b4e9", "D"),
    "JAX": ("#009e73", "^"),
    "JAX jit": ("#009e73", "^"),
    "JAX lax.scan": ("#cc79a7", "v"),
}


def table(start):
    """The rows of the table of the page whose head starts so, each a dict."""
    lines = page[page.index(start) :].split("\n\n")[0].splitlines()
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(head, row, strict=True)) for row in rows]


def seconds(cell):
    number, unit = cell.split()[:2]
    return float(number.replace(",", "")) * UNITS[unit]


def draw(rows, labels, names, title):
    """A row of points for each network, one point for each library."""
    figure, axes = plt.subplots(figsize=(5.2, 0.42 * len(rows) + 1.9), layout="constrained")
    for column, name in names.items():
        colour, marker = STYLES[name]
        times = [seconds(row[column]) for row in rows]
        axes.scatter(times, labels, color=colour, marker=marker, s=70, label=name, zorder=3)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(EngFormatter("s"))
    axes.set_xlabel("time of one training step")
    axes.grid(alpha=0.3)
    axes.set_title(title)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    plt.show()


rows = [row for row in table("| model | batch") if row["rule"] == "ADAM"]
labels = [f"{row['model']}, batch {row['batch']}" for row in rows]
names = ["tinyflux compiled", "PyTorch", "torch.compile", "JAX jit", "JAX lax.scan"]
draw(rows, labels, dict(zip(names, names, strict=True)), "Fully connected networks, ADAM")

# %%
rows = table("| network, batch")
labels = [row["network, batch"] for row in rows]
names = {"tinyflux": "tinyflux compiled", "PyTorch": "PyTorch", "JAX": "JAX"}
draw(rows, labels, names, "Convolutional networks, SGD")

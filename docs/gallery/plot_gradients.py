"""
Gradient descent in a valley
============================

Three walks with the same start and the same number of steps. Arrows point against the gradient, downhill.
"""

import matplotlib.pyplot as plt
import numpy as np

import tinyflux as flux


def valley(x):
    return (x[0] - 1) ** 2 + 5 * (x[1] - x[0] / 2) ** 2


def walk(rate, steps=25):
    """The places that gradient descent visits."""
    x = np.array([-1.5, 2.0])
    places = [x]
    for _ in range(steps):
        x = x - rate * flux.gradient(valley, x)
        places.append(x)
    return np.array(places)


across, up = np.meshgrid(np.linspace(-2.2, 2.8, 101), np.linspace(-1.8, 2.4, 85))
heights = valley((across, up))
_, slopes = flux.withgradient(lambda x: np.sum(valley(x)), np.stack([across[::7, ::7], up[::7, ::7]]))
lengths = np.linalg.norm(slopes, axis=0)

figure, axes = plt.subplots(figsize=(5, 4.8), layout="constrained")
axes.contour(across, up, heights, levels=np.geomspace(0.2, 60, 10), colors="#bbbbbb", linewidths=1)
axes.quiver(across[::7, ::7], up[::7, ::7], *(-slopes / lengths), color="#999999", width=0.003, scale=32)
for rate, colour, marker in ((0.02, "#0072b2", "s"), (0.1, "#009e73", "o"), (0.14, "#d55e00", "^")):
    axes.plot(*walk(rate).T, color=colour, marker=marker, markersize=4, linewidth=1.8, label=f"learning rate {rate}")
axes.plot(1, 0.5, marker="*", color="black", markersize=15, linestyle="none", label="minimum")
axes.set(xlabel="$x_0$", ylabel="$x_1$", aspect="equal", title="25 steps of gradient descent")
axes.legend(loc="lower left")
plt.show()

"""
Activations and their slopes
============================

What stands between two layers, and what a gradient is multiplied by on its way back. Where the slope is 0, nothing is
learned.
"""

import matplotlib.pyplot as plt
import numpy as np

import tinyflux as flux

activations = (flux.relu, flux.leakyrelu, flux.elu, flux.gelu, flux.swish, flux.softplus, flux.sigmoid, flux.tanh)
names = ("relu", "leakyrelu", "elu", "gelu", "swish", "softplus", "sigmoid", "tanh")

x = np.linspace(-4, 4, 801)
figure, axes = plt.subplots(4, 2, figsize=(5, 8.4), sharex=True, sharey=True, layout="constrained")
for ax, f, name in zip(axes.flat, activations, names):
    slope = flux.gradient(lambda x, f=f: np.sum(f(x)), x)
    ax.axhline(0, color="#999999", linewidth=0.8)
    ax.axvline(0, color="#999999", linewidth=0.8)
    ax.plot(x, f(x), color="#0072b2", linewidth=2.4, label="value")
    ax.plot(x, slope, color="#d55e00", linewidth=2, linestyle="--", label="slope")
    ax.set_title(name, loc="left")
    ax.set(ylim=(-1.4, 3), xlim=(-4, 4))
axes[0, 0].legend(loc="upper left")
figure.supxlabel("x")
plt.show()

"""
Losses
======

What a mistake costs. The square is gentle with small errors and hard on large ones, the absolute value treats all
alike, Huber's loss is the one near 0 and the other farther out. Crossentropy asks how probable the right class was.
"""

import matplotlib.pyplot as plt
import numpy as np

import tinyflux as flux

error = np.linspace(-3, 3, 601)
zero = np.zeros_like(error)
each = {"agg": flux.identity}  # a number for each element, not their mean

figure, axes = plt.subplots(figsize=(5, 3.4), layout="constrained")
for loss, name, colour, line in (
    (flux.mse, "mse", "#0072b2", "-"),
    (flux.huber, "huber", "#009e73", "-."),
    (flux.mae, "mae", "#d55e00", "--"),
):
    axes.plot(error, loss(error, zero, **each), color=colour, linestyle=line, linewidth=2.2, label=name)
axes.set(xlabel="prediction − target", ylabel="loss", ylim=(0, 5), title="Losses of numbers")
axes.grid(alpha=0.3)
axes.legend()
plt.show()

# %%
# A model of two classes gives a score, the logit, and ``sigmoid`` makes a probability of it. A model that is sure, and
# wrong, pays for it in proportion to its score.

score = np.linspace(-6, 6, 601)
figure, axes = plt.subplots(figsize=(5, 3.4), layout="constrained")
for target, colour, line in ((1.0, "#0072b2", "-"), (0.0, "#d55e00", "--")):
    loss = flux.logitbinarycrossentropy(score, np.full_like(score, target), **each)
    axes.plot(score, loss, color=colour, linestyle=line, linewidth=2.2, label=f"target {target:.0f}")
axes.set(xlabel="score (logit)", ylabel="loss", ylim=(0, None), title="logitbinarycrossentropy")
axes.grid(alpha=0.3)
axes.legend(loc="upper center")
plt.show()

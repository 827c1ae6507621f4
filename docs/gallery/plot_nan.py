"""
Where a NaN comes from
======================

A training that looks healthy ends in a NaN: one pair of points is the same point twice, and the slope of their distance
is infinity times zero.
"""

import matplotlib.pyplot as plt
import numpy as np

import tinyflux as flux

rng = np.random.default_rng(0)
a = rng.normal(size=(64, 4)).astype(np.float32)
b = rng.normal(size=(64, 4)).astype(np.float32)
wanted = np.ones(64, np.float32)
b[40], wanted[40] = a[40], 0  # the same point twice


def loss(model, a, b, wanted):
    distance = np.sqrt(np.sum((model(a) - model(b)) ** 2, axis=-1))
    return flux.mse(distance, wanted)


flux.seed(0)
model = flux.Dense(4, 2)
opt = flux.setup(flux.Descent(0.1), model)
losses = []
with np.errstate(all="ignore"):
    for batch in flux.DataLoader((a, b, wanted), batchsize=8):
        value, grads = flux.withgradient(lambda m, batch=batch: loss(m, *batch), model)
        flux.update(opt, model, grads)
        losses.append(float(value))

x = np.linspace(0.002, 1, 400)
slope = flux.gradient(lambda x: np.sum(np.sqrt(x)), x)

figure, (upper, lower) = plt.subplots(2, 1, figsize=(5, 6), layout="constrained")
good = int(np.sum(np.isfinite(losses)))
upper.plot(range(good), losses[:good], "o-", color="#0072b2")
upper.axvspan(good - 0.5, len(losses) - 0.5, color="#d55e00", alpha=0.25)
upper.text(good, max(losses[:good]), "NaN", color="#a04000", va="top", ha="left")
upper.annotate(
    "loss finite,\ngradient NaN", (good - 1, losses[good - 1]), (good - 3.6, 3.6), arrowprops={"arrowstyle": "->"}
)
upper.set(xlabel="batch", ylabel="loss", title="Where it shows", xlim=(-0.5, len(losses) - 0.5), ylim=(0, None))
lower.plot(x, np.sqrt(x), color="#0072b2", label="$\\sqrt{x}$")
lower.plot(x, slope, "--", color="#d55e00", label="its slope, $1/(2\\sqrt{x})$")
lower.set(xlabel="x", title="Where it comes from", ylim=(0, 6), xlim=(0, 1))
lower.legend()
plt.show()

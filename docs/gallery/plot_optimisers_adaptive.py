"""
Optimisers with a rate for every parameter
==========================================

AdaGrad, RMSProp and AdaDelta divide by the size of earlier gradients. The rule of each picture is blue and solid, the
one that it is compared with orange and dashed.
"""

import matplotlib.pyplot as plt
import numpy as np

import tinyflux as flux

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#888888"
plt.rcParams.update({"figure.figsize": (6.4, 4), "figure.dpi": 120, "font.size": 15, "lines.linewidth": 2.5})
plt.rcParams.update({"axes.grid": True, "grid.alpha": 0.3, "figure.constrained_layout.use": True})


def follow(rule, slope, start, steps):
    """Where the rule goes: the parameters before and after every step; slope(x, t) is the gradient at x in step t."""
    model = [np.array(start, float)]
    opt = flux.setup(rule, model)
    places = [model[0].copy()]
    for t in range(steps):
        flux.update(opt, model, [slope(model[0], t)])
        places.append(model[0].copy())
    return np.array(places)


# %%
# AdaGrad
# -------
# The valley is steep across and shallow along. Descent goes where it is steep; AdaGrad gives each direction a rate of
# its own, and goes straight to the minimum (star).
START = [-8.0, 8.0]


def valley(x):
    return (x[0] ** 2 + 20 * x[1] ** 2) / 2


def downhill(x, t):
    return flux.gradient(valley, x)


x, y = np.meshgrid(np.linspace(-10, 4, 200), np.linspace(-5, 10, 200))
figure, ax = plt.subplots()
ax.contour(x, y, valley([x, y]), levels=[1, 10, 40, 100, 200, 400, 700], colors=GREY, linewidths=0.8)
ax.plot(*follow(flux.AdaGrad(1.5), downhill, START, 40).T, "o-", color=BLUE, label="AdaGrad", markersize=5)
ax.plot(*follow(flux.Descent(0.02), downhill, START, 40).T, "o--", color=ORANGE, label="Descent", markersize=5)
ax.plot(*START, "ks", markersize=9)
ax.plot(0, 0, "k*", markersize=15)
ax.set(xlabel="along the valley", ylabel="across")
ax.grid(visible=False)
ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
plt.show()


# %%
# RMSProp
# -------
# For 50 steps gradients are 10, then 1. AdaGrad never forgets: its steps stay small for good. RMSProp forgets, and soon
# steps as far as before.
def falling(x, t):
    return np.array([10.0 if t < 50 else 1.0])


for rule, label, style, colour in [
    (flux.RMSProp(1.0), "RMSProp", "-", BLUE),
    (flux.AdaGrad(1.0), "AdaGrad", "--", ORANGE),
]:
    plt.semilogy(-np.diff(follow(rule, falling, [0.0], 150)[:, 0]), style, color=colour, label=label)
plt.axvline(50, color=GREY, linewidth=1)
plt.xlabel("step (from 50 on gradients are a tenth)")
plt.ylabel("Δ / η")
plt.legend()
plt.show()

# %%
# AdaDelta
# --------
# On a steady slope AdaDelta starts with tiny steps and lengthens them by itself. ε says how tiny.
for epsilon, style, colour in [(1e-5, "-", BLUE), (1e-8, "--", ORANGE)]:
    path = follow(flux.AdaDelta(epsilon=epsilon), lambda x, t: np.ones(1), [0.0], 2000)[:, 0]
    plt.semilogy(-np.diff(path), style, color=colour, label=f"ε = {epsilon:.0e}".replace("e-0", "e-"))
plt.xlabel("step")
plt.ylabel("Δ")
plt.legend()
plt.show()

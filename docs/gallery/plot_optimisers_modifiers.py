"""
Modifiers and averages
======================

What stands before a rule and changes its gradient, and what stands after it and averages parameters.
"""

import matplotlib.pyplot as plt
import numpy as np

import tinyflux as flux

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#888888"
plt.rcParams.update({"figure.figsize": (6.4, 4), "figure.dpi": 120, "font.size": 15, "lines.linewidth": 2.5})
plt.rcParams.update({"axes.grid": True, "grid.alpha": 0.3, "figure.constrained_layout.use": True})


def follow(rule, slope, start, steps):
    """Where the rule goes: the parameters and their averages, before and after every step."""
    model = [np.array(start, float)]
    opt = flux.setup(rule, model)
    places, averages = [model[0].copy()], [model[0].copy()]
    for t in range(steps):
        flux.update(opt, model, [slope(model[0], t)])
        places.append(model[0].copy())
        averages.append(flux.averaged(model, opt)[0] if averaging(rule) else model[0].copy())
    return np.array(places), np.array(averages)


def averaging(rule):
    return isinstance(getattr(rule, "rules", [rule])[-1], (flux.EMA, flux.Lookahead))


# %%
# WeightDecay and SignDecay
# -------------------------
# Three weights without a gradient. WeightDecay takes the same share of each, and none becomes zero. SignDecay takes the
# same amount, and the small ones are zero soon.
for modifier, label, style, colour in [
    (flux.WeightDecay(0.1), "WeightDecay", "-", BLUE),
    (flux.SignDecay(0.1), "SignDecay", "--", ORANGE),
]:
    rule = flux.OptimiserChain(modifier, flux.Descent(0.1))
    places, _ = follow(rule, lambda x, t: np.zeros(3), [1.0, 0.6, 0.2], 150)
    for number, place in enumerate(places.T):
        plt.plot(place, style, color=colour, label=None if number else label)
plt.xlabel("step")
plt.ylabel("weight")
plt.legend()
plt.show()

# %%
# ClipGrad and ClipNorm
# ---------------------
# A long gradient (grey). ClipGrad brings each element into [-1, 1], which turns it. ClipNorm shortens it and keeps its
# direction.
gradient = np.array([3.0, 0.8])
figure, ax = plt.subplots()
ax.add_patch(plt.Rectangle((-1, -1), 2, 2, fill=False, color=ORANGE, linestyle="--"))
ax.add_patch(plt.Circle((0, 0), 1, fill=False, color=BLUE))
for rule, label, colour in [
    (None, "the gradient", GREY),
    (flux.ClipGrad(1.0), "ClipGrad(1)", ORANGE),
    (flux.ClipNorm(1.0), "ClipNorm(1)", BLUE),
]:
    g = gradient if rule is None else rule.apply((), np.zeros(2), gradient)[1]
    ax.annotate("", g, (0, 0), arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 3, "mutation_scale": 20})
    ax.plot([], [], color=colour, label=label)
ax.set(xlim=(-1.3, 3.3), ylim=(-1.3, 1.6), aspect="equal", xlabel="first element", ylabel="second")
ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False, fontsize=12, columnspacing=1)
plt.show()

# %%
# AccumGrad
# ---------
# Noisy gradients. AccumGrad(8) steps once in eight, by their mean: fewer steps, but steadier ones.
noise = 3 * np.random.default_rng(1).normal(size=160)


def noisy(x, t):
    return x + noise[t]


for rule, label, style, colour in [
    (flux.OptimiserChain(flux.AccumGrad(8), flux.Descent(0.3)), "AccumGrad(8), Descent", "-", BLUE),
    (flux.Descent(0.3), "Descent", "--", ORANGE),
]:
    width = 2.5 if style == "-" else 1.2
    plt.plot(follow(rule, noisy, [6.0], 160)[0], style, color=colour, label=label, linewidth=width, zorder=-width)
plt.axhline(0, color="black", linewidth=1)
plt.xlabel("gradient")
plt.ylabel("distance from the minimum")
plt.legend()
plt.show()


# %%
# Maximize
# --------
# The same rule on the same hill: down without Maximize, up with it.
def hill(x):
    return np.exp(-(x**2) / 2)


x = np.linspace(-3, 3, 200)
plt.plot(x, hill(x), color=GREY)
for rule, label, style, colour in [
    (flux.OptimiserChain(flux.Maximize(), flux.Descent(0.3)), "Maximize, Descent", "o-", BLUE),
    (flux.Descent(0.3), "Descent", "s--", ORANGE),
]:
    places, _ = follow(rule, lambda x, t: flux.gradient(lambda x: np.sum(hill(x)), x), [-1.4], 12)
    plt.plot(places, hill(places), style, color=colour, label=label)
plt.plot(-1.4, hill(-1.4), "ks", markersize=10, zorder=3)
plt.xlabel("x")
plt.ylabel("height")
plt.legend(loc="lower center", fontsize=13)
plt.show()


# %%
# Lookahead
# ---------
# A valley, and a rate that is almost too large: Descent leaps from side to side. Every five steps Lookahead goes back
# half of the way to where it was: the leaps cancel.
def valley(x):
    return (x[0] ** 2 + 20 * x[1] ** 2) / 2


def downhill(x, t):
    return flux.gradient(valley, x)


x, y = np.meshgrid(np.linspace(-10, 3, 200), np.linspace(-2.6, 2.6, 200))
figure, ax = plt.subplots()
ax.contour(x, y, valley([x, y]), levels=[0.5, 2, 5, 10, 20, 35, 55], colors=GREY, linewidths=0.8)
rule = flux.Descent(0.0995)
places, slow = follow(flux.OptimiserChain(rule, flux.Lookahead(k=5)), downhill, [-9.0, 1.8], 40)
ax.plot(*follow(rule, downhill, [-9.0, 1.8], 40)[0].T, "--", color=ORANGE, label="Descent", linewidth=1.2)
ax.plot(*slow[::5].T, "o-", color=BLUE, label="Lookahead")
ax.plot(-9, 1.8, "ks", markersize=9)
ax.plot(0, 0, "k*", markersize=15)
ax.set(xlabel="along the valley", ylabel="across")
ax.grid(visible=False)
ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
plt.show()

# %%
# EMA
# ---
# Noisy gradients: the parameter keeps trembling about the minimum. Its moving average follows, and trembles far less.
rng = np.random.default_rng(0)
rule = flux.OptimiserChain(flux.Descent(0.2), flux.EMA(0.95))
places, averages = follow(rule, lambda x, t: x + 2 * rng.normal(size=1), [3.0], 300)
plt.plot(places, "--", color=ORANGE, label="the parameter", linewidth=1)
plt.plot(averages, "-", color=BLUE, label="its average, EMA(0.95)")
plt.axhline(0, color="black", linewidth=1)
plt.xlabel("step")
plt.ylabel("distance from the minimum")
plt.legend()
plt.show()

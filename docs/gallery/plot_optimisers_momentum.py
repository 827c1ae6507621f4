"""
Optimisers with a memory
========================

Descent, and the rules that add to it a memory of earlier gradients. The rule of each picture is blue and solid, the one
that it is compared with orange and dashed.
"""

import matplotlib.pyplot as plt
import numpy as np

import tinyflux as flux

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#888888"
plt.rcParams.update({"figure.figsize": (6.4, 4), "figure.dpi": 120, "font.size": 15, "lines.linewidth": 2.5})
plt.rcParams.update({"axes.grid": True, "grid.alpha": 0.3, "figure.constrained_layout.use": True})
START = [-9.0, 1.6]


def valley(x):
    """A long narrow valley: twenty times as steep across as along."""
    return (x[0] ** 2 + 20 * x[1] ** 2) / 2


def downhill(x, t):
    return flux.gradient(valley, x)


def follow(rule, slope, start, steps):
    """Where the rule goes: the parameters before and after every step; slope(x, t) is the gradient at x in step t."""
    model = [np.array(start, float)]
    opt = flux.setup(rule, model)
    places = [model[0].copy()]
    for t in range(steps):
        flux.update(opt, model, [slope(model[0], t)])
        places.append(model[0].copy())
    return np.array(places)


def draw_paths(paths):
    """Paths through the valley, over its contours."""
    x, y = np.meshgrid(np.linspace(-10, 6, 200), np.linspace(-2.6, 2.6, 200))
    _, ax = plt.subplots()
    ax.contour(x, y, valley([x, y]), levels=[0.5, 2, 5, 10, 20, 35, 55], colors=GREY, linewidths=0.8)
    for path, label, style in paths:
        ax.plot(*path.T, style, label=label, markersize=5, color={"-": BLUE, "--": ORANGE, ":": GREEN}[style[1:]])
    ax.plot(*START, "ks", markersize=9)
    ax.plot(0, 0, "k*", markersize=15)
    ax.set(xlabel="along the valley", ylabel="across", ylim=(-2.6, 2.6), xlim=(-10, 6))
    ax.grid(visible=False)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(paths), frameon=False)


# %%
# Descent
# -------
# Square: start; star: minimum. With a small rate, 30 steps don't get there. A larger one leaps from side to side.
draw_paths(
    [
        (follow(flux.Descent(0.02), downhill, START, 30), "η = 0.02", "o-"),
        (follow(flux.Descent(0.095), downhill, START, 30), "η = 0.095", "o--"),
    ]
)
plt.show()

# %%
# Momentum
# --------
# At the same η Momentum is at the minimum in 30 steps, where Descent is half way.
draw_paths(
    [
        (follow(flux.Momentum(0.02, rho=0.75), downhill, START, 30), "Momentum", "o-"),
        (follow(flux.Descent(0.02), downhill, START, 30), "Descent", "o--"),
    ]
)
plt.show()

# %%
# Nesterov
# --------
# Momentum swings through the minimum and back. Nesterov looks ahead, and swings less.
for rule, label, style, colour in [
    (flux.Nesterov(0.02, rho=0.95), "Nesterov", "-", BLUE),
    (flux.Momentum(0.02, rho=0.95), "Momentum", "--", ORANGE),
]:
    plt.plot(follow(rule, downhill, START, 100)[:, 1], style, color=colour, label=label)
plt.xlabel("step")
plt.ylabel("place across the valley")
plt.legend()
plt.show()

# %%
# QHM
# ---
# The slope turns round at step 100. The average (ν = 1) notices late; QHM reacts at once, and is less noisy than the
# gradients themselves (dots).
noise = 0.4 * np.random.default_rng(0).normal(size=200)


def turning(x, t):
    return np.array([(1.0 if t < 100 else -1.0) + noise[t]])


def lengths(rule):
    return -np.diff(follow(rule, turning, [0.0], 200)[:, 0])


plt.plot(lengths(flux.Descent(1.0)), ".", color=GREY, label="Descent", markersize=5)
plt.plot(lengths(flux.QHM(1.0, nu=0.7, beta=0.97)), "-", color=BLUE, label="QHM, ν = 0.7", linewidth=1.5)
plt.plot(lengths(flux.QHM(1.0, nu=1.0, beta=0.97)), "--", color=ORANGE, label="the average, ν = 1")
plt.xlabel("step")
plt.ylabel("Δ / η")
plt.legend(fontsize=13)
plt.show()

# %%
# AggMo
# -----
# With ρ = 0.99 Momentum swings for hundreds of steps. AggMo has a velocity that is as slow, and comes to rest.
for rule, label, style, colour in [
    (flux.AggMo(0.02, beta=(0.0, 0.9, 0.99)), "AggMo", "-", BLUE),
    (flux.Momentum(0.02, rho=0.99), "Momentum, ρ = 0.99", "--", ORANGE),
]:
    plt.plot(follow(rule, downhill, START, 300)[:, 0], style, color=colour, label=label)
plt.xlabel("step")
plt.ylabel("place along the valley")
plt.legend()
plt.show()

# %%
# Lion
# ----
# Momentum's steps shrink with the slope. Lion's are all η long, at the minimum, too: it runs to and fro there.
for rule, label, style, colour in [
    (flux.Lion(0.2), "Lion, η = 0.2", "-", BLUE),
    (flux.Momentum(0.02, rho=0.75), "Momentum, η = 0.02", "--", ORANGE),
]:
    steps = np.diff(follow(rule, downhill, START, 125)[:, 0])
    plt.plot(steps, style, color=colour, label=label)
plt.xlabel("step")
plt.ylabel("step along the valley")
plt.legend()
plt.show()

# %%
# ASGD
# ----
# With noisy gradients the parameters keep trembling about the minimum. Their average (blue) comes to rest there.
model, rng, averages, places = [np.array([3.0])], np.random.default_rng(0), [], []
opt = flux.setup(flux.ASGD(eta=0.2, lambda_=1e-3, t0=30), model)
for _ in range(300):
    flux.update(opt, model, [model[0] + 2 * rng.normal(size=1)])
    places.append(model[0].item())
    averages.append(flux.averaged(model, opt)[0].item())
plt.plot(places, "--", color=ORANGE, label="the parameter", linewidth=1)
plt.plot(averages, "-", color=BLUE, label="its average, from step 30 on")
plt.axhline(0, color="black", linewidth=1)
plt.xlabel("step")
plt.ylabel("distance from the minimum")
plt.legend()
plt.show()

# %%
# YellowFin
# ---------
# Fit a mean to samples, one a step. Untuned, YellowFin finds it whether they are spread over millimetres or metres.
# Momentum with η = 0.01 flies out in one case, and hardly moves in the other.
samples = np.random.default_rng(0).normal(size=200)
figure, axes = plt.subplots(1, 2, sharey=True)
for ax, spread in zip(axes, (0.04, 20.0)):

    def misfit(x, t, spread=spread):
        """The gradient of ((x - sample) / spread)² / 2."""
        return (x - spread * samples[t]) / spread**2

    for rule, label, style, colour in [
        (flux.YellowFin(), "YellowFin", "-", BLUE),
        (flux.Momentum(0.01, rho=0.9), "Momentum", "--", ORANGE),
    ]:
        path = follow(rule, misfit, [10 * spread], 200)[:, 0] / spread
        gone = np.argmax(np.append(np.abs(path), 100) > 50)
        ax.plot(path[: gone + 1], style, color=colour, label=label)
    ax.set(xlabel="step", ylim=(-15, 25), title=f"spread {spread:g}")
axes[0].set_ylabel("distance / spread")
axes[1].legend(fontsize=13, loc="upper right")
plt.show()

# %%
# Muon
# ----
# The singular values of a gradient span three orders of magnitude: a few directions outshine the others. In Muon's step
# all have about the same.
rng = np.random.default_rng(0)
left, right = (np.linalg.qr(rng.normal(size=(32, 32)))[0] for _ in range(2))
gradient = left * np.logspace(0, -3, 32) @ right
for rule, label, style, colour in [
    (flux.Muon(1.0), "Muon's step", "o-", BLUE),
    (flux.Momentum(1.0), "Momentum's step", "s--", ORANGE),
]:
    step = -np.diff(follow(rule, lambda x, t: gradient, np.zeros((32, 32)), 1), axis=0)[0]
    plt.semilogy(np.arange(1, 33), np.linalg.svd(step)[1], style, color=colour, label=label)
plt.xlabel("direction, from the largest on")
plt.ylabel("singular value")
plt.legend()
plt.show()

"""
Adam and its relatives
======================

Adam, and the rules that vary it. The rule of each picture is blue and solid, the one that it is compared with orange
and dashed.
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


def compare(rules, slope, steps, ylabel="Δ / η", start=0.0, lengths=True):
    """Two rules by their steps, or by their places."""
    for rule, label, style in rules:
        path = follow(rule, slope, [start], steps)[:, 0]
        colour = {"-": BLUE, "--": ORANGE}[style]
        plt.plot(-np.diff(path) if lengths else path, style, color=colour, label=label)
    plt.xlabel("step")
    plt.ylabel(ylabel)
    plt.legend()


# %%
# Adam
# ----
# Gradients are 1 on average, with noise. RMSProp's first step is three times η, and all its steps tremble with the
# gradient. Adam corrects the start, and steps by an average.
noise = np.random.default_rng(3).normal(size=100)


def noisy(x, t):
    return np.array([1 + 0.7 * noise[t]])


compare([(flux.Adam(1.0), "Adam", "-"), (flux.RMSProp(1.0), "RMSProp", "--")], noisy, 60)
plt.show()

# %%
# AdamW
# -----
# The gradients of two weights are noise, of the size 1 and 0.01: only the decay moves them. AdamW shrinks both alike.
# With WeightDecay before Adam, the decay is divided by the size of the gradients: too little for one, too much for the
# other.
noise = np.random.default_rng(0).normal(size=(600, 2)) * [1.0, 0.01]
decayed = flux.OptimiserChain(flux.WeightDecay(0.1), flux.Adam(0.002))
for rule, name, style, colour in [
    (flux.AdamW(0.002, lambda_=1.5), "AdamW", "-", BLUE),
    (decayed, "WeightDecay, Adam", "--", ORANGE),
]:
    path = follow(rule, lambda x, t: noise[t], [1.0, 1.0], 600)
    plt.plot(path[:, 0], style, color=colour, label=name)
    plt.plot(path[:, 1], style, color=colour, linewidth=1.2)
plt.text(600, 0.99, "large gradients", color=ORANGE, ha="right", va="bottom")
plt.text(600, 0.02, "small gradients", color=ORANGE, ha="right", va="bottom")
plt.text(310, 0.47, "both", color=BLUE, va="bottom")
plt.xlabel("step")
plt.ylabel("weight")
plt.ylim(-0.05, 1.45)
plt.legend(loc="upper left")
plt.show()


# %%
# AdaMax
# ------
# All gradients are 1, but one is 20. Adam leaps further than η. AdaMax divides by the largest gradient of late: it
# becomes careful at once, and forgets slowly.
def spike(x, t):
    return np.array([20.0 if t == 300 else 1.0])


beta = (0.9, 0.99)
compare([(flux.AdaMax(1.0, beta), "AdaMax", "-"), (flux.Adam(1.0, beta), "Adam", "--")], spike, 620)
plt.xlim(270, 620)
plt.show()


# %%
# NAdam
# -----
# A bowl: Adam swings through the minimum. NAdam looks ahead, and swings less.
def bowl(x, t):
    return x


rules = [(flux.NAdam(0.5, (0.9, 0.999)), "NAdam", "-"), (flux.Adam(0.5, (0.9, 0.999)), "Adam", "--")]
compare(rules, bowl, 100, "distance from the minimum", start=3.0, lengths=False)
plt.show()

# %%
# RAdam
# -----
# All gradients are 3. After four steps of plain momentum RAdam starts from almost nothing, and takes hundreds of steps
# to reach Adam's size: a warm-up of its own.
for rule, label, style, colour in [(flux.RAdam(1.0), "RAdam", "-", BLUE), (flux.Adam(1.0), "Adam", "--", ORANGE)]:
    path = follow(rule, lambda x, t: np.full(1, 3.0), [0.0], 3000)[:, 0]
    plt.semilogx(np.arange(1, 3001), -np.diff(path), style, color=colour, label=label)
plt.xlabel("step")
plt.ylabel("Δ / η")
plt.legend()
plt.show()

# %%
# OAdam
# -----
# A game: one player lowers x·y by x, the other raises it by y. Its solution is the star. Adam circles it, further and
# further out. OAdam finds it. (β₁ is 0, as is usual in games.)
for rule, label, style, colour in [
    (flux.OAdam(0.08, (0.0, 0.999)), "OAdam", "-", BLUE),
    (flux.Adam(0.08, (0.0, 0.999)), "Adam", "--", ORANGE),
]:
    model = [np.array(1.0), np.array(1.0)]
    x, y = model
    uphill = flux.OptimiserChain(flux.Maximize(), rule)
    opt = flux.setup(lambda player, rule=rule, y=y, uphill=uphill: uphill if player is y else rule, model)
    places = [(1.0, 1.0)]
    for _ in range(250):
        flux.update(opt, model, flux.gradient(lambda m: m[0] * m[1], model))
        places.append((model[0].item(), model[1].item()))
    plt.plot(*np.array(places).T, style, color=colour, label=label)
plt.plot(1, 1, "ks", markersize=9)
plt.plot(0, 0, "k*", markersize=15)
plt.xlabel("x, which goes down")
plt.ylabel("y, which goes up")
plt.axis("equal")
plt.legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %%
# AdaBelief
# ---------
# Where gradients are as expected (left), AdaBelief strides out. Where they are mostly noise (right), it goes like Adam.
noise = np.random.default_rng(0).normal(size=(200, 1))
figure, axes = plt.subplots(1, 2, sharey=True)
for ax, gradients, title in zip(axes, (1 + 0.1 * noise, 1 + 3 * noise), ("1 ± 0.1", "1 ± 3")):
    for rule, label, style, colour in [
        (flux.AdaBelief(1.0, (0.9, 0.99)), "AdaBelief", "-", BLUE),
        (flux.Adam(1.0, (0.9, 0.99)), "Adam", "--", ORANGE),
    ]:
        path = follow(rule, lambda x, t, gradients=gradients: gradients[t], [0.0], 200)[:, 0]
        ax.plot(-path, style, color=colour, label=label)
    ax.set(xlabel="step", title=f"gradients {title}")
axes[0].set_ylabel("way gone / η")
axes[1].legend()
plt.show()

# %%
# QHAdam
# ------
# The slope turns round at step 100. QHAdam notices sooner, for three tenths of its step are the gradient itself.
noise = 0.3 * np.random.default_rng(0).normal(size=200)


def turning(x, t):
    return np.array([(1.0 if t < 100 else -1.0) + noise[t]])


compare(
    [
        (flux.QHAdam(1.0, nu=(0.7, 1.0), beta=(0.95, 0.999)), "QHAdam", "-"),
        (flux.Adam(1.0, (0.95, 0.999)), "Adam", "--"),
    ],
    turning,
    200,
)
plt.show()


# %%
# AMSGrad
# -------
# Reddi, Kale and Kumar's counterexample: every third gradient is 4, the others are -1. On average the slope goes up, so
# that -1 is the best place in [-1, 1]. Adam forgets the rare large gradient and goes the wrong way.
def rare(x, t):
    return np.full(1, 4.0 if t % 3 == 0 else -1.0)


beta = (0.0, 1 / 17)
for rule, label, style, colour in [
    (flux.AMSGrad(0.01, beta), "AMSGrad", "-", BLUE),
    (flux.Adam(0.01, beta), "Adam", "--", ORANGE),
]:
    model, places = [np.array([0.0])], [0.0]
    opt = flux.setup(rule, model)
    for t in range(900):
        flux.update(opt, model, [rare(model[0], t)])
        model[0][:] = np.clip(model[0], -1, 1)
        places.append(model[0].item())
    plt.plot(places, style, color=colour, label=label)
plt.text(0, -0.97, "best", va="bottom")
plt.text(0, 0.97, "worst", va="top")
plt.xlabel("step")
plt.ylabel("place")
plt.legend(loc="center right")
plt.show()

# %%
# Padam
# -----
# Steps after many gradients of one size. With p = 1/2 (AMSGrad) a parameter's gradient doesn't matter: all step alike.
# The smaller p, the more the size of its gradient counts, as in descent.
sizes = np.logspace(-3, 1, 9)
for p, style, colour in [(1 / 8, "o-", BLUE), (1 / 4, "^:", GREEN), (1 / 2, "s--", ORANGE)]:
    path = follow(flux.Padam(1.0, (0.9, 0.99), p=p), lambda x, t: sizes, np.zeros(9), 1000)
    plt.loglog(sizes, path[-2] - path[-1], style, color=colour, label=f"p = 1/{round(1 / p)}")
plt.xlabel("size of the gradient")
plt.ylabel("Δ / η")
plt.legend()
plt.show()

# %%
# SOAP
# ----
# A diagonal valley, a hundred times as steep across as along. To Adam both numbers look alike, and it goes across and
# back. SOAP rotates the axes to the valley's, and reaches the minimum with the same rate in a hundred steps.
turn = np.array([[1.0, 1.0], [-1.0, 1.0]]) / 2**0.5


def diagonal(x, t):
    return x @ turn.T * [1.0, 100.0] @ turn


x, y = np.meshgrid(np.linspace(-1, 5, 200), np.linspace(-1, 4, 200))
along, across = np.tensordot(turn, np.array([x, y]), 1)
_, ax = plt.subplots()
ax.contour(x, y, (along**2 + 100 * across**2) / 2, levels=[0.5, 2, 6, 20, 60, 150], colors=GREY, linewidths=0.8)
for rule, label, style, colour in [
    (flux.SOAP(0.05, lambda_=0.0), "SOAP", "o-", BLUE),
    (flux.Adam(0.05, (0.95, 0.95)), "Adam", "o--", ORANGE),
]:
    path = follow(rule, diagonal, [[4.0, 1.0]], 100)[:, 0]
    ax.plot(*path.T, style, color=colour, label=label, markersize=4)
ax.plot(4, 1, "ks", markersize=9)
ax.plot(0, 0, "k*", markersize=15)
ax.grid(visible=False)
ax.legend(loc="upper left")
plt.show()

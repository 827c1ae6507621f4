"""
Initialisers
============

Where weights begin. All have mean 0; what counts is their spread, which depends on how many numbers go into a layer and
come out of it.
"""

import matplotlib.pyplot as plt
import numpy as np

import tinyflux as flux

initialisers = (flux.glorot_uniform, flux.glorot_normal, flux.kaiming_uniform, flux.kaiming_normal)
rng = np.random.default_rng(0)

figure, axes = plt.subplots(2, 2, figsize=(5, 4.4), sharex=True, sharey=True, layout="constrained")
for ax, init in zip(axes.flat, initialisers):
    weights = init((200, 400), rng)
    ax.hist(weights.ravel(), bins=80, range=(-0.25, 0.25), density=True, color="#0072b2")
    ax.set_title(f"{init.__name__}\nstandard deviation {weights.std():.3f}", fontsize=11)
figure.supxlabel("weights of a layer with 400 inputs and 200 outputs")
figure.supylabel("density")
plt.show()

# %%
# Why the spread counts
# ---------------------
# Numbers pass through 30 layers with relu. With weights that are too small they fade to nothing, with weights that are
# too large they explode. Kaiming's are made for relu, and keep their size.

spreads = {
    "kaiming_normal": (flux.kaiming_normal, "#0072b2", "o"),
    "glorot_normal": (flux.glorot_normal, "#009e73", "s"),
    "twice kaiming_normal": (lambda shape, rng: 2 * flux.kaiming_normal(shape, rng), "#d55e00", "^"),
}
figure, axes = plt.subplots(figsize=(5, 3.4), layout="constrained")
for name, (init, colour, marker) in spreads.items():
    x = rng.normal(size=(100, 200))
    sizes = [x.std()]
    for _ in range(30):
        x = flux.relu(x @ init((200, 200), rng).T)
        sizes.append(x.std())
    axes.semilogy(sizes, color=colour, marker=marker, markersize=4, label=name)
axes.set(xlabel="layer", ylabel="standard deviation of what comes out", title="30 layers with relu")
axes.grid(alpha=0.3)
axes.legend()
plt.show()

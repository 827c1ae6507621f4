"""
Mistakes, and learning by heart
===============================

Digits that a small network misreads; and what the loss of a network looks like that has too few images to learn from.
"""

import matplotlib.pyplot as plt
import numpy as np

import tinyflux as flux

flux.seed(0)
images, labels = flux.data.digits("train")
order = np.random.default_rng(0).permutation(len(images))
learned, held = order[:1200], order[1200:]
x, y = images[learned], flux.onehotbatch(labels[learned], range(10))
x_held, y_held = images[held], flux.onehotbatch(labels[held], range(10))


def loss(model, x, y):
    return flux.logitcrossentropy(model(x), y)


def trained(width, n, epochs, batchsize):
    """A network that has learned from the first n images, and what its training was like."""
    model = flux.Chain(flux.flatten, flux.Dense(784, width, flux.relu), flux.Dense(width, 10))
    data = flux.DataLoader((x[:n], y[:n]), batchsize=batchsize, shuffle=True)
    opt = flux.setup(flux.Adam(0.003), model)
    validation, metrics = (x_held, y_held), (flux.accuracy,)
    return model, flux.train(loss, model, data, opt, epochs, validation=validation, metrics=metrics, compile=False)


# %%
# The digits of whose wrong reading it is surest
# ----------------------------------------------

reader, reading = trained(32, 1200, 10, 32)
scores = reader(x_held)
answers, probabilities = flux.onecold(scores), flux.softmax(scores)
wrong = np.flatnonzero(answers != labels[held])
wrong = wrong[np.argsort(-probabilities[wrong].max(axis=1))][:8]

titles = [f"{labels[held][i]} read as {answers[i]}\n{probabilities[i].max():.0%} sure" for i in wrong]
flux.plot(x_held[wrong], titles=titles)
plt.show()

# %%
# Learning 200 images by heart
# ----------------------------

_, history = trained(128, 200, 60, 20)
epochs = np.arange(1, len(history) + 1)

figure, axes = plt.subplots(figsize=(5, 3.4), layout="constrained")
axes.plot(epochs, history, color="#0072b2", linewidth=2, label="the 200 images it learns from")
axes.plot(epochs, history.validation["loss"], color="#d55e00", linewidth=2, linestyle="--", label="images held back")
axes.set(xlabel="epoch", ylabel="loss", ylim=(0, None), title="A network with too few images")
axes.grid(alpha=0.3)
axes.legend()
plt.show()

# %%
# Which learning rate?
# --------------------

model = flux.Chain(flux.flatten, flux.Dense(784, 32, flux.relu), flux.Dense(32, 10))
data = flux.DataLoader((x, y), batchsize=32, shuffle=True)
flux.plot(flux.find_learning_rate(loss, model, data, flux.Adam(), compile=False))
plt.show()

# %%
# A training, epoch by epoch
# --------------------------
# The training of the first network above.

flux.plot(reading)
plt.show()

# %%
# Which digits it takes for which
# -------------------------------

flux.plot(flux.metrics.confusion_matrix(scores, labels[held]))
plt.show()

"""
What the filters of a convolution see
=====================================

A small network has learned to read digits. Its first layer has eight filters, and answers to a digit with eight maps.
"""

import matplotlib.pyplot as plt
import numpy as np

import tinyflux as flux

flux.seed(0)
images, labels = flux.data.digits("train")
x = flux.meanpool(images[..., np.newaxis], (2, 2))
model = flux.Chain(
    flux.Conv((5, 5), 1, 8, flux.relu, pad="same"),
    flux.MaxPool((2, 2)),
    flux.flatten,
    flux.Dense(392, 10),
)
data = flux.DataLoader((x, flux.onehotbatch(labels, range(10))), batchsize=32, shuffle=True)
opt = flux.setup(flux.Adam(0.003), model)
flux.train(lambda m, x, y: flux.logitcrossentropy(m(x), y), model, data, opt, epochs=8, compile=False)

digit = x[[np.flatnonzero(labels == 3)[2]]]
maps = model[0](digit)[0]
filters = model[0].weight[..., 0]
most = abs(filters).max()

figure, axes = plt.subplots(4, 5, figsize=(5, 4.4), layout="constrained")
axes[0, 0].imshow(digit[0, :, :, 0], cmap="gray_r")
axes[0, 0].set_title("digit", fontsize=11)
for i in range(8):
    above, below = axes[2 * (i // 4) : 2 * (i // 4) + 2, i % 4 + 1]
    above.imshow(maps[..., i], cmap="gray_r", vmin=0, vmax=maps.max())
    above.set_title(f"map {i + 1}", fontsize=11)
    drawn = below.imshow(filters[i], cmap="PuOr_r", vmin=-most, vmax=most)
    below.set_xlabel(f"filter {i + 1}", fontsize=11)
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
for ax in axes[1:, 0]:
    ax.axis("off")
figure.colorbar(drawn, ax=axes[1:, 0], location="left", label="weight of a filter", fraction=0.4)
plt.show()

"""
A network learns to read digits
===============================

``flux.train`` returns what happened epoch by epoch, and ``flux.plot`` draws it.
"""

import matplotlib.pyplot as plt

import tinyflux as flux

flux.seed(0)
images, labels = flux.data.digits("train")
data = flux.DataLoader((images, flux.onehotbatch(labels, range(10))), batchsize=32, shuffle=True)
x, labels_held = flux.data.digits("test")
y = flux.onehotbatch(labels_held, range(10))

model = flux.Chain(flux.flatten, flux.Dense(784, 16, flux.leakyrelu), flux.Dense(16, 10))
opt = flux.setup(flux.Adam(0.002), model)
history = flux.train(
    lambda m, x, y: flux.logitcrossentropy(m(x), y),
    model,
    data,
    opt,
    epochs=15,
    validation=(x, y),
    metrics=(flux.accuracy,),
    compile=False,
)

flux.plot(history)
plt.show()

# %%
# What the first layer looks for
# ------------------------------
# Each of its 16 outputs has a weight for every pixel. Ink on an orange pixel makes the output larger, ink on a purple
# one makes it smaller. (With ``relu`` in the place of ``leakyrelu`` a few of them stay 0 for all images, and learn
# nothing.)

weights = model[1].weight.reshape(16, 28, 28)
most = abs(weights).max()
figure, axes = plt.subplots(4, 4, figsize=(5, 4.6), layout="constrained")
for ax, weight in zip(axes.flat, weights):
    drawn = ax.imshow(weight, cmap="PuOr_r", vmin=-most, vmax=most)
    ax.set(xticks=[], yticks=[])
figure.colorbar(drawn, ax=axes, label="weight", shrink=0.6)
plt.show()

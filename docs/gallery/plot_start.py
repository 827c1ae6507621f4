"""
What the first network gets wrong
=================================

The program of :doc:`/start`, from its data to its picture.
"""

import matplotlib.pyplot as plt
import numpy as np

import tinyflux as flux

flux.seed(0)
images, labels = flux.data.digits("train")
test_images, test_labels = flux.data.digits("test")
answers = flux.onehotbatch(labels, range(10))

model = flux.Chain(flux.flatten, flux.Dense(784, 32, flux.relu), flux.Dense(32, 10))
data = flux.DataLoader((images, answers), batchsize=32, shuffle=True)
opt = flux.setup(flux.Adam(0.003), model)
flux.train(lambda m, x, y: flux.logitcrossentropy(m(x), y), model, data, opt, epochs=10, compile=False)

read = flux.onecold(model(test_images))
wrong = np.flatnonzero(read != test_labels)
titles = [f"{test_labels[i]} read as {read[i]}" for i in wrong[:8]]
flux.plot(test_images[wrong[:8]], titles=titles)
plt.show()

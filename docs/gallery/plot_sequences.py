"""
What a recurrent network remembers
==================================

It reads bits and says after each whether the number of ones so far is odd. It was trained on sequences of 12 bits.
"""

import matplotlib.pyplot as plt
import numpy as np

import tinyflux as flux


class Parity:
    def __init__(self, nhidden):
        self.inputs, self.hidden = flux.Dense(1, nhidden), flux.Dense(nhidden, nhidden, bias=False)
        self.output = flux.Dense(nhidden, 1)

    def states(self, x):
        def step(h, x):
            h = np.tanh(self.inputs(x) + self.hidden(h))
            return h, h

        start = np.zeros((len(x), len(self.hidden.weight)), x.dtype)
        return np.swapaxes(flux.scan(step, start, np.swapaxes(x, 0, 1))[1], 0, 1)

    def __call__(self, x):
        return self.output(self.states(x))


def bits_and_parity(n, length, rng):
    bits = rng.integers(0, 2, (n, length, 1))
    return bits.astype(np.float32), (np.cumsum(bits, axis=1) % 2).astype(np.float32)


flux.seed(1)
model = Parity(16)
data = flux.DataLoader(bits_and_parity(1024, 12, np.random.default_rng(0)), batchsize=64, shuffle=True)
opt = flux.setup(flux.Adam(0.01), model)
flux.train(lambda m, x, y: flux.logitbinarycrossentropy(m(x), y), model, data, opt, epochs=40, compile=False)

x, _ = bits_and_parity(1, 40, np.random.default_rng(3))
states = model.states(x)[0]
order = np.argsort(states.T @ np.sign(model(x)[0, :, 0]))  # those that agree with the answer stand together

figure, (top, bottom) = plt.subplots(2, 1, figsize=(5, 4.4), sharex=True, layout="constrained", height_ratios=(2, 3))
steps = np.arange(1, 41)
top.bar(steps, x[0, :, 0], width=0.5, color="#bbbbbb", label="bit")
top.step(steps, flux.sigmoid(model(x)[0, :, 0]), where="mid", color="#d55e00", linewidth=2, label="probability of odd")
top.set(ylabel="value", ylim=(-0.05, 1.8), yticks=(0, 1), title="Over three times as long as in training")
top.legend(loc="upper right", ncols=2)
image = bottom.pcolormesh(steps, np.arange(1, 17), states[:, order].T, cmap="PuOr_r", vmin=-1, vmax=1)
bottom.set(xlabel="step", ylabel="number of the state", yticks=range(2, 17, 2))
figure.colorbar(image, ax=bottom, label="value of the state", location="bottom", aspect=40)
plt.show()

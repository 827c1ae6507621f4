"""
L-BFGS on a small network
=========================

SciPy's L-BFGS and Adam minimise the same smooth loss, the cross-entropy of a small network on 300 digits.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import minimize

import tinyflux as flux

flux.seed(0)
images, labels = flux.data.digits("train")
x = flux.flatten(images[:300]).astype(float)
y = flux.onehotbatch(labels[:300], range(10)).astype(float)
model = flux.f64(flux.Chain(flux.Dense(784, 10, flux.tanh), flux.Dense(10, 10)))
vector, rebuild = flux.destructure(model)
calls = 150


def loss(vector):
    return flux.logitcrossentropy(rebuild(vector)(x), y) + 1e-4 * np.sum(vector**2)


by_lbfgs = []


def noted(vector):
    value, gradient = flux.withgradient(loss, vector)
    by_lbfgs.append(value)
    return value, gradient


minimize(noted, vector, jac=True, method="L-BFGS-B", options={"maxfun": calls, "maxcor": 10})

by_adam = []
opt = flux.setup(flux.Adam(0.01), model)
penalised = lambda m: loss(flux.destructure(m)[0])  # noqa: E731
for _ in range(calls):
    value, gradient = flux.withgradient(penalised, model)
    by_adam.append(value)
    flux.update(opt, model, gradient)

plt.figure(figsize=(5, 3.4), layout="constrained")
plt.semilogy(by_adam, color="#d55e00", linestyle="--", label="Adam(0.01), all samples at once")
plt.semilogy(by_lbfgs, color="#0072b2", label="SciPy's L-BFGS")
plt.xlabel("evaluations of loss and gradient")
plt.ylabel("loss")
plt.legend()
plt.show()

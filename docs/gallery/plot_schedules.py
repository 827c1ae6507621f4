"""
Learning-rate schedules
=======================

A schedule is a function of the step. Any number of a rule can be one.
"""

import matplotlib.pyplot as plt
import numpy as np

import tinyflux as flux

schedules = {
    "Cosine": flux.schedules.Cosine(1.0, over=1000),
    "OneCycle": flux.schedules.OneCycle(1.0, over=1000),
}
steps = np.arange(1000)
for name, schedule in schedules.items():
    plt.plot(steps, [schedule(t) for t in steps], label=name)
plt.xlabel("step")
plt.ylabel("learning rate")
plt.legend()
plt.show()

"""
Learning-rate schedules
=======================

A schedule is a function of the step. Any number of a rule can be one:
``flux.Adam(flux.schedules.Cosine(0.001, over=1000))``.
"""

import matplotlib.pyplot as plt
import numpy as np

from tinyflux import schedules as s

drawn = {
    "Constant(1)": s.Constant(1.0),
    "Step(1, every=250, gamma=0.5)": s.Step(1.0, every=250, gamma=0.5),
    "MultiStep(1, (500, 750), gamma=0.3)": s.MultiStep(1.0, (500, 750), gamma=0.3),
    "Exponential(1, gamma=0.997)": s.Exponential(1.0, gamma=0.997),
    "InverseTime(1, decay=0.01)": s.InverseTime(1.0, decay=0.01),
    "Polynomial(1, over=1000, power=2)": s.Polynomial(1.0, over=1000, power=2),
    "Cosine(1, over=1000)": s.Cosine(1.0, over=1000),
    "CosineRestarts(1, over=250)": s.CosineRestarts(1.0, over=250),
    "Warmup(1, over=300)": s.Warmup(1.0, over=300),
    "OneCycle(1, over=1000)": s.OneCycle(1.0, over=1000),
    "Demon(0.9, over=1000)": s.Demon(0.9, over=1000),
    "Warmup, then Cosine (Sequence)": s.Sequence((s.Warmup(1.0, over=200), s.Cosine(1.0, over=800)), (200,)),
}
steps = np.arange(1000)
figure, axes = plt.subplots(6, 2, figsize=(5.2, 10.8), sharex=True, sharey=True, layout="constrained")
for ax, (name, schedule) in zip(axes.flat, drawn.items()):
    ax.plot(steps, [schedule(t) for t in steps], color="#0072b2", linewidth=2)
    ax.set_title(name.replace("(", "\n(", 1), fontsize=10.5, loc="left")  # its arguments below the name
    ax.set(ylim=(0, 1.08), yticks=(0, 0.5, 1), xticks=(0, 500, 1000))
    ax.grid(alpha=0.3)
figure.supxlabel("step")
figure.supylabel("value")
plt.show()

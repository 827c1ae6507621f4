"""Record the paths of parameters under the optimisers of PyTorch, in float64.

Run by hand where torch is installed (recorded with torch 2.13): python tests/record/record_optimisers.py. It writes
tests/optimise/reference.json, which the tests compare with; they need no torch. Smooth gradients don't tell variants
of a rule apart: these hold a spike, a tiny coordinate, an exact zero and a flip of signs, and η is halved at a step.
"""

import json
import math
from pathlib import Path

TARGET = Path(__file__).parent.parent / "optimise" / "reference.json"
SHAPES = {"scalar": [], "vector": [5], "matrix": [2, 3]}
STEPS = 14
HALVED = 7  # the step, from 0, at which η is halved


def gradients(size: int) -> list[list[float]]:
    """A gradient, flat, for every step."""
    table = [[math.sin(1.7 * t + 0.9 * i) + 0.3 * math.cos(5.1 * i) for i in range(size)] for t in range(STEPS)]
    table[4] = [50 * g for g in table[4]]
    for t in range(9, STEPS):
        table[t] = [-g for g in table[t]]
    for t in range(STEPS):
        if size > 1:
            table[t][0] *= 1e-6
        if size > 2:
            table[t][2] = 0.0
    return table


def main() -> None:
    import torch

    rules = {
        "Descent": (torch.optim.SGD, {"lr": 0.1}),
        "Adam": (torch.optim.Adam, {"lr": 0.001}),
        "Adam, others": (torch.optim.Adam, {"lr": 0.3, "betas": (0.6, 0.95), "eps": 1e-3}),
        "Adam, beta 0": (torch.optim.Adam, {"lr": 0.05, "betas": (0.0, 0.5), "eps": 1e-6}),
    }
    cases = []
    for name, shape in SHAPES.items():
        start = torch.linspace(-1, 2, math.prod(shape), dtype=torch.float64).reshape(shape)
        table = gradients(math.prod(shape))
        paths = {}
        for rule, (make, options) in rules.items():
            x = start.clone().requires_grad_()
            optimiser = make([x], foreach=False, **options)
            paths[rule] = []
            for t, g in enumerate(table):
                optimiser.param_groups[0]["lr"] = options["lr"] / (2 if t >= HALVED else 1)
                x.grad = torch.tensor(g, dtype=torch.float64).reshape(shape)
                optimiser.step()
                paths[rule].append(x.detach().reshape(-1).tolist())
        cases.append(
            {"name": name, "shape": shape, "start": start.reshape(-1).tolist(), "gradients": table, "paths": paths}
        )
    record = {"torch": torch.__version__, "halved": HALVED, "cases": cases}
    TARGET.write_text(json.dumps(record, indent=0).replace(",\n", ", ").replace("[\n", "[").replace("\n]", "]") + "\n")


if __name__ == "__main__":
    main()

"""Record the paths of parameters under all optimisers, in float64.

Run by hand where torch is installed (recorded with torch 2.13): python -m tests.record.record_optimisers. It writes
tests/optimise/reference.json, which the tests compare with; they need no torch. What torch.optim defines in the same
way is recorded from there, all else from the formulas in transcriptions.py; these are checked against torch where it
can be done, and nothing is written if they differ. A rule is recorded under the expression that makes it in tinyflux.

Smooth gradients don't tell variants of a rule apart: these hold a spike, a tiny coordinate, exact zeros, a late start
and a flip of signs, and η is halved at a step.
"""

import inspect
import json
import math
from functools import partial
from pathlib import Path

from tests.record import transcriptions

TARGET = Path(__file__).parent.parent / "optimise" / "reference.json"
SHAPES = {"scalar": [], "one": [1], "vector": [5], "matrix": [2, 3]}
STEPS = 14
HALVED = 7  # the step, from 0, at which η is halved
FACTORS = [0.5 if t >= HALVED else 1.0 for t in range(STEPS)]

# The transcribed rules with their hyperparameters: the defaults, others, and the other forms.
TRANSCRIBED: list[tuple[str, dict]] = [
    ("Descent", {}),
    ("Descent", {"eta": 0.3}),
    ("Momentum", {}),
    ("Momentum", {"eta": 0.1, "rho": 0.5}),
    ("Momentum", {"form": "torch"}),
    ("Momentum", {"eta": 0.1, "rho": 0.5, "form": "torch"}),
    ("Nesterov", {}),
    ("Nesterov", {"eta": 0.1, "rho": 0.6}),
    ("RMSProp", {}),
    ("RMSProp", {"eta": 0.05, "rho": 0.6, "epsilon": 1e-3}),
    ("RMSProp", {"centred": True}),
    ("RMSProp", {"eta": 0.05, "rho": 0.6, "epsilon": 1e-3, "centred": True}),
    ("Adam", {}),
    ("Adam", {"eta": 0.3, "beta": (0.6, 0.95), "epsilon": 1e-3}),
    ("Adam", {"eta": 0.05, "beta": (0.0, 0.5), "epsilon": 1e-6}),
    ("AdaMax", {}),
    ("AdaMax", {"eta": 0.1, "beta": (0.6, 0.8), "epsilon": 1e-3}),
    ("AdaGrad", {}),
    ("AdaGrad", {"eta": 0.5, "epsilon": 1e-3}),
    ("AdaGrad", {"initial": 0.0}),
    ("AdaGrad", {"eta": 0.5, "epsilon": 1e-3, "initial": 0.1}),
    ("AdaDelta", {}),
    ("AdaDelta", {"rho": 0.6, "epsilon": 1e-3}),
    ("AMSGrad", {}),
    ("AMSGrad", {"eta": 0.1, "beta": (0.6, 0.8), "epsilon": 1e-3}),
    ("AMSGrad", {"form": "torch"}),
    ("AMSGrad", {"eta": 0.1, "beta": (0.6, 0.8), "epsilon": 1e-3, "form": "torch"}),
    ("AMSGrad", {"form": "optax"}),
    ("AMSGrad", {"eta": 0.1, "beta": (0.6, 0.8), "epsilon": 1e-3, "form": "optax"}),
    ("NAdam", {}),
    ("NAdam", {"eta": 0.1, "beta": (0.6, 0.8), "epsilon": 1e-3}),
    ("NAdam", {"eta": 0.002, "psi": 4e-3}),
    ("NAdam", {"eta": 0.1, "beta": (0.6, 0.8), "epsilon": 1e-3, "psi": 2.0}),
    ("RAdam", {}),
    ("RAdam", {"eta": 0.1, "beta": (0.6, 0.95), "epsilon": 1e-3}),
    ("OAdam", {}),
    ("OAdam", {"eta": 0.1, "beta": (0.6, 0.8), "epsilon": 1e-3}),
    ("AdaBelief", {}),
    ("AdaBelief", {"eta": 0.1, "beta": (0.6, 0.8), "epsilon": 1e-3}),
    ("AdamW", {}),
    ("AdamW", {"eta": 0.1, "beta": (0.6, 0.8), "lambda_": 0.3, "epsilon": 1e-3}),
    ("AdamW", {"couple": False}),
    ("AdamW", {"eta": 0.1, "beta": (0.6, 0.8), "lambda_": 0.3, "epsilon": 1e-3, "couple": False}),
    ("Lion", {}),
    ("Lion", {"eta": 0.1, "beta": (0.6, 0.8)}),
    ("ASGD", {}),
    ("ASGD", {"eta": 0.1, "lambda_": 0.3, "alpha": 0.6, "t0": 4.0}),
    ("Padam", {}),
    ("Padam", {"eta": 0.05, "beta": (0.6, 0.8), "p": 0.25}),
    ("Padam", {"form": "code"}),
    ("Padam", {"eta": 0.05, "beta": (0.6, 0.8), "epsilon": 1e-3, "p": 0.25, "form": "code"}),
    ("QHM", {}),
    ("QHM", {"eta": 0.3, "nu": 0.4, "beta": 0.8}),
    ("QHAdam", {}),
    ("QHAdam", {"eta": 0.1, "nu": (0.4, 0.6), "beta": (0.6, 0.8), "epsilon": 1e-3}),
    ("AggMo", {}),
    ("AggMo", {"eta": 0.05, "beta": (0.3, 0.8)}),
    ("YellowFin", {}),
    ("YellowFin", {"eta": 0.4, "beta": 0.8, "window": 3}),
]


# Muon, with the same in torch.optim, where matrices have two axes: a kernel has its outputs in rows.
MUON: list[tuple[dict, dict]] = [
    ({}, {"lr": 0.02, "weight_decay": 0.0}),
    ({"eta": 0.1, "rho": 0.6, "lambda_": 0.3}, {"lr": 0.1, "momentum": 0.6, "weight_decay": 0.3}),
    (
        {"eta": 0.1, "lambda_": 0.3, "form": "match_rms_adamw"},
        {"lr": 0.1, "weight_decay": 0.3, "adjust_lr_fn": "match_rms_adamw"},
    ),
]
MUON_SHAPES = {
    "wide": [2, 5],
    "tall": [5, 2],
    "square": [3, 3],
    "row": [1, 6],
    "column": [6, 1],
    "kernel": [4, 3, 1, 2],
    "zeros": [3, 2],
}


def expression(rule: str, options: dict) -> str:
    """How the rule is made in tinyflux."""
    return f"{rule}({', '.join(f'{name}={value!r}' for name, value in options.items())})"


def transcribed() -> dict:
    """Each expression with a function that gives the path of one number, or in YellowFin's case of a list."""
    rules = {
        expression(rule, options): partial(getattr(transcriptions, rule), **options) for rule, options in TRANSCRIBED
    }
    rules["Momentum(eta=0.1, rho=schedules.Demon(0.9, 20))"] = partial(
        transcriptions.demon_momentum, eta=0.1, start=0.9, steps=20
    )
    rules["Adam(eta=0.1, beta=(schedules.Demon(0.8, 16), 0.999))"] = partial(
        transcriptions.demon_adam, eta=0.1, start=0.8, steps=16
    )
    return rules


def defaults(rule: str) -> dict:
    """The hyperparameters of a rule, in their order, with their defaults."""
    parameters = inspect.signature(getattr(transcriptions, rule)).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}


def of_torch() -> dict:
    """The expressions that mean the same in torch.optim: the class and its options."""
    from torch.optim import ASGD, SGD, Adadelta, Adagrad, Adam, AdamW, NAdam, RMSprop

    others = "eta=0.1, beta=(0.6, 0.8), epsilon=0.001"
    torch_others = {"lr": 0.1, "betas": (0.6, 0.8), "eps": 1e-3}
    chain = "OptimiserChain(WeightDecay(0.3), Adam(eta=0.3, beta=(0.6, 0.95), epsilon=0.001))"
    return {
        "Descent()": (SGD, {"lr": 0.1}),
        "Descent(eta=0.3)": (SGD, {"lr": 0.3}),
        "Momentum(form='torch')": (SGD, {"lr": 0.01, "momentum": 0.9}),
        "Momentum(eta=0.1, rho=0.5, form='torch')": (SGD, {"lr": 0.1, "momentum": 0.5}),
        "RMSProp()": (RMSprop, {"lr": 0.001, "alpha": 0.9}),
        "RMSProp(eta=0.05, rho=0.6, epsilon=0.001)": (RMSprop, {"lr": 0.05, "alpha": 0.6, "eps": 1e-3}),
        "RMSProp(centred=True)": (RMSprop, {"lr": 0.001, "alpha": 0.9, "centered": True}),
        "RMSProp(eta=0.05, rho=0.6, epsilon=0.001, centred=True)": (
            RMSprop,
            {"lr": 0.05, "alpha": 0.6, "eps": 1e-3, "centered": True},
        ),
        "Adam()": (Adam, {"lr": 0.001}),
        "Adam(eta=0.3, beta=(0.6, 0.95), epsilon=0.001)": (Adam, {"lr": 0.3, "betas": (0.6, 0.95), "eps": 1e-3}),
        "Adam(eta=0.05, beta=(0.0, 0.5), epsilon=1e-06)": (Adam, {"lr": 0.05, "betas": (0.0, 0.5), "eps": 1e-6}),
        "AdaGrad(initial=0.0)": (Adagrad, {"lr": 0.1, "eps": 1e-8}),
        "AdaGrad(eta=0.5, epsilon=0.001, initial=0.1)": (
            Adagrad,
            {"lr": 0.5, "eps": 1e-3, "initial_accumulator_value": 0.1},
        ),
        "AdaDelta()": (Adadelta, {"rho": 0.9, "eps": 1e-8}),
        "AdaDelta(rho=0.6, epsilon=0.001)": (Adadelta, {"rho": 0.6, "eps": 1e-3}),
        "AMSGrad(form='torch')": (Adam, {"lr": 0.001, "amsgrad": True}),
        f"AMSGrad({others}, form='torch')": (Adam, {**torch_others, "amsgrad": True}),
        "NAdam(eta=0.002, psi=0.004)": (NAdam, {"lr": 0.002, "momentum_decay": 4e-3}),
        f"NAdam({others}, psi=2.0)": (NAdam, {**torch_others, "momentum_decay": 2.0}),
        "AdamW()": (AdamW, {"lr": 0.001, "weight_decay": 0.01}),
        "AdamW(eta=0.1, beta=(0.6, 0.8), lambda_=0.3, epsilon=0.001)": (AdamW, {**torch_others, "weight_decay": 0.3}),
        "ASGD()": (ASGD, {"lr": 0.01}),
        "ASGD(eta=0.1, lambda_=0.3, alpha=0.6, t0=4.0)": (ASGD, {"lr": 0.1, "lambd": 0.3, "alpha": 0.6, "t0": 4.0}),
        chain: (Adam, {"lr": 0.3, "betas": (0.6, 0.95), "eps": 1e-3, "weight_decay": 0.3}),
        "OptimiserChain(Maximize(), Descent())": (SGD, {"lr": 0.1, "maximize": True}),
    }


def gradients(size: int, phase: float) -> list[list[float]]:
    """A gradient, flat, for every step."""
    table = [[math.sin(1.7 * t + 0.9 * i + phase) + 0.3 * math.cos(5.1 * i) for i in range(size)] for t in range(STEPS)]
    table[4] = [50 * g for g in table[4]]
    for t in range(9, STEPS):
        table[t] = [-g for g in table[t]]
    if size == 1:
        table[6] = [0.0]
    for t in range(STEPS):
        if size > 1:
            table[t][0] *= 1e-6
            table[t][2] = 0.0
            if t < 3:
                table[t][4] = 0.0
    return table


def muon_cases() -> list[dict]:
    """Paths of matrices by torch.optim.Muon, in float64 for its bfloat16, checked against the transcription."""
    import torch

    torch.Tensor.bfloat16 = torch.Tensor.clone  # type: ignore[method-assign]
    cases = []
    for number, (name, shape) in enumerate(MUON_SHAPES.items()):
        size, rows = math.prod(shape), shape[0]
        start = torch.linspace(-1, 2, size).tolist()
        table = gradients(size, 0.4 * number) if name != "zeros" else [[0.0] * size] * STEPS
        matrix = lambda flat, n=size // rows: [flat[i : i + n] for i in range(0, len(flat), n)]  # noqa: E731
        paths = {}
        for options, torch_options in MUON:
            path = path_of_torch(torch.optim.Muon, torch_options, matrix(start), [matrix(g) for g in table])
            own = list(transcriptions.Muon(matrix(start), [matrix(g) for g in table], FACTORS, **options))
            torch.testing.assert_close(torch.tensor(own), torch.tensor(path), rtol=1e-10, atol=1e-12)
            paths[expression("Muon", options)] = [[x for row in step for x in row] for step in path]
        cases.append({"name": name, "shape": shape, "start": start, "gradients": table, "paths": paths})
    return cases


def path_of_transcription(rule: partial, start: list[float], table: list[list[float]]) -> list[list[float]]:
    """x after every step."""
    if rule.func is transcriptions.YellowFin:
        return list(rule(start, table, FACTORS))
    columns = [list(rule(x, [g[i] for g in table], FACTORS)) for i, x in enumerate(start)]
    return [list(row) for row in zip(*columns, strict=True)]


def path_of_torch(make: type, options: dict, start: list, table: list[list]) -> list[list]:
    """x after every step, and as many more rows with ASGD's averages."""
    import torch

    x = torch.tensor(start, requires_grad=True)
    optimiser = make([x], **options) if make is torch.optim.Muon else make([x], foreach=False, **options)
    path, averages = [], []
    for g, factor in zip(table, FACTORS, strict=True):
        if "lr" in options:
            optimiser.param_groups[0]["lr"] = options["lr"] * factor
        x.grad = torch.tensor(g)
        optimiser.step()
        path.append(x.tolist())
        if make is torch.optim.ASGD:
            averages.append(optimiser.state[x]["ax"].tolist())
    return path + averages


def main() -> None:
    import torch

    torch.set_default_dtype(torch.float64)  # ASGD and NAdam keep numbers in it
    rules, torch_rules = transcribed(), of_torch()
    cases = []
    for number, (name, shape) in enumerate(SHAPES.items()):
        start = torch.linspace(-1, 2, math.prod(shape)).tolist()
        table = gradients(math.prod(shape), 0.4 * number)
        paths = {text: path_of_transcription(rule, start, table) for text, rule in rules.items()}
        averages = {}
        for text, (make, options) in torch_rules.items():
            path = path_of_torch(make, options, start, table)
            if text in paths:
                torch.testing.assert_close(
                    torch.tensor(path[:STEPS]), torch.tensor(paths[text]), rtol=1e-12, atol=1e-14
                )
            paths[text], averages[text] = path[:STEPS], path[STEPS:]
        averages = {text: path for text, path in averages.items() if path}
        case = {"name": name, "shape": shape, "start": start, "gradients": table, "paths": paths, "averages": averages}
        cases.append(case)
    record = {
        "torch": torch.__version__,
        "from torch": list(torch_rules),
        "defaults": {rule: defaults(rule) for rule in [*dict(TRANSCRIBED), "Muon", "SOAP"]},
        "halved": HALVED,
        "cases": cases,
        "muon": muon_cases(),
    }
    TARGET.write_text(json.dumps(record, indent=0).replace(",\n", ", ").replace("[\n", "[").replace("\n]", "]") + "\n")


if __name__ == "__main__":
    main()

"""The time of an optimiser's step on the CPU, the gradient being at hand: `python -m benchmarks.optimisers`.

tinyflux' `update` beside the same rule written as NumPy expressions over whole arrays, and beside torch.optim as it is
by default. All step the same float32 parameters with the same gradient; that is checked before anything is measured.
Each has a process of its own with all cores, and they take turns, as in `benchmarks.step`. The table shows the medians,
and in brackets how many times that of tinyflux they are; then the most memory that tinyflux' step takes beside the
parameters, the gradient and the state.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .peers import Contender
from .step import Times, check, machine
from .worker import Worker

SETTINGS = {  # for tinyflux and for torch.optim, so that they do the same
    "Momentum": ({"eta": 0.01, "rho": 0.9}, "SGD", {"lr": 0.01, "momentum": 0.9}),
    "Adam": ({"eta": 0.001}, "Adam", {"lr": 0.001}),
    "AdamW": ({"eta": 0.001, "lambda_": 0.01}, "AdamW", {"lr": 0.001, "weight_decay": 0.01}),
}


@dataclass(frozen=True)
class Update:
    """What is measured: a rule, and how many parameters it steps."""

    rule: str
    count: int

    def batches(self, x: Any, y: Any) -> Any:
        """The parameters and the gradient."""
        rng = np.random.default_rng(0)
        return [rng.normal(size=self.count).astype(np.float32) for _ in range(2)]

    def weights(self) -> Any:
        return [self.batches(None, None)[:1]]

    def optimiser(self) -> Any:
        import tinyflux as flux

        return getattr(flux, self.rule)(**SETTINGS[self.rule][0])


def tinyflux(update: Update, arrays: Any) -> Contender:
    import tinyflux as flux

    start, gradient = arrays
    model = [start]
    opt = flux.setup(update.optimiser(), model)

    def run(n: int) -> float:
        for _ in range(n):
            flux.update(opt, model, [gradient])
        return float(model[0][0])

    return run, lambda: model


def whole_arrays(update: Update, arrays: Any) -> Contender:
    """The rule's own formula, without blocks and without threads."""
    x, gradient = arrays
    rule = update.optimiser()
    state = rule.init(x)

    def run(n: int) -> float:
        nonlocal x, state
        for _ in range(n):
            state, delta = rule.apply(state, x, gradient)
            x = x - delta
        return float(x[0])

    return run, lambda: [x]


def torch_optim(update: Update, arrays: Any) -> Contender:
    import torch

    x, x_grad = (torch.from_numpy(a) for a in arrays)
    x.requires_grad_()
    x.grad = x_grad
    _, name, options = SETTINGS[update.rule]
    optimiser = getattr(torch.optim, name)([x], **options)

    def run(n: int) -> float:
        for _ in range(n):
            optimiser.step()
        return x[0].item()

    return run, lambda: [x.detach().numpy()]


CONTENDERS = {"tinyflux": tinyflux, "NumPy, whole arrays": whole_arrays, "torch.optim": torch_optim}


def measure(workers: dict[str, Worker], update: Update, rounds: int, seconds: float, patience: float) -> Times:
    """Check that the contenders agree, then measure them in turns."""
    check({name: worker.prepare(update) for name, worker in workers.items()}, update.weights()[0])
    times: Times = {name: [] for name in workers}
    for _ in range(rounds):
        for name, worker in workers.items():
            times[name].append(worker.measure(seconds, patience))
    return times


def row(update: Update, times: Times) -> list[str]:
    """A row of the table: the rule, each contender's median and its ratio to tinyflux', tinyflux' temporaries."""
    ours = statistics.median(times["tinyflux"])
    entries = [update.rule]
    for name, seconds in times.items():
        median = statistics.median(seconds)
        entries.append(f"{median * 1e3:.1f} ms" + f" ({median / ours:.2f}×)" * (name != "tinyflux"))
    return [*entries, f"{temporaries(update) / 1e6:.1f} MB"]


def temporaries(update: Update) -> int:
    """The most bytes that a step has beside the parameters, the gradient and the state."""
    run, _ = tinyflux(update, update.batches(None, None))
    run(1)
    tracemalloc.start()
    run(1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.optimisers", description=__doc__.split(":")[0])
    parser.add_argument("--rules", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--count", type=int, default=10_000_000, help="how many parameters")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5, help="the length of a stretch")
    parser.add_argument("--patience", type=float, default=0, help="seconds in which to repeat disturbed stretches")
    options = parser.parse_args(arguments)
    has_torch = importlib.util.find_spec("torch") is not None
    names = [name for name in CONTENDERS if name != "torch.optim" or has_torch]
    print(*machine(["PyTorch"] if has_torch else []), f"{options.count:,} parameters, float32", "", sep="\n")
    print(f"| rule | {' | '.join(names)} | memory |\n|{'---|' * (len(names) + 2)}")
    workers = {name: Worker(CONTENDERS[name], None, None) for name in names}
    for rule in options.rules:
        update = Update(rule, options.count)
        times = measure(workers, update, options.rounds, options.seconds, options.patience)
        print(f"| {' | '.join(row(update, times))} |", flush=True)
    for worker in workers.values():
        worker.close()


if __name__ == "__main__":
    main()

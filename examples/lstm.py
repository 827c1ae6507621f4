"""How long does a recurrent network remember? A simple one, an LSTM and a GRU add two numbers that they read long ago.

    python examples/lstm.py                                       # the defaults: twelve trainings, ten minutes
    python examples/lstm.py --layers LSTM GRU --lengths 400
    python examples/lstm.py --lengths 10 15 --updates 3000

The task is the adding problem of Hochreiter and Schmidhuber (Long Short-Term Memory, 1997), as Arjovsky, Shah and
Bengio pose it (Unitary Evolution Recurrent Neural Networks, 2016). A network reads a sequence of random numbers, two of
which are marked, one in each half. In the end it has to say their sum. Its sequences are new in every mini-batch, so it
can't learn them by heart.

A command that was stopped goes on after the last whole epoch when it is given again.
"""

import argparse
import functools
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

if not __package__:  # run as a file: its neighbours, and a tinyflux that was not installed, lie one folder up
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tinyflux as flux
from examples.common import machine, pictures
from examples.common.command import MOVES, count, device, exit_code, natural, rate, require
from examples.common.epochs import Training
from examples.common.files import all_or_none, check_folder

BATCHSIZE = 32
EPOCH = 250  # updates, after which a network is tried
TESTS = 1_000  # sequences to try it on
TENTHS = 10  # of a sequence: for each of them it is seen how much of it is remembered
SOLVED = 0.002  # the mean squared error below which it adds: whoever always says 1 has 1/6
COLOURS = {"RNN": pictures.GREY, "LSTM": pictures.ORANGE, "GRU": pictures.BLUE}

# The networks


class RNN:
    """A simple recurrent layer: h = tanh(W x + U h + b)."""

    def __init__(self, nin: int, nhidden: int) -> None:
        self.inputs = flux.Dense(nin, nhidden)  # W and b
        self.hidden = flux.Dense(nhidden, nhidden, bias=False)  # U
        self.nhidden = nhidden

    def __call__(self, xs: Any) -> Any:  # (T, N, nin), the steps first
        def step(h: Any, x: Any) -> Any:  # (N, nhidden) and (N, nin)
            return np.tanh(self.inputs(x) + self.hidden(h)), None

        start = np.zeros((xs.shape[1], self.nhidden), xs.dtype, like=xs)
        h, _ = flux.scan(step, start, xs)
        return h  # (N, nhidden): what it remembers in the end


class LSTM:
    """A layer with a second state, c, that is only scaled and added to.

    The gates f, i and o say how much of it stays, is added, and is shown.
    """

    def __init__(self, nin: int, nhidden: int) -> None:
        self.inputs = flux.Dense(nin, 4 * nhidden)
        self.hidden = flux.Dense(nhidden, 4 * nhidden, bias=False)
        self.inputs.bias[nhidden : 2 * nhidden] = 1  # f: remember, to begin with
        self.nhidden = nhidden

    def __call__(self, xs: Any) -> Any:
        def step(state: Any, x: Any) -> Any:
            h, c = state
            i, f, o, g = np.split(self.inputs(x) + self.hidden(h), 4, axis=-1)
            c = flux.sigmoid(f) * c + flux.sigmoid(i) * np.tanh(g)
            return (flux.sigmoid(o) * np.tanh(c), c), None

        zeros = np.zeros((xs.shape[1], self.nhidden), xs.dtype, like=xs)
        (h, _), _ = flux.scan(step, (zeros, zeros), xs)
        return h


class GRU:
    """A layer with one state: z says how much stays, r how much the new one sees."""

    def __init__(self, nin: int, nhidden: int) -> None:
        self.inputs = flux.Dense(nin, 3 * nhidden)
        self.hidden = flux.Dense(nhidden, 3 * nhidden)
        self.nhidden = nhidden

    def __call__(self, xs: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            xr, xz, xn = np.split(self.inputs(x), 3, axis=-1)
            hr, hz, hn = np.split(self.hidden(h), 3, axis=-1)
            r, z = flux.sigmoid(xr + hr), flux.sigmoid(xz + hz)
            return z * h + (1 - z) * np.tanh(xn + r * hn), None

        start = np.zeros((xs.shape[1], self.nhidden), xs.dtype, like=xs)
        h, _ = flux.scan(step, start, xs)
        return h


LAYERS: dict[str, Any] = {"RNN": RNN, "LSTM": LSTM, "GRU": GRU}


class Adder:
    """A recurrent layer reads a sequence; its last state gives a number."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.output = flux.Dense(layer.nhidden, 1)

    def __call__(self, x: Any) -> Any:  # (N, T, 2)
        return self.output(self.layer(np.swapaxes(x, 0, 1)))  # (N, 1)


def loss(model: Any, x: Any, y: Any) -> Any:
    return flux.mse(model(x), y)


# The sequences


def sequences(n: int, steps: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """New sequences (n, steps, 2): a number from 0 to 1, and 1 where it is marked, else 0; and the sums (n, 1)."""
    x = np.zeros((n, steps, 2), np.float32)
    x[..., 0] = rng.random((n, steps), np.float32)
    rows = np.arange(n)
    for low, high in ((0, steps // 2), (steps // 2, steps)):  # a mark in each half
        x[rows, rng.integers(low, high, n), 1] = 1
    return x, np.sum(x[..., :1] * x[..., 1:], axis=1)


def fresh(batch: np.ndarray, rng: np.random.Generator, steps: int, device: str) -> Any:
    """What stands in the place of a batch: a loader's `transform`."""
    return MOVES[device](sequences(len(batch), steps, rng))


# The command line


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    stopped = "stopped by Ctrl-C; the same command goes on after the last whole epoch"
    return exit_code("lstm", stopped, lambda: run(options))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train recurrent networks to remember two numbers, and add them.")
    add = parser.add_argument
    add("--layers", nargs="+", choices=LAYERS, default=list(LAYERS), help="(default: all)")
    text = "how many steps the sequences have (default: 25 50 100 200)"
    add("--lengths", nargs="+", type=length, default=[25, 50, 100, 200], metavar="T", help=text)
    add("--hidden", type=count, default=64, metavar="N", help="numbers in a layer's state (default: %(default)s)")
    text = f"at most so many updates, rounded up to a multiple of {EPOCH}; a training ends earlier once the mean "
    text += f"squared error on new sequences is below {SOLVED:g} (default: %(default)s)"
    add("--updates", type=count, default=5_000, metavar="N", help=text)
    add("--eta", type=rate, default=0.003, help="Adam's learning rate (default: %(default)s)")
    add("--device", choices=("auto", *MOVES), default="cpu", help="where to train (default: %(default)s)")
    add("--seed", type=natural, default=0, metavar="N", help="of all that is drawn (default: %(default)s)")
    add("--output", type=Path, default=Path("results", "lstm"), metavar="FOLDER", help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    options.lengths, options.layers = sorted(set(options.lengths)), list(dict.fromkeys(options.layers))
    return options


def length(text: str) -> int:
    if count(text) < TENTHS:
        raise argparse.ArgumentTypeError(f"expected at least {TENTHS} steps, got {text!r}")
    return int(text)


def run(options: argparse.Namespace) -> None:
    require("matplotlib", "tqdm")
    check_folder(options.output)
    options.device = device(options.device)
    runs = [train(name, steps, options) for steps in options.lengths for name in options.layers]
    show(runs, options)


# The training


class Run(NamedTuple):
    """A network that was trained.

    Attributes:
        layer: its name.
        steps: of the sequences.
        history: the "error" on new sequences after each epoch, and the "seconds" of training.
        memory: how its answer depends on the numbers to add; see `remembered`.
    """

    layer: str
    steps: int
    history: list[dict[str, Any]]
    memory: list[float]

    @property
    def updates(self) -> int | None:
        """After so many the network could add; None if it never could."""
        return len(self.history) * EPOCH if self.history[-1]["error"] < SOLVED else None


def train(name: str, steps: int, options: argparse.Namespace) -> Run:
    """Train one network, or go on with it where its folder has it already."""
    flux.seed(options.seed)
    model = Adder(LAYERS[name](2, options.hidden))
    x, y = sequences(TESTS, steps, np.random.default_rng([options.seed, steps]))
    loader = flux.DataLoader(
        np.arange(EPOCH * BATCHSIZE),
        BATCHSIZE,
        transform=functools.partial(fresh, steps=steps, device=options.device),
        rng=np.random.default_rng(options.seed),
    )
    rule = flux.OptimiserChain(flux.ClipNorm(1.0, over="model"), flux.Adam(options.eta))
    model, opt = MOVES[options.device](model, flux.setup(rule, model))

    def measure(losses: list[float]) -> dict[str, Any]:
        error = float(np.mean((flux.cpu(model)(x) - y) ** 2))
        return {"loss": float(np.mean(losses)), "error": error}

    def solved() -> bool:
        return bool(training.history) and training.history[-1]["error"] < SOLVED

    settings = {k: v for k, v in vars(options).items() if k not in ("layers", "lengths", "updates", "output")}
    settings |= {"layer": name, "steps": steps}
    print(f"{name}, {steps} steps: {flux.parameter_count(model):,} parameters", flush=True)
    folder = options.output / f"{name}-{steps}"
    training = Training(
        folder, settings, model, opt, loader, loss, measure, lambda noted: f"error {noted['error']:.4f}"
    )
    if not solved():
        training.fit(-(-options.updates // EPOCH), solved)
    return Run(name, steps, training.history, remembered(flux.cpu(model), x))


def remembered(model: Any, x: np.ndarray) -> list[float]:
    """By how much the answer changes with a number to add: the derivative, 1 if it counts and 0 if it is forgotten.

    Returns: means over those that were read in the last tenth of the steps, in the one before, … in the first.
    """
    slopes = flux.gradient(lambda x: np.sum(model(x)), x)[..., 0]
    _, steps = marked = np.nonzero(x[..., 1])
    tenths = (x.shape[1] - 1 - steps) * TENTHS // x.shape[1]
    means: list[float] = (np.bincount(tenths, slopes[marked]) / np.bincount(tenths)).tolist()
    return means


# The results


def show(runs: list[Run], options: argparse.Namespace) -> None:
    """Put figures and numbers into the folder, and print a table."""
    results = {
        "settings": {name: x for name, x in vars(options).items() if name != "output"},
        "runs": [{**r._asdict(), "updates": r.updates} for r in runs],
        "machine": {"processor": machine.processor(), "cores": machine.cores()},
        "versions": machine.versions("numpy", "tinyflux"),
    }
    with all_or_none(options.output) as folder:
        (folder / "results.json").write_text(json.dumps(results) + "\n")
        draw_errors(folder / "errors.png", runs, options.lengths)
        draw_memory(folder / "memory.png", [r for r in runs if r.steps == max(options.lengths)])
    print(f"\nUpdates until the mean squared error on new sequences is below {SOLVED:g}:\n\n{table(runs, options)}")
    print(f"\nFiles: in {options.output}: results.json, errors.png, memory.png")


def table(runs: list[Run], options: argparse.Namespace) -> str:
    found = {(r.layer, r.steps): f"{r.updates:,}" if r.updates else "not reached" for r in runs}
    lines = [["steps", *(f"{steps:,}" for steps in options.lengths)]]
    lines += [[name, *(found[name, steps] for steps in options.lengths)] for name in options.layers]
    return "\n".join("".join(f"{cell:>13}" for cell in line) for line in lines)


def draw_errors(path: Path, runs: list[Run], lengths: list[int]) -> None:
    """The error on new sequences while the networks are trained: a panel for each length."""
    drawn, panels = pictures.figure(1.6 * len(lengths) + 1.8, 2.8, ncols=len(lengths), sharey=True, squeeze=False)
    for axes, steps in zip(panels[0], lengths):
        axes.set_title(f"{steps:,} steps", fontsize=10)
        axes.axhline(1 / 6, color="black", linestyle=":", linewidth=1)
        for r in runs:
            if r.steps == steps:
                updates = EPOCH * np.arange(1, len(r.history) + 1)
                axes.plot(updates, [e["error"] for e in r.history], color=COLOURS[r.layer], label=r.layer)
        axes.set_xlim(0)
        axes.set_yscale("log")
        axes.set_ylim(5e-4, 0.3)
        axes.set_xlabel("updates")
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
        axes.locator_params(axis="x", nbins=3)
        axes.spines[["right", "top"]].set_visible(False)
        axes.grid(alpha=0.3)
    first = panels[0][0]
    first.set_ylabel("mean squared error")
    first.annotate("whoever always says 1", (0.02, 1 / 5.6), xycoords=("axes fraction", "data"), fontsize=8)
    drawn.legend(*first.get_legend_handles_labels(), fontsize=9, loc="outside right center")
    drawn.savefig(path, dpi=120)


def draw_memory(path: Path, runs: list[Run]) -> None:
    """How the answers of trained networks depend on the numbers to add, by the time since these were read."""
    drawn, axes = pictures.figure(6, 3)
    places = (np.arange(TENTHS) + 0.5) * runs[0].steps / TENTHS
    for r in runs:
        axes.plot(places, r.memory, "o-", color=COLOURS[r.layer], label=r.layer, markersize=4)
    axes.set_ylim(-0.1, 1.2)
    axes.set_xlabel(f"steps since the number was read, of {runs[0].steps:,}")
    axes.set_ylabel("change of the answer\nwith the number")
    axes.set_title("1: it counts in full; 0: it is forgotten", fontsize=10, loc="left")
    axes.spines[["right", "top"]].set_visible(False)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9, loc="center right")
    drawn.savefig(path, dpi=120)


if __name__ == "__main__":
    sys.exit(main())

"""Which optimiser when: what the experiments of this repository say together, written from their results.

    python -m examples.which_optimiser

It reads what `examples.flux_mnist`, `examples.optimisers_mnist`, `examples.cifar10_optimisers` and
`examples/cifar10.py` have left in their folders of results, and writes `examples/results/which-optimiser.md`. Every
number in it is one of theirs.
"""

import csv
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

from examples.common.files import write
from examples.common.markdown import duration, table

HERE = Path(__file__).parent
PAGE = HERE / "results" / "which-optimiser.md"
Row = dict[str, str]


class Results(NamedTuple):
    """The tables of three experiments, a row for each training that was measured, and when; and two trainings."""

    articles: list[Row]  # ADAM and Descent on three networks: the articles "Flux.jl on MNIST"
    contest: list[Row]  # every rule on one network, tuned
    cifar: list[Row]  # seven rules on a ResNet, with the defaults of PyTorch
    resnet20: dict[str, Any]  # a training by momentum, and one by Muon
    fast: dict[str, Any]


def read() -> Results:
    paths = (
        HERE / "flux_mnist" / "results" / "accuracies.csv",
        HERE / "optimisers_mnist" / "results" / "optimisers.csv",
        HERE / "cifar10_optimisers" / "results" / "epochs.csv",
    )
    tables = [list(csv.DictReader(path.read_text(encoding="utf-8").splitlines())) for path in paths]
    trainings = [HERE / "results" / name / "results.json" for name in ("cifar10-resnet20", "cifar10-fast")]
    return Results(*tables, *[json.loads(path.read_text(encoding="utf-8")) for path in trainings])


def page(results: Results) -> str:
    """The page, in Markdown."""
    parts = [
        "# Which optimiser when",
        INTRODUCTION,
        "## If you have no time to tune",
        _untuned(results.cifar),
        "## If you tune the learning rate",
        _tuned(results.contest),
        "## If you train convolutions, and time is dear",
        _muon(results.resnet20, results.fast),
        "## If the gradient almost vanishes",
        _vanishing(results.articles),
        "## If you train for very long",
        _long(results.articles),
        "## If memory is short",
        _memory(results.contest),
        "## If time is short",
        _time(results.contest),
        "## What none of this says",
        LIMITS,
    ]
    return "\n\n".join(parts) + "\n"


INTRODUCTION = """\
Three experiments of this repository, with their numbers. Each has a report with curves, deviations and what it doesn't
show: [Flux.jl on MNIST](../flux_mnist/results/report.md) (Descent and ADAM on three small networks, up to 2,048,000
updates), [all rules on MNIST](../optimisers_mnist/results/report.md) (one network, the learning rate of each rule
chosen on images held back), and [seven rules on CIFAR-10](../cifar10_optimisers/results/report.md) (ResNet20, each rule
with the defaults of PyTorch). Accuracies are those of test images, in percent."""

LIMITS = """\
The networks are small, and the trainings short beside those of research. In the three comparisons no rule had a
learning rate that falls, but for the two Demons. On CIFAR-10 each rule had one learning rate, that of its defaults, and
few epochs: a rule that is behind there may lack nothing but a larger rate. If the choice matters to you, run the
comparison with your own network: `examples/optimisers_mnist/contest.py` is the place for a rule, `training.py` beside
it that for a network."""


def _untuned(rows: list[Row]) -> str:
    epoch = min(max(int(row["epoch"]) for row in rows if row["optimiser"] == name) for name in _names(rows))
    seeds = {row["seed"] for row in rows}
    found: dict[str, list[float]] = {name: [] for name in _names(rows)}
    for row in rows:
        if int(row["epoch"]) == epoch:
            found[row["optimiser"]].append(100 * float(row["test_accuracy"]))
    means = {name: sum(values) / len(values) for name, values in found.items()}
    order = sorted(means, key=lambda name: -means[name])
    accuracies = ", ".join(f"{name} {means[name]:.2f}" for name in order)
    number = "one seed: a point or two more or less mean little" if len(seeds) == 1 else f"{len(seeds)} seeds"
    return (
        f"With the defaults of PyTorch, ResNet20 on CIFAR-10 comes to this after {epoch} epochs ({number}): "
        f"{accuracies}. **Take {order[0]} or {order[1]}** for a first try. {order[-1]} and {order[-2]} are behind: "
        "don't judge these before you have tried other learning rates."
    )


def _names(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(row["optimiser"] for row in rows))


def _tuned(rows: list[Row]) -> str:
    order = sorted(rows, key=lambda row: -float(row["test_percent"]))
    first, last = order[0], order[-1]
    near = [row["rule"] for row in order[1:] if row["surely_behind"] == "False"]
    gap = float(first["test_percent"]) - float(last["test_percent"])
    best = [[row["rule"], f"{row['varied']} = {float(row['chosen']):g}", _percent(row)] for row in [*order[:5], last]]
    return (
        f"Then the rule hardly matters: on one small network the {len(rows)} rules lie within {gap:.2f} percentage "
        f"points. {first['rule']} is ahead, {_percent(first)}; the {first['seeds']} seeds don't tell it from "
        f"{', '.join(near)}. **Take momentum, let it fall, and spend your time on the learning rate**, by factors of "
        "three.\n\n" + table(["rule", "chosen", "test accuracy"], "llr", best)
    )


def _muon(resnet20: dict[str, Any], fast: dict[str, Any]) -> str:
    rows = []
    for name, result in (("ResNet20", resnet20), ("the recipe's", fast)):
        settings, seconds = result["settings"], sum(epoch["seconds"] for epoch in result["history"])
        rule = f"{settings['optimiser']}, η = {settings['eta']:g}, {settings['schedule']}"
        accuracy = f"{100 * result['test_accuracy']:.2f}"
        rows.append([name, rule, str(settings["epochs"]), duration(seconds), accuracy])
    header = ["network", "rule", "epochs", "training", "test accuracy"]
    return (
        "**Muon** is what the fastest recipes for CIFAR-10 train with. Ours, "
        "[`--recipe fast`](../common/fast.py), beside a ResNet20 by Nesterov's momentum, both on two cores that had "
        "other work, too. Network, augmentation and labels differ as well, so that these two don't say how much of it "
        "is Muon's.\n\n" + table(header, "llrrr", rows)
    )


def _percent(row: Row) -> str:
    return f"{float(row['test_percent']):.2f} ± {float(row['test_deviation']):.2f}"


def _vanishing(rows: list[Row]) -> str:
    cases = []
    for model, variant, iterations in (("4LS", "batch", 1000), ("3LS", "batch", 1000), ("4LS", "stochastic", 500)):
        descent, adam = (_accuracy(rows, model, variant, rule, iterations) for rule in ("Descent", "ADAM"))
        cases.append([model, variant, f"{iterations:,}", f"{descent:.2f}", f"{adam:.2f}"])
    return (
        "Layer upon layer of sigmoid leaves almost nothing of a gradient. A rule that divides by the size of gradients "
        "doesn't mind: **take Adam**, or one of its kin.\n\n"
        + table(["network", "gradient descent", "updates", "Descent", "ADAM"], "llrrr", cases)
    )


def _long(rows: list[Row]) -> str:
    cases, ahead = [], 0
    end = max(int(row["iterations"]) for row in rows)
    for model in ("4LS", "3LS", "2LR"):
        for variant in ("stochastic", "minibatch"):
            descent, adam = (_accuracy(rows, model, variant, rule, end) for rule in ("Descent", "ADAM"))
            cases.append([model, variant, f"{descent:.2f}", f"{adam:.2f}"])
            ahead += descent > adam
    return (
        f"At a constant learning rate, Descent ends above ADAM in {ahead} of {len(cases)} trainings of {end:,} "
        "updates. **Take Descent or momentum**, or let the rate of Adam fall.\n\n"
        + table(["network", "gradient descent", "Descent", "ADAM"], "llrr", cases)
    )


def _accuracy(rows: list[Row], model: str, variant: str, rule: str, iterations: int) -> float:
    wanted = (model, variant, rule, str(iterations))
    keys = ("model", "variant", "optimiser", "iterations")
    return next(float(row["accuracy_percent"]) for row in rows if tuple(row[key] for key in keys) == wanted)


def _memory(rows: list[Row]) -> str:
    groups: dict[int, list[str]] = {}
    for row in rows:
        groups.setdefault(int(row["state_bytes_per_parameter"]), []).append(row["rule"])
    lines = [[str(size), ", ".join(names)] for size, names in sorted(groups.items())]
    text = "What a rule keeps for each parameter of 4 bytes, beside the parameter and its gradient:"
    return f"{text}\n\n{table(['bytes', 'rules'], 'rl', lines)}"


def _time(rows: list[Row]) -> str:
    order = sorted(rows, key=lambda row: float(row["step_microseconds"]))
    usual = [row for row in order if float(row["step_microseconds"]) < 1.2 * float(order[0]["step_microseconds"])]
    slow = ", ".join(f"{row['rule']} {float(row['step_microseconds']):.0f} µs" for row in order if row not in usual)
    return (
        f"Don't choose by the time of a step: for a network of 25,450 parameters and mini-batches of 128, on one core, "
        f"{len(usual)} of the {len(rows)} rules take {float(usual[0]['step_microseconds']):.0f} to "
        f"{float(usual[-1]['step_microseconds']):.0f} µs, gradient included. The others: {slow}."
    )


def main() -> int:
    write(PAGE, page(read()))
    print(f"The page: {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The report: a text in Markdown, each sentence on the results computed from them, a page made of it, and two CSV."""

import math
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from examples.common import machine, markdown
from examples.common.files import write
from examples.common.markdown import csv_text, duration
from examples.common.page import page
from examples.common.spread import spread

from . import figures
from .contest import DEFAULTS, POWERS, PRESETS
from .table import SURE, Behind, Result, Table, behind, last
from .timing import ITERATIONS, ROUNDS
from .training import BATCHSIZE, MEASURED

RISK = f"{100 * SURE:g} %"
GUESSED = 30  # percent of accuracy
NEAR = 0.5  # percentage points: values whose mean accuracy is as near to the best one's are named together

PROTOCOL = """\
Every rule trains the same network, 784-32-10 with relu, by crossentropy, for {iterations:,} mini-batches of {batchsize}
images, in float32. A sixth of the training images, the same for all, is held back for validation. For each rule
{values} learning rates η are tried, with {choosing} seeds each, and the one with the highest mean accuracy on the
validation images is chosen. (AdaDelta has no learning rate: there it is ε. YellowFin finds its own: there η is a factor
on it.) All other numbers are the defaults. With the value that was chosen the rule trains anew, with {reporting} other
seeds. What these come to on the test images is reported: the test images had no part in any choice. A seed stands for
the first weights and the order of the images, the same for all rules. Demon lowers the momentum of Momentum, and β₁ of
Adam, from 0.9 to 0 over the run."""

LIMITS = """\
One small network, one set of images, one size of mini-batch, one number of iterations, and no schedule of the rate: a
rule that is ahead here may be behind with a larger network, a longer training, or a rate that falls. The two Demons
are the only ones with a schedule: as the momentum falls so does the size of Momentum's steps, to a tenth, and what the
others would gain by a rate that falls was not tried. Rates are a factor
of about three apart, and nothing but the rate was tuned: a finer grid, or other values of a rule's further numbers, can
move it by as much as many of these rules differ. ± is the standard deviation over seeds, of weights and order alone;
another split or other images would add to it. The best rule was picked by the same test accuracies that the
others are compared with, which makes it look a little better than it is. ASGD is measured by its parameters, not by
their average, which by its default begins after 10⁶ steps."""
MUON = " Muon steps the weights; the biases are AdamW's, with its defaults."


def report(table: Table, times: dict[str, float], folder: Path, command: str) -> None:
    """Write report.md, report.html, optimisers.csv, runs.csv and the figures into a folder.

    Arguments:
        table: what the runs have come to.
        times: microseconds of a step, by rule.
        folder: where all goes to.
        command: what has made it, to be noted.
    """
    drawn = {figure.name: figure for figure in figures.draw(table, folder / "figures")}

    def shown(*names: str) -> list[str]:
        return [_shown(drawn[name]) for name in names if name in drawn]

    text = [f"# All optimisers on {_images(table)}"]
    if table.missing:
        text.append(f"**Not done yet, and left out: {', '.join(table.missing)}.**")
    if table.contest:
        text += [
            _protocol(table),
            "## What the data show",
            _findings(table),
            *(["### How far the seeds give a ranking", _ranking(table)] if len(table.groups[0]) > 1 else []),
            "### All rules",
            *shown("accuracies"),
            _contest(table, times),
            _KEY,
        ]
        text += ["## Learning curves", *shown("learning-loss", "learning-accuracy")]
        text += ["## What the learning rate does", *shown("values")]
    if table.padam:
        text += ["## Padam: power and learning rate", _padam(table), *shown("padam")]
    if table.adam:
        text += ["## Adam's numbers, one at a time", _adam(table), *shown("adam")]
    muon = MUON if any(result.name == "Muon" for result in table.contest) else ""
    text += ["## What the data don't show", LIMITS + muon, "## How it was made", _made(table, command)]
    words = "\n\n".join(text) + "\n"
    write(folder / "report.md", words)
    write(folder / "report.html", page(words, folder))
    write(folder / "optimisers.csv", csv_text(_summary(table, times)))
    write(folder / "runs.csv", csv_text(_runs(table)))


def _images(table: Table) -> str:
    return {"mnist": "MNIST", "digits": "scikit-learn's small digits, not MNIST"}[table.dataset["dataset"]]


def _shown(figure: figures.Figure) -> str:
    return f"![{figure.title}](figures/{figure.name}.png)\n\n{figure.caption}"


def _protocol(table: Table) -> str:
    first = table.contest[0]
    counts = {"values": len(first.entry.values), "choosing": len(first.choosing), "reporting": len(first.reporting)}
    return PROTOCOL.format(iterations=table.iterations, batchsize=BATCHSIZE, **counts)


# All rules


def _findings(table: Table) -> str:
    """What can be said of these results, and is true of them whatever they are."""
    best = table.contest[0]
    compared = [(r.name, gap.sure) for r, gap in zip(table.contest, table.behind) if not math.isnan(gap.points)][1:]
    lines = [f"{best.name} has the highest mean on the test images, {_test(best)} %."]
    if compared:
        unsure = [name for name, sure in compared if not sure]
        alike = _names(unsure) if len(unsure) < len(compared) else f"any of the {len(compared)} others"
        lines.append(f"Not told apart from it by these seeds: {alike}.")
        surely = _names(name for name, sure in compared if sure)
        lines.append(f"Significantly behind it ({RISK} chance that any of these is a false alarm): {surely}.")
        ends = [spread(r.ends("test accuracy")) for r in table.contest]
        means = [end.mean for end in ends if not math.isnan(end.mean)]
        deviations = sorted(end.deviation for end in ends if not math.isnan(end.deviation))
        lines.append(
            f"From the first to the last are {means[0] - means[-1]:.2f} percentage points; over its seeds a typical "
            f"rule has a standard deviation of {deviations[len(deviations) // 2]:.2f}."
        )
    lines += [_family(table), _edges(table), _lost(table), _in_vain(table)]
    return "\n".join(f"- {line}" for line in lines if line)


def _ranking(table: Table) -> str:
    """The groups of rules, a row each, and why the seeds tell no more."""
    rows = []
    for group in table.groups:
        means = [f"{spread(r.ends('test accuracy')).mean:.2f}" for r in (group[0], group[-1])]
        rows.append([" to ".join(dict.fromkeys(means)), _names(r.name for r in group)])
    header = ["mean test accuracy in %", "rules"]
    words = "Within a row, no rule differs significantly from the first."
    return "\n\n".join([words, markdown.table(header, "ll", rows), _why(table), *_singly(table)])


def _why(table: Table) -> str:
    """How far behind a rule has to be."""
    best, errors = table.contest[0], [gap.error for gap in table.behind[1:] if not math.isnan(gap.error)]
    seeds, others = len(best.reporting), len(table.contest) - 1
    if seeds < 2 or not errors:
        return "A single seed tells no rules apart: it doesn't show what chance makes of one."
    times = float(stats.t.isf(SURE / others / 2, seeds - 1))
    points = times * statistics.median(errors)
    more = max(len(preset.reporting) for preset in PRESETS.values())
    hint = f" More seeds help: `full` has {more}." if seeds < more else ""
    return (
        f"What so many seeds can tell: each rule has {seeds}, and {others} rules are compared with the best. A "
        f"difference is sure if it is {times:.1f} times its standard error. For a typical rule that is {points:.2f} "
        f"percentage points.{hint}"
    )


def _singly(table: Table) -> list[str]:
    """Which rules would be behind, if each were the only one to be compared."""
    best, others = table.contest[0], table.contest[1:]
    unsure = [r for r, gap in zip(others, table.behind[1:]) if not gap.sure]
    names = [r.name for r in unsure if behind(best, r, 1).sure]
    if not names:
        return []
    return [
        f"A hint, but no proof: if each were the only rule to be compared with the best, at a risk of {RISK}, these "
        f"would be behind it, too: {_names(names)}. Of {len(others)} rules as good as the best, chance alone puts "
        f"about {SURE * len(others):.1f} on such a list."
    ]


def _test(result: Result) -> str:
    return str(spread(result.ends("test accuracy")))


def _names(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _family(table: Table) -> str:
    """The best of each family."""
    first = {}
    for result in table.contest:
        first.setdefault(result.entry.family, result)
    return "The first of each family: " + "; ".join(f"{f}: {r.name} with {_test(r)} %" for f, r in first.items()) + "."


def _edges(table: Table) -> str:
    edges = [f"{r.name} ({r.entry.varied} = {r.best:g})" for r in table.contest if r.at_the_edge]
    return (
        f"Chosen at the edge of what was tried, so that a value beyond may be better: {_names(edges)}." if edges else ""
    )


def _lost(table: Table) -> str:
    """Which runs diverged."""
    diverged = [
        f"{_value(r, value)} ({r.validation(value).diverged} of {len(r.choosing)})"
        for r in table.results
        for value in r.entry.values
        if r.validation(value).diverged
    ]
    never = [r.name for r in table.contest if np.isnan(r.ends("test accuracy")).all()]
    text = "Values with which a loss became infinite or NaN (in so many of the runs): "
    return f"{text}{_names(diverged)}." + (f" Diverged with all seeds: {_names(never)}." if never else "")


def _in_vain(table: Table) -> str:
    """Which values led nowhere, though all numbers stayed finite."""
    lost = [_value(r, value) for r in table.results for value in r.entry.values if r.validation(value).mean < GUESSED]
    text = f"Values with which less than {GUESSED} % of the validation images come out right (guessing gets 10): "
    return f"{text}{_names(lost)}."


def _value(result: Result, value: float) -> str:
    return f"{result.name} with {result.entry.varied} = {value:g}"


_KEY = f"""\
Accuracies in percent, mean ± standard deviation over the seeds. *validation*: of the runs by which the value was
chosen; all else: of the runs with other seeds. *behind the best*: mean difference on the test images, seed by seed, ±
its standard error; \\* where it is sure (a paired t-test, {RISK} after Bonferroni's correction). *losses*:
crossentropy at the end, on {MEASURED:,} training images at most, and on the test images. *step*: gradient and update of
a mini-batch on one core, the rules by turns, the fastest of {ROUNDS} times {ITERATIONS}. *state*: bytes that the rule
keeps for a float32 weight."""


def _contest(table: Table, times: dict[str, float]) -> str:
    rows = [
        [
            r.name,
            f"{r.entry.varied} = {r.best:g}",
            str(r.validation(r.best)),
            _test(r),
            _gap(gap) if r is not table.contest[0] else "",
            *[_loss(r, part) for part in ("train", "test")],
            f"{times[r.name]:.0f} µs",
            str(r.state),
        ]
        for r, gap in zip(table.contest, table.behind)
    ]
    header = ["rule", "chosen", "validation", "test", "behind the best"]
    return markdown.table([*header, "training loss", "test loss", "step", "state"], "ll" + "r" * 7, rows)


def _loss(result: Result, part: str) -> str:
    mean = spread(result.ends(f"{part} loss")).mean
    return "" if math.isnan(mean) else f"{mean:.3f}"


def _gap(gap: Behind) -> str:
    if math.isnan(gap.points):
        return ""
    error = "" if math.isnan(gap.error) else f" ± {gap.error:.2f}"
    return f"{gap.points:.2f}{error}" + (" \\*" if gap.sure else "")


# Padam and Adam


def _padam(table: Table) -> str:
    best, rate = max(((r, value) for r in table.padam for value in r.entry.values), key=lambda cell: _mean(*cell))
    own = [f"p = {_power(r)}: {r.best:g}" for r in table.padam]
    edge = [_power(r) for r in table.padam if r.at_the_edge]
    beyond = f" For p = {', '.join(edge)} it is at the edge of the grid: one beyond may be better." if edge else ""
    return (
        "The smaller p, the less a step is divided by: p = 1/2 would be AMSGrad, p = 0 descent with momentum. The best "
        f"rate of each p is {'; '.join(own)}.{beyond} "
        f"The best of all is p = {_power(best)} with η = {rate:g}, {best.validation(rate)} % of the validation images."
    )


def _power(result: Result) -> str:
    return POWERS[result.entry.rule(0.1, 1).p]


def _mean(result: Result, value: float) -> float:
    """The mean accuracy on the validation images; 0 where all diverged."""
    mean = result.validation(value).mean
    return 0.0 if math.isnan(mean) else mean


def _adam(table: Table) -> str:
    """What becomes of the accuracy when each number is varied alone."""
    rows = []
    for r in table.adam:
        best = max(r.entry.values, key=lambda value: _mean(r, value))
        worst = min(r.entry.values, key=lambda value: _mean(r, value))
        near = [f"{value:g}" for value in r.entry.values if _mean(r, value) > _mean(r, best) - NEAR]
        default = DEFAULTS[r.entry.varied]
        named = [f"{value:g}: {r.validation(value)}" for value in (default, best, worst)]
        rows.append([r.entry.varied, *named, ", ".join(near)])
    text = "Accuracy on the validation images in percent. The other numbers are the defaults, η = 0.001, β₁ = 0.9, "
    text += "β₂ = 0.999, ε = 1e-8: what suits them best depends on these.\n\n"
    header = ["varied", "default", "best", "worst", f"within {NEAR:g} points of the best"]
    return text + markdown.table(header, "lllll", rows)


# Made of, and how


def _made(table: Table, command: str) -> str:
    machines = "; ".join(dict.fromkeys(map(machine.hardware, table.events)))
    runs = [run for result in table.results for run in result.runs.values()]
    ways = " and ".join(sorted({run["step"] for run in runs}))
    spent = duration(sum(run["seconds"] for run in runs))
    return (
        f"Trained {machine.days(table.events)}: {len(runs):,} runs, {spent} of training in all without the measuring, "
        f"as {ways}, on {machines}. Versions: {machine.software(table.events)}. The images' SHA-256 is "
        f"`{table.dataset['data_sha256'][:16]}…`. The figures are here as SVG, too; every run stands in "
        f"[runs.csv](runs.csv), the table in [optimisers.csv](optimisers.csv).\n\n```sh\n{command}\n```"
    )


def _summary(table: Table, times: dict[str, float]) -> list[dict[str, Any]]:
    """The numbers of the table of rules."""
    rows = []
    for r, gap in zip(table.contest, table.behind):
        test = spread(r.ends("test accuracy"))
        rows.append(
            {
                "rule": r.name,
                "varied": r.entry.varied,
                "chosen": r.best,
                "validation_percent": f"{r.validation(r.best).mean:.4f}",
                "test_percent": f"{test.mean:.4f}",
                "test_deviation": f"{test.deviation:.4f}",
                "seeds": len(r.reporting),
                "diverged": test.diverged,
                "behind": f"{gap.points:.4f}",
                "behind_error": f"{gap.error:.4f}",
                "surely_behind": gap.sure,
                "train_loss": f"{spread(r.ends('train loss')).mean:.5f}",
                "test_loss": f"{spread(r.ends('test loss')).mean:.5f}",
                "step_microseconds": f"{times[r.name]:.1f}",
                "state_bytes_per_parameter": r.state,
            }
        )
    return rows


def _runs(table: Table) -> list[dict[str, Any]]:
    """What every run came to; the test images are those of the runs that report, for the others are for choosing."""
    rows = []
    for result in table.results:
        for (value, seed), run in result.runs.items():
            parts = ["train", "validation", *["test"] * (seed in result.reporting)]
            ends = {f"{part}_{m}": f"{last(run, f'{part} {m}'):.6g}" for part in parts for m in ("loss", "accuracy")}
            told = {"rule": result.name, "varied": result.entry.varied, "value": value, "seed": seed}
            after = "" if run["diverged"] is None else run["diverged"]
            rows.append({**told, "diverged_after": after, "seconds": f"{run['seconds']:.4g}", **ends})
    return rows

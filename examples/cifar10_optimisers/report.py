"""The report: one text in Markdown, every sentence on the results computed from them, and a page made of it."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from examples.common import machine
from examples.common.checks import NOT_RUN, SIGNS, Conclusion
from examples.common.files import write
from examples.common.markdown import csv_text, duration, table
from examples.common.page import page

from . import claims, figures, published
from .claims import grid_cells, shown
from .contest import Preset
from .results import Result
from .table import MEASURES, Comparison, Table, title

TITLES = {"tutorial": "The tutorial's optimisers on CIFAR-10", "padam": "Padam on CIFAR-10, after its reproduction"}
TEXTS = {"tutorial": published.TUTORIAL, "padam": published.REPRODUCTION}
TRAINING_IMAGES = 50_000  # of CIFAR-10
NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]

PROTOCOL = """\
Every optimiser trains the same network from the same first weights, with the same mini-batches of {batchsize} images,
by cross-entropy. Training images are mirrored at random and shifted by up to four pixels. Learning rates and other
numbers are those of {whose} where it gives them; nothing was tuned here. Training accuracy and training loss are means
over the mini-batches of an epoch, measured while it trains. After each epoch the {test_images:,} test images are tried
twice: as they are, and *augmented*, mirrored and shifted like the training images{slip}."""

KEY = """\
Accuracies in percent, the best of each column in bold, sorted by test accuracy.{deviation} *state*: what the optimiser
keeps beside the {parameters:,} parameters ({size}). {time}"""
TIME = "*time an epoch*: the median, of training without tests."
NO_TIME = """\
Times are left out: one epoch took {times:.1f} times as long as another of the same run. They are the same work, so the
machine must have been busy with something else."""


def report(preset: Preset, results: Sequence[Result], folder: Path, command: str) -> list[Conclusion]:
    """Write report.md, report.html, epochs.csv and the figures into a folder.

    Arguments:
        preset: who takes part.
        results: what the runs have come to; those that aren't finished or haven't begun are named.
        folder: where all goes to.
        command: what has made it, to be noted.

    Returns: the text's conclusions with the verdicts, as they stand in the report.
    """
    found = Table(preset, results)
    text, conclusions = TEXTS[preset.text], claims.conclusions(found)
    drawn = figures.draw(found, folder / "figures")
    words = "\n\n".join(
        [
            f"# {TITLES[preset.text]}",
            _scale(found, text),
            *_state(found),
            f"## What {text.name} concludes, and what our data say",
            "\n".join(map(answer, conclusions)),
            *_more(found, text, conclusions),
            *[part for c in found.contests if c.epoch for part in _results(c, drawn)],
            *(_grid(found.grid, drawn) if found.grid is not None and found.grid.epoch else []),
            *(_published(found) if preset.text == "padam" else []),
            "## The checks, one by one",
            *[listed(conclusion) for conclusion in conclusions],
            "## Protocol",
            *_protocol(found, text),
            "## How it was made",
            _made(found, command),
        ]
    )
    write(folder / "report.md", words + "\n")
    write(folder / "epochs.csv", csv_text(_epochs(found.results)))
    write(folder / "report.html", page(words, folder))
    return conclusions


def answer(conclusion: Conclusion) -> str:
    """A conclusion as an item of a list: how many of its checks hold, and why others don't."""
    why = f" Refuted: {conclusion.against}." if conclusion.against else ""
    return unbroken(f"- **{conclusion.text}** {conclusion.in_words}{why}")


def _more(found: Table, text: published.Text, conclusions: Sequence[Conclusion]) -> list[str]:
    """What helps where checks are not run."""
    verdicts = [check.verdict for conclusion in conclusions for check in conclusion.checks]
    if NOT_RUN not in verdicts or min(c.epoch for c in found.contests) >= text.epochs:
        return []
    count = verdicts.count(NOT_RUN)
    missing = ", or optimisers that haven't begun" if any(c.missing for c in found.contests) else ""
    return [
        f"{count} of the {len(verdicts)} checks {'is' if count == 1 else 'are'} not run: they need a longer training, "
        f"of up to {text.epochs} epochs{missing}. The same command with `--epochs {text.epochs}` goes on from here."
    ]


def listed(conclusion: Conclusion) -> str:
    """A conclusion under a heading: each check with the figures that decide it."""
    checks = [f"- **{SIGNS[check.verdict]}**: {check.statement}: *{check.evidence}.*" for check in conclusion.checks]
    return unbroken(f"### {conclusion.text}\n\n" + "\n".join(checks))


def unbroken(text: str) -> str:
    """No line ends before a percent sign, or at a ±."""
    return text.replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}").replace(" %", "\N{NO-BREAK SPACE}%")


# What was run


def _scale(found: Table, text: published.Text) -> str:
    """How far this is from what the text did."""
    contests = [c for c in found.contests if c.epoch]
    if not contests:
        return "**Nothing has been trained for an epoch yet.**"
    told = [_far(c, text, "its") for c in contests]
    words = "; ".join(f"{c.title}: {far}" for c, far in zip(contests, told))
    words = _far(contests[0], text, f"{text.name}'s") if len(contests) == 1 else words
    seeds = {len(c.seeds) for c in contests}
    chance = (
        " One seed doesn't show how much chance matters: another one might turn a small difference round."
        if seeds == {1}
        else " ± is the standard deviation over the seeds: what is nearer than that can't be told apart."
    )
    return f"**Scale: {words}.**{chance}"


def _far(c: Comparison, text: published.Text, whose: str) -> str:
    settings = c.results[0].settings
    epochs = f"all {text.epochs} epochs" if c.epoch == text.epochs else f"{c.epoch} of {whose} {text.epochs} epochs"
    parts = [epochs, f"{number(len(c.seeds))} seed{'s' * (len(c.seeds) != 1)}"]
    if c.model not in text.models:
        parts.insert(1, f"{c.title} for {' and '.join(map(title, text.models))}")
    if text.before:
        parts.append(f"random first weights for {text.before}")
    if settings["images"] < TRAINING_IMAGES:
        parts.append(f"{settings['images']:,} of the {TRAINING_IMAGES:,} training images")
    return ", ".join(parts)


def number(count: int) -> str:
    """A small number in words."""
    return NUMBERS[count] if count < len(NUMBERS) else f"{count:,}"


def _state(found: Table) -> list[str]:
    """What isn't finished, hasn't begun, or diverged."""
    lines = []
    for c in found.comparisons:
        far = {r.entry: len(r.history) for r in c.results if r.seed in c.seeds and r.diverged is None}
        what = f"{c.title}{', the grid' if c is found.grid else ''}"
        if any(epochs < c.goal for epochs in far.values()):
            counts = ", ".join(f"{name} {epochs}" for name, epochs in far.items())
            counts = f"all at {c.epoch}" if len(set(far.values())) == 1 else counts
            lines.append(
                f"**Not finished**, {what}: {counts} of the {c.goal} epochs asked for. They are compared after epoch "
                f"{c.epoch}, the last that all have reached."
            )
        left = sorted({r.seed for r in c.results} - set(c.seeds))
        if left:
            lines.append(
                f"**Left out**, {what}: seed {', '.join(map(str, left))}, with which not all have come so far."
            )
    lines += [
        f"**Not begun**, {c.title}: {', '.join(c.missing)}." for c in [*found.contests, found.grid] if c and c.missing
    ]
    lines += [
        f"**Diverged**: {title(r.model)}, {r.entry}, seed {r.seed}: after {r.diverged:,} updates, in epoch "
        f"{len(r.history) + 1}, a loss was not finite, and the run ended."
        for r in found.results
        if r.diverged is not None
    ]
    return lines


def _protocol(found: Table, text: published.Text) -> list[str]:
    if not found.results:
        return []
    settings = found.results[0].settings
    rules = {r.entry: r.settings["rule"] for r in found.results}
    falls = any("MultiStep" in rule for rule in rules.values())
    whose = "Padam's paper, with a rate that falls in steps," if falls else text.name
    slip = ", which is what the tutorial did with them" if text is published.TUTORIAL else ""
    told = PROTOCOL.format(whose=whose, slip=slip, **settings)
    return [told, table(["optimiser", "as it was made"], "ll", [[name, f"`{rule}`"] for name, rule in rules.items()])]


def _made(found: Table, command: str) -> str:
    results = found.results
    events = [event for r in results for event in r.events]
    when = ""
    if events:
        machines = "; ".join(dict.fromkeys(map(machine.hardware, events)))
        spent = duration(sum(e["seconds"] for r in results for e in r.history))
        devices = " and ".join(dict.fromkeys(f"the {r.settings['device'].upper()}" for r in results))
        when = (
            f"Trained {machine.days(events)}: {len(results):,} runs, {spent} of training in all without the tests, on "
            f"{devices} of {machines}. Versions: {machine.software(events)}. "
        )
    return (
        f"{when}Every epoch of every run stands in [epochs.csv](epochs.csv); the figures are in `figures`, as SVG, too."
        f"\n\n```sh\n{command}\n```"
    )


# What came of it


def _results(c: Comparison, drawn: dict[str, figures.Figure]) -> list[str]:
    names = [f"{c.model}-{part}" for part in [*(measure.replace("_", "-") for measure in figures.CURVES), "time"]]
    return [f"## {c.title[0].upper()}{c.title[1:]} after {_epochs_of(c)}", _table(c), _key(c), *_figures(names, drawn)]


def _epochs_of(c: Comparison) -> str:
    return f"{c.epoch} epoch{'s' * (c.epoch != 1)}"


def _table(c: Comparison) -> str:
    """The tutorial's table: a row for each optimiser."""
    best = {measure: c.ranked(measure)[0] for measure in MEASURES}
    rows = []
    for name in c.ranked("test_accuracy"):
        cells = [_bold(c.text(name, measure), best[measure] == name) for measure in MEASURES]
        seconds = c.seconds(name)
        time = "–" if math.isnan(seconds) else duration(seconds)
        rows.append([name, *cells, *[time] * c.timed, size(c.compared(name)[0].state)])
    header = ["optimiser", *MEASURES.values(), *["time an epoch"] * c.timed, "state"]
    return table(header, "l" + "r" * (len(header) - 1), rows)


def _bold(text: str, best: bool) -> str:
    return f"**{text}**" if best else text


def _key(c: Comparison) -> str:
    deviation = f" ± is the standard deviation over {number(len(c.seeds))} seeds." if len(c.seeds) > 1 else ""
    parameters = c.results[0].parameters
    time = TIME if c.timed else NO_TIME.format(times=c.unevenness)
    return KEY.format(deviation=deviation, parameters=parameters, size=size(4 * parameters), time=time)


def size(count: int) -> str:
    """Bytes in words.

    >>> size(40), size(2_000_000)
    ('40 B', '1.91 MiB')
    """
    for unit, length in {"MiB": 2**20, "KiB": 2**10}.items():
        if count >= length:
            return f"{count / length:.3g} {unit}"
    return f"{count} B"


def _figures(names: Sequence[str], drawn: dict[str, figures.Figure]) -> list[str]:
    """Those that were drawn, beside each other where there is room, and what is to be said of them once."""
    some = [drawn[name] for name in names if name in drawn]
    pictures = "\n".join(f"![{f.title}](figures/{f.name}.png)" for f in some)
    captions = " ".join(dict.fromkeys(sentence for f in some for sentence in re.split(r"(?<=\.) ", f.caption)))
    return [part for part in (pictures, captions.strip()) if part]


# Padam's grid, and published figures


def _grid(c: Comparison, drawn: dict[str, figures.Figure]) -> list[str]:
    cells = grid_cells(c)
    begun = {key: name for key, name in cells.items() if name in c.runs}
    best = c.ranked("test_accuracy", begun.values())[0]
    rates = sorted({rate for _, rate in cells})
    rows = []
    for power in sorted({p for p, _ in cells}):
        names = [begun.get((power, rate)) for rate in rates]
        rows.append([f"p = {power}", *[_bold(c.text(n, "test_accuracy"), n == best) if n else "–" for n in names]])
    header = ["", *[f"η = {rate:g}" for rate in rates]]
    return [
        f"## Padam's power and learning rate, {c.title} after {_epochs_of(c)}",
        _pairs(c, best),
        *_figures(["grid"], drawn),
        table(header, "l" + "r" * len(rates), rows),
    ]


def _pairs(c: Comparison, best: str) -> str:
    """What can be said of the grid, whatever it is."""
    cells = grid_cells(c)
    tried = sorted({p for (p, _), name in cells.items() if name in c.runs})
    rates = {p: claims.best_rate(c, p) for p in tried}
    every = [rate for _, rate in cells]
    edges = [f"p = {p}" for p, rate in rates.items() if rate in (min(every), max(every))]
    words = [
        "The smaller p, the less a step is divided by: p = 1/2 would be AMSGrad, p = 0 descent with momentum.",
        f"The best pair is {best.removeprefix('Padam ')}, with {shown(c, best, 'test_accuracy')} of the test images.",
        f"The best rate of each power: {', '.join(f'p = {p}: {rate:g}' for p, rate in rates.items())}.",
    ]
    if edges:
        words.append(f"At the edge of what was tried, so that a rate beyond may be better: {', '.join(edges)}.")
    if claims.FALLING in c.runs:
        falling = shown(c, claims.FALLING, "test_accuracy")
        words.append(f"With p falling and the rate rising over the run: {falling}.")
    return " ".join(words)


def _published(found: Table) -> list[str]:
    parts = [_beside(some, found.contest(some.model)) for some in (published.WIDE_RESNET, *published.OTHERS)]
    key = "Accuracies on the test images in percent: theirs / ours at the same epoch (the difference); – where ours "
    return ["## Published figures and ours", key + "hasn't come so far, or takes no part.", *parts]


def _beside(theirs: published.Figures, ours: Comparison | None) -> str:
    """The published accuracies of a model, with ours after as many epochs where they were run."""
    epochs = sorted({epoch for row in theirs.percent.values() for epoch in row})
    rows = [
        [name, *[_both(row[epoch], name, epoch, ours) if epoch in row else "" for epoch in epochs]]
        for name, row in theirs.percent.items()
    ]
    header = ["optimiser", *[f"epoch {epoch}" for epoch in epochs]]
    return f"### {title(theirs.model)}: {theirs.source}\n\n" + table(header, "l" + "r" * len(epochs), rows)


def _both(theirs: float, name: str, epoch: int, ours: Comparison | None) -> str:
    if ours is None or name not in ours.runs or ours.epoch < epoch:
        return f"{theirs:.2f} / –"
    mean = ours.mean(name, "test_accuracy", epoch).mean
    difference = "" if math.isnan(mean) else f" ({mean - theirs:+.2f})".replace("-", "−")
    return f"{theirs:.2f} / {ours.text(name, 'test_accuracy', epoch)}{difference}"


def _epochs(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Every epoch of every run; "total_seconds" is the training up to its end."""
    rows = []
    for r in results:
        total = 0.0
        for i, measured in enumerate(r.history, 1):
            total += measured["seconds"]
            told = {"model": r.model, "optimiser": r.entry, "seed": r.seed, "epoch": i}
            rows.append({**told, **{k: f"{x:.6g}" for k, x in measured.items()}, "total_seconds": f"{total:.6g}"})
    return rows

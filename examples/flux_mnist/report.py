"""The report: one text in Markdown, and a page of HTML made of it that holds its figures in itself."""

import math
from pathlib import Path
from typing import Any

from examples.common import machine, markdown
from examples.common.checks import FAILS, NOT_RUN, SIGNS, Conclusion, overview
from examples.common.files import write
from examples.common.markdown import csv_text, duration
from examples.common.page import page

from . import claims, figures
from .claims import compared, percent
from .grid import ETA, MODELS, OPTIMISERS, PRESETS, VARIANTS
from .table import KINDS, Cell, Claimed, Table, article

VARIANT = {"batch": "Batch gradient descent", "stochastic": "Stochastic gradient descent", "minibatch": "Mini-batches"}

_KEY = """\
The difference is ours less the articles', where these give a figure; where they give a bound, it is how far ours lies
outside of it, and 0 if it doesn't. The time is that of training alone, the mean over the seeds."""


def report(table: Table, folder: Path) -> list[Conclusion]:
    """Write report.html, report.md, accuracies.csv and the figures into a folder.

    Returns: the articles' conclusions with the verdicts, as they stand in the report.
    """
    drawn = figures.draw(table, folder / "figures")
    conclusions = claims.conclusions(table)
    text = "\n\n".join(
        [
            "# Flux.jl on MNIST, repeated with tinyflux",
            _introduction(table),
            "## The articles' conclusions",
            _verdicts(conclusions),
            *[conclusion.markdown for conclusion in conclusions],
            "## The articles' figures and ours",
            _beside(table),
            "## Accuracies at the checkpoints",
            _KEY,
            *[_accuracies(table, variant, model) for variant in VARIANTS for model in MODELS],
            *(["### Runs that ended early", *table.diverged] if table.diverged else []),
            "## Figures",
            *[f"### {f.title}\n\n![{f.title}](figures/{f.name}.png)\n\n{f.caption}" for f in drawn],
            "## Settings",
            _settings(table),
            "## How it was made",
            _made(table),
        ]
    )
    write(folder / "report.md", text + "\n")
    write(folder / "accuracies.csv", csv_text(_rows(table)))
    write(folder / "report.html", page(text, folder))
    return conclusions


def _introduction(table: Table) -> str:
    seeds = {len(table.seeds(kind)) for kind in table.cells}
    counts = f"{min(seeds)} to {max(seeds)} seeds each" if len(seeds) > 1 else f"{max(seeds)} seeds each"
    counts = "one seed each" if seeds == {1} else counts
    missing = len(KINDS) - len(table.cells)
    gap = f" {missing} of the 18 trainings were not run." if missing else ""
    return (
        "Three small networks learn to read handwritten digits by three variants of gradient descent and two "
        'optimisers: 18 trainings, after the three articles "Flux.jl on MNIST" (R. Schätzle, 2022). The figures of the '
        "third one, *What about ADAM?*, stand beside ours, and its conclusions are held against our data. "
        f"Here are {len(table.cells)} trainings with {counts}, {len(table.settings)} runs in all, on "
        f"{_images(table)}.{gap} An iteration is one update of the parameters; accuracies are in percent of the test "
        "images, differences in percentage points, ± is the standard deviation over the seeds. Learning rates and "
        "batch size are the same for all models: nothing was tuned to come closer to the articles."
    )


def _images(table: Table) -> str:
    return {"mnist": "MNIST", "digits": "**scikit-learn's small digits, not MNIST**"}[table.setting["dataset"]]


def _verdicts(conclusions: list[Conclusion]) -> str:
    hint = "\n\nWhat is not run needs more iterations, or other trainings: `python -m examples.flux_mnist article`."
    missing = any(c.verdict == NOT_RUN for c in conclusions)
    return overview(conclusions) + hint * missing


def _beside(table: Table) -> str:
    rows = []
    for claimed in article():
        cell = table.cells.get(claimed.kind, {}).get(claimed.iterations)
        difference, verdict = compared(claimed, cell)
        ours = percent(cell) if cell else ""
        seeds = str(len(cell.accuracies)) if cell else ""
        rows.append(
            [*claimed.kind, f"{claimed.iterations:,}", _theirs(claimed), ours, seeds, difference, SIGNS[verdict]]
        )
    header = ["model", "variant", "optimiser", "iterations", "article", "ours", "seeds", "difference", "bound"]
    return markdown.table(header, "lllrrrrrl", rows) + "\n\n" + _summed_up(table)


def _summed_up(table: Table) -> str:
    """How near our figures come, and where they don't: computed, like all else."""
    run = [(c, table.cells.get(c.kind, {}).get(c.iterations)) for c in article()]
    known = [(c, cell) for c, cell in run if cell is not None]
    far = [(c, cell) for c, cell in known if _far(c, cell)]
    lines = [f"- {_apart(c, cell)}" for c, cell in far]
    text = f"{len(known)} of the articles' {len(run)} figures were run. "
    if not far:
        return text + "None of ours is more than one percentage point away, or outside of a bound."
    text += f"{len(known) - len(far)} of ours are within one percentage point, or within the bound. The others stand "
    text += "below; the articles don't tell their learning rates, the size of their mini-batches and their seeds."
    return text + "\n\n" + "\n".join(lines)


def _far(claimed: Claimed, cell: Cell) -> bool:
    """Whether a figure is more than a percentage point away, or outside of the bound."""
    if claimed.relation == "=":
        return abs(cell.accuracy - claimed.percent) > 1
    return compared(claimed, cell)[1] == FAILS


def _apart(claimed: Claimed, cell: Cell) -> str:
    """How a figure differs."""
    low, high = min(cell.accuracies), max(cell.accuracies)
    words = f"{' '.join(claimed.kind)} at {claimed.iterations:,}: {percent(cell)}, the article {_theirs(claimed)}"
    among = claimed.relation == "=" and low <= claimed.percent <= high
    return words + f"; its figure lies among our seeds' ({low:.2f} to {high:.2f})" * among


def _theirs(claimed: Claimed) -> str:
    return ("" if claimed.relation == "=" else f"{claimed.relation} ") + f"{claimed.percent:g} %"


def _accuracies(table: Table, variant: str, model: str) -> str:
    """The table of a model and a variant: the optimisers side by side, a row for each checkpoint."""
    kinds = [(model, variant, rule) for rule in OPTIMISERS]
    iterations = sorted({i for kind in kinds for i in table.cells.get(kind, ())})
    title = f"### {VARIANT[variant]}: {model}"
    if not iterations:
        return f"{title}\n\n– not run"
    figures = {(c.kind, c.iterations): c for c in article()}
    rows = []
    for i in iterations:
        row = [f"{i:,}"]
        for kind in kinds:
            row += _entries(table.cells.get(kind, {}).get(i), figures.get((kind, i)))
        rows.append(row)
    columns = ("", " article", " difference", " time")
    header = ["iterations", *[rule + column for rule in OPTIMISERS for column in columns]]
    return f"{title}\n\n" + markdown.table(header, "r" * len(header), rows)


def _entries(cell: Cell | None, claimed: Claimed | None) -> list[str]:
    """Accuracy, the articles' figure, the difference, and the time."""
    if cell is None:
        return ["", _theirs(claimed) if claimed else "", "", ""]
    difference = (compared(claimed, cell)[0] or "0") if claimed else ""
    return [percent(cell), _theirs(claimed) if claimed else "", difference, duration(cell.time)]


def _settings(table: Table) -> str:
    rows = [
        ["models", "784-16-16-16-10 (4LS), 784-60-60-10 (3LS), 784-32-10 (2LR)", "known, by a transcription"],
        ["activations", "sigmoid in all layers (4LS, 3LS); relu, then softmax (2LR)", "known, by a transcription"],
        ["losses", "mse over all ten outputs (4LS, 3LS), crossentropy (2LR)", "inferred from the curves' plateaus"],
        ["first parameters", "Glorot-uniform weights, biases of zero", "known: Flux's defaults"],
        ["images", "pixels from 0 to 1 in float32, labels one-hot", "known"],
        ["optimisers", "Descent; ADAM with β = (0.9, 0.999), ε = 1e-8", "known: Flux's defaults"],
        ["learning rates", ", ".join(f"{rule} {eta}" for rule, eta in ETA.items()), "inferred from the figures"],
        ["images in a mini-batch", f"{table.batchsize or 'none were run'}", "not known; ours is a usual number"],
        ["order of the images", "shuffled passes, each image once in a pass", "not known"],
        ["iterations in the articles", _iterations(PRESETS["article"].iterations), "known"],
        ["iterations here, at most", _iterations(_furthest(table)), "ours"],
        ["seeds", _seeds(table), "ours; the articles show single runs"],
    ]
    return markdown.table(["setting", "value", "known or inferred"], "lll", rows)


def _iterations(numbers: dict[str, int]) -> str:
    return ", ".join(f"{variant} {number:,}" for variant, number in numbers.items())


def _furthest(table: Table) -> dict[str, int]:
    """The furthest checkpoint of each variant that was run."""
    return {
        variant: max(i for kind, cells in table.cells.items() for i in cells if kind[1] == variant)
        for variant in VARIANTS
        if any(kind[1] == variant for kind in table.cells)
    }


def _seeds(table: Table) -> str:
    """The seeds, with what was trained with them."""
    found: dict[str, list[str]] = {}
    for kind in table.cells:
        seeds = ", ".join(map(str, table.seeds(kind)))
        found.setdefault(seeds, []).append(" ".join(kind[:2]))
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(f"{seeds} ({', '.join(dict.fromkeys(kinds))})" for seeds, kinds in found.items())


def _made(table: Table) -> str:
    runs = list(table.settings.values())
    begun = [run["begun"] for run in runs]
    machines = "; ".join(dict.fromkeys(_machine(run) for run in runs))
    command = f"python -m examples.flux_mnist article --dataset {table.setting['dataset']}"
    spent = duration(sum(table.seconds.values()))
    return (
        f"Trained {machine.days(begun)}, {spent} of training in all, on {machines}. Versions: "
        f"{machine.software(begun)}. The images' SHA-256 is `{table.setting['data_sha256'][:16]}…`. This trains what "
        f"the articles train, each with one to three seeds:\n\n```sh\n{command}\n```"
    )


def _machine(run: dict[str, Any]) -> str:
    held = f"each run as {run['step']} on {run['threads']} thread{'s' * (run['threads'] != 1)}"
    return f"{machine.hardware(run['begun'])}, {held}"


def _rows(table: Table) -> list[dict[str, str | int]]:
    """All checkpoints of all kinds."""
    return [
        dict(zip(("model", "variant", "optimiser"), kind)) | {"iterations": i} | _numbers(cell)
        for kind, cells in table.cells.items()
        for i, cell in cells.items()
    ]


def _numbers(cell: Cell) -> dict[str, str]:
    return {
        "seeds": f"{len(cell.accuracies)}",
        "accuracy_percent": f"{cell.accuracy:.4f}",
        "standard_deviation": "" if math.isnan(cell.spread) else f"{cell.spread:.4f}",
        "lowest": f"{min(cell.accuracies):.2f}",
        "highest": f"{max(cell.accuracies):.2f}",
        "seconds": f"{cell.time:.6g}",
        "mean_loss_of_last_100": f"{sum(cell.losses) / len(cell.losses):.6g}",
    }

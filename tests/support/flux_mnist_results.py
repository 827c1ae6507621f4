"""Results of examples/flux_mnist made up for tests: what runs would have left, without a training."""

import itertools
import json

import numpy as np

import tinyflux as flux
from examples.common import models
from examples.common.folder import Folder
from examples.flux_mnist import grid
from examples.flux_mnist.state import State
from examples.flux_mnist.table import Table

BEGUN = {
    "time": "2026-11-21T10:00:00+00:00",
    "versions": {"python": "3.11.7", "numpy": "2.4.6"},
    "machine": {"processor": "Some processor", "cores": 2, "memory_gib": 24, "system": "Linux"},
}

# Accuracies in percent with which every conclusion of the articles holds: at 500 iterations and, from there, later.
AGREEING = {
    ("4LS", "batch", "Descent"): {500: 11.35, 1_000: 11.35, 4_000: 15},
    ("4LS", "batch", "ADAM"): {500: 74.16, 1_000: 91.5, 4_000: 93},
    ("3LS", "batch", "Descent"): {500: 19, 1_000: 30, 4_000: 60},
    ("3LS", "batch", "ADAM"): {500: 95.66, 1_000: 96.1, 4_000: 96.2},
    ("2LR", "batch", "Descent"): {500: 91, 2_000: 95.5, 4_000: 96.25},
    ("2LR", "batch", "ADAM"): {500: 96.5, 1_000: 96.1, 4_000: 96},
    ("4LS", "stochastic", "Descent"): {500: 11, 2_048_000: 94.16},
    ("4LS", "stochastic", "ADAM"): {500: 25, 2_048_000: 92.12},
    ("3LS", "stochastic", "Descent"): {500: 20, 2_048_000: 97.64},
    ("3LS", "stochastic", "ADAM"): {500: 60, 2_048_000: 93.73},
    ("2LR", "stochastic", "Descent"): {500: 15, 2_048_000: 10},
    ("2LR", "stochastic", "ADAM"): {500: 75, 512_000: 87.5, 2_048_000: 85},
    ("4LS", "minibatch", "Descent"): {500: 11.35, 2_048_000: 94.49},
    ("4LS", "minibatch", "ADAM"): {500: 92.46, 2_048_000: 93.28},
    ("3LS", "minibatch", "Descent"): {500: 13, 2_048_000: 97.68},
    ("3LS", "minibatch", "ADAM"): {500: 94.47, 2_048_000: 96.17},
    ("2LR", "minibatch", "Descent"): {500: 91, 2_048_000: 97.0},
    ("2LR", "minibatch", "ADAM"): {500: 95, 2_048_000: 91.33},
}


def leave(results, kind, percents, seed=0, seconds=0.001, curve=None, **settings):
    """Write what a run of a kind would have left: accuracies by iteration, `seconds` an iteration, and its curve."""
    batchsize = settings.get("batchsize", grid.BATCHSIZE) if kind[1] == "minibatch" else None
    folder = Folder(results, grid.Run(*kind, seed, batchsize))
    folder.path.mkdir(parents=True)
    fixed = {**folder.run._asdict(), "dataset": "mnist", "data_sha256": "0123456789abcdef" * 4}
    fixed |= {"eta": grid.ETA[kind[2]], "step": "native code", "threads": 1, "begun": BEGUN, **settings}
    folder.begin(fixed)
    for iteration, percent in percents.items():
        time = {"seconds": seconds * iteration}
        losses = {"loss": 1 / iteration, "mean_loss": 2 / iteration}
        folder.append({"iteration": iteration, "accuracy": percent / 100, **losses, **time})
    if curve is not None:
        state = State(folder, models.build(kind[0]))
        state.curve.add(np.asarray(curve, np.float64))
        state.save(flux.setup(flux.Descent(), state.model))
    return folder


def table(results, percents=AGREEING, **changes):
    """A table of results in which each kind was trained with one seed."""
    for kind, some in percents.items():
        leave(results, kind, some, **changes)
    return Table(results)


def changed(kind, **percents):
    """The agreeing results with other accuracies for one kind, given as at_500=…; None takes one out."""
    some = dict(AGREEING[kind])
    for name, percent in percents.items():
        some[int(name.removeprefix("at_"))] = percent
    kept = {i: percent for i, percent in sorted(some.items()) if percent is not None}
    return {**AGREEING, kind: kept}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def all_kinds():
    return list(itertools.product(grid.MODELS, grid.VARIANTS, grid.OPTIMISERS))

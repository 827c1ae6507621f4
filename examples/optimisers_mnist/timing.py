"""The time of a step of each rule: in a process of its own, the rules by turns, when the trainings are done."""

import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import tinyflux as flux
from examples.common import datasets, workers
from examples.common.command import Refused
from examples.common.files import write
from examples.common.process import ROOT, runner
from examples.common.signals import Stopped

from .contest import ENTRIES
from .training import build, orders, split, stepper

ROUNDS = 200  # of which the fastest counts: in the others the machine had more else to do
ITERATIONS = 10  # of a rule in a round


def times(results: Path, dataset: str, rules: list[str]) -> dict[str, float]:
    """Microseconds of gradient and update, by rule; what was measured before is taken from the folder of results."""
    file = results / "times.json"
    known = _known(file)
    if not known.keys() >= set(rules):
        argument = json.dumps({"dataset": dataset, "rules": rules, "file": str(file.resolve())})
        code, words = runner()(str(ROOT), __name__, argument, 1)
        if code != workers.DONE:
            raise Refused(f"the time of the steps could not be measured: {words}")
        known = _known(file)
    return known


def _known(file: Path) -> dict[str, float]:
    """What was measured; Refused where it is damaged."""
    try:
        known = dict(json.loads(file.read_text(encoding="utf-8")))
        if not all(isinstance(time, float) and 0 < time < math.inf for time in known.values()):
            raise ValueError("not all are times")
    except FileNotFoundError:
        return {}
    except (TypeError, ValueError) as error:
        raise Refused(f"{file} is damaged ({error}); remove it, and the times are measured anew") from error
    return known


def measure(dataset: str, rules: list[str], stop: Callable[[], bool]) -> dict[str, float]:
    """Microseconds of a step of each rule, with the middle one of its values."""
    data = split(datasets.load(dataset))
    order = orders(0, len(data.train.labels), ITERATIONS)
    steps = {}
    for name in rules:
        entry, model = ENTRIES[name], build()
        rule = entry.rule(sorted(entry.values)[len(entry.values) // 2], ITERATIONS * (ROUNDS + 1))
        _, steps[name] = stepper(model, flux.setup(rule, model), data.train)
    fastest = dict.fromkeys(rules, np.inf)
    for _ in range(ROUNDS):
        for name, step in steps.items():
            start = time.perf_counter()
            step(order)
            fastest[name] = min(fastest[name], time.perf_counter() - start)
        if stop():
            raise Stopped("stopped while the time of the steps was measured")
    return {name: 1e6 * seconds / ITERATIONS for name, seconds in fastest.items()}


def main(parent: str, argument: str) -> int:
    """The process that measures."""
    asked = json.loads(argument)

    def work(stop: Callable[[], bool]) -> None:
        write(Path(asked["file"]), json.dumps(measure(asked["dataset"], asked["rules"], stop), indent=1) + "\n")

    return workers.serve(parent, work)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

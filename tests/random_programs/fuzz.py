"""A run over many random programs: draw, check, compile in groups, and shrink what fails."""

import collections
from dataclasses import dataclass, field, replace

import numpy as np

from tests.random_programs.comparisons import Checked, Failure, Skip, compare_compiled, quietly
from tests.random_programs.drawing import NAMES, drawn
from tests.random_programs.recipes import chosen

TOGETHER = 24  # programs compiled as one: compilers take more than twice the time for a function twice as long


@dataclass
class Report:
    """What came of a run.

    Attributes:
        counts: how many programs were drawn, agreed eagerly, agreed compiled; and the failures and skips by kind.
        failures: programs, as small as they could be made, and their failures.
    """

    counts: collections.Counter = field(default_factory=collections.Counter)
    failures: list = field(default_factory=list)

    def __str__(self):
        return ", ".join(f"{count:,} {what}" for what, count in self.counts.items())


def run(count, seed=0, native=True, tell=lambda program, failure: None, shrink=True, first=0):
    """Draw programs and check them.

    Arguments:
        count: how many.
        seed: program k of a seed is the same whatever the count, as long as the recipes and `native` are.
        native: whether to compile them, too.
        tell: called with each program that fails, and its failure.
        shrink: whether failing programs are made smaller first.
        first: the number of the first program.
    """
    report, recipes = Report(), chosen(native)

    def failed(program, failure):
        report.counts[f"FAILED ({failure.kind})"] += 1
        if shrink:
            program, failure = shrunk(program, failure)
        report.failures.append((program, failure))
        tell(program, failure)

    waiting = []
    for k in range(first, first + count):
        program = drawn(np.random.default_rng((seed, k)), recipes)
        report.counts["programs"] += 1
        try:
            waiting.append(Checked(program))
        except Skip as reason:
            report.counts[f"skipped ({str(reason).partition(':')[0]})"] += 1
        except Failure as failure:
            failed(program, failure)
        else:
            report.counts["agree eagerly"] += 1
        if native and waiting and (len(waiting) == TOGETHER or k == first + count - 1):
            for checked, outcome in zip(waiting, compare_compiled(waiting)):
                if outcome is None:
                    report.counts["agree compiled"] += 1
                elif isinstance(outcome, Skip):
                    report.counts["not compilable"] += 1
                    report.counts[f"  by {str(outcome)[:90]}"] += 1
                else:
                    failed(checked.program, outcome)
            waiting = []
    return report


def failure_of(program, native):
    """The failure of one program, or None."""
    try:
        checked = Checked(program)
    except Skip:
        return None
    except Failure as failure:
        return failure
    outcome = compare_compiled([checked])[0] if native else None
    return outcome if isinstance(outcome, Failure) else None


def shrunk(program, failure):
    """A smaller program that fails in the same way: of fewer statements, their arguments given as inputs."""
    native = failure.kind.startswith("compiled")
    found = True
    while found:
        found = False
        for smaller in _smaller(program):
            now = failure_of(smaller, native)
            if now is not None and now.kind == failure.kind:
                program, failure, found = smaller, now, True
                break
    return program, failure


def _smaller(program):
    """Programs with one output, and with a result given in the place of what it is calculated from."""
    for name in program.outputs if len(program.outputs) > 1 else ():
        yield _needed(replace(program, outputs=[name]))
    values = dict(program.inputs)
    for name, text in program.lines.items():
        values[name] = np.asarray(quietly(eval, text, dict(NAMES), values))
    for name in reversed(program.lines):
        if name not in program.outputs:
            lines = {left: text for left, text in program.lines.items() if left != name}
            yield _needed(replace(program, inputs=program.inputs | {name: values[name]}, lines=lines))


def _needed(program):
    """Without statements and inputs that lead to no output."""
    wanted, lines = set(program.outputs), {}
    for name, text in reversed(program.lines.items()):
        if name in wanted:
            lines[name] = text
            wanted |= set(compile(text, name, "eval").co_names) | _names_inside(text)
    inputs = {name: x for name, x in program.inputs.items() if name in wanted}
    return replace(program, inputs=inputs, lines=dict(reversed(lines.items())))


def _names_inside(text):
    """Names in an expression, those in functions and comprehensions among them."""
    todo, names = [compile(text, "statement", "eval")], set()
    while todo:
        code = todo.pop()
        names |= set(code.co_names)
        todo += [constant for constant in code.co_consts if hasattr(constant, "co_names")]
    return names

"""What is compared of a random program: values, gradients, and both compiled.

The eager value is what NumPy alone makes of the program; the gradient is that of finite differences; what is compiled
gives what is eager. How far apart two results may lie follows from how much the results change when the last bits of
the inputs do.
"""

import warnings
from dataclasses import dataclass

import numpy as np

import tinyflux as flux
from tests.random_programs.drawing import EXACT, Program

STEP = 1e-5  # of finite differences


class Skip(Exception):
    """Nothing can be said about a program, for the reason that it has for its text."""


@dataclass
class Failure(Exception):
    """Two results differ.

    Attributes:
        kind: which ones: "value", "gradient", "compiled value" …
        what: how.
    """

    kind: str
    what: str

    def __str__(self):
        return f"{self.kind}: {self.what}"


def floats(inputs):
    return [name for name, x in inputs.items() if x.dtype.kind == "f"]


def weighted(outputs):
    """A scalar from what a program returns."""
    total = 0.0
    for y in outputs:
        if y.dtype.kind == "f":
            total = total + np.sum(np.cos(np.arange(y.size, dtype=float)).reshape(y.shape).astype(y.dtype) * y)
    return total


def results(f, *arguments):
    """The values of a program, and its gradients with respect to the arguments of real numbers.

    Arguments:
        f: the program as a function.
        arguments: the arrays.
    """
    varied = [i for i, x in enumerate(arguments) if x.dtype.kind == "f"]
    if not varied:
        return f(*arguments), ()

    def loss(*values):
        given = list(arguments)
        for i, x in zip(varied, values):
            given[i] = x
        outputs = f(*given)
        return weighted(outputs), outputs

    (_, outputs), gradients = flux.withgradient(loss, *[arguments[i] for i in varied])
    return outputs, gradients if len(varied) > 1 else (gradients,)


def quietly(f, *args):
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return f(*args)


class Checked:
    """A program, its eager results after they were checked, and how exact they are.

    Errors: Failure, Skip.
    """

    def __init__(self, program: Program):
        self.program = program
        self.arguments = list(program.inputs.values())
        f = program.function()
        self.plain = quietly(f, *self.arguments)
        try:
            self.outputs, self.gradients = quietly(results, f, *self.arguments)
        except Exception as error:
            raise Failure("error", f"{type(error).__name__}: {error}") from error
        self.epsilon = self._epsilon()
        self.margins = self._margins(f)
        self._compare_values()
        self._compare_gradients()

    def _epsilon(self):
        single = "f4" in self.program.text() or any(x.dtype == np.float32 for x in self.arguments)
        return float(np.finfo(np.float32 if single else np.float64).eps)

    def _margins(self, f):
        """By how much each result may differ, from how it answers to changes in the last bits of the inputs."""
        changes = [0.0] * (len(self.outputs) + len(self.gradients))
        now = [*self.plain, *self.gradients]
        for seed in (1, 2):
            rng = np.random.default_rng(seed)
            moved = [
                (x * (1 + 4 * self.epsilon * rng.uniform(-1, 1, x.shape))).astype(x.dtype) if x.dtype.kind == "f" else x
                for x in self.arguments
            ]
            try:
                outputs, gradients = quietly(results, f, *moved)
            except Exception as error:
                raise Skip(f"close to an error: {error}") from error
            for k, (a, b) in enumerate(zip(now, [*outputs, *gradients])):
                if a is not None and b is not None:
                    if np.shape(a) != np.shape(b):
                        raise Skip("its shapes depend on the last bits")
                    changes[k] = max(changes[k], _distance(a, b))
        margins = []
        for y, change in zip(now, changes):
            scale = 1 + _largest(y)
            if not change < 1e-3 * scale:
                raise Skip("it depends on the last bits")
            margins.append(50 * change + 300 * self.epsilon * scale)
        return margins

    def _compare_values(self):
        compare("value", self.outputs, self.plain, self.margins[: len(self.plain)])

    def _compare_gradients(self):
        for name, g in zip(floats(self.program.inputs), self.gradients):
            x = self.program.inputs[name]
            if g is not None and (g.shape != x.shape or g.dtype != x.dtype):
                raise Failure("gradient", f"of {name}, {x.dtype}{x.shape}, is {g.dtype}{g.shape}")
        f = self.program.function(EXACT)
        exact = [x.astype(np.float64) if x.dtype.kind == "f" else x for x in self.arguments]
        gradients = self.gradients
        if self.epsilon > 1e-10:
            try:
                gradients = quietly(results, f, *exact)[1]
            except Exception as error:
                raise Failure("error", f"in float64, {type(error).__name__}: {error}") from error
        self._compare_with_differences(f, exact, gradients)
        for name, g, e, margin in zip(
            floats(self.program.inputs), self.gradients, gradients, self.margins[len(self.plain) :]
        ):
            if (g is None) != (e is None):
                raise Failure("gradient", f"of {name} is {g} in one dtype and {e} in float64")
            if g is not None and _distance(g, e) > 20 * margin:
                raise Failure("gradient", f"of {name} is {g!r}, and {e!r} in float64")

    def _compare_with_differences(self, f, arguments, gradients):
        rng = np.random.default_rng(0)
        directions = [rng.uniform(-1, 1, x.shape) if x.dtype.kind == "f" else None for x in arguments]

        def along(t):
            moved = [x if d is None else x + t * d for x, d in zip(arguments, directions)]
            return float(weighted(quietly(f, *moved)))

        try:
            here = along(0.0)
            ahead, behind = along(STEP), along(-STEP)
            further = (along(2 * STEP) - along(-2 * STEP)) / (4 * STEP)
        except Exception as error:
            raise Skip(f"close to an error: {error}") from error
        slope, right, left = (ahead - behind) / (2 * STEP), (ahead - here) / STEP, (here - behind) / STEP
        varied = [d for d in directions if d is not None]
        scale = 1 + abs(here) + sum(float(np.sum(np.abs(d * g))) for d, g in zip(varied, gradients) if g is not None)
        scale = scale if np.isfinite(scale) else 1 + abs(here) + abs(slope)
        if not (abs(slope - further) < 1e-6 * scale and abs(right - left) < 1e-2 * scale):
            raise Skip("a kink, or too steep")
        found = sum(float(np.sum(d * g)) for d, g in zip(varied, gradients) if g is not None)
        if not abs(found - slope) <= 1e-6 * scale + 10 * abs(slope - further):
            raise Failure("gradient", f"{found:.10g} along a direction, by finite differences {slope:.10g}")


def compare(kind, got, expected, margins):
    """Dtypes and shapes are the same, and numbers up to a margin; else Failure."""
    for k, (g, e, margin) in enumerate(zip(got, expected, margins, strict=True)):
        if (g is None) != (e is None):
            raise Failure(kind, f"{k} is {g!r}, expected {e!r}")
        if e is None:
            continue
        g, e = np.asarray(g), np.asarray(e)
        if g.shape != e.shape or g.dtype != e.dtype:
            raise Failure(kind, f"{k} is {g.dtype}{g.shape}, expected {e.dtype}{e.shape}")
        if not _distance(g, e) <= (margin if e.dtype.kind == "f" else 0):
            raise Failure(kind, f"{k} is {g!r}, expected {e!r}")


def _distance(a, b):
    """The largest difference; where both are the same infinity, or both are NaN, there is none."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    with np.errstate(invalid="ignore"):
        different = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0, np.abs(a - b))
    return float(np.max(np.where(np.isnan(different), np.inf, different), initial=0))


def _largest(x):
    return 0.0 if x is None else float(np.max(np.abs(np.asarray(x, float)), initial=0))


# Compiled.


def compare_compiled(checked):
    """Compile some programs and their gradients as one function, and compare with what is eager.

    Arguments:
        checked: Checked programs.

    Returns: for each of them None, a Failure, or a Skip where it can't be compiled.
    """
    functions = [c.program.function() for c in checked]

    def all_of(arguments):
        outcome = []
        for f, own in zip(functions, arguments):
            try:
                outcome.append((f(*own), results(f, *own)))
            except flux.NotCompilable as error:
                outcome.append(f"not compilable: {error}")
            except Exception as error:
                outcome.append(f"{type(error).__name__}: {error}")
        return outcome

    try:
        outcomes = quietly(flux.compile(all_of), [c.arguments for c in checked])
    except Exception as error:
        if len(checked) == 1:
            skip = isinstance(error, flux.NotCompilable)
            return [
                Skip(f"not compilable: {error}") if skip else Failure("compiled", f"{type(error).__name__}: {error}")
            ]
        half = len(checked) // 2
        return compare_compiled(checked[:half]) + compare_compiled(checked[half:])
    return [_compared(c, outcome) for c, outcome in zip(checked, outcomes)]


def _compared(checked, outcome):
    """What there is to say of one program whose compiled results are `outcome`, or the text of an error."""
    if isinstance(outcome, str):
        return Skip(outcome) if outcome.startswith("not compilable") else Failure("compiled", outcome)
    plain, (outputs, gradients) = outcome
    own = len(checked.plain)
    try:
        compare("compiled value", plain, checked.plain, checked.margins[:own])
        compare("compiled value beside the gradient", outputs, checked.plain, checked.margins[:own])
        compare("compiled gradient", gradients, checked.gradients, checked.margins[own:])
    except Failure as failure:
        return failure
    return None

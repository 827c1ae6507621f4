"""What a test of a rule is: a function as users write it, and the shapes and range of its arguments."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import tinyflux as flux
from tinyflux.autodiff import tape
from tinyflux.autodiff.rules import special as _special  # noqa: F401  (fills the table)

# The table as it is before any test adds to it; the rules of nn are tested with nn.
RULES = {f: r for f, r in tape.rules.items() if "tinyflux.nn" not in str(getattr(f, "__module__", ""))}


@dataclass(frozen=True)
class Case:
    """A function of arrays, smooth where it is tried.

    `shapes` has a word for each argument: a letter for each axis, of a size that is drawn; digits are sizes, "."
    is 0-d.
    """

    name: str
    f: Callable
    shapes: str
    low: float = -2
    high: float = 2
    least: int = 0  # the smallest size with which NumPy itself works, or the function is smooth

    def arguments(self, sizes, seed):
        rng = np.random.default_rng(seed)
        sizes = {letter: max(size, self.least) for letter, size in sizes.items()}
        shapes = [[int(c) if c.isdigit() else sizes[c] for c in word if c != "."] for word in self.shapes.split()]
        return [rng.uniform(self.low, self.high, shape) for shape in shapes]

    def check(self, sizes, seed):
        arguments = self.arguments(sizes, seed)
        flux.gradcheck(self.f, *arguments, rng=np.random.default_rng(seed), directions=1)
        self.check_alone(arguments)
        self.check_float32([x.astype(np.float32) for x in arguments])

    def check_alone(self, arguments):
        """Second order where only one argument is differentiated again: all the others, and g, are plain arrays."""
        cotangent = np.cos(np.arange(np.size(self.f(*arguments)), dtype=float)).reshape(np.shape(self.f(*arguments)))

        def slopes(*arguments):
            found = flux.pullback(self.f, *arguments)[1](cotangent)
            found = found if len(arguments) > 1 else (found,)
            return np.concatenate([np.zeros(1), *[np.reshape(d, -1) for d in found if d is not None]])

        for k, x in enumerate(arguments):
            others = lambda x, k=k: slopes(*arguments[:k], x, *arguments[k + 1 :])  # noqa: E731
            flux.gradcheck(others, x, order=1, directions=1)

    def check_float32(self, arguments):
        """float32 stays float32, inside and on the way back, and has the gradient of float64."""
        value, back = flux.pullback(self.f, *arguments)
        assert value.dtype == np.asarray(self.f(*arguments)).dtype
        exact_value, exact_back = flux.pullback(self.f, *(x.astype(np.float64) for x in arguments))
        cotangent = np.ones_like(value)
        gradients, exact = back(cotangent), exact_back(cotangent.astype(np.float64))
        np.testing.assert_allclose(value, exact_value, rtol=1e-4, atol=1e-4)
        for x, g, e in zip(arguments, *((gradients, exact) if len(arguments) > 1 else ((gradients,), (exact,)))):
            if e is None:
                assert g is None
                continue
            assert g.dtype == np.float32
            assert g.shape == x.shape
            np.testing.assert_allclose(g, e, rtol=1e-2, atol=1e-3 * (1 + np.max(np.abs(e), initial=0)))


class WatchedRules:
    """Stands in for the tables of the rules and compositions, and notes which of their entries are used.

    Arguments:
        monkeypatch: pytest's fixture, which puts the tables back.
        check: called with the cotangent that a pullback gets.
    """

    def __init__(self, monkeypatch, check=lambda g: None):
        self.check, self.missing = check, set()
        monkeypatch.setattr(tape, "rules", {function: self.watched(function, rule) for function, rule in RULES.items()})
        self.compositions = Watched(tape.compositions)
        monkeypatch.setattr(tape, "compositions", self.compositions)

    def watched(self, function, rule):
        new = copy.copy(rule)
        if rule.together:  # it gets the positions of its arguments, then the cotangent
            new.together = self.noting(rule.together, (function, None), 1)
        else:
            new.pullbacks = [
                p and (p if p.__name__ == "unknown" else self.noting(p, (function, k), 0))
                for k, p in enumerate(rule.pullbacks)
            ]
        return new

    def noting(self, pullback, key, place):
        def noted(*arguments, **options):
            self.check(arguments[place])
            self.missing.discard(key)
            return pullback(*arguments, **options)

        self.missing.add(key)
        return noted

    def unused(self):
        """The names of pullbacks and compositions that were not called."""
        pullbacks = sorted(f"{tape.name_of(f)}, argument {k}" for f, k in self.missing)
        return pullbacks + sorted(tape.name_of(f) for f in set(self.compositions) - self.compositions.used)


class Watched(dict):
    """A table that notes which of its entries are looked up."""

    def __init__(self, table):
        super().__init__(table)
        self.used = set()

    def __getitem__(self, key):
        self.used.add(key)
        return super().__getitem__(key)

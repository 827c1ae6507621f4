"""A rule at work on a function of two variables: the path it takes, and how many steps it needs."""

import ast
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import tinyflux as flux

from .functions import Point

FAR = 1000.0  # what is farther than this from its start, in x or in y, has run away


def walk(
    rule: Any, start: Point, gradient: Callable[[np.ndarray], np.ndarray], steps: int, least: float = 0.0
) -> np.ndarray:
    """Let a rule step from a start.

    Arguments:
        rule: one of tinyflux's.
        start: x and y.
        gradient: of a point.
        steps: how many to make at most; it also ends when the point has run away.
        least: it ends, too, after a step in which x and y together moved by less than this.

    Returns: the points, the start first: (steps + 1, 2).
    """
    point = np.array(start, float)
    opt = flux.setup(rule, point)
    points = [point.copy()]
    with np.errstate(all="ignore"):
        for _ in range(steps):
            flux.update(opt, point, gradient(point))
            points.append(point.copy())
            if ran_away(points) or np.abs(points[-1] - points[-2]).sum() < least:
                break
    return np.array(points)


def ran_away(points: Sequence[np.ndarray] | np.ndarray) -> bool:
    """Whether the last point is far from the first, or nowhere."""
    return not np.abs(points[-1] - points[0]).max() < FAR


def convergence(points: np.ndarray, minima: Sequence[Point], tolerance: float) -> int | None:
    """The number of steps after which a path stays within a distance of a minimum; None where it doesn't."""
    distances = np.linalg.norm(points[:, None] - np.array(minima), axis=-1).min(axis=1)
    outside = np.flatnonzero(distances > tolerance)
    steps = int(outside[-1]) + 1 if len(outside) else 0
    return steps if steps < len(points) else None


def outcome(points: np.ndarray, minima: Sequence[Point], tolerance: float) -> str:
    """What a table says of a path: the steps to convergence, "–" without it, or "diverged"."""
    if ran_away(points):
        return "diverged"
    steps = convergence(points, minima, tolerance)
    return "–" if steps is None else f"{steps:,}"


# Rules from the command line


def parse_rule(text: str) -> Any:
    """The rule that a text such as "Momentum(0.01, rho=0.9)" describes; it is not run as Python.

    Its arguments are plain numbers, words and tuples, other rules, and schedules: "Adam(schedules.Cosine(0.1, 500))".

    Errors: ValueError where it describes none, or one that can't make a step.
    """
    try:
        rule = _value(ast.parse(text.strip() if "(" in text else f"{text.strip()}()", mode="eval").body)
    except SyntaxError:
        raise ValueError(f"expected a rule such as Momentum(0.01, 0.9), got {text!r}") from None
    except TypeError as error:
        raise ValueError(f"{text}: {error}") from None
    if type(rule) not in _rules().values():
        raise ValueError(f"expected a rule such as Momentum(0.01, 0.9), got {text!r}")
    try:
        walk(rule, (0.0, 0.0), np.ones_like, steps=1)
    except Exception as error:  # whatever a rule makes of arguments that it was not meant for
        raise ValueError(f"{text}: makes no step with these arguments ({error})") from None
    return rule


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Tuple):
        return tuple(map(_value, node.elts))
    if isinstance(node, ast.Call):
        arguments = {str(word.arg): _value(word.value) for word in node.keywords}
        return _lookup(ast.unparse(node.func))(*map(_value, node.args), **arguments)
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f"expected plain numbers as arguments, got {ast.unparse(node)}") from None


def _lookup(name: str) -> Callable[..., Any]:
    known = _schedules() if name.startswith("schedules.") else _rules()
    if name not in known:
        raise ValueError(f"unknown: {name}; there are {', '.join(known)}")
    return known[name]


def _rules() -> dict[str, type]:
    """All that tinyflux exports which can `init` a state and `apply` a step."""
    exported = {name: vars(flux)[name] for name in flux.__all__ if name in vars(flux)}
    return {name: x for name, x in exported.items() if hasattr(x, "init") and hasattr(x, "apply")}


def _schedules() -> dict[str, type]:
    members = vars(flux.schedules).items()
    return {f"schedules.{name}": x for name, x in members if isinstance(x, type) and "__call__" in vars(x)}

"""save and load: a model and its optimiser's state in one `.npz` file of arrays and JSON, without pickle."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from . import tree
from .arrays import to_numpy
from .optimise import OptimiserChain, schedules
from .optimise.flat import Leaf
from .optimise.rule import fields, is_rule, kind_of
from .optimise.state import OptimiserState, holds_state

FORMAT = "tinyflux checkpoint"
VERSION = 2


class CheckpointError(ValueError):
    """A file that is no checkpoint of this version, is damaged, or belongs to another model."""


def save(path: str | os.PathLike[str], model: Any, opt: OptimiserState | None = None) -> None:
    """Write all arrays of a model, and the state of its optimiser, to a file.

    The file is written under a temporary name and then renamed: under `path` stands the old file or the new one,
    whatever happens in between.

    Arguments:
        path: the file, by custom `.npz`; it is replaced if it exists.
        model: any tree of arrays.
        opt: what `setup` returned for it.

    Errors: OSError, naming the file, where it can't be written; TypeError for an array of Python objects.

    >>> import tempfile, tinyflux as flux
    >>> model = flux.Chain(flux.Dense(3, 2), flux.Dense(2, 1)); opt = flux.setup(flux.Adam(), model)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     flux.save(f"{folder}/model.npz", model, opt)
    ...     flux.load(f"{folder}/model.npz", model, opt)
    """
    arrays = {f"model{place}": array for place, array in tree.walk(model)}
    if holds_state(model):
        raise TypeError("save: an optimiser's state can't be saved as a part of the model; give it as third argument.")
    objects = [name for name, array in arrays.items() if array.dtype.hasobject]
    if objects:
        raise TypeError(f"save: {objects[0]} is an array of Python objects; only numbers and text can be saved.")
    about: dict[str, Any] = {"format": FORMAT, "version": VERSION}
    if opt is not None:
        about["optimiser"] = [_described(leaf) for leaf in opt._leaves]
        for i, leaf in enumerate(opt._leaves):
            arrays |= {f"optimiser/{i}/{k}": array for k, array in enumerate(_state_arrays(leaf))}
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    _write(Path(path), {name: to_numpy(array) for name, array in arrays.items()})


def _write(path: Path, arrays: dict[str, Any]) -> None:
    """Write an `.npz` file in one move."""
    temporary = path.parent / f".{path.name}.{os.urandom(8).hex()}"
    try:
        with open(temporary, "xb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise type(error)(error.errno, f"save: {path} could not be written: {error.strerror or error}") from error
        raise


def load(path: str | os.PathLike[str], model: Any, opt: OptimiserState | None = None) -> None:
    """Read a file that `save` wrote into a model of the same shape, and into its optimiser's state.

    The given objects are filled in place: the arrays of the model, the averages, counters and hyperparameters of the
    rule. Everything is checked first; where something doesn't fit, nothing is changed.

    Arguments:
        path: the file.
        model: a model like the one that was saved.
        opt: what `setup` returned for `model`, with the kind of rule that was saved. Without it the file's is passed
            over.

    Errors: CheckpointError for a file that is damaged, of another version, of another model, or without the state
    that is asked for; OSError where it can't be read; ValueError for a model with a read-only array.

    >>> import tempfile, tinyflux as flux
    >>> trained, fresh = flux.Dense(3, 2), flux.Dense(3, 2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     flux.save(f"{folder}/model.npz", trained)
    ...     flux.load(f"{folder}/model.npz", fresh)
    >>> bool((fresh.weight == trained.weight).all())
    True
    """
    about, arrays = _read(Path(path))
    targets = {f"model{place}": array for place, array in tree.walk(model)}
    saved = {name: array for name, array in arrays.items() if name.startswith("model")}
    _check_fit(path, targets, saved)
    steps = _optimiser_steps(path, about, arrays, opt) if opt is not None else []
    for name, target in targets.items():
        target[...] = np.asarray(saved[name], like=target)
    for leaf, rule, description, states in steps:
        leaf.fill(rule, tuple(description["numbers"]), description["frozen"], states)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    with open(path, "rb") as opened:
        try:
            with np.load(opened, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            about = dict(json.loads(arrays.pop("about").tobytes()))
        except Exception as error:  # what the readers of zip and npy raise for damaged bytes is a dozen types
            raise CheckpointError(f"load: {path} is damaged or no tinyflux checkpoint ({error}).") from error
    if about.get("format") != FORMAT or about.get("version") != VERSION:
        got = f"{about.get('format')!r} of version {about.get('version')!r}"
        raise CheckpointError(f"load: {path} is {got}; this tinyflux reads {FORMAT!r} of version {VERSION}.")
    return about, arrays


def _check_fit(path: Any, targets: dict[str, Any], saved: dict[str, Any]) -> None:
    """Every array of the model stands in the file, with the same shape and dtype, and no other does."""
    for name, target in targets.items():
        if not getattr(target.flags, "writeable", True):
            raise ValueError(f"load: {name} is a read-only array and can't be filled; put a copy into the model.")
    wrong = [f"{name} is missing in the file" for name in targets if name not in saved]
    wrong += [f"{name} is in the file alone" for name in saved if name not in targets]
    for name in targets.keys() & saved.keys():
        target, source = targets[name], saved[name]
        if (target.shape, target.dtype) != (source.shape, source.dtype):
            wrong.append(
                f"{name} is {target.dtype}{target.shape} in the model, {source.dtype}{source.shape} in the file"
            )
    if wrong:
        more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise CheckpointError(f"load: {path} was saved from another model: {'; '.join(sorted(wrong)[:3])}{more}.")


def _optimiser_steps(path: Any, about: dict[str, Any], arrays: dict[str, Any], opt: OptimiserState) -> list[Any]:
    """What is to be filled into each leaf, after checking that it fits."""
    if "optimiser" not in about:
        raise CheckpointError(
            f"load: {path} holds no optimiser state; load it without one, or save with save(path, model, opt)."
        )
    if len(about["optimiser"]) != len(opt._leaves):
        counts = f"{len(about['optimiser'])} parameters, the given one {len(opt._leaves)}"
        raise CheckpointError(f"load: the optimiser state in {path} has {counts}.")
    steps = []
    for i, (leaf, description) in enumerate(zip(opt._leaves, about["optimiser"], strict=True)):
        states = [arrays.get(f"optimiser/{i}/{k}") for k in range(len(_state_arrays(leaf)))]
        if description["kind"] != kind_of(leaf.rule):
            named = f"{description['kind']}, the given one {kind_of(leaf.rule)}"
            raise CheckpointError(f"load: the optimiser state in {path} is of {named}; use setup with the saved rule.")
        unfit = description["path"] != leaf.path or len(description["numbers"]) != len(leaf.numbers)
        unfit = unfit or f"optimiser/{i}/{len(states)}" in arrays
        if unfit or any(s is None or s.shape != leaf.view.shape for s in states):
            raise CheckpointError(f"load: the optimiser state in {path} does not fit the parameter {leaf.path}.")
        try:
            rule = _rebuilt(description["rule"], leaf.rule)
            if not is_rule(rule) or kind_of(rule) != description["kind"]:
                raise TypeError(f"{rule!r} stands in the place of the rule")
        except (LookupError, TypeError, ValueError) as error:
            raise CheckpointError(f"load: the {description['kind']} in {path} has other settings ({error}).") from error
        steps.append((leaf, rule, description, states))
    return steps


def _state_arrays(leaf: Leaf) -> list[Any]:
    return [s for s in leaf.state if tree.is_array(s)]


def _described(leaf: Leaf) -> dict[str, Any]:
    return {
        "path": leaf.path,
        "kind": kind_of(leaf.rule),
        "rule": _record(leaf.rule),
        "numbers": leaf.numbers,
        "frozen": leaf.frozen,
    }


def _record(x: Any) -> Any:
    """A rule or a schedule, or what they hold, as JSON knows it; of a function that is no record, its name."""
    if dataclasses.is_dataclass(x):
        return {"record": type(x).__name__, "fields": {name: _record(value) for name, value in fields(x).items()}}
    if isinstance(x, (tuple, list)):
        return [_record(item) for item in x]
    if is_rule(x):
        raise TypeError(f"save: a {type(x).__name__} can't be saved; make a rule of your own a dataclass.")
    return {"function": getattr(x, "__name__", type(x).__name__)} if callable(x) else x


_SCHEDULES = {kind.__name__: kind for kind in schedules.Schedule.__subclasses__()}


def _rebuilt(saved: Any, given: Any) -> Any:
    """What `_record` was made of; `given` is what stands in its place now: it has the functions, and users' classes."""
    if isinstance(saved, list):
        parts = given if isinstance(given, (tuple, list)) and len(given) == len(saved) else [None] * len(saved)
        return tuple([_rebuilt(item, part) for item, part in zip(saved, parts)])
    if not isinstance(saved, dict):
        return saved
    if "function" in saved:
        if not callable(given):
            raise TypeError(f"the function {saved['function']} can't be in a file, and {given!r} stands in its place")
        return given
    record: Any = type(given) if saved["record"] == type(given).__name__ else _SCHEDULES[saved["record"]]
    inside = {name: _rebuilt(value, getattr(given, name, None)) for name, value in saved["fields"].items()}
    if inside.keys() != {field.name for field in dataclasses.fields(record)}:
        raise TypeError(f"those of {saved['record']} are {', '.join(inside)}")
    return record(*inside["rules"]) if record is OptimiserChain else record(**inside)

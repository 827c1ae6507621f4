"""save and load: a model and its optimiser's state in one `.npz` file of arrays and JSON, without pickle."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import zipfile
from collections.abc import Collection, Iterable, Iterator
from typing import IO, Any

import numpy as np

from . import tree
from .arrays import to_numpy
from .checks import shown, type_of
from .files import open_file, replacing
from .nodes import is_subclassed, misplaced_buffer, rebuild
from .optimise import OptimiserChain, schedules
from .optimise.modifiers import size_of_state
from .optimise.plan import Leaf
from .optimise.rule import check_state, fields, is_rule, kind_of
from .optimise.state import OptimiserState, holds_state
from .types import Tree

FORMAT = "tinyflux checkpoint"
VERSION = 2


class CheckpointError(ValueError):
    """A file that is no checkpoint of this version, is damaged, or belongs to another model."""


def save(path: str | os.PathLike[str], model: Tree, opt: OptimiserState | None = None) -> None:
    """Write all arrays of a model, and the state of its optimiser, to a file.

    The file is written under a temporary name and then renamed. So `path` always holds a whole file, the old one or the
    new one, even if the process is killed. A temporary file that is left over is removed by the next `save`.

    Arguments:
        path: the file, usually named `.npz`. An existing file is replaced, and keeps its mode. A symbolic link stays:
            the file that it leads to is written.
        model: any tree of arrays.
        opt: what `setup` returned for it.

    Errors: OSError, naming the file, where it can't be written; TypeError for an array of Python objects, and for a
    rule of your own that holds what no file knows; ValueError for a buffer that holds a number in the place of an
    array.

    >>> import tempfile, tinyflux as flux
    >>> model = flux.Chain(flux.Dense(3, 2), flux.Dense(2, 1)); opt = flux.setup(flux.Adam(), model)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     flux.save(f"{folder}/model.npz", model, opt)
    ...     flux.load(f"{folder}/model.npz", model, opt)
    """
    check_path("save", path, model)
    arrays = {f"model{place}": array for place, array in tree.walk(model)}
    if holds_state(model):
        raise TypeError("save: an optimiser's state can't be saved as a part of the model; give it as third argument.")
    misplaced = misplaced_buffer(model, "model")
    if misplaced:
        raise ValueError(f"save: {misplaced}")
    objects = [name for name, array in arrays.items() if array.dtype.hasobject]
    if objects:
        raise TypeError(f"save: {objects[0]} is an array of Python objects; only numbers and text can be saved.")
    about: dict[str, Any] = {"format": FORMAT, "version": VERSION}
    if opt is not None:
        about["optimiser"] = [_described(leaf) for leaf in opt._leaves]
        for i, leaf in enumerate(opt._leaves):
            arrays |= _named_state(i, leaf)
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    try:
        with replacing(path) as file:
            np.savez(file, **{name: to_numpy(array) for name, array in arrays.items()})
    except OSError as error:
        reason = f"save: {os.fspath(path)} could not be written: {error.strerror or error}"
        raise type(error)(error.errno, reason) from error


def load(path: str | os.PathLike[str], model: Tree, opt: OptimiserState | None = None) -> None:
    """Fill a model, and its optimiser's state, with what `save` wrote.

    The given objects are filled in place: the arrays of the model, and the averages, counters and hyperparameters of
    the rule. Everything is checked first: if anything doesn't fit, nothing is changed. Only the arrays that are needed
    are read, and each only after its size has been checked.

    Arguments:
        path: the file.
        model: a model like the one that was saved.
        opt: what `setup` returned for `model`, with the kind of rule that was saved. Without it the state
            in the file is ignored.

    Errors: CheckpointError for a file that is damaged, of another version, of another model, without the state that is
    asked for, or with numbers that training can't produce; OSError where it can't be read; ValueError for
    a model with a read-only array.

    >>> import tempfile, tinyflux as flux
    >>> trained, fresh = flux.Dense(3, 2), flux.Dense(3, 2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     flux.save(f"{folder}/model.npz", trained)
    ...     flux.load(f"{folder}/model.npz", fresh)
    >>> bool((fresh.weight == trained.weight).all())
    True
    """
    check_path("load", path, model)
    targets = {f"model{place}": array for place, array in tree.walk(model)}
    for name, target in targets.items():
        if not getattr(target.flags, "writeable", True):
            raise ValueError(f"load: {name} is a read-only array and can't be filled; put a copy into the model.")
    with open_file(path) as file:
        archive = _Archive(os.fspath(path), file)
        about = archive.about(len(targets))
        wrong = archive.unfit(targets) + archive.others("model", targets)
        if wrong:
            more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
            raise CheckpointError(
                f"load: {archive.path} was saved from another model: {'; '.join(sorted(wrong)[:3])}{more}."
            )
        rules = _rules(archive, about, opt) if opt is not None else []
        arrays = archive.read(targets)
        states = [list(archive.read(_named_state(i, leaf)).values()) for i, (leaf, _, _) in enumerate(rules)]
        for (leaf, rule, description), state in zip(rules, states):
            try:
                check_state(rule, tuple(state), tuple(description["numbers"]))
            except ValueError as error:
                raise archive.impossible(leaf, error) from error
    for name, target in targets.items():
        target[...] = np.asarray(arrays[name], like=target)
    for (leaf, rule, description), state in zip(rules, states):
        leaf.fill(rule, tuple(description["numbers"]), description["frozen"], state)


def check_path(caller: str, path: Any, model: Any = None) -> None:
    """Refuse what is no path, as a model is that stands in its place."""
    if not isinstance(path, (str, bytes, os.PathLike)):
        fix = (
            f" The path comes first: flux.{caller}({model!r}, model)." if isinstance(model, (str, os.PathLike)) else ""
        )
        raise TypeError(f"{caller}: expected a path, got {shown(path)}.{fix}")


class _Archive:
    """The arrays in an `.npz` file: their shapes and dtypes are known before any is read."""

    def __init__(self, path: Any, file: IO[bytes]) -> None:
        self.path = path
        with self._reading():
            self._zip = zipfile.ZipFile(file)
            found = [(info.filename.removesuffix(".npy"), info) for info in self._zip.infolist()]
            self._infos = dict(found)
            if len(self._infos) != len(found):
                raise ValueError("a name stands in it twice")

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # what the readers of zip and npy raise for damaged bytes is a dozen types
            reason = f"load: {self.path} is damaged or no tinyflux checkpoint ({error})."
            raise CheckpointError(reason) from error

    def about(self, arrays: int) -> dict[str, Any]:
        """What `save` noted of the optimiser, in a file for a model of so many arrays."""
        with self._reading():
            self._checked("about")
            size = self._infos["about"].file_size
            if size > (arrays + 16) << 20:
                raise ValueError(f"its description of the optimiser has {size:,} bytes")
            about = json.loads(self._array("about").tobytes())
            if not isinstance(about, dict):
                raise TypeError(f"its description is {about!r:.50}")
        if about.get("format") != FORMAT or about.get("version") != VERSION:
            got = f"{about.get('format')!r} of version {about.get('version')!r}"
            raise CheckpointError(f"load: {self.path} is {got}; this tinyflux reads {FORMAT!r} of version {VERSION}.")
        return about

    def unfit(self, targets: dict[str, Any]) -> list[str]:
        """Which arrays of a model, or of a state, are not in the file with the same shape and dtype."""
        wrong = []
        for name, target in targets.items():
            if name not in self._infos:
                wrong.append(f"{name} is missing in the file")
                continue
            with self._reading():
                shape, dtype = self._checked(name)
            if (target.shape, target.dtype) != (shape, dtype):
                here, there = f"{target.dtype}{target.shape}", f"{dtype}{shape}"
                wrong.append(f"{name} is {here} in the model, {there} in the file")
        return wrong

    def others(self, prefix: str, targets: Collection[str]) -> list[str]:
        """Which arrays with names that begin like that are in the file alone."""
        return [
            f"{name} is in the file alone" for name in self._infos if name.startswith(prefix) and name not in targets
        ]

    def impossible(self, leaf: Leaf, error: Exception) -> CheckpointError:
        """What to say of a leaf's rule or state that no training can have come to."""
        reason = f"is not as a training could have left it, at the parameter {leaf.path}: {error}"
        return CheckpointError(f"load: the {kind_of(leaf.rule)} in {self.path} {reason}.")

    def read(self, names: Iterable[str]) -> dict[str, Any]:
        with self._reading():
            return {name: self._array(name) for name in names}

    def _checked(self, name: str) -> tuple[tuple[int, ...], Any]:
        """The shape and dtype of an array, whose size is what they say."""
        info = self._infos[name]
        with self._zip.open(info) as member:
            if np.lib.format.read_magic(member) != (1, 0):  # the others have headers of any length
                raise ValueError(f"{name} is stored in another version of the format")
            shape, _, dtype = np.lib.format.read_array_header_1_0(member)
            if dtype.hasobject:
                raise ValueError(f"{name} holds Python objects")
            if info.file_size != member.tell() + math.prod(shape) * dtype.itemsize:
                raise ValueError(f"{name} has {info.file_size:,} bytes, which are not those of {dtype}{shape}")
        return shape, dtype

    def _array(self, name: str) -> Any:
        with self._zip.open(self._infos[name]) as file:
            return np.lib.format.read_array(file, allow_pickle=False)


Step = tuple[Leaf, Any, dict[str, Any]]  # a leaf, the rule that it is to get, and what the file says of it


def _rules(archive: _Archive, about: dict[str, Any], opt: OptimiserState) -> list[Step]:
    """What each leaf is to be filled with, after checking that it fits."""
    path, described = archive.path, about.get("optimiser")
    if described is None:
        raise CheckpointError(
            f"load: {path} holds no optimiser state; load it without one, or save with save(path, model, opt)."
        )
    if not isinstance(described, list) or not all(isinstance(description, dict) for description in described):
        raise CheckpointError(f"load: {path} is damaged: its description of the optimiser is {described!r:.50}.")
    if len(described) != len(opt._leaves):
        counts = f"{len(described)} parameters, the given one {len(opt._leaves)}"
        raise CheckpointError(f"load: the optimiser state in {path} has {counts}.")
    rules = []
    for i, (leaf, description) in enumerate(zip(opt._leaves, described)):
        kind, known = description.get("kind"), kind_of(leaf.rule)
        if kind != known:
            named = f"{kind}, the given one {known}"
            fix = f"use setup with the saved rule at {leaf.path or 'the root'}"
            raise CheckpointError(f"load: the optimiser state in {path} is of {named}; {fix}.")
        wrong = archive.unfit(_named_state(i, leaf))
        if description.get("path") != leaf.path:
            wrong.insert(0, f"it is that of {description.get('path')}")
        if wrong:
            reason = f"does not fit the parameter {leaf.path}: {wrong[0]}"
            raise CheckpointError(f"load: the optimiser state in {path} {reason}.")
        try:
            rules.append((leaf, _checked_rule(leaf, description), description))
        except Exception as error:  # whatever a rule, or its schedules, think of what they are given
            raise archive.impossible(leaf, error) from error
    names = {name for i, leaf in enumerate(opt._leaves) for name in _named_state(i, leaf)}
    others = archive.others("optimiser/", names)
    if others:
        raise CheckpointError(f"load: the optimiser state in {path} does not fit: {others[0]}.")
    return rules


def _checked_rule(leaf: Leaf, description: dict[str, Any]) -> Any:
    """The rule that the file describes, with which its numbers and arrays agree; another error than CheckpointError."""
    if not isinstance(description["frozen"], bool):
        raise TypeError(f"frozen is {description['frozen']!r}")
    rule = _rebuilt(description["rule"], leaf.rule)
    if not is_rule(rule) or kind_of(rule) != description["kind"]:
        raise TypeError(f"{rule!r} stands in the place of the rule")
    if size_of_state(rule) != (len(leaf.arrays), len(leaf.numbers)):
        raise ValueError(f"{rule!r} has a state of another size than {leaf.rule!r}")
    if not isinstance(description["numbers"], list) or len(description["numbers"]) != len(leaf.numbers):
        raise ValueError(f"its state has {len(leaf.numbers)} numbers, not {description['numbers']!r}")
    check_state(rule, (), tuple(description["numbers"]))
    return rule


def _named_state(i: int, leaf: Leaf) -> dict[str, Any]:
    """The arrays of the i-th leaf's state, by their names in a file."""
    return {f"optimiser/{i}/{k}": array for k, array in enumerate(leaf.arrays)}


def _described(leaf: Leaf) -> dict[str, Any]:
    return {
        "path": leaf.path,
        "kind": kind_of(leaf.rule),
        "rule": _record(leaf.rule),
        "numbers": leaf.numbers,
        "frozen": leaf.frozen,
    }


def _record(x: Any, place: str = "") -> Any:
    """A rule or a schedule, or what they hold, as JSON knows it; of a function that is no record, its name."""
    if dataclasses.is_dataclass(x):
        place = type(x).__name__ if is_rule(x) else place
        inside = {name: _record(value, f"{place}.{name}") for name, value in fields(x).items()}
        return {"record": type(x).__name__, "fields": inside}
    if isinstance(x, (tuple, list)):
        return [_record(item, f"{place}[{i}]") for i, item in enumerate(x)]
    other_keys = [key for key in x if type(key) is not str] if type(x) is dict else []
    if type(x) is dict and not other_keys:
        return {"dict": {key: _record(value, f"{place}[{key!r}]") for key, value in x.items()}}
    if is_rule(x):
        raise TypeError(f"save: {type_of(x)} can't be saved; make a rule of your own a dataclass.")
    if callable(x):
        return {"function": getattr(x, "__name__", type(x).__name__)}
    if x is None or isinstance(x, (bool, int, float, str)):
        return x
    got = f"has the key {other_keys[0]!r}" if other_keys else f"is {shown(x)}"
    raise TypeError(
        f"save: {place} {got}, which can't be saved. A rule may hold numbers, strings, None, functions, dataclasses, "
        "and tuples, lists and dicts of them; the keys of a dict are strings. Arrays belong in the rule's state."
    )


_SCHEDULES = {kind.__name__: kind for kind in schedules.Schedule.__subclasses__()}


def _rebuilt(saved: Any, given: Any) -> Any:
    """What `_record` was made of; `given` is what stands in its place now: it has the functions, and users' classes."""
    if isinstance(saved, list):
        fits = isinstance(given, (tuple, list)) and len(given) == len(saved)
        if is_subclassed(given) and not fits:
            raise TypeError(f"{given!r} stands in the place of {len(saved)} items")
        items = [_rebuilt(item, part) for item, part in zip(saved, given if fits else [None] * len(saved))]
        return rebuild(given if isinstance(given, (tuple, list)) else (), items)
    if not isinstance(saved, dict):
        return saved
    if "function" in saved:
        if not callable(given):
            raise TypeError(f"the function {saved['function']} can't be in a file, and {given!r} stands in its place")
        return given
    if "dict" in saved:
        there = given if type(given) is dict else {}
        return {key: _rebuilt(value, there.get(key)) for key, value in saved["dict"].items()}
    record: Any = type(given) if saved["record"] == type(given).__name__ else _SCHEDULES[saved["record"]]
    inside = {name: _rebuilt(value, getattr(given, name, None)) for name, value in saved["fields"].items()}
    if inside.keys() != {field.name for field in dataclasses.fields(record)}:
        raise TypeError(f"those of {saved['record']} are {', '.join(inside)}")
    return record(*inside["rules"]) if record is OptimiserChain else record(**inside)

"""What code reads, as far as its instructions tell."""

from __future__ import annotations

import dis
import functools
import importlib.util
import itertools
import re
import types
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

_LOADS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
_CELLS = ("LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF")
_ATTRIBUTES = ("LOAD_ATTR", "LOAD_METHOD")
_BETWEEN = ("CACHE", "PUSH_NULL", "PRECALL", "EXTENDED_ARG")

_PRINTS = {"str", "repr", "ascii", "format", "print"}
SCOPES = {
    "_getframe", "f_globals", "f_locals", "f_back", "__globals__", "__closure__", "__builtins__", "cell_contents",
}  # fmt: skip
PRINTING = {"__repr__", "__str__", "__format__"}
MAKERS = {  # of generators of random numbers, in NumPy
    "default_rng", "RandomState", "SeedSequence", "MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64",
}  # fmt: skip
BY_NAME = {"getattr", "hasattr"}

Chain = tuple[str, ...]


class Reads(NamedTuple):
    """What a function's code reads, with that of the functions defined in it.

    Attributes:
        globals, cells: names, each with the attributes that are read right after it: `np.linalg.norm`.
        imports: modules, as an import statement has them, each with the number of dots before it.
        names: of attributes, those in strings (for getattr) among them.
        unseeded: the makers of generators that are called without an argument, and then take a seed from the system.
    """

    globals: tuple[Chain, ...]
    cells: tuple[Chain, ...]
    imports: tuple[tuple[str, int], ...]
    names: frozenset[str]
    unseeded: frozenset[str]


@functools.lru_cache(4096)
def reads(code: types.CodeType) -> Reads:
    names, cells, imports = set(_chains(code, _LOADS)), set(_chains(code, _CELLS)), set(_imports(code))
    unseeded = set(_unseeded(code))
    found = {*code.co_names, *_strings(code.co_consts)}
    if found & _PRINTS or any(i.opname.startswith("FORMAT_") for i in dis.get_instructions(code)):
        found |= PRINTING
    if found & BY_NAME and not _named(code):
        found.add("__getattribute__")
    for inner in [reads(c) for c in code.co_consts if isinstance(c, types.CodeType)]:
        names |= set(inner.globals)
        cells |= set(inner.cells)
        imports |= set(inner.imports)
        found |= inner.names
        unseeded |= inner.unseeded
    return Reads(
        tuple(sorted(names)), tuple(sorted(cells)), tuple(sorted(imports)), frozenset(found), frozenset(unseeded)
    )


def _chains(code: types.CodeType, loads: tuple[str, ...]) -> Iterator[Chain]:
    chain: Chain = ()
    for instruction in dis.get_instructions(code):
        if chain and instruction.opname in _ATTRIBUTES:
            chain = (*chain, instruction.argval)
        elif instruction.opname not in _BETWEEN:
            if chain:
                yield chain
            chain = (instruction.argval,) if instruction.opname in loads else ()


def _unseeded(code: types.CodeType) -> Iterator[str]:
    instructions = [i for i in dis.get_instructions(code) if i.opname not in _BETWEEN]
    for loaded, then in itertools.pairwise(instructions):
        if loaded.argval in MAKERS and (then.opname, then.arg) == ("CALL", 0):
            yield loaded.argval


def _named(code: types.CodeType) -> bool:
    """Whether getattr and hasattr are only called, with the name of the attribute as a word: getattr(x, "rate", 0)."""
    instructions = [i for i in dis.get_instructions(code) if i.opname not in ("CACHE", "EXTENDED_ARG", "PRECALL")]
    starts = [k for k, i in enumerate(instructions) if i.opname in _LOADS and i.argval in BY_NAME]
    return all(_is_named_call(instructions[k + 1 :]) for k in starts)


def _is_named_call(rest: list[dis.Instruction]) -> bool:
    """Whether the call of getattr or hasattr that follows its loading names the attribute."""
    rest = rest[rest[0].opname == "PUSH_NULL" :]
    pushed = 0  # of what stands on the stack above the function
    for k, i in enumerate(rest):
        if i.opcode in dis.hasjrel or i.opcode in dis.hasjabs:
            return False
        pushed += dis.stack_effect(i.opcode, i.arg) - (i.arg or 0) * (i.opname == "CALL" and "PRECALL" in dis.opmap)
        if pushed < 0:
            name = rest[k - 1 - (i.arg == 3)]
            return (
                (i.opname, i.arg) in (("CALL", 2), ("CALL", 3))
                and name.opname == "LOAD_CONST" and isinstance(name.argval, str) and name.argval.isidentifier()
                and rest[k - 1].opname.startswith("LOAD_") and rest[k - 1].opname not in _ATTRIBUTES
            )  # fmt: skip
    return False


def _imports(code: types.CodeType) -> Iterator[tuple[str, int]]:
    constants: list[Any] = []
    for instruction in dis.get_instructions(code):
        if instruction.opname == "LOAD_CONST":
            constants.append(instruction.argval)
        if instruction.opname == "IMPORT_NAME":
            yield instruction.argval, constants[-2]


def _strings(constants: Iterable[Any]) -> Iterator[str]:
    for x in constants:
        if isinstance(x, str):
            yield from [x] if x.isidentifier() else ()
            if "%" in x or "{" in x:  # "{0.name}".format(x)
                yield from {*PRINTING, *re.findall(r"[^\W\d]\w*", x)}
        elif isinstance(x, (tuple, frozenset)):
            yield from _strings(x)


def imported(name: str, dots: int, package: str | None) -> str:
    """The full name of a module that an import statement names."""
    return importlib.util.resolve_name("." * dots + name, package) if dots else name

"""Imports point one way, package by package, and no module takes another's private names."""

import ast
from pathlib import Path

import tinyflux

ROOT = Path(tinyflux.__file__).parent
# From the bottom up: a module imports from its own line and from those above it here, never from those below.
ORDER = [
    "errors types special",
    "arrays nodes interrupts cores installed files display stderr",
    "checks tree elsewhere",
    "autodiff",
    "nn data metrics summary",
    "channels",
    "models",
    "optimise",
    "checkpoint",
    "compile.ir compile.guards",
    "compile.trace",
    "compile.schedule",
    "compile.codegen",
    "compile.backends",
    "compile compile.traced compile.signature",
    "training",
    "device interop plot",
    ". doctor",
]
RANK = {"" if name == "." else name: i for i, line in enumerate(ORDER) for name in line.split()}
# What points the other way, with the reason.
UPWARD = {
    ("arrays", "checks"): "seed, when it refuses something, asks for its words; checks has to know what an array is",
}


def package(module):
    """The longest name in the order that a module lies in."""
    parts = module.split(".")
    while ".".join(parts) not in RANK:
        parts.pop()
    return ".".join(parts)


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def imports(module, path):
    """The modules and names that a module imports from the library, wherever in its text."""
    inside = module.split(".") if module else []
    inside = inside if path.name == "__init__.py" else inside[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "tinyflux":
                    yield alias.name.partition(".")[2], None
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = inside[: len(inside) - node.level + 1]
            elif (node.module or "").split(".")[0] == "tinyflux":
                base = []
            else:
                continue
            base = [*base, *(node.module or "").removeprefix("tinyflux.").split(".")] if node.module else base
            for alias in node.names:
                whole = ".".join([*base, alias.name])
                yield (whole, None) if whole in FILES else (".".join(base), alias.name)


def test_every_import_is_of_a_module():
    for module, path in FILES.items():
        assert {target for target, _ in imports(module, path)} <= {*FILES}, module


def test_imports_point_one_way():
    found = set()
    for module, path in FILES.items():
        for target, _ in imports(module, path):
            if RANK[package(target)] > RANK[package(module)]:
                found.add((module, target))
    assert found <= {*UPWARD}


def test_private_names_stay_in_their_modules():
    found = set()
    for module, path in FILES.items():
        for target, name in imports(module, path):
            last = name or target.rpartition(".")[2]
            if is_private(last) and target != module:
                found.add((module, target, last))
    assert found == set()


def test_nothing_reaches_into_a_module_for_a_private_name():
    found = set()
    for module, path in FILES.items():
        known = {target.rpartition(".")[2] for target, name in imports(module, path) if name is None}
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in known:
                found |= {(module, node.value.id, node.attr)} if is_private(node.attr) else set()
    assert found == set()


def is_private(name):
    return name.startswith("_") and not name.startswith("__")

"""What Tab offers at Python's prompt: every public name, the ones that are imported later among them, and no other."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tinyflux as flux

BESIDE = {"": {"__version__"}, "nn": {"sigmoid"}}  # what `import *` leaves out
MODULES = ["", "autodiff", "data", "interop", "models", "nn", "optimise", "schedules", "tree"]
COMPLETE = """
import rlcompleter, sys
import tinyflux as flux
completer = rlcompleter.Completer({"flux": flux})
texts = sys.argv[1:]
for text in texts:
    found, i = [], 0
    while (match := completer.complete(text, i)) is not None:
        found.append(match.rstrip("()"))
        i += 1
    print(*found)
"""


def public(name):
    return {*(getattr(flux, name) if name else flux).__all__, *BESIDE.get(name, ())}


def completed(*texts):
    """What a fresh interpreter completes each text to."""
    run = [sys.executable, "-c", COMPLETE, *texts]
    output = subprocess.run(run, capture_output=True, text=True, check=True, timeout=100).stdout
    return [line.split() for line in output.splitlines()]


def test_every_name_is_completed():
    modules = {f"flux.{name}".rstrip("."): name for name in MODULES}
    for module, found in zip(modules, completed(*[f"{module}." for module in modules]), strict=True):
        names = public(modules[module])
        assert names - {"__version__"} <= {text.rpartition(".")[2] for text in found} <= names, module


def test_what_is_imported_later_is_completed():
    compiles, sigmoid, conv = completed("flux.comp", "flux.nn.sig", "flux.Conv")
    assert compiles == ["flux.compile", "flux.compile_training"]
    assert sigmoid == ["flux.nn.sigmoid"]
    assert set(conv) == {"flux.Conv", "flux.ConvTranspose"}


@pytest.mark.parametrize("name", MODULES)
def test_dir_is_sorted_and_public(name):
    module = getattr(flux, name) if name else flux
    assert dir(module) == sorted(public(name))
    assert all(getattr(module, name) is not None for name in dir(module))


def test_what_is_defined_in_a_module_for_others_is_in_its_all():
    """A function of `interop` and `schedules` without an underscore and with an example is meant to be found."""
    for module in (flux.interop, flux.schedules):
        body = ast.parse(Path(module.__file__).read_text()).body
        defined = [node for node in body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
        assert {node.name for node in defined if ">>> " in (ast.get_docstring(node) or "")} <= set(module.__all__)

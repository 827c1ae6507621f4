"""What `import tinyflux` brings with it, and that every public name is explained."""

import doctest
import inspect
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import tinyflux as flux

NAMES = """
gradient withgradient pullback jacobian hessian gradcheck rule
Chain Dense SkipConnection Parallel Dropout flatten
identity sigmoid tanh relu leakyrelu elu gelu swish softplus softmax logsoftmax
mse mae huber crossentropy logitcrossentropy binarycrossentropy logitbinarycrossentropy
glorot_uniform glorot_normal kaiming_uniform kaiming_normal zeros ones
DataLoader onehot onehotbatch onecold
accuracy
leaves destructure f32 f64 parameter_count summary
Descent Adam ADAM setup update freeze thaw adjust train early_stopping keep_best progress_bar save load seed
gpu cpu gpu_status
"""
SEEN = {**vars(flux), "sigmoid": flux.sigmoid}  # which is imported when it is first used
PUBLIC = {name: x for name, x in SEEN.items() if not name.startswith("_") and not isinstance(x, types.ModuleType)}
# Errors are shown where they are raised.
NO_EXAMPLE = {
    "NonFiniteNorm", "NonFiniteLoss", "CheckpointError", "GradientError", "GPUNotAvailable", "MixedDevices",
    "CompilerNotFound", "CompilationFailed",
}  # fmt: skip


def imported(code):
    """The modules that a fresh interpreter has loaded after `code`."""
    run = [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"]
    return set(subprocess.run(run, capture_output=True, text=True, check=True, timeout=60).stdout.split())


def test_the_import_is_light():
    modules = imported("import tinyflux")
    heavy = {"cupy", "matplotlib", "sklearn", "pooch", "tqdm", "pandas", "torch", "jax", "dask", "hypothesis", "pytest"}
    assert not heavy & modules
    scipy = {name.split(".")[1] for name in modules if name.startswith("scipy.") and not name.startswith("scipy._")}
    assert scipy <= {"version", "linalg"}


def test_the_names_others_rely_on():
    assert not set(NAMES.split()) - set(PUBLIC)
    assert flux.ADAM is flux.Adam
    assert callable(flux.data.mnist)
    assert callable(flux.data.digits)
    assert callable(flux.tree.map)


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_name_is_explained(name):
    """A docstring of its own, with an example that runs (the examples are run as tests of the modules)."""
    thing = PUBLIC[name]
    if isinstance(thing, np.ufunc):  # scipy's own documentation
        assert thing.__doc__
        return
    text = inspect.getdoc(thing)
    assert text
    assert len(text.splitlines()[0]) <= 120
    if name not in NO_EXAMPLE:
        examples = doctest.DocTestParser().get_examples(text)
        assert examples, f"{name} has no example"
        assert any("flux" in example.source or name in example.source for example in examples)


def test_dir_and_all_name_everything():
    """In a fresh interpreter, in which nothing was used yet: the compiler's names, too, and the errors."""
    code = "import tinyflux as flux; print(*dir(flux))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    shown = set(run.stdout.split())
    errors = (
        "CheckpointError CompilationFailed CompilerNotFound GPUNotAvailable GradientError MixedDevices NonFiniteLoss "
    )
    errors += "NonFiniteNorm NotCompilable"
    assert {"compile", "compile_training", *errors.split(), *NAMES.split()} <= shown
    assert set(flux.__all__) <= shown
    assert set(PUBLIC) | {"compile", "compile_training"} <= set(flux.__all__)
    assert len(flux.__all__) == len(set(flux.__all__))
    for name in flux.__all__:
        assert getattr(flux, name) is not None


def test_types_are_shipped():
    assert (Path(flux.__file__).parent / "py.typed").exists()

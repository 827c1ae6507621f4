"""tinyflux: Flux's idea in Python, on NumPy and CuPy."""

# ruff: noqa: F403  (the names of each part stand there)
from functools import partial as _partial
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from . import autodiff, data, interop, metrics, models, nn, optimise, tree
from .arrays import MixedDevices, default_rng, seed
from .autodiff import *
from .checkpoint import CheckpointError, load, save
from .data import DataLoader, onecold, onehot, onehotbatch
from .device import GPUNotAvailable, cpu, gpu, gpu_status
from .elsewhere import refused_by as _refused_by
from .errors import CompilationFailed, CompilerNotFound, NonFiniteLoss, NotCompilable
from .metrics import accuracy
from .nn import tanh as tanh
from .nn.activations import *
from .nn.convolution import *
from .nn.cudnn import *
from .nn.initialisers import *
from .nn.layers import *
from .nn.losses import *
from .nn.pooling import *
from .optimise import schedules as schedules
from .optimise.adam import *
from .optimise.adaptive import *
from .optimise.adjusting import *
from .optimise.averages import *
from .optimise.kernels.native import use_compiler as _use_compiler
from .optimise.modifiers import *
from .optimise.momentum import *
from .optimise.muon import *
from .optimise.soap import *
from .optimise.state import *
from .plot import plot
from .summary import summary
from .training.callbacks import Progress, early_stopping, keep_best, progress_bar
from .training.history import History
from .training.learning_rate import LearningRates, find_learning_rate
from .training.loop import train
from .tree import destructure, f32, f64, leaves, parameter_count, parameters

if _TYPE_CHECKING:
    from .compile import compile  # noqa: A004
    from .nn import sigmoid
    from .training.compiled import compile_training

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "CompilationFailed",
    "CompilerNotFound",
    "DataLoader",
    "GPUNotAvailable",
    "History",
    "LearningRates",
    "MixedDevices",
    "NonFiniteLoss",
    "NotCompilable",
    "Progress",
    "accuracy",
    "autodiff",
    "compile",
    "compile_training",
    "cpu",
    "data",
    "default_rng",
    "destructure",
    "early_stopping",
    "f32",
    "f64",
    "find_learning_rate",
    "gpu",
    "gpu_status",
    "interop",
    "keep_best",
    "leaves",
    "load",
    "metrics",
    "models",
    "nn",
    "onecold",
    "onehot",
    "onehotbatch",
    "optimise",
    "parameter_count",
    "parameters",
    "plot",
    "progress_bar",
    "save",
    "seed",
    "sigmoid",
    "summary",
    "train",
    "tree",
]
__all__ += autodiff.__all__
__all__ += nn.__all__
__all__ += optimise.__all__


_LATER = {"compile": ".compile", "compile_training": ".training.compiled", "sigmoid": ".nn"}


def _native_step(*kind: _Any) -> _Any:
    from .training.native_update import native_step

    return native_step(*kind)


_use_compiler(_native_step)


def __getattr__(name: str) -> _Any:
    """The compiler, and SciPy for `sigmoid`, are imported when they are first used."""
    if name in _LATER:
        from importlib import import_module

        return globals().setdefault(name, getattr(import_module(_LATER[name], __name__), name))
    return _refused_by(__name__, name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


for _part in (autodiff, data, interop, models, optimise, schedules, tree):  # Tab offers their public names, too
    vars(_part).update(__dir__=_partial(sorted, _part.__all__), __getattr__=_partial(_refused_by, _part.__name__))

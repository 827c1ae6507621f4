"""tinyflux: Flux's idea in Python, on NumPy and CuPy."""

from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from . import data, tree
from .arrays import MixedDevices, default_rng, seed
from .autodiff import GradientError, gradcheck, gradient, hessian, jacobian, pullback, rule, withgradient
from .checkpoint import CheckpointError, load, save
from .data import DataLoader, onecold, onehot, onehotbatch
from .device import GPUNotAvailable, cpu, gpu, gpu_status
from .errors import CompilationFailed, CompilerNotFound, NonFiniteLoss, NotCompilable
from .nn import (
    Chain,
    Dense,
    Dropout,
    Parallel,
    SkipConnection,
    binarycrossentropy,
    crossentropy,
    elu,
    flatten,
    gelu,
    glorot_normal,
    glorot_uniform,
    huber,
    identity,
    kaiming_normal,
    kaiming_uniform,
    leakyrelu,
    logitbinarycrossentropy,
    logitcrossentropy,
    logsoftmax,
    logsumexp,
    mae,
    mse,
    ones,
    relu,
    softmax,
    softplus,
    swish,
    tanh,
    testmode,
    trainmode,
    zeros,
)
from .optimise import (
    ADAM,
    ASGD,
    QHM,
    AccumGrad,
    AdaBelief,
    AdaDelta,
    AdaGrad,
    Adam,
    AdaMax,
    AdamW,
    AggMo,
    AMSGrad,
    ClipGrad,
    ClipNorm,
    Descent,
    Lion,
    Maximize,
    Momentum,
    NAdam,
    Nesterov,
    NonFiniteNorm,
    OAdam,
    OptimiserChain,
    Padam,
    QHAdam,
    RAdam,
    RMSProp,
    SignDecay,
    WeightDecay,
    YellowFin,
    adjust,
    freeze,
    schedules,
    setup,
    thaw,
    update,
)
from .optimise.kernels.native import use_compiler as _use_compiler
from .summary import summary
from .training.loop import Progress, early_stopping, progress_bar, train
from .tree import destructure, f32, f64, leaves, parameter_count, parameters

if _TYPE_CHECKING:
    from .compile import compile  # noqa: A004
    from .nn import sigmoid
    from .training.compiled import compile_training

__version__ = "0.1.0"

__all__ = [
    "ADAM",
    "ASGD",
    "QHM",
    "AMSGrad",
    "AccumGrad",
    "AdaBelief",
    "AdaDelta",
    "AdaGrad",
    "AdaMax",
    "Adam",
    "AdamW",
    "AggMo",
    "Chain",
    "CheckpointError",
    "ClipGrad",
    "ClipNorm",
    "CompilationFailed",
    "CompilerNotFound",
    "DataLoader",
    "Dense",
    "Descent",
    "Dropout",
    "GPUNotAvailable",
    "GradientError",
    "Lion",
    "Maximize",
    "MixedDevices",
    "Momentum",
    "NAdam",
    "Nesterov",
    "NonFiniteLoss",
    "NonFiniteNorm",
    "NotCompilable",
    "OAdam",
    "OptimiserChain",
    "Padam",
    "Parallel",
    "Progress",
    "QHAdam",
    "RAdam",
    "RMSProp",
    "SignDecay",
    "SkipConnection",
    "WeightDecay",
    "YellowFin",
    "adjust",
    "binarycrossentropy",
    "compile",
    "compile_training",
    "cpu",
    "crossentropy",
    "data",
    "default_rng",
    "destructure",
    "early_stopping",
    "elu",
    "f32",
    "f64",
    "flatten",
    "freeze",
    "gelu",
    "glorot_normal",
    "glorot_uniform",
    "gpu",
    "gpu_status",
    "gradcheck",
    "gradient",
    "hessian",
    "huber",
    "identity",
    "jacobian",
    "kaiming_normal",
    "kaiming_uniform",
    "leakyrelu",
    "leaves",
    "load",
    "logitbinarycrossentropy",
    "logitcrossentropy",
    "logsoftmax",
    "logsumexp",
    "mae",
    "mse",
    "onecold",
    "onehot",
    "onehotbatch",
    "ones",
    "parameter_count",
    "parameters",
    "progress_bar",
    "pullback",
    "relu",
    "rule",
    "save",
    "schedules",
    "seed",
    "setup",
    "sigmoid",
    "softmax",
    "softplus",
    "summary",
    "swish",
    "tanh",
    "testmode",
    "thaw",
    "train",
    "trainmode",
    "tree",
    "update",
    "withgradient",
    "zeros",
]


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
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})

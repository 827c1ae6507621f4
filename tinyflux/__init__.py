"""tinyflux: Flux's idea in Python, on NumPy and CuPy."""

from . import data, tree
from .arrays import default_rng, seed
from .autodiff import GradientError, gradcheck, gradient, hessian, jacobian, pullback, rule, withgradient
from .checkpoint import CheckpointError, load, save
from .data import DataLoader, onecold, onehot, onehotbatch
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
    sigmoid,
    softmax,
    softplus,
    swish,
    tanh,
    testmode,
    trainmode,
    zeros,
)
from .optimise import ADAM, Adam, Descent, adjust, freeze, setup, thaw, update
from .summary import summary
from .train import NonFiniteLoss, Progress, early_stopping, progress_bar, train
from .tree import destructure, f32, f64, leaves, parameter_count, parameters

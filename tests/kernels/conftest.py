"""The stand-in for CuPy, with kernels that g++ compiles; without g++ the tests that need it are skipped."""

import pytest

from tests.support import cuda_shim, cudnn_standin
from tinyflux import device
from tinyflux.optimise.kernels import launch


@pytest.fixture
def cupy(monkeypatch):
    if cuda_shim.GXX is None:
        pytest.skip("there is no g++ here to run CUDA kernels with")
    yield cuda_shim.install(monkeypatch)
    launch._compiled.cache_clear()


@pytest.fixture
def compiling(cupy):
    """The same for tests that move models by `flux.gpu`, and look at what `train` says."""
    device._fault.cache_clear()
    yield cupy
    device._fault.cache_clear()


@pytest.fixture
def cudnn(cupy, monkeypatch):
    """The stand-in for cuDNN, beside the one for CuPy."""
    yield cudnn_standin.install(monkeypatch, cupy)
    cudnn_standin.forget()

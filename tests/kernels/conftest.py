"""The stand-in for CuPy, with kernels that g++ compiles; without g++ the tests that need it are skipped."""

import cuda_shim
import pytest

from tinyflux.optimise.kernels import launch


@pytest.fixture
def cupy(monkeypatch):
    if cuda_shim.GXX is None:
        pytest.skip("there is no g++ here to run CUDA kernels with")
    yield cuda_shim.install(monkeypatch)
    launch._compiled.cache_clear()

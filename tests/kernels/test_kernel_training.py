"""Models on the device, trained by the kernels: the numbers of NumPy, through all that changes the plan of a step."""

import numpy as np
import pytest

import tinyflux as flux
from tests.support import cuda_shim
from tests.support.device_standin import counted
from tests.support.kernel_cases import CHAINS, RULES
from tinyflux import device

SCHEDULED = flux.OptimiserChain(flux.ClipGrad(0.1), flux.Adam(flux.schedules.Cosine(0.1, over=10)))
X = np.linspace(-1, 1, 21, dtype=np.float32).reshape(7, 3)
Y = np.ones((7, 1), np.float32)


@pytest.fixture(autouse=True)
def _gpu(cupy):
    device._fault.cache_clear()
    yield
    device._fault.cache_clear()


def prepared(rule, move):
    flux.seed(0)
    model = move(flux.Chain(flux.Dense(3, 5, flux.tanh), flux.Dense(5, 4, flux.relu), flux.Dense(4, 1)))
    return model, flux.setup(rule, model)


def train(model, opt, move, steps):
    x, y = move(X), move(Y)
    for _ in range(steps):
        flux.update(opt, model, flux.gradient(lambda m: flux.mse(m(x), y), model))


def trained(rule, move):
    """With a layer frozen for a while, and the learning rate of another changed."""
    model, opt = prepared(rule, move)
    train(model, opt, move, 2)
    flux.freeze(opt.layers[1])
    train(model, opt, move, 2)
    flux.thaw(opt.layers[1])
    if hasattr(rule, "eta"):
        flux.adjust(opt.layers[0], eta=0.003)
    train(model, opt, move, 3)
    return model, opt


def check_same(moved, opt):
    """Float32 gradients of the two differ by roundings, which the division by a small root enlarges."""
    for there, here in zip(flux.leaves(flux.cpu(moved[0])), flux.leaves(opt[0]), strict=True):
        np.testing.assert_allclose(there, here, rtol=2e-4, atol=1e-6)
    for there, here in zip(moved[1]._leaves, opt[1]._leaves, strict=True):
        assert there.numbers == pytest.approx(here.numbers, rel=1e-13)


@pytest.mark.parametrize("rule", [*RULES, *CHAINS, SCHEDULED], ids=repr)
def test_training_gives_the_same_numbers(rule):
    expected = trained(rule, lambda x: x)
    assert cuda_shim.launches == []
    check_same(trained(rule, flux.gpu), expected)
    assert len(cuda_shim.launches) >= 7


@pytest.mark.parametrize("rule", [RULES[0], CHAINS[0]], ids=repr)
def test_one_launch_a_step_and_nothing_is_waited_for(rule):
    model, opt = prepared(rule, flux.gpu)
    x, y = flux.gpu(X, Y)
    grads = flux.gradient(lambda m: flux.mse(m(x), y), model)
    flux.update(opt, model, grads)
    cuda_shim.launches.clear()
    assert counted(lambda: [flux.update(opt, model, grads) for _ in range(3)])[1] == 0
    assert len(cuda_shim.launches) == 3


def test_a_checkpoint(tmp_path):
    """Saved in the middle and loaded into another model, the numbers go on."""
    expected = prepared(SCHEDULED, lambda x: x)
    train(*expected, lambda x: x, 6)
    first, second = prepared(SCHEDULED, flux.gpu), prepared(SCHEDULED, flux.gpu)
    train(*first, flux.gpu, 3)
    flux.save(tmp_path / "model.npz", *first)
    train(*second, flux.gpu, 1)
    flux.load(tmp_path / "model.npz", *second)
    train(*second, flux.gpu, 3)
    check_same(second, expected)


def test_a_state_that_moves():
    """To the CPU and back, between steps."""
    expected = prepared(RULES[0], lambda x: x)
    train(*expected, lambda x: x, 6)
    moved = prepared(RULES[0], flux.gpu)
    train(*moved, flux.gpu, 2)
    moved = flux.cpu(*moved)
    train(*moved, lambda x: x, 2)
    moved = flux.gpu(*moved)
    train(*moved, flux.gpu, 2)
    check_same(moved, expected)


def test_a_gradient_in_numpy():
    model, opt = prepared(RULES[0], flux.gpu)
    grads = flux.cpu(flux.gradient(lambda m: flux.mse(m(flux.gpu(X)), flux.gpu(Y)), model))
    with pytest.raises(flux.MixedDevices, match=r"the gradient of \.layers\[0\]\.weight is in NumPy, on the CPU"):
        flux.update(opt, model, grads)
    assert cuda_shim.launches == []

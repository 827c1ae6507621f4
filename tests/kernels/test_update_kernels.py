"""The update kernels, run on the CPU, give what the NumPy form of each rule gives."""

import numpy as np
import pytest

from tests.support import cuda_shim
from tests.support.device_standin import DeviceArray
from tests.support.kernel_cases import CHAINS, RULES, Comparison, compare, compare_nonfinite, make_step
from tinyflux.optimise import modifiers
from tinyflux.optimise.kernels import source

SIZES = [0, 1, 3, 4, 5, 1023, 1024, 1025]
DTYPES = ["float32", "float64"]
pytestmark = pytest.mark.usefixtures("cupy")
every_rule = pytest.mark.parametrize("rule", RULES + CHAINS, ids=repr)
both_dtypes = pytest.mark.parametrize("dtype", DTYPES)


@both_dtypes
@every_rule
def test_the_numbers_of_numpy(rule, dtype):
    for size in SIZES:
        compare(rule, dtype, [size])
    compare(rule, dtype, [100003], steps=3)


@both_dtypes
@every_rule
@pytest.mark.parametrize("before", [0, 3, 8])
def test_leaves_at_odd_places(rule, dtype, before):
    compare(rule, dtype, [5, 0, 1, 1, 1026, 0, 3, 2000, 7, 0], before)


@both_dtypes
@every_rule
def test_nan_and_infinity_come_through(rule, dtype):
    compare_nonfinite(rule, dtype)


@both_dtypes
def test_gradients_that_are_copied_or_misaligned(dtype):
    """Strided, broadcast, reversed, in another dtype, and at an address that no vector may be read from."""
    plain = np.linspace(-1, 1, 24, dtype=dtype)
    strided = DeviceArray(np.repeat(plain, 2)[::2])
    transposed = DeviceArray(np.ascontiguousarray(plain.reshape(4, 6).T).T)
    backwards = DeviceArray(plain[::-1].copy()[::-1])
    other = DeviceArray(plain.astype(np.float16))
    misaligned = DeviceArray(np.concatenate([[9], plain]).astype(dtype)[1:])
    constant = DeviceArray(np.broadcast_to(np.array(0.5, dtype), (4, 6)))
    assert misaligned.flags.c_contiguous
    assert misaligned._host.ctypes.data % 16
    gradients = [strided, transposed, backwards, other, misaligned, constant]
    comparison = Comparison(RULES[0], dtype, [24] * len(gradients), before=1)
    expected = [np.asarray(g._host, dtype).reshape(-1) for g in gradients]
    state, delta = comparison.rule.apply(
        (*comparison.arrays, *comparison.numbers), comparison.x, np.concatenate(expected)
    )
    make_step(comparison.kernel, gradients)
    comparison.x, comparison.arrays, comparison.numbers = comparison.x - delta, state[:2], state[2:]
    comparison.check()


@pytest.mark.parametrize("order", cuda_shim.ORDERS)
def test_numbers_move_on_once_a_step(order, monkeypatch):
    """Whichever block and thread is the last: there are six blocks here."""
    monkeypatch.setattr(cuda_shim, "order", order)
    comparison = Comparison(RULES[0], np.float32, [9000])
    for t in range(4):
        comparison.step(t)
        comparison.check()
    assert {launch[0] for launch in cuda_shim.launches} == {(cuda_shim.MULTIPROCESSORS * cuda_shim.RESIDENT,)}


def test_every_file_is_in_the_table():
    files = {path.stem for path in source.FOLDER.glob("*.cu")}
    assert files == set(source.FILES.values())
    tried = {type(part) for rule in RULES + CHAINS for part in source.parts(rule)}
    assert tried == set(source.FILES)


def test_an_option_changes_the_kernel():
    """Forms of a rule would not be told apart by comparing each with itself alone."""
    forms = [rule for rule in RULES if type(rule) in source.OPTIONS]
    sources = {source.source_of([rule], "float32", 3, 2) for rule in forms}
    assert len(sources) == len(forms)
    assert all(sum(type(rule) is kind for rule in forms) > 1 for kind in source.OPTIONS)


def test_a_chain_in_a_chain():
    flat = modifiers.OptimiserChain(*RULES[:2])
    nested = modifiers.OptimiserChain(modifiers.OptimiserChain(RULES[0]), modifiers.OptimiserChain(RULES[1]))
    assert source.parts(flat) == source.parts(nested) == RULES[:2]

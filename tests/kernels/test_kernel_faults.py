"""Faults planted in the kernels: the comparisons with NumPy must find them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tinyflux as flux
from tests.support import cuda_shim
from tests.support.cuda_shim import ShimError
from tests.support.kernel_cases import CHAINS, compare, compare_nonfinite, plant

SIZES, BEFORE = [5, 0, 1, 1026, 9000, 2], 3  # misaligned leaves, several blocks, a beginning and a tail

FAULTS = [
    # the loop: tail, beginning, stride, offsets
    (flux.Adam(), re.escape("for (; i < stop; i += stride)"), "for (; i + LANES <= stop; i += stride)"),
    (flux.Adam(), re.escape("to - from == LANES) {\n"), "from == 0) {\n"),
    (flux.Adam(), re.escape("from = i < start ? start - i : 0"), "from = 0"),
    (flux.Adam(), re.escape("(gridDim.x) * blockDim.x * LANES"), "(blockDim.x) * LANES"),
    (flux.Descent(), re.escape("gradients[leaf] + (i - starts[leaf])"), "gradients[leaf] + (i - starts[leaf] + 1)"),
    (flux.Descent(), re.escape("[i + lane - starts[leaf]]"), "[lane]"),
    (flux.Descent(), re.escape("while (starts[leaf + 1] <= i + lane) ++leaf;"), ""),
    (flux.Adam(), re.escape("store(state[k] + i, from, to, s[k])"), "store(state[k] + i, from, to, s[0])"),
    # the numbers that move on: barrier, fence, ticket
    (flux.Adam(), re.escape("__syncthreads();"), ""),
    (flux.Adam(), re.escape("__threadfence();"), ""),
    (flux.Adam(), re.escape("atomicInc(ticket, gridDim.x - 1) == gridDim.x - 1"), "blockIdx.x == gridDim.x - 1"),
    (flux.Adam(), re.escape("gridDim.x - 1) == gridDim.x - 1"), "gridDim.x - 1) == 0"),
    (flux.Adam(), re.escape("atomicInc(ticket, gridDim.x - 1)"), "atomicInc(ticket, gridDim.x)"),
    # what is written from a rule: states, hyperparameters, numbers, functions
    (flux.Adam(), r"\bs\[0\] = v\d+;", ""),
    (flux.Adam(), r"\bs\[1\] = v\d+;", "s[1] = s[0];"),
    (flux.Adam(), r"= s\[1\]", "= s[0]"),
    (flux.Adam(), r"= rates\[1\]", "= rates[2]"),
    (flux.Adam(), r"= numbers\[0\]", "= numbers[1]"),
    (flux.Adam(), r"numbers\[1\] = v\d+;", ""),
    (flux.Adam(), "sqrtf", ""),
    (flux.Adam(), r"return v\d+;", "return x;"),
    (flux.NAdam(psi=4e-3), r"numbers\[2\] = v\d+;", ""),
    (flux.Lion(), "sign_f32", ""),
    (flux.AdaMax(), "fabsf", ""),
    (flux.ASGD(lambda_=0.1), r"numbers\[0\] = v\d+;", ""),
    # of a chain: whose arrays, hyperparameters and numbers are whose
    (CHAINS[0], r"= rates\[0\]", "= rates[1]"),
    (CHAINS[2], r"\bs\[2\] = v\d+;", "s[2] = s[0];"),
    (CHAINS[2], r"= numbers\[2\]", "= numbers[0]"),
    (CHAINS[3], r"\bs\[0\] = v\d+;", ""),
    (CHAINS[3], r"numbers\[0\] = v\d+;", ""),
]


@pytest.mark.usefixtures("cupy")
@pytest.mark.parametrize(("rule", "old", "new"), FAULTS, ids=[f"{f[0]!r}: {f[1]} > {f[2]}" for f in FAULTS])
def test_a_fault_is_found(rule, old, new, monkeypatch):
    plant(monkeypatch, old, new)
    with pytest.raises((AssertionError, ShimError)):
        compare(rule, "float32", SIZES, BEFORE)


@pytest.mark.usefixtures("cupy")
@pytest.mark.parametrize("rule", {repr(fault[0]): fault[0] for fault in FAULTS}.values(), ids=repr)
def test_without_a_fault(rule):
    compare(rule, "float32", SIZES, BEFORE)


@pytest.mark.usefixtures("cupy")
def test_a_lost_nan_is_found(monkeypatch):
    rule = flux.OptimiserChain(flux.ClipGrad(1.5), flux.AdaMax())
    compare_nonfinite(rule, "float32")
    plant(monkeypatch, r" \+ \((v\d+) != \1\)", "")  # of a maximum
    with pytest.raises(AssertionError):
        compare_nonfinite(rule, "float32")


SANITIZED = """
import pytest
from tests.support import cuda_shim
from tests.support.kernel_cases import RULES, Comparison, plant

patch = pytest.MonkeyPatch()
cuda_shim.extra_flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
cuda_shim.install(patch)
if {fault!r}:
    plant(patch, *{fault!r})
comparison = Comparison(RULES[0], "float32", [1025, 3, 2000], before=3, after=0)
comparison.step(0)
comparison.check()
print("clean")
"""


@pytest.mark.parametrize(
    ("fault", "report"),
    [
        ((), "clean"),
        ((re.escape("to - from == LANES) {\n"), "from == 0) {\n"), "heap-buffer-overflow"),
        ((re.escape("% sizeof(Vector) == 0"), "% sizeof(T) == 0"), "misaligned address"),
    ],
    ids=["none", "tail", "alignment"],
)
def test_address_sanitizer(fault, report):
    """In a process of its own, which the sanitizer's library must be loaded into first."""
    if cuda_shim.GXX is None:
        pytest.skip("there is no g++ here to run CUDA kernels with")
    command = [cuda_shim.GXX, "-print-file-name=libasan.so"]
    library = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(library).is_absolute():
        pytest.skip("g++ has no AddressSanitizer here")
    result = subprocess.run(
        [sys.executable, "-c", SANITIZED.format(fault=fault)],
        env={
            **os.environ,
            "LD_PRELOAD": str(Path(library).resolve()),
            "ASAN_OPTIONS": "detect_leaks=0",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert report in result.stdout + result.stderr
    assert (result.returncode == 0) == (not fault)

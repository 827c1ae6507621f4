"""Faults planted in the kernels: the comparisons with NumPy must find them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tinyflux as flux
from tests.support import cuda_shim
from tests.support.cuda_shim import ShimError
from tests.support.kernel_cases import CHAINS, compare, compare_nonfinite, plant

SIZES, BEFORE = [5, 0, 1, 1026, 9000, 2], 3  # misaligned leaves, several blocks, a beginning and a tail
DIVISION = "(sqrt(v * scale) + epsilon)"

FAULTS = [
    # the loop: tail, beginning, stride, offsets
    (flux.Adam(), "step.cuh", "for (; i < stop; i += stride)", "for (; i + LANES <= stop; i += stride)"),
    (flux.Adam(), "step.cuh", "to - from == LANES) {\n", "from == 0) {\n"),
    (flux.Adam(), "step.cuh", "from = i < start ? start - i : 0", "from = 0"),
    (flux.Adam(), "step.cuh", "(gridDim.x) * blockDim.x * LANES", "(blockDim.x) * LANES"),
    (flux.Descent(), "step.cuh", "gradients[leaf] + (i - starts[leaf])", "gradients[leaf] + (i - starts[leaf] + 1)"),
    (flux.Descent(), "step.cuh", "[i + lane - starts[leaf]]", "[lane]"),
    (flux.Descent(), "step.cuh", "while (starts[leaf + 1] <= i + lane) ++leaf;", ""),
    (flux.Adam(), "step.cuh", "store(state[k] + i, from, to, s[k])", "store(state[k] + i, from, to, s[0])"),
    # the numbers that move on: barrier, fence, ticket
    (flux.Adam(), "step.cuh", "__syncthreads();", ""),
    (flux.Adam(), "step.cuh", "__threadfence();", ""),
    (flux.Adam(), "step.cuh", "atomicInc(ticket, gridDim.x - 1) == gridDim.x - 1", "blockIdx.x == gridDim.x - 1"),
    (flux.Adam(), "step.cuh", "gridDim.x - 1) == gridDim.x - 1", "gridDim.x - 1) == 0"),
    (flux.Adam(), "step.cuh", "atomicInc(ticket, gridDim.x - 1)", "atomicInc(ticket, gridDim.x)"),
    (flux.Adam(), "rule.cuh", "powers[1] *= rates[2];", "powers[1] *= rates[1];"),
    (flux.NAdam(psi=4e-3), "nadam.cu", "if (scheduled) n[2] += 1;", ""),
    # the rules: ε, max, states, signs, options
    (flux.Adam(), "rule.cuh", DIVISION, "sqrt(v * scale + epsilon)"),
    (flux.Adam(), "rule.cuh", DIVISION, "(sqrt((v + epsilon) * scale))"),
    (flux.Adam(), "adam.cu", "&m = s[0], &v = s[1]", "&v = s[0], &m = s[1]"),
    (flux.AdaGrad(), "adagrad.cu", "(sqrt(a) + epsilon)", "sqrt(a + epsilon)"),
    (flux.AdaDelta(), "adadelta.cu", "sqrt(d + epsilon)", "(sqrt(d) + epsilon)"),
    (flux.AdaMax(), "adamax.cu", "maximum(beta2 * u, g < 0 ? -g : g)", "beta2 * u"),
    (flux.AMSGrad(), "amsgrad.cu", "maximum(w, form == OPTAX ? v * corrected.scale : v)", "v"),
    (flux.AMSGrad(form="optax"), "amsgrad.cu", "form == OPTAX ? v * corrected.scale : v", "v"),
    (flux.Padam(), "padam.cu", "w = maximum(w, v)", "w = v"),
    (flux.Padam(form="code"), "padam.cu", "2 * p", "p"),
    (flux.AdamW(lambda_=0.1), "adamw.cu", "couple ? r[0] * r[3] : r[3]", "r[3]"),
    (flux.Nesterov(), "nesterov.cu", "return eta * g - rho * v", "return -v"),
    (flux.Momentum(), "momentum.cu", "form == FLUX ? eta * g : g", "g"),
    (flux.Lion(), "lion.cu", "sign(beta1 * m + rest1 * g)", "sign(beta2 * m + rest2 * g)"),
    (flux.RMSProp(centred=True), "rmsprop.cu", "q - l * l", "q"),
    (flux.AggMo(), "aggmo.cu", "beta[i] * v[i]", "beta[0] * v[i]"),
    (flux.ASGD(t0=4), "asgd.cu", "n[0] - r[3] > 1 ?", "n[0] - r[3] > 3 ?"),
    (flux.ASGD(lambda_=0.1), "asgd.cu", "n[0] += 1;", ""),
    (CHAINS[3], "ema.cu", "rest * (x - g)", "rest * x"),
    (CHAINS[3], "ema.cu", "return g", "return x"),
    (CHAINS[3], "lookahead.cu", "due(n[0] + 1 >= r[0])", "due(n[0] >= r[0])"),
    (CHAINS[3], "lookahead.cu", "(x - g - s[0])", "(x - s[0])"),
    (CHAINS[3], "lookahead.cu", "? 0 : n[0] + 1", "? 1 : n[0] + 1"),
    # the chain: whose arrays, hyperparameters and numbers are whose
    (CHAINS[0], "clipgrad.cu", "minimum(maximum(g, -delta), delta)", "minimum(g, delta)"),
    (CHAINS[0], "weightdecay.cu", "g + lambda * x", "g - lambda * x"),
    (CHAINS[1], "rule.cuh", "? T(-1) : a", "? T(-1) : T(1)"),
    (CHAINS[2], "rule.cuh", "s + First::ARRAYS", "s"),
    (
        CHAINS[2],
        "rule.cuh",
        "rest(rates + First::RATES, numbers + First::NUMBERS)",
        "rest(rates + First::RATES, numbers)",
    ),
    (CHAINS[2], "rule.cuh", "rest(rates + First::RATES,", "rest(rates,"),
    (CHAINS[2], "rule.cuh", "advance(rates + First::RATES, numbers + First::NUMBERS)", "advance(rates, numbers)"),
]


@pytest.mark.usefixtures("cupy")
@pytest.mark.parametrize(("rule", "name", "old", "new"), FAULTS, ids=[f"{f[1]}: {f[2]} > {f[3]}" for f in FAULTS])
def test_a_fault_is_found(rule, name, old, new, monkeypatch):
    plant(monkeypatch, name, old, new)
    with pytest.raises((AssertionError, ShimError)):
        compare(rule, "float32", SIZES, BEFORE)


@pytest.mark.usefixtures("cupy")
@pytest.mark.parametrize("name", sorted({fault[1] for fault in FAULTS}))
def test_without_a_fault(name):
    for rule in {repr(fault[0]): fault[0] for fault in FAULTS if fault[1] == name}.values():
        compare(rule, "float32", SIZES, BEFORE)


@pytest.mark.usefixtures("cupy")
@pytest.mark.parametrize("function", ["maximum", "minimum"])
def test_a_lost_nan_is_found(function, monkeypatch):
    sign = {"maximum": ">=", "minimum": "<="}[function]
    rule = flux.OptimiserChain(flux.ClipGrad(1.5), flux.AdaMax())
    compare_nonfinite(rule, "float32")
    plant(monkeypatch, "rule.cuh", f"a {sign} b || a != a", f"a {sign} b")
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
    plant(patch, "step.cuh", *{fault!r})
comparison = Comparison(RULES[0], "float32", [1025, 3, 2000], before=3, after=0)
comparison.step(0)
comparison.check()
print("clean")
"""


@pytest.mark.parametrize(
    ("fault", "report"),
    [
        ((), "clean"),
        (("to - from == LANES) {\n", "from == 0) {\n"), "heap-buffer-overflow"),
        (("% sizeof(Vector) == 0", "% sizeof(T) == 0"), "misaligned address"),
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

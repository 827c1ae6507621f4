"""The sources go through NVIDIA's compiler, which needs no GPU: it is in the extra `test-cuda`."""

import copy
import ctypes
import importlib.util
import itertools
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import tinyflux as flux
from benchmarks.models import Cell
from examples.common import models
from tests.support import call_cases, contraction_cases, cuda_shim, device_standin, layer_cases
from tests.support.contraction_cases import CONTRACTIONS
from tests.support.device_standin import DeviceArray
from tests.support.index_cases import PICKINGS
from tests.support.kernel_cases import CHAINS, RULES
from tests.support.layer_cases import LAYERS
from tests.support.program_cases import CASES, FUNCTIONS, arrays
from tests.support.program_cases import compiled as compiled_for
from tests.support.scan_cases import SCANS
from tests.support.training_programs import training_program
from tinyflux.compile.backends.cuda import levels, rows
from tinyflux.installed import pip_install
from tinyflux.optimise.kernels import source
from tinyflux.optimise.scheduled import Scheduled, at

ARCHITECTURES = ["sm_75", "sm_80", "sm_90"]
OPTIONS = ["-std=c++17", "-ftz=true", "--device-as-default-execution-space", "--ptxas-options=-v"]  # CuPy's, and a log
SCHEDULED = [Scheduled(rule(flux.schedules.Step(0.1, every=3))) for rule in (flux.Descent, flux.Adam)]
SINES = ("0", "32", "40")  # bytes
VECTORS = {"float32": "v4.f32", "float64": "v2.f64"}


def libraries():
    """NVRTC and its builtins in the wheels of NVIDIA."""
    spec = importlib.util.find_spec("nvidia")
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()] if spec else []
    for folder in folders:
        for library in sorted(folder.glob("*/lib/libnvrtc.so.*")):
            yield next(library.parent.glob("libnvrtc-builtins.so.*")), library


@pytest.fixture(scope="module")
def nvrtc():
    found = next(libraries(), None)
    if found is None:
        pytest.skip(f"NVRTC is not installed here: {pip_install('test-cuda')}")
    ctypes.CDLL(str(found[0]), mode=ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(str(found[1]))


def compiled(nvrtc, code, *options):
    """Whether it compiles, the compiler's log, and PTX."""
    program = ctypes.c_void_p()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), code.encode(), b"step.cu", 0, None, None)
    encoded = [option.encode() for option in (*OPTIONS, *options)]
    status = nvrtc.nvrtcCompileProgram(program, len(encoded), (ctypes.c_char_p * len(encoded))(*encoded))
    texts = [fetched(nvrtc, program, "ProgramLog"), "" if status else fetched(nvrtc, program, "PTX")]
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return status == 0, *texts


def fetched(nvrtc, program, what):
    size = ctypes.c_size_t()
    getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    getattr(nvrtc, f"nvrtcGet{what}")(program, text)
    return text.value.decode()


def kernel_source(rule, dtype):
    scheduled = isinstance(rule, Scheduled)
    state = rule.init(np.zeros(1))
    arrays = sum(isinstance(s, np.ndarray) for s in state)
    parts = source.parts(at(rule.rule, 0) if scheduled else rule)
    return source.source_of(parts, dtype, arrays, len(state) - arrays, scheduled), arrays


@pytest.mark.parametrize("dtype", VECTORS)
@pytest.mark.parametrize("rule", RULES + CHAINS + SCHEDULED, ids=repr)
def test_it_compiles_well(nvrtc, rule, dtype):
    """Without spills or a stack frame, and every array is read and written by 128 bits at once."""
    code, arrays = kernel_source(rule, dtype)
    for architecture in ARCHITECTURES:
        fine, log, ptx = compiled(nvrtc, code, f"-arch={architecture}")
        assert fine, log
        used = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", log)
        assert used, log
        assert set(used) == {("0", "0", "0")}, f"{architecture}: {log}"
        vector = re.escape(VECTORS[dtype])
        assert len(re.findall(rf"\bld\.(?:global\.)?{vector}", ptx)) == arrays + 2  # the parameters, and the gradient
        assert len(re.findall(rf"\bst\.global\.{vector}", ptx)) == arrays + 1


class Refused(Exception):
    pass


def refuse(code, options):
    """In the place of RawModule: nothing is compiled."""
    raise Refused(code, options)


@pytest.fixture
def translated(monkeypatch):
    """A function that gives the source of a program: of a loss and its gradient."""
    module = device_standin.cupy_module()
    module.RawModule = refuse
    module.empty = lambda shape, dtype: DeviceArray(np.empty(shape, dtype))
    module.cuda.device = module.cuda.cublas = None
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setattr(DeviceArray, "device", cuda_shim.Device(), raising=False)

    def source(loss, model, *batch):
        model, batch = flux.tree.map(DeviceArray, model), tuple(map(DeviceArray, batch))
        with pytest.raises(Refused) as refused:
            compiled_for(loss, model, batch)
        return refused.value.args[0]

    return source


def check_program(nvrtc, code, frames=("0",), options=()):
    """It compiles, without spills; CUDA's sines and cosines have a stack frame of their own."""
    for architecture in ARCHITECTURES:
        fine, log, _ = compiled(nvrtc, code, f"-arch={architecture}", *options)
        assert fine, log
        used = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", log)
        assert set(used) <= {(frame, "0", "0") for frame in frames}, f"{architecture}: {set(used)}"


@pytest.mark.parametrize("samples", [1, 128, 5_000])
@pytest.mark.parametrize("name", models.PERCEPTRONS)
def test_the_program_of_a_network(nvrtc, translated, name, samples):
    loss = models.LOSSES[name]
    x, y = arrays((samples, 784), (samples, 10))
    check_program(nvrtc, translated(lambda m, x, y: loss(m(x), y), models.build(name), x, y))


def test_kernels_that_are_given_tables(nvrtc, translated, monkeypatch):
    monkeypatch.setattr(levels, "MAX_ARRAYS", 3)
    x, y = arrays((128, 784), (128, 10))
    code = translated(lambda m, x, y: flux.mse(m(x), y), models.build("4LS"), x, y)
    assert "table0[" in code
    check_program(nvrtc, code)


CELLS = [Cell(name, n, "ADAM") for name in models.PERCEPTRONS for n in (1, 128, 60_000)] + [Cell("4LS", 1, "Descent")]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.model}-{cell.batchsize}-{cell.optimiser}")
def test_iterations_of_training(nvrtc, compiling, cell):
    """Loss, gradient and update, as kernels of a graph, or as the one kernel that makes many."""
    compiling.RawModule = refuse
    with pytest.raises(Refused) as refused:
        training_program(cell)
    code, options = refused.value.args
    assert (" iterations(" in code) == ((cell.model, cell.batchsize) == ("4LS", 1))
    check_program(nvrtc, code, options=options[1:])


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("sizes", [(16, 16, 16), (8, 32, 10), (30, 5, 7)], ids=str)
def test_rows_of_threads(nvrtc, translated, sizes, dtype, monkeypatch):
    """As many as registers hold, and more."""
    monkeypatch.setattr(rows, "MANY", 1)
    x, y = arrays((9, sizes[0]), (9, sizes[2]), dtype=dtype)
    flux.seed(0)
    model = flux.Chain(*[flux.Dense(n, m, flux.sigmoid) for n, m in itertools.pairwise(sizes)])
    model = flux.tree.map(lambda x: x.astype(dtype), model)
    check_program(nvrtc, translated(lambda m, x, y: flux.logitcrossentropy(4 * m(x), y), model, x, y))


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", [name for name in SCANS if not re.search("[12] steps", name)])
def test_programs_of_scans(nvrtc, translated, name, dtype):
    loss, model, *batch = SCANS[name](dtype)
    check_program(nvrtc, translated(loss, model, *batch), SINES)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
def test_programs_of_all_kinds(nvrtc, translated, dtype):
    for f, shape in CASES.values():
        p, x = arrays(shape, shape, dtype=dtype)
        check_program(nvrtc, translated(lambda m, x, f=f: f(m["p"], x), {"p": p}, x), SINES)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", CONTRACTIONS)
def test_programs_of_contractions(nvrtc, translated, name, dtype):
    p, x = contraction_cases.inputs(CONTRACTIONS[name], dtype)
    code = translated(lambda m, x: np.sum(CONTRACTIONS[name].f(m["p"], x) ** 2), {"p": p}, x)
    assert "contract<" in code
    check_program(nvrtc, code)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", call_cases.CASES)
def test_programs_of_calls(nvrtc, translated, name, dtype):
    f, shape = call_cases.CASES[name]
    p, x = arrays(shape, shape, dtype=dtype)
    check_program(nvrtc, translated(lambda m, x: f(m["p"], x), {"p": p}, x), SINES)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", PICKINGS)
def test_programs_of_indices(nvrtc, translated, name, dtype):
    case = PICKINGS[name]
    p, *batch = case.inputs(dtype)
    check_program(nvrtc, translated(case.loss, {"p": p}, *batch), SINES)


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_programs_of_layers(nvrtc, translated, layer):
    model = {"layer": flux.f32(copy.deepcopy(layer)), "x": layer_cases.images(np.float32)}
    check_program(nvrtc, translated(lambda m, k: layer_cases.loss(m["layer"], m["x"] * k), model, np.float32([2])))


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
def test_functions_of_all_kinds(nvrtc, translated, dtype):
    """Whatever there is a template for."""
    (p,) = arrays((4, 5), dtype=dtype)
    code = translated(lambda m: sum(np.sum(f(0.5 + 0.1 * m["p"])) for f in FUNCTIONS), {"p": p})
    check_program(nvrtc, code, SINES)


def test_what_nvrtc_refuses(nvrtc):
    fine, log, _ = compiled(nvrtc, 'extern "C" __global__ void f(float* x) { *x = INFINITY; }', "-arch=sm_90")
    assert not fine
    assert "INFINITY" in log


def test_a_stack_frame_is_seen(nvrtc):
    body = "float y[99]; for (int k = 0; k < i; ++k) y[k * i % 99] = x[k]; *x = y[i];"
    code = f'extern "C" __global__ void f(float* x, int i) {{ {body} }}'
    fine, log, _ = compiled(nvrtc, code, "-arch=sm_90")
    assert fine
    assert re.search(r"[1-9]\d* bytes stack frame", log)


@pytest.mark.parametrize("counts", [(1, 2), (2, 1), (3, 2)])
def test_a_state_of_another_shape_is_refused(nvrtc, counts):
    fine, log, _ = compiled(nvrtc, source.source_of([RULES[0]], "float32", *counts), "-arch=sm_90")
    assert not fine
    assert "static assertion failed" in log

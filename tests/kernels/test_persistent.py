"""Iterations that a kernel makes by itself: trainings with them are those of the plain path in NumPy."""

import re

import numpy as np
import pytest

import tinyflux as flux
from benchmarks.models import Cell
from tests.kernels.test_stages import RULES, check_training
from tests.support import cuda_shim
from tests.support.graph_cases import check_4ls
from tests.support.program_cases import InOrder, arrays
from tests.support.training_programs import training_program
from tinyflux.compile.backends.cuda import persistent
from tinyflux.compile.backends.cuda.launches import FAULT, RECORD, Place, Section
from tinyflux.training import cuda_engine, cuda_iteration

pytestmark = pytest.mark.usefixtures("compiling")


@pytest.fixture
def kernels(monkeypatch):
    """The kernels that trainings have asked for; None for those whose iterations take one block too long."""
    made, translate = [], cuda_iteration.translate_persistent

    def noted(*arguments):
        made.append(translate(*arguments))
        return made[-1]

    monkeypatch.setattr(cuda_iteration, "translate_persistent", noted)
    return made


@pytest.mark.parametrize("order", cuda_shim.ORDERS)
@pytest.mark.parametrize("scale", [1.0, np.nan])
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_a_training(rule, scale, order, kernels):
    """Several iterations to a launch; none is made any more behind a loss that is not finite."""
    cuda_shim.order = order
    check_training(rule, scale)
    assert kernels
    assert {RECORD, FAULT} <= set(kernels[0].arrays)
    assert not kernels[0].between  # all of it lies in shared memory


def test_a_batch_of_one_sample(kernels):
    for cuda_shim.order in cuda_shim.ORDERS:  # noqa: B020
        check_training(RULES[1], batchsize=1)


@pytest.mark.parametrize("room", [0, 500, 1300])
def test_what_shared_memory_has_no_room_for(room, kernels, monkeypatch):
    """It lies in memory: parameters first, and then what is calculated in between."""
    monkeypatch.setattr(cuda_shim, "SHARED", room)
    for cuda_shim.order in cuda_shim.ORDERS:  # noqa: B020
        check_training(RULES[1])
    assert kernels[0].shared <= room
    assert set(kernels[0].between) <= set(kernels[0].arrays)
    assert bool(kernels[0].between) == (room < 1300)
    assert len(re.findall(r"\w+\[k\] = \w+_here\[k\];", kernels[0].text)) < len(kernels[0].arrays) - 7


def test_more_samples_than_registers_hold(kernels, monkeypatch):
    """They are read when they are needed."""
    monkeypatch.setattr(persistent, "AHEAD", 1)
    for cuda_shim.order in cuda_shim.ORDERS:  # noqa: B020
        check_training(RULES[1])
    assert "next_" not in kernels[0].text


def test_a_network_whose_state_fills_shared_memory(kernels, monkeypatch):
    monkeypatch.setattr(cuda_engine, "SECONDS", 1e9)  # of which g++ takes some
    for cuda_shim.order in cuda_shim.ORDERS:  # noqa: B020
        check_4ls()
    assert 159 * 1000 < kernels[0].shared < 163 << 10  # what a block of an A100 can have


@pytest.mark.parametrize("size", [1, 3, 4])
def test_samples_of_several_types(size, kernels):
    """Whole numbers and booleans, too; a number or a table to each. The last batch is shorter."""
    rng = np.random.default_rng(0)
    data = rng.integers(0, 255, (13, 2, 3), np.uint8), rng.random(13) < 0.5, rng.integers(0, 4, 13), rng.random((13, 1))

    def value(m, x, chosen, k, y):
        return np.mean((np.where(chosen, np.sum(m["p"] * x, axis=(1, 2)), k) - y[:, 0]) ** 2)

    ends = []
    for move, option in ((lambda x: x, False), (flux.gpu, True)):
        model = move({"p": np.linspace(-1, 1, 6).reshape(2, 3)})
        opt = flux.setup(flux.Descent(1e-5), model)
        losses = flux.train(value, model, InOrder(move(data), size), opt, 2, compile=option)
        ends.append([*losses, *np.ravel(flux.cpu(model)["p"])])
    np.testing.assert_allclose(*ends, rtol=1e-12)
    assert all("next_" in kernel.text for kernel in kernels)


def norms_first(option, move):
    """A training whose first stage reads a parameter: the losses, and what becomes of it."""
    p, x = arrays((300,), (20, 3))
    model = move({"p": p})
    opt = flux.setup(flux.Descent(0.01), model)
    value = lambda m, x: np.sum(np.sin(np.sum(np.cos(m["p"])) * x))  # noqa: E731
    losses = flux.train(value, model, InOrder(move(x), 1), opt, compile=option)
    return np.array([*losses, *flux.cpu(model)["p"]])


def check_norms_first():
    for cuda_shim.order in cuda_shim.ORDERS:  # noqa: B020
        np.testing.assert_allclose(norms_first(True, flux.gpu), norms_first(False, lambda x: x), rtol=1e-4)


def test_a_parameter_that_is_read_first(kernels):
    check_norms_first()
    assert kernels


@pytest.mark.parametrize("rule", ["Descent", "ADAM"])
def test_an_iteration(rule, monkeypatch):
    """Of eight barriers, in shared memory but for data, losses, and hyperparameters."""
    monkeypatch.setattr(cuda_shim.RawModule, "get_function", lambda module, name: lambda *arguments: None)
    source = training_program(Cell("4LS", 1, rule)).source
    sections, kernel = source.text.split("void section1(")[1].split("iterations(")
    before, behind = kernel.split("for (long long i = 0; i < count; ++i) {")
    loop = behind.split("\n    }\n")[0]
    assert sections.count("__syncthreads();") + loop.count("__syncthreads();") == 8
    assert before.count("__syncthreads();") == 1
    given = set(re.findall(r"\w+", loop)) & set(source.arrays)
    assert len(given) == {"Descent": 6, "ADAM": 9}[rule]  # order, images, labels, faults, losses; η, β₁, β₂, ε
    assert before.count("__restrict__") == len(given) - 2  # nobody writes them, so they needn't be read again


def test_what_takes_one_block_too_long(monkeypatch, kernels):
    monkeypatch.setattr(persistent, "WORK", 100)
    check_training(RULES[0])
    assert kernels == [None]


def test_what_has_more_arrays_than_a_kernel_can_be_given(monkeypatch, kernels):
    monkeypatch.setattr(persistent, "MAX_ARRAYS", 10)
    check_training(RULES[0])
    assert kernels == [None]


def test_sections_of_a_level_that_exchange_totals_take_turns():
    """They do so in the same memory; what exchanges none waits for nobody."""
    level = [Section(name, 1, (Place("x"),), ("float *",), shared) for name, shared in zip("abc", ["64", "", "64"])]
    first, second, *rest = persistent._calls(level, {"x": "y"})
    assert (first, second) == ("a(0, 1, shared, y);", "b(0, 1, y);")
    assert rest == ["__syncthreads();", "c(0, 1, shared, y);", "__syncthreads();"]


FAULTS = {
    "a barrier between levels": lambda text: (
        text[: text.index("iterations(")] + re.sub(r"__syncthreads\(\);", "", text[text.index("iterations(") :])
    ),
    "a barrier between stages": lambda text: text.replace("__syncthreads();\n    {", "{"),
    "a barrier behind what is read first": lambda text: text.replace("    __syncthreads();\n    for (", "    for ("),
    "the order moves on": lambda text: text.replace("[(i + 1) * ", "[0 * "),
    "the next samples lie elsewhere": lambda text: text.replace(" + (i + 1) % 2 *", " + i % 2 *"),
    "the first samples are read": lambda text: re.sub(r"(next_\w+\[k\]) = \w+\[\w+\[0 [^;]*;", r"\1 = 0;", text),
    "the look at the loss": lambda text: text.replace("if (record[1] - record[1] != 0) return;", ""),
    "parameters are read": lambda text: re.sub(r"for \(int k[^\n]*_here\[k\] = \w+\[k\];", "", text),
    "parameters are written": lambda text: re.sub(r"for \(int k[^\n]*\[k\] = \w+_here\[k\];", "", text),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found(name, kernels, monkeypatch):
    def everything():
        for cuda_shim.order in cuda_shim.ORDERS:  # noqa: B020
            check_training(RULES[0])
            check_training(RULES[0], np.nan)
        check_norms_first()

    everything()
    changed = cuda_shim.plant(monkeypatch, lambda code: FAULTS[name](code) if "iterations(" in code else code)
    with pytest.raises((AssertionError, cuda_shim.ShimError)):
        everything()
    assert any(changed)

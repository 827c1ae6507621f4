"""What surrounds the kernels: what is refused, what is uploaded and when, what is read back."""

import subprocess
import sys
import types

import numpy as np
import pytest

import tinyflux as flux
from tests.support import cuda_shim
from tests.support.cuda_shim import ShimError
from tests.support.device_standin import DeviceArray, counted
from tests.support.kernel_cases import RULES, Comparison, make_step
from tinyflux.optimise.kernels import kernel_step, launch, source
from tinyflux.optimise.scheduled import Scheduled

pytestmark = pytest.mark.usefixtures("cupy")
ADAM = RULES[0]


def zeros(n, dtype=np.float32):
    return DeviceArray(np.zeros(n, dtype))


@pytest.fixture
def uploads(cupy, monkeypatch):
    """The arrays that have been brought to the device."""
    seen, asarray = [], cupy.asarray
    monkeypatch.setattr(cupy, "asarray", lambda x: seen.append(x) or asarray(x))
    return seen


def test_cupy_is_not_imported():
    code = "import sys, tinyflux.optimise.kernels; sys.exit('cupy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "rule",
    [
        flux.ClipNorm(),
        flux.AccumGrad(2),
        flux.YellowFin(),
        flux.Muon(),
        flux.SOAP(),
        flux.OptimiserChain(flux.ClipNorm(), flux.Adam()),
        flux.OptimiserChain(flux.WeightDecay(), flux.OptimiserChain(flux.ClipNorm())),
        flux.OptimiserChain(),
        pytest.param(Scheduled(flux.YellowFin(eta=lambda t: 0.1)), id="a schedule"),
        pytest.param(types.SimpleNamespace(init=lambda x: (), apply=lambda state, x, g: ((), g)), id="no dataclass"),
    ],
    ids=repr,
)
def test_rules_without_a_kernel(rule):
    assert kernel_step(rule, zeros(4), [], [0, 4], ()) is None


def test_as_many_arrays_as_a_kernel_can_be_given():
    """The most, with what else is given to it, are fewer bytes than parameters can have; no kernel takes more."""
    rule = flux.AggMo(beta=(0.5,) * launch.MAX_ARRAYS)
    kinds = cuda_shim.parameter_types(source.source_of([rule], "float32", launch.MAX_ARRAYS, 0), "step")
    assert launch.MAX_ARRAYS < len(kinds) <= 4096 // 8
    arrays = [zeros(4)] * (launch.MAX_ARRAYS + 1)
    assert kernel_step(flux.AggMo(beta=(0.5,) * len(arrays)), zeros(4), arrays, [0, 4], ()) is None


def test_arrays_without_a_kernel():
    assert kernel_step(flux.Descent(), zeros(4, np.float16), [], [0, 4], ()) is None
    assert kernel_step(flux.Descent(), DeviceArray(np.zeros(5, np.float32)[1:]), [], [0, 4], ()) is None


@pytest.mark.parametrize(
    ("array", "got"),
    [
        (zeros(4, np.float64), "got float64 of shape (4,)"),
        (zeros(5), "got float32 of shape (5,)"),
        (zeros((2, 2)), "got float32 of shape (2, 2)"),
        (DeviceArray(np.zeros(8, np.float32)[::2]), "with strides (8,)"),
        (DeviceArray(np.zeros(5, np.float32)[1:]), "with strides (4,), at 0x"),
    ],
    ids=["dtype", "size", "shape", "strided", "misaligned"],
)
def test_state_that_the_kernel_would_misread(array, got):
    with pytest.raises(ValueError, match="array 0 of the state to be float32 of shape") as caught:
        kernel_step(flux.Momentum(), zeros(4), [array], [0, 4], ())
    assert got in str(caught.value)
    assert "Lay it in an array of its own" in str(caught.value)


def test_parameters_that_are_not_contiguous():
    with pytest.raises(ValueError, match="expected the parameters to be float32"):
        kernel_step(flux.Descent(), DeviceArray(np.zeros(8, np.float32)[::2]), [], [0, 4], ())


@pytest.mark.parametrize("starts", [[0, 5], [-1, 4], [0, 3, 2], [0], []])
def test_starts_outside_the_buffer(starts):
    with pytest.raises(ValueError, match="expected starts to ascend"):
        kernel_step(flux.Descent(), zeros(4), [], starts, ())


def test_gradients_that_are_refused():
    kernel = kernel_step(flux.Descent(), zeros(4), [], [0, 1, 4], ())
    for wrong, error, match in [
        ([zeros(1), zeros(4)], ValueError, "expected a gradient of 3 elements on GPU 0, .* got 4 on GPU 0"),
        ([zeros(1), np.zeros(3, np.float32)], TypeError, r"got one in NumPy, on the CPU. Move .* flux.gpu\(…\)"),
        ([zeros(1)], ValueError, "longer"),
    ]:
        with pytest.raises(error, match=match):
            make_step(kernel, wrong)
    elsewhere = type("There", (DeviceArray,), {"data": types.SimpleNamespace(ptr=0, device_id=1)})
    with pytest.raises(ValueError, match="got 3 on GPU 1"):
        make_step(kernel, [zeros(1), elsewhere(np.zeros(3, np.float32))])
    assert cuda_shim.launches == []


def test_a_launch():
    comparison = Comparison(ADAM, np.float32, [9, 4])
    comparison.step(0)
    ((grid, block, args),) = cuda_shim.launches
    assert (grid, block) == ((1,), (launch.THREADS,))
    assert f"THREADS = {launch.THREADS};" in (source.FOLDER / "step.cuh").read_text()
    assert [id(a) for a in args[:3]] == [id(a) for a in comparison.there]
    assert [a.tolist() for a in args[4:5]] == [[0, 9, 13]]
    assert args[5] == np.int32(2)
    assert args[6].tolist() == [0.01, 0.9, 0.999, 1e-8]
    assert args[8].tolist() == [0]  # the ticket, ready for the next step


@pytest.mark.parametrize(
    ("start", "stop", "lanes", "blocks"),
    [(0, 0, 4, 1), (3, 3, 4, 1), (0, 1, 4, 1), (0, 1024, 4, 1), (0, 1025, 4, 2), (1023, 2048, 4, 2), (0, 1024, 2, 2)],
)
def test_grid_sizes(start, stop, lanes, blocks):
    assert launch._blocks(start, stop, lanes) == blocks


def test_a_number_of_another_type_is_caught(monkeypatch):
    """CUDA takes the bytes as they come; here the launcher is made to pass 8 of them for an int."""
    monkeypatch.setattr(launch, "np", types.SimpleNamespace(**{**vars(np), "int32": np.int64}))
    comparison = Comparison(ADAM, np.float32, [9])
    with pytest.raises(ShimError, match="int takes a int32; got a int64"):
        comparison.step(0)


@pytest.mark.parametrize("number", [0.5, np.float64(0.5), np.int32(1)], ids=["float", "float64", "int32"])
def test_a_number_for_a_float_parameter(number):
    code = 'extern "C" __global__ void scale(float* x, float a) { x[threadIdx.x] *= a; }'
    kernel, x = cuda_shim.RawModule(code).get_function("scale"), DeviceArray(np.ones(2, np.float32))
    kernel((1,), (2,), (x, np.float32(0.5)))
    assert x.tolist() == [0.5, 0.5]
    with pytest.raises(ShimError, match="float takes a float32"):
        kernel((1,), (2,), (x, number))
    with pytest.raises(ShimError, match="contiguous array of float32"):
        kernel((1,), (2,), (zeros(2, np.float64), np.float32(0.5)))


def test_tables_are_uploaded_when_gradients_lie_elsewhere(uploads):
    kernel = Comparison(ADAM, np.float32, [3, 5]).kernel
    first, second = [zeros(3), zeros(5)], [zeros(3), zeros(5)]
    uploads.clear()
    for gradients in (first, first, second, first, second):
        make_step(kernel, gradients)
    pointers = [[g._host.ctypes.data for g in gradients] for gradients in (first, second)]
    assert [x.tolist() for x in uploads] == pointers


def test_tables_do_not_pile_up(uploads):
    kernel = Comparison(ADAM, np.float32, [3]).kernel
    uploads.clear()
    gradients = [[zeros(3)] for _ in range(launch.TABLES + 1)]
    for g in [*gradients, *gradients[1:], gradients[0]]:
        make_step(kernel, g)
    assert len(uploads) == launch.TABLES + 2  # the first one was dropped for the last
    assert len(kernel._tables) == launch.TABLES


@pytest.mark.usefixtures("compiling")
def test_copies_of_gradients_are_kept_until_the_launch():
    """A table holds addresses alone: the copy for one group is not to lie where another's lay."""
    ends = []
    for move in (lambda x: x, flux.gpu):
        model = move({name: np.ones((4, 5), np.float32) for name in "ab"})
        opt = flux.setup(flux.Descent(1.0), model)
        flux.adjust(opt["b"], eta=0.5)
        grads = move({"a": np.arange(20, dtype=np.float32).reshape(5, 4), "b": np.ones((5, 4), np.float32)})
        flux.update(opt, model, {name: g.T for name, g in grads.items()})
        ends.append(flux.cpu(model))
    for name in "ab":
        np.testing.assert_array_equal(ends[1][name], ends[0][name])


def test_numbers_are_read_when_asked_for():
    comparison = Comparison(ADAM, np.float32, [3])
    gradients = [DeviceArray(np.ones(3, np.float32))]
    assert counted(lambda: [make_step(comparison.kernel, gradients) for _ in range(3)])[1] == 0
    assert counted(lambda: comparison.kernel.numbers) == ((pytest.approx(0.9**3), pytest.approx(0.999**3)), 1)
    assert counted(lambda: comparison.kernel.numbers)[1] == 0
    make_step(comparison.kernel, gradients)
    assert counted(lambda: comparison.kernel.numbers[0]) == (pytest.approx(0.9**4), 1)
    descent = Comparison(flux.Descent(), np.float32, [3]).kernel
    make_step(descent, gradients)
    assert counted(lambda: descent.numbers) == ((), 0)


def test_a_launch_can_be_replayed():
    """As a captured step is: everything that changes from step to step is on the device."""
    comparisons = [Comparison(ADAM, np.float64, [700]) for _ in range(2)]
    g = [DeviceArray(np.linspace(-1, 1, 700))]
    make_step(comparisons[0].kernel, g)
    grid, block, args = cuda_shim.launches[-1]
    for _ in range(4):
        comparisons[0].kernel._kernel(grid, block, args)
    for _ in range(5):
        make_step(comparisons[1].kernel, g)
    for a, b in zip(*(comparison.there for comparison in comparisons)):
        np.testing.assert_array_equal(a._host, b._host)
    assert comparisons[0].kernel.numbers == comparisons[1].kernel.numbers


def test_schedules(uploads):
    """Two scheduled numbers, β₁ one of them; the hyperparameters go to the device when they have changed."""
    rule = Scheduled(flux.Adam(flux.schedules.Step(0.1, every=3), (flux.schedules.Demon(0.9, 10), 0.99)))
    comparison = Comparison(rule, np.float64, [33])
    uploads.clear()
    for t in range(5):
        comparison.step(t)
        comparison.check()
        assert counted(lambda: comparison.kernel.calls_for)[1] == 0
    rates = [x for x in uploads if x.dtype == np.float64]
    assert len(rates) == 4  # Demon changes in every step; the first rates came with the rule
    assert [round(x[0], 12) for x in rates] == [0.1, 0.1, 0.01, 0.01]
    constant = Comparison(Scheduled(flux.Adam(flux.schedules.Constant(0.1))), np.float64, [33])
    uploads.clear()
    for t in range(3):
        constant.step(t)
    constant.check()
    assert constant.kernel.numbers[-1] == 3
    assert not [x for x in uploads if x.dtype == np.float64]

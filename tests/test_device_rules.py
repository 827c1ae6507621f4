"""Rules, layers and losses on arrays that are not NumPy's: the stand-in for CuPy gives what NumPy gives."""

import json
import sys

import numpy as np
import pytest

import tinyflux as flux
from tests.support import device_parity as parity
from tests.support import device_standin as standin
from tests.support.device_standin import DeviceArray, counted

ACTIVATIONS = [
    "identity", "sigmoid", "tanh", "relu", "leakyrelu", "elu", "gelu", "swish", "softplus", "softmax", "logsoftmax",
    "logsumexp",
]  # fmt: skip
LOSSES = [
    "mse", "mae", "huber", "crossentropy", "logitcrossentropy", "binarycrossentropy", "logitbinarycrossentropy",
]  # fmt: skip
INITIALISERS = ["glorot_uniform", "glorot_normal", "kaiming_uniform", "kaiming_normal", "zeros", "ones"]


def there(x):
    return DeviceArray(x.copy())


def named(cases):
    return pytest.mark.parametrize("case", cases, ids=lambda case: f"{case.name} [{case.shapes}]")


POSSIBLE = [c for c in parity.CASES if c.name not in parity.MIXED and not parity.limit(c, parity.LIMITS)]
UNRECORDED = [c for c in POSSIBLE if not parity.limit(c, parity.UNRECORDED_LIMITS)]
TWICE = [c for c in POSSIBLE if not parity.limit(c, parity.SECOND_ORDER_LIMITS)]
MASKED = {  # the shapes of the results depend on values
    "lstsq", "lstsq of a vector", "lstsq of too few",
    "x[x > 0]", "masks of a number", "x.argsort, x.nonzero",
    *(f"x[{name}]" for name in parity.cases_shapes.INDICES if "mask" in name),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _without_numpy_arrays(monkeypatch):
    parity.without_numpy_arrays(monkeypatch)


@pytest.fixture(autouse=True)
def _cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", standin.cupy_module())


@named(POSSIBLE)
def test_values_and_gradients(case):
    parity.check_case(case, parity.first_order, there, DeviceArray)


@named([c for c in POSSIBLE if c.name not in MASKED])
def test_that_nothing_waits_for_the_device(case):
    arguments = [there(x) for x in case.arguments(parity.SIZES[0], 0)]
    assert counted(parity.first_order, case, arguments)[1] == 0


@named(TWICE)
def test_second_derivatives(case):
    parity.check_case(case, parity.second_order, there, DeviceArray, tolerances=(1e-11, 1e-4))


@named(UNRECORDED)
def test_values_outside_a_gradient(case):
    parity.check_case(case, lambda case, arguments: case.f(*arguments), there, DeviceArray)


@named([c for c in parity.CASES if c not in POSSIBLE])
def test_what_the_device_refuses(case):
    """Should CuPy learn it, the list of limits becomes shorter: this test then fails."""
    unable = (TypeError, NotImplementedError, np.exceptions.AxisError)
    expected = TypeError if "list" in case.name else flux.MixedDevices if case.name in parity.MIXED else unable
    with pytest.raises(expected):
        parity.first_order(case, [there(x) for x in case.arguments(parity.SIZES[0], 0)])


def test_that_every_exception_is_one():
    """A name in the lists of what can't be done stands for a case."""
    for limits in (parity.LIMITS, parity.UNRECORDED_LIMITS, parity.SECOND_ORDER_LIMITS):
        for name in limits:
            assert any(parity.limit(c, {name: "it"}) == "it" for c in parity.CASES), name
    assert {c.name for c in parity.CASES} >= parity.MIXED


def on_both(f, *arguments, tolerance=1e-12):
    """A function's value and gradients on the device and in NumPy; nothing is read back on the way."""
    expected = flux.withgradient(f, *arguments)
    got, reads = counted(flux.withgradient, f, *[there(x) for x in arguments])
    assert reads == 0
    parity.check_same(list(got), list(expected), DeviceArray, tolerance, str(f))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    f = getattr(flux, name)
    x = np.linspace(-3, 3, 24).reshape(2, 12)
    on_both(lambda x: np.sum(f(x) * np.sin(x)), x)
    on_both(lambda x: np.sum(f(x) * np.sin(x)), np.tile(x, (100, 3)).astype(np.float32), tolerance=1e-4)


@pytest.mark.parametrize("agg", [np.mean, np.sum], ids=["mean", "sum"])
@pytest.mark.parametrize("name", LOSSES)
def test_losses(name, agg):
    rng = np.random.default_rng(0)
    prediction, target = rng.uniform(0.1, 0.9, (4, 3)), flux.f64(flux.onehotbatch([0, 2, 1, 1], range(3)))
    on_both(lambda p, t: getattr(flux, name)(p, t, agg=agg), prediction, target)


@pytest.mark.parametrize("name", INITIALISERS)
def test_layers_of_every_initialiser(name):
    layer = flux.f64(flux.Dense(4, 3, flux.swish, init=getattr(flux, name)))
    x = np.linspace(-1, 1, 8).reshape(2, 4)
    expected = flux.gradient(lambda w, b: np.sum(flux.swish(x @ w.T + b) ** 2), layer.weight, layer.bias)
    moved = flux.tree.map(there, layer)
    device_x = there(x)
    got = flux.gradient(lambda m: np.sum(m(device_x) ** 2), moved)
    parity.check_same([got.weight, got.bias], list(expected), DeviceArray, 1e-12, name)


def test_jacobian_and_hessian():
    x = np.array([0.3, -0.7, 1.1])
    for f, whole in ((np.tanh, flux.jacobian), (lambda x: np.sum(x**3) * x[0], flux.hessian)):
        parity.check_same(whole(f, there(x)), whole(f, x), DeviceArray, 1e-12, whole.__name__)


def test_large_arrays():
    """Where NumPy's are worked through in blocks."""
    x = np.linspace(-2, 2, 1 << 18).reshape(-1, 64)
    on_both(lambda x: np.mean(np.tanh(x) * x), x)


def test_one_hot_and_back():
    labels = there(np.array([2, 0, 1]))
    rows = flux.onehotbatch(labels, range(3))
    parity.check_same(flux.onecold(there(rows)), flux.onecold(rows), DeviceArray, 0, "onecold")
    assert flux.onecold(there(rows), ["a", "b", "c"]).tolist() == ["c", "a", "b"]


def test_destructure_and_dtypes():
    model = flux.tree.map(there, flux.Dense(3, 2))
    flat, rebuild = flux.destructure(model)
    assert type(flat) is DeviceArray
    assert type(rebuild(2 * flat).weight) is DeviceArray
    assert flux.f64(model).weight.dtype == np.float64
    assert type(flux.f64(model).bias) is DeviceArray


REFUSED = {
    "conversion": lambda x: np.asarray(x),
    "NumPy's array at the right": lambda x: x + np.ones(2),
    "NumPy's array at the left": lambda x: np.ones(2) * x,
    "joining": lambda x: np.stack([x, np.ones(2)]),
    "choosing": lambda x: np.where(x > 0, x, np.ones(2)),
    "an option that CuPy lacks": lambda x: np.eye(2, like=x),
    "a function that CuPy lacks": lambda x: np.spacing(x),
    "writing NumPy's numbers": lambda x: x.__setitem__(0, np.ones(1)),
    "writing into NumPy's array": lambda x: np.add(x, 1, out=np.ones(2)),
}


@pytest.mark.parametrize("attempt", REFUSED.values(), ids=REFUSED)
def test_the_stand_in_refuses_what_cupy_refuses(attempt):
    with pytest.raises(TypeError):
        attempt(there(np.ones(2)))


def test_the_stand_in_counts_what_waits_for_the_device():
    x = there(np.ones(2))
    assert counted(lambda: np.sum(x * 2))[1] == 0
    assert counted(lambda: float(np.sum(x)))[1] == 1
    assert counted(lambda: bool(x[0] > 0))[1] == 1
    assert type(np.sum(x)) is DeviceArray
    assert np.sum(x).shape == ()


def test_the_list_of_functions_is_cupys(monkeypatch):
    """Where CuPy is installed, with or without a GPU."""
    monkeypatch.delitem(sys.modules, "cupy")
    pytest.importorskip("cupy", exc_type=ImportError)
    import cupy
    import cupyx.scipy.special

    from tests.record.record_cupy import FILE, recorded

    if cupy.__version__ == standin.CAN["version"]:
        assert recorded(cupy, cupyx.scipy.special) == json.loads(FILE.read_text())

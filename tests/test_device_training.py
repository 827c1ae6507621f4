"""Training on arrays of the stand-in for CuPy: the numbers of NumPy, checkpoints, and devices that don't match."""

import math
import sys

import numpy as np
import pytest

import tinyflux as flux
from tests.support import device_parity as parity
from tests.support import device_standin as standin
from tests.support.device_standin import DeviceArray, counted
from tinyflux import device

RULES = [flux.Descent(0.1), flux.Adam(0.01)]
MUON = flux.OptimiserChain(flux.ClipNorm(1.0, over="model"), flux.Muon(0.1, others=flux.Adam(0.01)))
AVERAGED = flux.OptimiserChain(flux.Muon(0.1), flux.Lookahead(3), flux.EMA(0.9))


@pytest.fixture(autouse=True)
def _gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", standin.cupy_module())
    device._fault.cache_clear()
    yield
    device._fault.cache_clear()


def loss(model, x, y):
    return flux.mse(model(x), y)


def small(move=flux.gpu):
    """A model and a batch."""
    flux.seed(0)
    return move(
        flux.Chain(flux.Dense(3, 4, flux.tanh), flux.Dense(4, 1)),
        (np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3), np.ones((4, 1), np.float32)),
    )


@pytest.mark.parametrize(
    "rule",
    [*RULES, flux.Muon(0.1), flux.SOAP(0.1, every=2), MUON, AVERAGED],
    ids=["Descent", "Adam", "Muon", "SOAP", "a chain", "averages"],
)
def test_training_gives_the_same_numbers(rule):
    expected, model, opt = parity.trained(rule, lambda *trees: trees)
    losses, moved, moved_opt = parity.trained(rule, flux.gpu)
    np.testing.assert_allclose(losses, expected, rtol=1e-12)
    for x, y in zip(flux.leaves(moved), flux.leaves(model), strict=True):
        parity.check_same(x, y, DeviceArray, 1e-12, "parameter")
    for a, b in zip(moved_opt._leaves, opt._leaves, strict=True):
        assert a.numbers == b.numbers
        parity.check_same(a.arrays, b.arrays, DeviceArray, 1e-12, "state")


@pytest.mark.parametrize("rule", RULES, ids=["Descent", "Adam"])
def test_parameters_are_views_of_one_array_there(rule):
    model, batch = small()
    opt = flux.setup(rule, model)
    (buffer,) = {id(leaf.buffer): leaf.buffer for leaf in opt._leaves}.values()
    assert buffer.x.shape == (flux.parameter_count(model),)
    assert all(x.base is buffer.x for x in flux.leaves(model))
    grads = flux.gradient(lambda m: loss(m, *batch), model)
    assert counted(flux.update, opt, model, grads)[1] == 0
    assert all(x.base is buffer.x for x in flux.leaves(model))
    assert {type(x) for x in flux.leaves(grads)} == {DeviceArray}


@pytest.mark.parametrize("form", ["items", "loader"])
def test_what_cannot_be_compiled_is_left_to_cupy(form, capsys):
    """There is no RawModule here: it is said once, and goes on. tests/kernels has one."""
    means = []
    for option in (False, "auto", "auto"):
        model, batch = small()
        data = [batch] * 3 if form == "items" else flux.DataLoader(batch, 2)
        means.append(flux.train(loss, model, data, flux.setup(RULES[1], model), compile=option))
    assert means[0] == means[1] == means[2]
    assert capsys.readouterr().err.count("tinyflux: training runs by CuPy: AttributeError") == 1


# The loop.


@pytest.mark.parametrize("rule", RULES, ids=["Descent", "Adam"])
def test_the_loss_is_read_once_an_update_and_nothing_else_is(rule):
    model, batch = small()
    opt = flux.setup(rule, model)
    assert counted(flux.train, loss, model, [batch] * 7, opt)[1] == 7
    loader = flux.DataLoader(batch, 2, shuffle=True)
    assert counted(flux.train, loss, model, loader, opt, 3)[1] == 3 * 2
    assert counted(flux.train, loss, model, [batch] * 7, opt, 1, [lambda progress: progress.loss > 9])[1] == 7


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("rule", RULES, ids=["Descent", "Adam"])
def test_a_loss_that_is_not_finite(rule, bad):
    """The promise of the CPU: the updates before it stand, its own is not applied, nor is any after it."""
    x, scales = flux.gpu(np.ones((2, 3), np.float32)), flux.gpu(np.array([1, 1, bad, 1], np.float32))
    trained = []
    for items in ([0, 1, 2, 3], [0, 1]):
        model, _ = small()
        opt = flux.setup(rule, model)
        arguments = (lambda m, i: np.sum(m(x) ** 2) * scales[i], model, items, opt)
        if len(items) == 4:
            with (
                np.errstate(all="ignore"),
                pytest.raises(flux.NonFiniteLoss, match=f"the loss is {bad} at item 2 of epoch 1. That update was no"),
            ):
                flux.train(*arguments)
        else:
            flux.train(*arguments)
        state = [a for leaf in opt._leaves for a in leaf.state]
        trained.append(flux.cpu([*flux.leaves(model), *state]))
    for stopped, expected in zip(*trained, strict=True):
        np.testing.assert_array_equal(stopped, expected)


def test_a_model_in_numpy_and_data_on_the_gpu():
    model, batch = small()
    model = flux.cpu(model)
    with pytest.raises(flux.MixedDevices, match=rf"the parameter \.layers\[0\]\.weight of argument 0 is {HERE}"):
        flux.train(loss, model, flux.DataLoader(batch, 2, shuffle=True), flux.setup(RULES[0], model))


@pytest.mark.parametrize(("source", "target"), [("gpu", "gpu"), ("gpu", "cpu"), ("cpu", "gpu")])
def test_checkpoints(source, target, tmp_path):
    model, batch = small(getattr(flux, source))
    opt = flux.setup(RULES[1], model)
    flux.train(loss, model, [batch] * 2, opt, compile=False)
    flux.save(tmp_path / "model.npz", model, opt)
    other, _ = small(getattr(flux, target))
    other_opt = flux.setup(flux.Adam(0.5), other)
    kinds = [type(x) for x in flux.leaves(other)]
    flux.load(tmp_path / "model.npz", other, other_opt)
    assert [type(x) for x in flux.leaves(other)] == kinds
    for x, y in zip(flux.leaves(flux.cpu(model)), flux.leaves(flux.cpu(other)), strict=True):
        np.testing.assert_array_equal(x, y)
    for a, b in zip(opt._leaves, other_opt._leaves, strict=True):
        assert (a.rule, a.numbers) == (b.rule, b.numbers)
        np.testing.assert_array_equal(flux.cpu(a.state[0]), flux.cpu(b.state[0]))


def test_gradcheck_there():
    flux.gradcheck(lambda x, y: np.tanh(x) @ y, *flux.gpu(np.ones((2, 3)), np.linspace(-1, 1, 3)))


# Mixed devices.

HERE, THERE = r"in NumPy, on the CPU", r"on the GPU"


def test_data_on_another_device():
    model, (x, y) = small()
    here_x, here_y = flux.cpu(x, y)
    opt = flux.setup(RULES[0], model)
    weight = rf"the parameter \.layers\[0\]\.weight of argument 0 is {THERE}"
    for attempt in (
        lambda: flux.gradient(lambda m: loss(m, here_x, y), model),
        lambda: flux.withgradient(lambda m: loss(m, here_x, y), model),
        lambda: flux.pullback(lambda m: m(here_x), model),
        lambda: flux.gradient(lambda m: loss(m, x, here_y), model),
        lambda: flux.train(loss, model, [(here_x, y)], opt, compile=False),
        lambda: flux.train(loss, model, flux.DataLoader((x, here_y), 2), opt),
        lambda: flux.gradient(lambda m: np.sum(np.where(m(x) > np.ones((4, 1)), 1.0, 0.0) * m(x)), model),
    ):
        with pytest.raises(flux.MixedDevices, match=weight) as caught:
            attempt()
        assert f"is {HERE}" in str(caught.value)
        assert "flux.gpu(…)" in str(caught.value)
    here = flux.cpu(model)
    with pytest.raises(
        flux.MixedDevices, match=rf"is {THERE}, the parameter \.layers\[0\]\.weight of argument 0 is {HERE}"
    ):
        flux.gradient(lambda m: loss(m, x, y), here)


def test_the_error_of_the_user_stays():
    """A TypeError that has nothing to do with devices is not explained away."""
    model, (x, _) = small()
    with pytest.raises(TypeError) as caught:
        flux.gradient(lambda m: np.sum(m(x), nonsense=1), model)
    assert not isinstance(caught.value, flux.MixedDevices)


@pytest.mark.parametrize("rule", RULES, ids=["Descent", "Adam"])
@pytest.mark.parametrize(
    ("model_at", "gradient_at", "where"), [("gpu", "cpu", (HERE, THERE)), ("cpu", "gpu", (THERE, HERE))]
)
def test_gradients_on_another_device(rule, model_at, gradient_at, where):
    model, batch = small(getattr(flux, model_at))
    opt = flux.setup(rule, model)
    grads = getattr(flux, gradient_at)(flux.gradient(lambda m: loss(m, *batch), model))
    before = [x.copy() for x in flux.leaves(model)]
    with pytest.raises(
        flux.MixedDevices, match=r"the gradient of \.layers\[0\]\.weight is {}, the parameter {}".format(*where)
    ):
        flux.update(opt, model, grads)
    for x, y in zip(flux.leaves(flux.cpu(model)), flux.leaves(flux.cpu(before)), strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_model_on_two_devices():
    model = {"a": np.ones(2), "b": flux.gpu(np.ones(2))}
    with pytest.raises(flux.MixedDevices, match=rf"setup: .* but \['a'\] is {HERE}, and \['b'\] {THERE}"):
        flux.setup(RULES[0], model)


def test_parameters_that_overlap_there():
    x = flux.gpu(np.ones(4))
    with pytest.raises(ValueError, match=r"\[0\] and \[1\] share memory"):
        flux.setup(RULES[0], [x[:3], x[2:]])
    flux.setup(RULES[0], [x[:2], x[2:]])
    x = flux.gpu(np.ones(9))
    with pytest.raises(ValueError, match="share memory"):  # the last one begins where the first does, and is told last
        flux.setup(RULES[0], [x[:1], x[5:6], x[8::-2]])


@pytest.mark.parametrize("batchsize", [2, 4])
def test_validation_there(batchsize):
    """The numbers of NumPy; each batch's loss is read, and the metrics once an epoch."""
    histories, reads = [], []
    for move in (flux.gpu, lambda *trees: trees):
        model, batch = small(move)
        held = flux.DataLoader((batch[0] + 1, batch[1]), batchsize)
        labelled = {"mae": lambda scores, y: np.mean(np.abs(scores - y))}
        options = {"compile": False, "validation": held, "metrics": labelled}
        opt = flux.setup(RULES[1], model)
        history, count = counted(lambda: flux.train(loss, model, [batch] * 3, opt, 2, **options))  # noqa: B023
        histories.append([history, *history.validation.values()])
        reads.append(count)
    np.testing.assert_allclose(*histories, rtol=1e-5)
    assert reads == [(1 + 1) + 2 * (3 + 4 // batchsize + 1), 0]


class Shifted(flux.Dense):
    """A model of two inputs."""

    def __call__(self, x, shift):
        return super().__call__(x + shift)


def test_metrics_of_several_inputs_there():
    """The model is called with all parts but the labels, where they lie."""
    histories = []
    for move in (flux.gpu, lambda *trees: trees):
        flux.seed(0)
        x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)
        model, batch = move(Shifted(3, 1), (x, x + 1, np.ones((4, 1), np.float32)))
        f = lambda m, x, shift, y: flux.mse(m(x, shift), y)  # noqa: E731
        options = {"validation": batch, "metrics": {"mae": lambda scores, y: np.mean(np.abs(scores - y))}}
        history = flux.train(f, model, [batch] * 3, flux.setup(RULES[0], model), 2, compile=False, **options)
        histories.append([history, *history.validation.values()])
    np.testing.assert_allclose(*histories, rtol=1e-5)


def test_validation_data_that_lies_elsewhere():
    model, batch = small()
    opt = flux.setup(RULES[0], model)
    with pytest.raises(flux.MixedDevices, match="validation data and model lie on different devices"):
        flux.train(loss, model, [batch], opt, validation=flux.cpu(batch))

"""What can't be compiled for the device is left to CuPy, which is said; or an error, if compiled code was asked for."""

import numpy as np
import pytest

import tinyflux as flux
from tests.support.program_cases import data, loss, network, trained
from tinyflux.compile.trace import programs
from tinyflux.training import cuda_engine

pytestmark = pytest.mark.usefixtures("compiling")


def test_what_is_said(capsys):
    for _ in range(2):
        trained(flux.gpu, lambda: flux.gpu(flux.DataLoader(data(), 16)), native="auto")
    assert capsys.readouterr().err == cuda_engine.STARTED + "\n"


REFUSED = {
    "an array in NumPy": (lambda m, x, y: np.mean((m(x) * np.ones(3, np.float32)) ** 2), "in NumPy"),
    "singular values": (
        lambda m, x, y: np.mean(np.linalg.svd(np.concatenate([m(x)] * 60), compute_uv=False)),
        "np.linalg.svd of so large matrices can't be compiled",
    ),
    "a mask": (lambda m, x, y: np.mean(m(x)[np.argmax(x, axis=1) > 2]), "indexing by a mask"),
    "random numbers": (lambda m, x, y: np.mean(m(x)) * flux.default_rng().random(), "draws random numbers"),
    "a step of a scan": (
        lambda m, x, y: np.mean(
            flux.scan(lambda s, z: (s + np.linalg.norm(np.tile(s, (60, 1)), "nuc"), z), m(x), m(x)[:2, None])[0]
        ),
        "np.linalg.svd",
    ),
}


@pytest.mark.parametrize("name", [name for name in REFUSED if name != "an array in NumPy"])
def test_what_is_left_to_cupy(name, capsys):
    """Said once; it then goes on as if nothing had been tried."""
    f, reason = REFUSED[name]
    x, y = flux.gpu(*data(10))
    results = []
    for option in (False, "auto"):
        flux.seed(0)
        model = flux.gpu(network())
        opt = flux.setup(flux.Descent(0.1), model)
        results.append((flux.train(f, model, [(x, y)] * 3, opt, compile=option), flux.cpu(flux.leaves(model))))
    assert results[0][0] == results[1][0]
    for a, b in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_array_equal(a, b)
    said = capsys.readouterr().err
    assert said.startswith("tinyflux: training runs by CuPy: ")
    assert said.count("\n") == 1
    assert reason in said
    model = flux.gpu(network())
    with pytest.raises(flux.NotCompilable, match=reason):
        flux.train(f, model, [(x, y)], flux.setup(flux.Descent(0.1), model), compile=True)


def test_an_array_in_numpy():
    f, reason = REFUSED["an array in NumPy"]
    x, y = flux.gpu(*data(10))
    model = flux.gpu(network())
    opt = flux.setup(flux.Descent(0.1), model)
    with pytest.raises(flux.NotCompilable, match=reason):
        flux.train(f, model, [(x, y)], opt, compile=True)
    with pytest.raises(flux.MixedDevices):
        flux.train(f, model, [(x, y)], opt)


def test_a_batch_in_numpy():
    model = flux.gpu(network())
    opt = flux.setup(flux.Descent(0.1), model)
    with pytest.raises(flux.MixedDevices):
        flux.train(loss, model, flux.DataLoader(data(), 8), opt)
    with pytest.raises(flux.NotCompilable, match="a batch in NumPy"):
        flux.train(loss, model, flux.DataLoader(data(), 8), opt, compile=True)


class Busy:
    """Counts its calls, by a number of Python's."""

    def __init__(self):
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        return x * self.calls


def test_a_layer_that_counts():
    model = flux.gpu(flux.Chain(Busy(), network()))
    with pytest.raises(flux.NotCompilable, match="the model changes an attribute of its own that is no array"):
        flux.train(loss, model, [flux.gpu(data())], flux.setup(flux.Descent(0.1), model), compile=True)


class Masked:
    """Holds an array that is no parameter."""

    def __init__(self):
        self.mask = np.array([1, 0, 1, 1, 0, 1])

    def __call__(self, x):
        return x * self.mask


def test_an_array_of_the_model_that_is_replaced():
    results = []
    for move, option in ((lambda x: x, False), (flux.gpu, True)):
        model = move(flux.Chain(Masked(), network()))

        def change(progress):
            progress.model[0].mask = move(np.array([0, 1, 1, 0, 0, 1]))  # noqa: B023

        opt = flux.setup(flux.Descent(0.1), model)
        results.append(flux.train(loss, model, [move(data())] * 4, opt, callbacks=[change], compile=option))
    np.testing.assert_allclose(*results, rtol=1e-6)


def test_shapes_that_change_again_and_again(capsys):
    x, y = flux.gpu(*data())
    items = [(x[:n], y[:n]) for n in range(2, 2 + programs.MAX_PROGRAMS + 1)]
    model = flux.gpu(network())
    flux.train(loss, model, items, flux.setup(flux.Descent(0.1), model))
    assert "change again and again" in capsys.readouterr().err

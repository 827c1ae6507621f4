"""The networks of flux.models: sizes as published, initial values, shapes, gradients; their numbers in test_interop."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

import tinyflux as flux
from tinyflux import models
from tinyflux.compile.backends.c.build import available
from tinyflux.models.resnet import subsample

RECORDED = json.loads(Path(__file__).with_name("interop.json").read_text(encoding="utf-8"))["torchvision"]

# Where a number stands: the papers, torchvision, or arithmetic in test_wide_resnet.
COUNTS = {
    "lenet5": (models.lenet5, 44_426),
    "lenet5, 32": (lambda: models.lenet5(shape=(32, 32, 1)), 61_706),
    "lenet5, colours": (lambda: models.lenet5(shape=(32, 32, 3)), 62_006),
    "resnet18": (models.resnet18, RECORDED["resnet18"]["parameters"]),
    "resnet18, 32": (lambda: models.resnet18(10, size=32), 11_173_962),
    "resnet34": (models.resnet34, RECORDED["resnet34"]["parameters"]),
    "resnet20": (models.resnet20, 269_722),
    "resnet20, 224": (lambda: models.resnet20(size=224), 269_722 - 3 * 3 * 3 * 16 + 7 * 7 * 3 * 16),
    "resnet56": (models.resnet56, 853_018),
    "resnet56, 224": (lambda: models.resnet56(size=224), 853_018 - 3 * 3 * 3 * 16 + 7 * 7 * 3 * 16),
    "vgg11, 32": (lambda: models.vgg11(10, size=32), 9_231_114),
    "vgg16, 32": (lambda: models.vgg16(10, size=32), 14_728_266),
    "wide_resnet": (lambda: models.wide_resnet(28, 10), 36_479_194),
}


@pytest.mark.parametrize("name", COUNTS)
def test_parameters(name):
    build, count = COUNTS[name]
    assert flux.parameter_count(build()) == count


class Zeros(np.random.Generator):
    """A generator that takes no time: what it gives counts in no sum."""

    def standard_normal(self, size, dtype):
        return np.zeros(size, dtype)


@pytest.mark.parametrize("name", ["vgg11", "vgg16"])
def test_parameters_of_large_models(name):
    model = getattr(models, name)(rng=Zeros(np.random.PCG64(0)))
    assert flux.parameter_count(model) == RECORDED[name]["parameters"]
    keys = [layer.state[0] for layer in model if isinstance(layer, flux.Dropout)]
    assert len(keys) == len({*keys}) == 2


@pytest.mark.parametrize(("size", "window"), [(32, 3), (224, 7)])
@pytest.mark.parametrize(("depth", "width"), [(10, 1), (16, 4), (40, 2)])
def test_wide_resnet(depth, width, size, window):
    n, k = (depth - 4) // 6, width
    channels = [16, *[16 * k] * n, *[32 * k] * n, *[64 * k] * n]
    blocks = sum(9 * a * b + 9 * b * b + 2 * a + 2 * b + (a != b) * a * b for a, b in itertools.pairwise(channels))
    expected = window**2 * 3 * 16 + blocks + 2 * 64 * k + (64 * k + 1) * 10
    assert flux.parameter_count(models.wide_resnet(depth, width, size=size)) == expected


def test_multiplications():
    """ResNet-18 has 1.81 · 10⁹ of them, as torchvision says; ResNet-20's convolutions are counted here."""
    assert flux.summary(models.resnet18(), (224, 224, 3)).splitlines()[-1].split()[-1] == "1,814,073,344"
    pixels = 32 * 32
    stages = [pixels // 4**k * 9 * (c * c * 5 + c * (c // 2 if k else c)) for k, c in enumerate((16, 32, 64))]
    expected = pixels * 9 * 3 * 16 + sum(stages) + 640
    assert flux.summary(models.resnet20(), (32, 32, 3)).splitlines()[-1].split()[-1] == f"{expected:,}"


LARGER = [("resnet18", (64, 64, 3)), ("resnet34", (32, 48, 3)), ("resnet56", (8, 8, 3))]


@pytest.mark.parametrize(("name", "shape"), LARGER)
def test_images_go_through(name, shape):
    y = getattr(models, name)(7)(np.ones((2, *shape), np.float32))
    assert y.shape == (2, 7)
    assert y.dtype == np.float32
    assert np.isfinite(y).all()


ENTRIES = {
    "resnet20": (models.resnet20, 2, 3),
    "resnet56": (models.resnet56, 2, 3),
    "wide_resnet": (lambda **options: models.wide_resnet(10, 2, **options), 1, 2),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_entries(name):
    """At 32 the entry leaves all pixels, at 224 a quarter along each axis; the other layers are the same for both."""
    build, small, large = ENTRIES[name]
    x = np.ones((1, 64, 48, 3), np.float32)
    for size, layers, shape in ((32, small, (1, 64, 48, 16)), (224, large, (1, 16, 12, 16))):
        model = build(size=size)
        assert flux.Chain(*model[:layers])(x).shape == shape
        assert repr(flux.Chain(*model[layers:])) == repr(flux.Chain(*build()[small:]))
        assert model(x).shape == (1, 10)


def test_initial_values():
    model = models.resnet18(10, size=32)
    for kernel in (model[0].weight, model[5][0].branches[0][0].weight, model[5][0].branches[1][0].weight):
        nout, *window, _ = kernel.shape
        assert kernel.std() == pytest.approx(np.sqrt(2 / (nout * np.prod(window))), rel=0.05)
    model = models.vgg11(10, size=32)
    assert model[3].weight.std() == pytest.approx(np.sqrt(2 / (9 * 128)), rel=0.02)
    assert model[-1].weight.std() == pytest.approx(0.01, rel=0.05)
    assert not model[-1].bias.any()


BUILD = {
    "lenet5": (models.lenet5, (28, 28, 1)),
    "resnet20": (models.resnet20, (16, 16, 3)),
    "vgg11": (lambda **options: models.vgg11(10, size=32, **options), (32, 32, 3)),
    "wide_resnet": (lambda **options: models.wide_resnet(10, 1, **options), (16, 16, 3)),
}


@pytest.mark.parametrize("name", BUILD)
def test_a_generator_decides(name):
    build, _ = BUILD[name]
    one, two = (build(rng=np.random.default_rng(3)) for _ in range(2))
    flux.seed(3)
    three = build()
    for x, y, z in zip(*map(flux.leaves, (one, two, three)), strict=True):
        np.testing.assert_array_equal(x, y)
        np.testing.assert_array_equal(x, z)


@pytest.mark.parametrize("name", BUILD)
def test_every_parameter_has_a_gradient(name):
    build, shape = BUILD[name]
    rng = np.random.default_rng(0)
    model, x = build(rng=rng), rng.normal(size=(4, *shape)).astype(np.float32)
    y = flux.onehotbatch(np.arange(4), range(10))
    gradient = flux.gradient(lambda m: flux.logitcrossentropy(m(x), y), model)
    slopes = dict(flux.tree.walk(gradient, buffers=False))
    assert slopes.keys() == {path for path, _ in flux.tree.walk(model, buffers=False)}
    assert not {path for path, g in slopes.items() if not (np.isfinite(g).all() and g.any())}


@pytest.mark.slow
@pytest.mark.skipif(not available(), reason="there is no C compiler here")
def test_compiled_training_is_that_of_plain_numpy():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 12, 12, 3)), flux.onehotbatch(rng.integers(0, 10, 8), range(10))
    found = []
    for how in (True, False):
        flux.seed(1)
        model = flux.f64(models.wide_resnet(10, 1))
        loss = lambda m, x, y: flux.logitcrossentropy(m(x), y)  # noqa: E731
        data = flux.DataLoader((x, y), batchsize=4)
        flux.train(loss, model, data, flux.setup(flux.Momentum(0.01), model), epochs=2, compile=how)
        found.append(flux.leaves(model))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


def test_a_shortcut_without_parameters():
    x = np.sin(np.arange(2.0 * 5 * 6 * 2)).reshape(2, 5, 6, 2)
    y = subsample(x, 5)
    assert y.shape == (2, 3, 3, 5)
    for n, i, j, c in np.ndindex(y.shape):
        assert y[n, i, j, c] == (x[n, 2 * i, 2 * j, c] if c < 2 else 0)
    flux.gradcheck(lambda x: np.sum(np.sin(subsample(x, 5))), x)


ERRORS = {
    "classes": (lambda: models.resnet20(0), ValueError, "resnet20: expected classes to be an integer"),
    "size": (lambda: models.vgg16(size=64), ValueError, "vgg16: expected size to be 32 or 224"),
    "size of resnet56": (lambda: models.resnet56(size=28), ValueError, "resnet56: expected size to be 32 or 224"),
    "size of wide_resnet": (lambda: models.wide_resnet(16, 1, size=0), ValueError, "wide_resnet: expected size to be"),
    "generator": (lambda: models.lenet5(rng=0), TypeError, "lenet5: expected rng"),
    "shape": (lambda: models.lenet5(shape=(28, 28)), TypeError, "expected shape to be three integers, (H, W, C)"),
    "small": (lambda: models.lenet5(shape=(28, 15, 1)), ValueError, "lenet5: expected the height and width"),
    "depth": (lambda: models.wide_resnet(18, 2), ValueError, "expected a depth of 6n + 4, such as 16, 22, 28 or 40"),
    "width": (lambda: models.wide_resnet(16, 0), ValueError, "wide_resnet: expected width"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case):
    call, kind, message = ERRORS[case]
    with pytest.raises(kind) as error:
        call()
    assert message in str(error.value)

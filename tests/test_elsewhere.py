"""Names and keywords of other libraries, typed here: what the error says to write."""

import functools
import re
from pathlib import Path

import numpy as np
import pytest

import tinyflux as flux
from tests.test_messages import X, Y, check, table
from tinyflux import elsewhere, schedules
from tinyflux.autodiff.tape import Tracked

MODEL = flux.Chain(flux.Dense(2, 3, flux.relu), flux.Dense(3, 1))
OPT = flux.setup(flux.Descent(), MODEL)


def of(owner, name):
    return lambda: getattr(owner, name)


@table(
    (
        of(flux, "Linear"),
        AttributeError,
        "module 'tinyflux' has no attribute 'Linear' (write flux.Dense(nin, nout, activ",
    ),
    (of(flux, "Conv2d"), AttributeError, "(write flux.Conv)"),
    (of(flux, "conv2d"), AttributeError, "(write flux.conv)"),
    (of(flux, "Conv3d"), AttributeError, "(write flux.Conv)"),
    (of(flux, "MaxPooling2D"), AttributeError, "(write flux.MaxPool((2, 2)))"),
    (of(flux, "ReLU"), AttributeError, "(write flux.relu)"),
    (of(flux, "adam"), AttributeError, "(write flux.Adam)"),
    (of(flux, "Adagrad"), AttributeError, "(write flux.AdaGrad)"),
    (of(flux, "log_softmax"), AttributeError, "(write flux.logsoftmax)"),
    (of(flux, "SGD"), AttributeError, "(write flux.Descent(eta), or flux.Momentum(eta, rho))"),
    (of(flux, "optim"), AttributeError, "(the names stand in tinyflux itself: flux.Dense, flux.mse, flux.Adam …)"),
    (of(flux, "CrossEntropyLoss"), AttributeError, "(write flux.logitcrossentropy(scores, flux.onehotbatch("),
    (of(flux, "no_grad"), AttributeError, "(there is no need: flux.gradient alone records"),
    (of(flux, "value_and_grad"), AttributeError, "(write flux.withgradient(f, x))"),
    (of(flux, "exp"), AttributeError, "(write np.exp)"),
    (of(flux.nn, "Linear"), AttributeError, "module 'tinyflux.nn' has no attribute 'Linear' (write flux.Dense("),
    (of(flux.optimise, "SGD"), AttributeError, "module 'tinyflux.optimise' has no attribute 'SGD' (write flux.Desc"),
    (of(flux.data, "TensorDataset"), AttributeError, "(write flux.DataLoader((x, y), batchsize=32))"),
    (
        of(MODEL, "append"),
        AttributeError,
        "Chain has no attribute 'append' (a Chain stays as it is: flux.Chain(*model, ",
    ),
    (of(MODEL, "parameters"), AttributeError, "(write flux.parameters)"),
    (of(MODEL, "eval"), AttributeError, "(there is no need: layers know by themselves, or see flux.trainmode"),
    (of(MODEL, "fit"), AttributeError, "(write flux.train(loss, model, data, opt))"),
    (of(MODEL, "predict"), AttributeError, "(write model(x))"),
    (of(MODEL[0], "to"), AttributeError, "Dense has no attribute 'to' (write flux.gpu(model))"),
    (
        of(OPT, "step"),
        AttributeError,
        "an optimiser's state has no attribute 'step' (write flux.update(opt, model, gra",
    ),
    (of(OPT, "param_groups"), AttributeError, "(write flux.adjust(opt, eta=…))"),
    (lambda: setattr(OPT, "eta", 0.1), AttributeError, "state has no eta to set. Write flux.adjust(opt, eta=0.01)."),
    (lambda: setattr(OPT, "lr", 0.1), AttributeError, "state has no lr to set. Write flux.adjust(opt, eta=0.01)."),
)
def test_names(typed, error, said):
    check(typed, error, said)


@table(
    (
        lambda: flux.Conv((3, 3), 3, 8, padding=1),
        TypeError,
        "Conv has no padding; it has window, nin, nout, activation, ",
    ),
    (lambda: flux.Conv((3, 3), 3, 8, padding=1), TypeError, "init, bias, rng (it is pad)."),
    (lambda: flux.Conv(3, 8, kernel_size=3), TypeError, "(it is window, a tuple such as (3, 3), and comes first)."),
    (
        lambda: flux.MaxPool(kernel_size=2),
        TypeError,
        "MaxPool has no kernel_size; it has window, stride, pad (it is win",
    ),
    (lambda: flux.Dense(16, input_shape=(4,)), TypeError, "Dense has no input_shape; it has nin, nout, activation, "),
    (lambda: flux.Dense(4, 8, use_bias=False), TypeError, "it has nin, nout, activation, init, bias, rng."),
    (lambda: flux.BatchNorm(8, eps=1e-3), TypeError, "(it is epsilon)."),
    (lambda: flux.LayerNorm(normalized_shape=8), TypeError, "LayerNorm has no normalized_shape; it has size, activ"),
    (lambda: flux.Dropout(rate=0.5), TypeError, "Dropout has no rate; it has p, seed, dims."),
    (lambda: flux.Adam(lr=0.1), TypeError, "Adam has no lr; it has eta, beta, epsilon (the learning rate is eta)."),
    (lambda: flux.Adam(beta_1=0.9), TypeError, "(the decay rates are beta)."),
    (lambda: flux.AdamW(weight_decay=0.1), TypeError, "(decay is flux.AdamW(lambda_=…), or flux.OptimiserChain("),
    (lambda: flux.Maximize(a=1), TypeError, "Maximize has no a; it has none."),
    (
        lambda: flux.DataLoader((X, Y), batch_size=2),
        TypeError,
        "DataLoader has no batch_size; it has data, batchsize, ",
    ),
    (lambda: flux.DataLoader((X, Y), drop_last=True), TypeError, "(it is partial=False)."),
    (lambda: schedules.Cosine(0.1, T_max=10), TypeError, "Cosine has no T_max; it has start, over, stop."),
    (lambda: flux.adjust(OPT, lr=0.1), TypeError, "adjust: Descent has no lr; it has eta (the learning rate is eta)."),
)
def test_keywords(typed, error, said):
    check(typed, error, said)


def test_a_subclass_takes_the_keywords_that_it_has():
    class Named(flux.Dense):
        def __init__(self, nin, nout, name):
            super().__init__(nin, nout)
            self.name = name

    class Any(flux.Dense):
        def __init__(self, **sizes):
            super().__init__(sizes["units"], sizes["filters"])

    def with_a_seed(init):
        @functools.wraps(init)
        def made(self, *args, seed, **options):
            init(self, *args, **options)

        return made

    class Seeded(flux.Dense):
        __init__ = with_a_seed(flux.Dense.__init__)

    class Base:
        def __new__(cls, *args, **options):
            made = super().__new__(cls)
            made.given = args, options
            return made

    class Mixed(flux.Dense, Base):
        pass

    class Bare(schedules.Schedule):
        pass

    assert Seeded(2, 3, seed=0).weight.shape == (3, 2)
    assert Mixed(2, nout=3).given == ((2,), {"nout": 3})
    assert isinstance(Bare(), Bare)
    for make in (lambda: Bare(3), lambda: Bare(eta=3)):
        check(make, TypeError, "Bare takes no arguments.")
    assert Named(2, 3, name="first").name == "first"
    assert Any(units=2, filters=3).weight.shape == (3, 2)
    check(lambda: Named(2, 3, padding=1), TypeError, "Named has no padding; it has nin, nout, name (it is pad).")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("detach", "write flux.stop_gradient(x)"),
        ("backward", "write flux.gradient(f, x), which returns the gradient"),
        ("exp", "write np.exp"),
    ],
)
def test_methods_of_tensors(name, hint):
    f = lambda x: np.sum(getattr(x, name)())  # noqa: E731
    said = "an array that is being {} has no attribute '" + f"{name}' ({hint})"
    check(lambda: flux.gradient(f, X), AttributeError, said.format("differentiated"))
    check(lambda: flux.compile(f)(X), AttributeError, said.format("compiled"))
    assert not hasattr(X, name)
    check(
        lambda: flux.gradient(lambda x: getattr(MODEL, name), X),
        AttributeError,
        f"Chain' object has no attribute '{name}'",
    )


def test_an_unknown_name_has_no_hint():
    with pytest.raises(AttributeError, match=r"^module 'tinyflux' has no attribute 'nonsense'$"):
        of(flux, "nonsense")()


def test_the_hints_cost_nothing():
    """A method __getattr__ takes time wherever an attribute is read; Tab doesn't offer what isn't there."""
    for cls in (Tracked, flux.Chain, flux.Dense):
        assert not hasattr(cls, "__getattr__")
    assert not elsewhere.ABSENT.intersection(dir(MODEL))
    assert not any(hasattr(MODEL, name) for name in elsewhere.ABSENT)
    MODEL[0].fit = 3  # what an object has of its own is found
    assert MODEL[0].fit == 3
    del MODEL[0].fit


def test_methods_that_a_subclass_has():
    class Base:
        def save(self):
            return self

        @classmethod
        def compile(cls):
            return cls

    class Mixed(flux.Dense, Base):
        def predict(self, x):
            return self(x)

    model = Mixed(2, 3)
    model.summary = "mine"
    assert model.save() is model
    assert Mixed.compile() is model.compile() is Mixed
    assert {"save", "compile", "predict", "summary"} == elsewhere.ABSENT.intersection(dir(model))
    check(lambda: model.fit, AttributeError, "Mixed has no attribute 'fit' (write flux.train(")


def test_all_that_is_named_is_there():
    for names, text in elsewhere._HERE.items():
        assert all(name == elsewhere._reduced(name) for name in names.split()), names
        for name in re.findall(r"flux\.(\w+)", text):
            assert name in flux.__all__, text
        for name in re.findall(r"np\.(\w+)", text):
            assert hasattr(np, name), text
        for name in re.findall(r"docs/[\w/]+\.md", text):
            assert (Path(__file__).parents[1] / name).exists(), text
    names = " ".join(elsewhere._HERE).split()
    assert len(names) == len(set(names))

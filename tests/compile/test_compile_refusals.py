"""What flux.compile can't compile is refused with the reason and a remedy, never calculated wrongly."""

import os
import random

import numpy as np
import pytest
from scipy import special

import tinyflux as flux
from tests.support.compiling import same
from tinyflux.compile import compile  # noqa: A004
from tinyflux.compile.backends.c.build import available
from tinyflux.errors import NotCompilable

pytestmark = pytest.mark.skipif(not available(), reason="there is no C compiler here")


def add_in_place(x):
    x += 1
    return x


def assign(x):
    x[0] = 1
    return x


REFUSED = {
    "np.unique": (np.unique, r"np\.unique.*depends on values"),
    "np.nonzero": (np.nonzero, r"np\.nonzero.*depends on values"),
    "np.where of a condition": (lambda x: np.where(x > 0), r"np\.where with these options"),
    "np.linalg.eigh": (lambda x: np.linalg.eigh(x), r"np\.linalg\.eigh.*outside of the compiled function"),
    "np.linalg.svd": (lambda x: np.linalg.svd(x), r"np\.linalg\.svd"),
    "scipy.special.j0": (special.j0, r"scipy\.special\.j0.*no way to write it in C"),
    "float": (lambda x: float(x[0, 0]), "float, int or item"),
    "int": (lambda x: int(x[0, 0]), "values are not known yet"),
    "item": (lambda x: x[0, 0].item(), "values are not known yet"),
    "if": (lambda x: x if x[0, 0] > 0 else -x, r"branch.*np\.where"),
    "x[0] = 1": (assign, "in place.*Make a new array"),
    "+=": (add_in_place, "in place.*Make a new array"),
    "out=": (lambda x: np.add(x, 1, out=x), "in place"),
    **{
        f"{f.__name__}(out=)": (lambda x, f=f: f(x, 0, out=np.ones(2)), "take what the function returns")
        for f in (np.sum, np.prod, np.all, np.any, np.argmax, np.argmin)
    },
    "np.sum(…, out)": (lambda x: np.sum(x, 0, None, np.ones(2)), "take what the function returns"),
    "np.asarray": (lambda x: np.asarray(x), r"np\.asarray"),
    "np.add(where=)": (lambda x: np.add(x, 1, where=np.ones((2, 2), bool)), r"np\.add.*where"),
    "float16": (lambda x: x.astype(np.float16), "float16"),
    "complex": (lambda x: x * 1j, "complex"),
    "integers to a power": (lambda x: x.astype(int) ** x.astype(int), "exponent could be negative"),
    "int64 and uint64": (lambda x: x.astype(np.int64) < x.astype(np.uint64), "bring both to one dtype"),
    "attribute": (lambda x: x.flat, "no attribute 'flat'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_operation_and_its_remedy(name):
    f, message = REFUSED[name]
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    with pytest.raises(NotCompilable, match=message):
        compile(f)(x)
    assert (x == [[1, 2], [3, 4]]).all()


def test_arrays_that_cannot_be_compiled():
    for x in (
        np.ones(2, np.float16),
        np.ones(2, complex),
        np.array([None]),
        np.array(["a"]),
        np.ones(2, "M8[s]"),
        np.ones(2, ">f8"),
    ):
        with pytest.raises(NotCompilable, match=str(x.dtype).replace("[", r"\[")):
            compile(lambda x: x)(x)
        with pytest.raises(NotCompilable, match=str(x.dtype).replace("[", r"\[")):
            compile(lambda y, x=x: y + x)(np.ones(2))


class Keeper:
    pass


def keep(x):
    Keeper.kept = x
    return x


def test_an_array_that_escapes_is_an_error():
    escaped = []
    with pytest.raises(NotCompilable, match=r"the function changes escaped\[0\], which it reads"):
        compile(lambda x: escaped.append(x) or x)(np.ones(2))
    assert escaped == []
    with pytest.raises(NotCompilable, match=r"the function changes Keeper\.kept, which it reads"):
        compile(keep)(np.ones(2))
    with pytest.raises(RuntimeError, match=r"outside"):
        Keeper.kept + 1


def test_changes_of_arguments_are_no_silent_loss():
    model = flux.Chain(flux.Dense(3, 3), flux.Dropout(0.4, seed=5))
    x = np.ones((2, 3), np.float32)
    same(compile(lambda m, x: m(x))(model, x), model(x), 1e-6)
    for f in (lambda m, x: flux.trainmode(m)(x), lambda m, x: flux.gradient(lambda m: np.sum(m(x)), m)[0].bias):
        with pytest.raises(NotCompilable, match=r"arguments.*Dropout.*compile_training"):
            compile(f)(model, x)
    with pytest.raises(NotCompilable, match="arguments"):
        flux.gradient(lambda x: compile(lambda x, m: np.sum(flux.trainmode(m)(x)))(x, model[1]), np.ones(3))
    with pytest.raises(NotCompilable, match="arguments"):
        compile(lambda p: p.update(w=p["w"] + 1))({"w": x})
    assert model[1].state.tolist() == [5, 0]


def test_random_numbers_and_a_dropout_from_outside_are_refused_not_drawn_once_for_ever():
    layer = flux.trainmode(flux.Dropout(0.5, seed=0))
    generator = np.random.default_rng(0)
    np.random.seed(0)
    for f, words in (
        (lambda x: layer(x), "the function is not the same in two calls: it draws random numbers"),
        (
            lambda x: x * generator.random(8),
            "the function draws random numbers from generator, which",
        ),
        (
            lambda x: x * np.random.random(8),
            r"np\.random\.random, a RandomState, can't be compiled: it draws",
        ),
        (lambda x: x if flux.default_rng().random() < 2 else 2 * x, r"draws random numbers from flux\.default_rng"),
        (lambda x: x * random.random(), r"random\.random, a Random, can't be compiled: it draws random"),
        # what comes of these is the same in two calls, as that of a coin often is
        (lambda x: x if np.random.default_rng().random() < 2 else 2 * x, r"np\.random\.default_rng\(\) can't be"),
        (lambda x: (lambda: x if np.random.default_rng().random() < 2 else 2 * x)(), r"default_rng\(\) can't be"),
        (lambda x: x if np.random.RandomState().rand() < 2 else 2 * x, r"RandomState\(\) can't be compiled: it takes"),
        (lambda x: x if np.random.PCG64().random_raw() >= 0 else 2 * x, r"PCG64\(\) can't be compiled: it takes"),
        (lambda x: x if generator.spawn(1)[0].random() < 2 else 2 * x, "draws random numbers from generator, which"),
        (lambda x: x if os.urandom(1)[0] < 256 else 2 * x, r"urandom can't be compiled: clocks, files, settings and"),
    ):
        with pytest.raises(NotCompilable, match=words):
            compile(f)(np.ones(8))
    assert layer.state.tolist() == [0, 0]  # set back to where it was
    assert generator.random() == np.random.default_rng(0).random()
    assert np.random.random() == np.random.RandomState(0).random()

"""scipy.special takes longer to import than NumPy: it is imported when a function of it is needed, not before."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import special

import tinyflux as flux

HEAD = "import numpy as np, sys\n"
TRAINING = """
import tinyflux as flux
x = np.random.default_rng(0).normal(size=(64, 4)).astype("f4")
for compiled in (False, True):
    model = flux.Chain(flux.Dense(4, 8, flux.relu), flux.Dense(8, 2))
    loss = lambda model, x, y: flux.mse(model(x), y)
    opt = flux.setup(flux.Adam(), model)
    flux.train(loss, model, flux.DataLoader((x, x[:, :2]), batchsize=16), opt, compile=compiled)
repr(model)
"""
SLOPE = "print(repr(flux.gradient(lambda x: np.sum({erf}(x)), np.array([0.3]))[0].item()))\n"


def run(code):
    line = [sys.executable, "-c", HEAD + code]
    return subprocess.run(line, capture_output=True, text=True, check=True, timeout=100).stdout.split()


@pytest.mark.parametrize("code", ["import tinyflux as flux\ndir(flux)\n", TRAINING])
def test_it_is_not_imported(code):
    assert "scipy.special" not in run(code + "print(*sys.modules)")


IMPORTS = {
    "before": "from scipy import special\nimport tinyflux as flux\n" + SLOPE.format(erf="special.erf"),
    "after": "import tinyflux as flux\nfrom scipy import special\n" + SLOPE.format(erf="special.erf"),
    "by the function": "import tinyflux as flux\nfrom scipy.special import erf\n" + SLOPE.format(erf="erf"),
    "with its name": "import tinyflux as flux, scipy.special\n" + SLOPE.format(erf="scipy.special.erf"),
    "of another module": (
        "import tinyflux as flux, types\nkept = types.SimpleNamespace(f=__import__('scipy.special').special.erf)\n"
        + SLOPE.format(erf="kept.f")
    ),
    "compiled": (
        "import tinyflux as flux\nfrom scipy import special\n"
        "slope = flux.compile(lambda x: flux.gradient(lambda x: np.sum(special.erf(x)), x))\n"
        "print(repr(slope(np.array([0.3]))[0].item()))\n"
    ),
}


@pytest.mark.parametrize("how", IMPORTS)
def test_erf_has_its_rule_however_it_is_imported(how):
    assert float(run(IMPORTS[how])[0]) == pytest.approx(2 / np.sqrt(np.pi) * np.exp(-0.09), rel=1e-14)


def test_functions_of_ours_that_use_it_need_no_import():
    code = (
        "import tinyflux as flux\nx = np.array([0.3])\n"
        "functions = flux.swish, flux.softplus, np.i0, flux.sigmoid\n"
        "print(*[flux.gradient(lambda x: np.sum(f(x)), x)[0] for f in functions])"
    )
    s = 1 / (1 + np.exp(-0.3))
    wanted = [s + 0.3 * s * (1 - s), s, special.i1(0.3), s * (1 - s)]
    np.testing.assert_allclose(np.array(run(code), dtype=float), wanted, rtol=1e-6)


def test_lowerings_too_are_entered_when_they_are_needed():
    code = (
        "import tinyflux as flux\nfrom scipy.special import entr\n"
        "print(repr(flux.compile(lambda x: np.sum(entr(x)))(np.array([0.3])).item()))"
    )
    assert float(run(code)[0]) == pytest.approx(-0.3 * np.log(0.3), rel=1e-14)


def test_a_rule_of_the_users_is_not_replaced_by_ours():
    code = (
        "import tinyflux as flux\nfrom scipy import special\nflux.rule(special.erf, lambda g, y, x: 7 * g)\n"
        "flux.gradient(special.erfc, 0.3)\n" + SLOPE.format(erf="special.erf")
    )
    assert run(code) == ["7.0"]


def test_sigmoid_is_scipys():
    assert flux.sigmoid is special.expit
    assert flux.nn.sigmoid is special.expit
    assert "sigmoid" in dir(flux)

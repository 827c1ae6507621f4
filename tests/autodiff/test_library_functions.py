"""Functions of NumPy's and SciPy's that are written in Python and ask nobody: the error names what to take instead."""

import re

import numpy as np
import pytest
from scipy import special

import tinyflux as flux
from tinyflux.autodiff.tape import INSTEAD

X = np.array([0.5, 1.5])
Y = np.array([2.5, 3.5])
ABOVE = np.array([True, False])
FUNCTIONS = {
    "scipy's softmax": (special.softmax, flux.softmax),
    "scipy's log_softmax": (special.log_softmax, flux.logsoftmax),
    "scipy's logsumexp": (special.logsumexp, flux.logsumexp),
    "scipy's polygamma": (
        lambda x: special.polygamma(1, x),
        lambda x: flux.gradient(lambda x: np.sum(special.psi(x)), x),
    ),
    "numpy's full": (lambda x: np.full((2, *x.shape), x), lambda x: np.broadcast_to(x, (2, *x.shape))),
    "numpy's vectorize": (np.vectorize(lambda x: 2 * x), lambda x: 2 * x),
    "numpy's AxisConcatenator": (lambda x: np.r_[x, 1.0], lambda x: np.concatenate([x, [1.0]])),
    "numpy's select": (lambda x: np.select([ABOVE], [Y], x), lambda x: np.where(ABOVE, Y, x)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_error_names_what_to_take(name):
    f, instead = FUNCTIONS[name]
    with pytest.raises(TypeError, match=f"{name} makes plain arrays.*{re.escape(INSTEAD[name])}"):
        flux.gradient(lambda x: np.sum(f(x)), X)
    np.testing.assert_allclose(instead(X), f(X), rtol=1e-13)
    flux.gradcheck(lambda x: np.sum(np.sin(instead(x))), X)


def test_others_are_named_too():
    with pytest.raises(TypeError, match=r"scipy's multigammaln makes plain arrays.*gradient rule"):
        flux.gradient(lambda x: special.multigammaln(x, 2), 3.0)


def test_every_function_is_tested():
    assert FUNCTIONS.keys() == INSTEAD.keys()

"""What setup finds when it tries out a user's rule that looks at the axes of its arrays."""

import numpy as np
import pytest

import tinyflux as flux
from tests.optimise.test_trial import rule_of_step, two_parameters


def decaying_matrices(x, g):
    return g + 0.5 * x if x.ndim > 1 else g


def decaying_filters(x, g):
    return g + 0.5 * x if len(x.shape) == 4 else g


def scaling_by_rows(x, g):
    return g * (x.shape[0] if x.ndim == 2 else 1)


SHAPES = {2: (3, 2), 3: (2, 1, 2), 4: (2, 3, 3, 1)}
AXES = [(decaying_matrices, 2), (decaying_matrices, 3), (decaying_filters, 4), (scaling_by_rows, 2)]


@pytest.mark.parametrize(("step", "ndim"), AXES)
@pytest.mark.parametrize("first", [None, flux.WeightDecay(0.1), flux.ClipNorm(), flux.AccumGrad(5)], ids=repr)
def test_a_rule_that_looks_at_axes_must_say_so(step, ndim, first):
    """Parameters lie side by side, so x always has one."""
    model = [np.ones(2), np.ones(SHAPES[ndim])]
    rule = rule_of_step(step)
    message = rf'^setup: Own makes other steps for an array of {ndim} axes .*: whole = "array".* x\.ndim is always 1'
    with pytest.raises(ValueError, match=message):
        flux.setup(flux.OptimiserChain(first, rule) if first else rule, model)


def test_a_rule_that_looks_at_axes_before_one_that_measures_the_model():
    """There, too, it is given a line."""
    chain = flux.OptimiserChain(rule_of_step(decaying_matrices), flux.ClipNorm(over="model"), flux.Descent(0.1))
    with pytest.raises(ValueError, match=r"^setup: Own makes other steps for an array of 2 axes"):
        flux.setup(chain, two_parameters())


def test_a_rule_that_looks_at_axes_and_says_so():
    model = two_parameters()
    model["w"] += 1
    opt = flux.setup(rule_of_step(decaying_matrices, whole="array"), model)
    flux.update(opt, model, {"w": np.ones((2, 2)), "b": np.ones(2)})
    np.testing.assert_array_equal(model["w"], -0.5)
    np.testing.assert_array_equal(model["b"], 0)


def test_a_rule_that_looks_at_axes_that_none_of_its_parameters_has():
    flux.setup(rule_of_step(decaying_matrices), [np.ones(2), np.ones(5)])
    flux.setup(rule_of_step(decaying_filters), two_parameters())
    rule = rule_of_step(decaying_matrices)
    flux.setup(lambda x: rule if x.ndim == 1 else flux.Descent(0.1), two_parameters())


@pytest.mark.parametrize(
    "step",
    [
        lambda x, g: g.reshape(-1).reshape(g.shape),
        lambda x, g: g.ravel(),  # which fits a flat array, as all are
        lambda x, g: np.random.default_rng().normal(size=g.shape) * x.ndim,
        lambda x, g: g / (g - g) * x.ndim,
    ],
)
def test_a_rule_that_is_right_for_flat_arrays(step):
    flux.setup(rule_of_step(step), two_parameters())

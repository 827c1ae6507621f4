"""gradient, withgradient, pullback, jacobian, hessian: what they return, for every kind of argument."""

from collections import OrderedDict, namedtuple

import numpy as np
import pytest

import tinyflux as flux
from tinyflux.autodiff.tape import Tracked

RNG = np.random.default_rng(0)
A, B, X = RNG.standard_normal((3, 3)), RNG.standard_normal((3, 3)), RNG.standard_normal(3)


def same(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


# Formulas by hand.


def test_one_argument_and_several():
    same(flux.gradient(lambda x: x @ A @ x, X), (A + A.T) @ X)
    left, right = flux.gradient(lambda x, a: x @ a @ x, X, A)
    same(left, (A + A.T) @ X)
    same(right, np.outer(X, X))


def test_python_numbers():
    g = flux.gradient(lambda x: x**3, 2.0)
    assert g == 12
    assert isinstance(g, np.float64)
    assert flux.gradient(lambda x, y: x * y, 2.0, np.float32(3)) == (3, 2)


def test_withgradient():
    value, g = flux.withgradient(lambda x: np.sum(x**2), X)
    same(value, X @ X)
    same(g, 2 * X)


def test_further_results_are_returned_without_boxes():
    def f(x):
        y = x * 2
        return np.sum(y), y, {"list": [y, 1, "text"], "pair": (x, None)}

    (loss, y, rest), g = flux.withgradient(f, X)
    same(g, np.full(3, 2))
    same(y, 2 * X)
    assert not any(isinstance(v, Tracked) for v in (loss, y, *rest["list"], *rest["pair"]))
    assert rest["list"][1:] == [1, "text"]
    same(rest["pair"][0], X)


def test_boxes_do_not_leak_in_objects():
    class Result:
        def __init__(self, y):
            self.y = y

    (_, result), _ = flux.withgradient(lambda x: (np.sum(x), Result(x * 2)), X)
    assert type(result.y) is np.ndarray


def test_pullback_is_called_many_times():
    y, back = flux.pullback(lambda a, x: a @ x, A, X)
    same(y, A @ X)
    for g in RNG.standard_normal((3, 3)):
        first, second = back(g)
        same(first, np.outer(g, X))
        same(second, A.T @ g)
        first[...] = second[...] = np.nan  # what was returned is the caller's


def test_pullback_checks_the_cotangent():
    _, back = flux.pullback(lambda x: x * 2, X)
    with pytest.raises(ValueError, match=r"expected a cotangent of shape \(3,\), got \(2,\)"):
        back(np.ones(2))


def test_pullback_of_nothing_tracked():
    y, back = flux.pullback(lambda x: np.ones(2), X)
    assert y.tolist() == [1, 1]
    assert back(np.ones(2)) is None


def test_jacobian():
    same(flux.jacobian(lambda x: A @ x, X), A)
    same(flux.jacobian(np.sin, X), np.diag(np.cos(X)))
    same(flux.jacobian(lambda x: A @ x, A), np.einsum("ik,jl->ijkl", A, np.eye(3)))
    assert flux.jacobian(lambda x: x**2, 3.0) == 6
    same(flux.jacobian(lambda x: np.stack([x, x * x]), 3.0), [1, 6])


def test_jacobian_of_several_arguments():
    da, dx, dz = flux.jacobian(lambda a, x, z: a @ x, A, X, B)
    same(da, np.einsum("ij,k->ijk", np.eye(3), X))
    same(dx, A)
    same(dz, np.zeros((3, 3, 3)))


def test_jacobian_without_dependence_or_elements():
    same(flux.jacobian(lambda x: np.ones((2, 2)), X), np.zeros((2, 2, 3)))
    assert flux.jacobian(lambda x: x[:0], X).shape == (0, 3)
    assert flux.jacobian(np.sin, np.zeros((0, 2))).shape == (0, 2, 0, 2)


def test_hessian():
    same(flux.hessian(lambda x: x @ A @ x, X), A + A.T)
    same(flux.hessian(lambda x: np.sum(np.exp(x)), X), np.diag(np.exp(X)))
    same(flux.hessian(np.sum, X), np.zeros((3, 3)))
    same(flux.hessian(lambda x: 1.0, X), np.zeros((3, 3)))
    inverse = np.linalg.inv(A)
    same(flux.hessian(lambda a: np.linalg.slogdet(a)[1], A), -np.einsum("jk,li->ijkl", inverse, inverse))
    assert flux.hessian(lambda x: x**3, 2.0) == 12


def test_cholesky_of_a_symmetric_matrix():
    """Of [[a, b], [b, c]] the factor has √a, b/√a and √(c − b²/a); each of the two b has half of the gradient."""
    a, b, c = 4.0, 2.0, 10.0
    g = flux.gradient(lambda x: np.linalg.cholesky(x)[1, 0], np.array([[a, b], [b, c]]))
    same(g, [[-b / 2 * a**-1.5, 0.5 / np.sqrt(a)], [0.5 / np.sqrt(a), 0]])
    g = flux.gradient(lambda x: np.linalg.cholesky(x)[1, 1] ** 2, np.array([[a, b], [b, c]]))
    same(g, [[b**2 / a**2, -b / a], [-b / a, 1]])


# Nesting.


def test_perturbation_confusion():
    assert flux.gradient(lambda x: x * flux.gradient(lambda y: x + y, 1.0), 1.0) == 1
    assert flux.gradient(lambda x: x * flux.gradient(lambda y: x * y, 2.0), 3.0) == 6
    assert flux.gradient(lambda x: flux.gradient(lambda y: x * x * y * y, x), 3.0) == 54  # 2 x² y at y = x is 2 x³


def test_derivatives_of_every_order():
    f = np.exp
    for _ in range(5):
        f = lambda x, f=f: flux.gradient(f, x)  # noqa: E731
        assert f(0.5) == pytest.approx(np.exp(0.5))
    f = lambda x: x**4  # noqa: E731
    for expected in (32, 48, 48, 24):
        f = lambda x, f=f: flux.gradient(f, x)  # noqa: E731
        assert f(2.0) == pytest.approx(expected)


def test_inner_gradients_of_other_things_are_constants():
    assert flux.gradient(lambda x: x * flux.gradient(lambda y: y**2, 3.0), 1.0) == 6
    assert flux.gradient(lambda x: x * flux.withgradient(lambda y: y**2 * x, 3.0)[0], 2.0) == 36


def test_gradient_of_a_jacobian():
    f = lambda x: np.sum(flux.jacobian(lambda y: y**3, x))  # noqa: E731
    same(flux.gradient(f, X), 6 * X)


def test_hessian_times_vector():
    v = RNG.standard_normal(3)
    f = lambda x: np.sum(np.sin(x) ** 2 * x)  # noqa: E731
    product = flux.gradient(lambda x: flux.gradient(f, x) @ v, X)
    same(product, flux.hessian(f, X) @ v)


# Trees.


class Layer:
    buffers = ("running",)

    def __init__(self, weight):
        self.weight = weight
        self.running = np.ones(3)
        self.name = "layer"

    def __call__(self, x):
        return self.weight @ (x * self.running)


def test_trees():
    Pair = namedtuple("Pair", "left right")
    tree = {"pair": Pair(A, [X, None, "text"]), "layer": Layer(B), "ordered": OrderedDict(z=X, a=2.5)}
    f = lambda t: np.sum(t["pair"].left @ t["layer"](t["pair"].right[0]) * t["ordered"]["z"])  # noqa: E731
    g = flux.gradient(f, tree)
    assert isinstance(g["pair"], Pair)
    assert isinstance(g["ordered"], OrderedDict)
    same(g["pair"].left, np.outer(X, B @ X))
    same(g["pair"].right[0], B.T @ A.T @ X)
    assert g["pair"].right[1:] == [None, "text"]
    same(g["layer"].weight, np.outer(A.T @ X, X))
    assert g["layer"].name == "layer"
    same(g["ordered"]["z"], A @ B @ X)
    assert tree["layer"].weight is B  # the model itself is left as it was
    flux.gradcheck(f, tree)


def test_none_where_nothing_flows():
    g = flux.gradient(lambda p, x: np.sum(p["a"]), {"a": X, "b": [A, {"c": B}]}, A)
    same(g[0]["a"], np.ones(3))
    assert g[0]["b"] == [None, {"c": None}]
    assert g[1] is None
    assert flux.gradient(lambda x: 1.0, X) is None
    assert flux.gradient(lambda x: np.sum(np.sign(x)), X) is None


def test_numbers_in_a_tree():
    """Floats are leaves; what can't be differentiated has None, never its value."""
    assert flux.gradient(lambda p: np.sum(p["w"]) * p["b"], {"w": np.ones(2), "b": 0.5})["b"] == 2
    tree = {
        "x": X,
        "index": np.array([0, 0]),
        "n": 3,
        "flag": True,
        "name": "x",
        "none": None,
        "pair": (2.0, [np.float32(3)]),
    }
    f = lambda p: np.sum(p["x"][p["index"]]) * p["pair"][0] ** p["n"] * p["pair"][1][0]  # noqa: E731
    g = flux.gradient(f, tree)
    assert g["x"].tolist() == [48, 0, 0]
    assert (g["index"], g["n"], g["flag"], g["name"], g["none"]) == (None, None, None, "x", None)
    same(g["pair"][0], 2 * X[0] * 3 * 4 * 3)
    np.testing.assert_allclose(g["pair"][1][0], 2 * X[0] * 8, rtol=1e-6)
    assert (type(g["pair"][0]), type(g["pair"][1][0])) == (np.float64, np.float32)
    assert flux.gradient(lambda p: p[0] * p[1], [2.0, 3.0]) == [3, 2]
    assert flux.gradient(lambda p: p[0] * 2, [2.0, 3.0, 4]) == [2, None, None]
    assert flux.withgradient(lambda p: p["a"] ** 2, {"a": 3.0}) == (9, {"a": 6})
    assert flux.gradient(lambda p: flux.gradient(lambda q: q["a"] ** 3, p)["a"], {"a": 2.0}) == {"a": 12}
    flux.gradcheck(f, tree | {"pair": (2.0, [3.0])})


def test_floats_of_objects_are_configuration():
    model = flux.Chain(flux.Dense(3, 2), flux.Dropout(0.5), Layer(np.ones((2, 2))))
    model[2].running, model[2].rate, model[2].sizes, model[2].more = np.ones(2), 0.5, (2, 3), {"scale": 2.0}
    seen = []

    def f(m):
        seen.append((m[1].p, m[2].rate, m[2].more["scale"]))
        return np.sum(m[2].weight) * m[2].rate

    g = flux.gradient(f, model)
    assert seen == [(0.5, 0.5, 2.0)]
    assert (g[2].weight == 0.5).all()
    assert (g[1].p, g[2].rate, g[2].more, g[2].running) == (None, None, {"scale": None}, None)
    assert (g[2].sizes, g[2].name) == ((2, 3), "layer")


def test_floats_are_not_stepped():
    model = {"w": [X.copy()], "b": 0.5}
    with pytest.raises(
        ValueError, match=r"setup: the number 0.5 at \['b'\] can't be changed in place.*np.array\(0.5\)"
    ):
        flux.setup(flux.Descent(), model)
    model["b"] = np.array(0.5)
    opt = flux.setup(flux.Descent(1.0), model)
    flux.update(opt, model, flux.gradient(lambda m: np.sum(m["w"][0]) * m["b"], model))
    same(model["b"], 0.5 - np.sum(X))


def test_tied_arrays_have_a_gradient_at_each_place():
    first, second = flux.gradient(lambda p: np.sum(p[0] * A[0] + p[1] * A[1]), [X, X])
    same(first, A[0])
    same(second, A[1])


def test_an_argument_inside_the_function_twice():
    same(flux.gradient(lambda x: np.sum(x * x) + np.sum(x), X), 2 * X + 1)


def test_results_do_not_share_memory():
    f = lambda a, b, c: np.sum(a + b - c.T)  # noqa: E731
    arguments = [A.copy(), B.copy(), A.copy()]
    copies = [a.copy() for a in arguments]
    gradients = flux.gradient(f, *arguments)
    for i, g in enumerate(gradients):
        for other in [*gradients[:i], *arguments]:
            assert not np.shares_memory(g, other)
        assert g.flags.writeable
        g[...] = 7
    for a, b in zip(arguments, copies):
        assert (a == b).all()
    _, back = flux.pullback(lambda a, b: np.concatenate([a + b, a - b]), A, B)
    cotangent = np.ones((6, 3))
    for g in back(cotangent):
        assert not np.shares_memory(g, cotangent)
    assert not np.shares_memory(*flux.gradient(lambda p: np.sum(np.stack([p["a"], p["b"]])), {"a": X, "b": X}).values())

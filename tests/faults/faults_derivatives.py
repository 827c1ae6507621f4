"""Derivatives that were wrong, or errors where there should have been one."""

import time

import numpy as np

import tinyflux as flux
from tests.faults.fault import Fault, error, exactly, near, same, that

WRONG = (TypeError, ValueError)


class Box:
    """A model whose parameters are in slots."""

    __slots__ = ("bias", "weight")

    def __init__(self):
        self.weight, self.bias = np.ones(2), np.zeros(2)


def seconds(f, *args):
    """How long a gradient takes, the better of two tries."""
    spent = []
    for _ in range(2):
        start = time.perf_counter()
        flux.gradient(f, *args)
        spent.append(time.perf_counter() - start)
    return min(spent)


HELPERS = {"Box": Box, "seconds": seconds}

COMPLEX = [
    Fault(
        "the magnitude of a complex product",
        "flux.gradient(lambda x: np.abs(x * (3 + 4j)), 1.0)",
        near(5.0) | error(WRONG, "complex"),
    ),
    Fault("a complex result", "flux.gradient(lambda x: x * (1 + 0.2j), 1.0)", error(WRONG, "complex")),
    Fault(
        "the real part of a complex number",
        "flux.gradient(lambda x: np.real(np.exp(x * 1j)), 1.0)",
        near(-np.sin(1.0)) | error((*WRONG, NotImplementedError), "complex|np.real"),
    ),
    *[
        Fault(
            f"training with a complex loss, compile={how!r}",
            f"""
            model = {{"w": np.ones(2)}}
            opt = flux.setup(flux.Descent(), model)
            flux.train(lambda m, x: np.sum(m["w"] * x) * (1 + 1j), model, [np.ones(2)], opt, compile={how!r})
            """,
            error(WRONG, "complex"),
        )
        for how in (False, "auto")
    ],
]

TREES = [
    Fault(
        "a Python float in a tree",
        'flux.gradient(lambda p: np.sum(p["w"]) * p["b"], {"w": np.ones(2), "b": 0.5})',
        near({"w": [0.5, 0.5], "b": 2.0}),
    ),
    Fault(
        "integers in a tree",
        'flux.gradient(lambda p: np.sum(p["w"] * p["n"]) * p["k"], {"w": np.ones(2), "n": np.arange(2), "k": 3})',
        near({"w": [0.0, 3.0], "n": None, "k": None}),
    ),
    Fault(
        "a NumPy number in a tree",
        'flux.gradient(lambda p: np.sum(p["w"]) * p["b"], {"w": np.ones(2), "b": np.float64(0.5)})',
        near({"w": [0.5, 0.5], "b": 2.0}) | near({"w": [0.5, 0.5], "b": None}),
    ),
    *[
        Fault(
            f"a copy of what is differentiated, by {copied}",
            f'flux.gradient(lambda m: np.sum({copied}(m)["w"] * 3), {{"w": np.ones(2)}})',
            near({"w": [3.0, 3.0]}) | error(WRONG, "differentiated|cop|pickle"),
            {"by_pickle": lambda m: __import__("pickle").loads(__import__("pickle").dumps(m))},
        )
        for copied in ("copy.copy", "copy.deepcopy", "by_pickle")
    ],
]

NUMBERS = [
    Fault("a cast to integers", "flux.gradient(lambda x: np.sum(x - x.astype(int)), np.array([1.5]))", near([1.0])),
    Fault("a cast to booleans", "flux.gradient(lambda x: np.sum(x * x.astype(bool)), np.array([1.5]))", near([1.0])),
    Fault("full_like", "flux.gradient(lambda x: np.sum(np.full_like(x, x[0])), np.ones(2))", near([2.0, 0.0])),
    Fault(
        "a mean of float16 whose sum is above all float16",
        "flux.withgradient(np.mean, np.full(3000, 30, np.float16))",
        near((30.0, np.full(3000, np.float16(1 / 3000))), rtol=1e-3, text="30.0 and 1/3000 each"),
    ),
    Fault(
        "a maximum of float16 over many ties",
        "flux.withgradient(np.max, np.ones(70_000, np.float16))",
        near((1.0, np.full(70_000, np.float16(1 / 70_000))), rtol=1e-6, text="1.0 and 1/70,000 each"),
    ),
    Fault(
        "a variance of float16",
        "x = np.tile(np.array([0, 5], np.float16), 3_000); (flux.withgradient(np.var, x)[0], np.var(x))",
        same("np.var's 6.25 twice"),
    ),
    Fault(
        "mse of float16",
        "x = np.full(3000, 30, np.float16); flux.withgradient(lambda x: flux.mse(x, 0 * x), x)[0]",
        near(900.0, rtol=1e-3),
    ),
    *[
        Fault(
            f"the second derivative of {name}² at the origin",
            f"flux.hessian(lambda x: {f} ** 2, np.zeros(2))",
            near(truth) | near(np.full((2, 2), np.nan)),
        )
        for name, f, truth in (
            ("norm", "np.linalg.norm(x)", 2 * np.eye(2)),
            ("hypot", "np.hypot(x[0], x[1])", 2 * np.eye(2)),
            ("std", "np.std(x)", np.array([[0.5, -0.5], [-0.5, 0.5]])),
        )
    ],
    Fault(
        "logaddexp of two infinities",
        "flux.gradient(np.logaddexp, np.float64(-np.inf), np.float64(-np.inf))",
        near((0.5, 0.5)) | near((np.nan, np.nan)),
    ),
    Fault(
        "einsum with lists of numbers",
        """
        weights = np.arange(6.0).reshape(3, 2)
        flux.gradient(lambda x: np.sum(np.einsum(x, [0, 1], [1, 0]) * weights), np.ones((2, 3)))
        """,
        near(np.array([[0.0, 2, 4], [1, 3, 5]])),
    ),
    Fault(
        "det of a singular matrix",
        "flux.gradient(np.linalg.det, np.array([[1.0, 2.0], [2.0, 4.0]]))",
        near(np.array([[4.0, -2.0], [-2.0, 1.0]])),
    ),
    Fault(
        "clip at NaN",
        "flux.withgradient(lambda x: np.sum(np.clip(x, np.nan, 1)), np.array([0.0, 2.0]))[0]",
        near(np.nan),
    ),
]

RULES = [
    Fault(
        "a rule whose pullback returns another shape",
        """
        def cubed(x):
            return x**3
        cubed = flux.rule(cubed, lambda g, y, x: (3 * g * x * x).T)
        flux.gradient(lambda x: np.sum(cubed(x)), np.ones((2, 3)))
        """,
        error(WRONG, "cubed", r"\(3, 2\)", r"\(2, 3\)"),
    ),
    Fault(
        "an array that changes after it was used",
        """
        buffer = np.zeros(3)
        def f(x):
            s = 0.0
            for k in (1, 2, 3):
                buffer[:] = k
                s = s + np.sum(x * buffer)
            return s
        flux.gradient(f, np.ones(3))
        """,
        near([6.0, 6.0, 6.0]) | error((ValueError, RuntimeError), "read-only|in place|chang"),
    ),
    Fault("the running product of 5,000 numbers",
          "seconds(lambda x: np.sum(np.cumprod(x)), np.linspace(0.9, 1.1, 5_000))",
          that("less than 1 second", lambda s: s < 1), HELPERS),
    Fault("8,000 pieces that are joined",
          "seconds(lambda x: np.sum(np.concatenate([x[i : i + 1] for i in range(8_000)])), np.ones(8_000))",
          that("less than 2 seconds", lambda s: s < 2), HELPERS),
]  # fmt: skip

OTHER_ARRAYS = [
    Fault(
        "a masked array",
        "x = np.ma.array([1, 1, 1, 100.0], mask=[0, 0, 0, 1]); flux.withgradient(lambda x: np.sum(x**2), x)",
        error(WRONG, "MaskedArray"),
    ),
    Fault(
        "np.matrix",
        "x = np.arange(4.0).reshape(2, 2).view(np.matrix); flux.gradient(lambda x: np.sum(x * x), x)",
        error(WRONG, "matrix"),
    ),
    Fault(
        "np.matrix in a compiled function",
        "flux.compile(lambda x: np.sum(x * x))(np.arange(4.0).reshape(2, 2).view(np.matrix))",
        error((*WRONG, flux.NotCompilable), "matrix"),
    ),
]

UNTRAINED = [
    *[
        Fault(
            f"training with a loss that has no gradient, compile={how!r}",
            f"""
            model = {{"w": np.ones(2)}}
            opt = flux.setup(flux.Descent(), model)
            accuracy = lambda m, x: np.mean((m["w"] * x > 0.5) == 1)
            flux.train(accuracy, model, [np.ones(2)] * 3, opt, compile={how!r})
            """,
            error(WRONG, "gradient"),
        )
        for how in (False, "auto")
    ],
    Fault(
        "parameters in a deque",
        'len(flux.parameters({"layers": deque([np.ones(2), np.ones(3)])}))',
        exactly(2) | error(WRONG, "deque"),
    ),
    Fault("parameters in slots", "len(flux.parameters(Box()))", exactly(2), HELPERS),
    Fault(
        "slots are trained",
        """
        model = Box()
        opt = flux.setup(flux.Descent(0.5), model)
        flux.update(opt, model, flux.gradient(lambda m: np.sum(m.weight * 2) + np.sum(m.bias), model))
        (model.weight, model.bias)
        """,
        near((np.zeros(2), np.full(2, -0.5))),
        HELPERS,
    ),
    *[
        Fault(
            f"a layer that comes into the model after setup, {how}",
            f"""
            model = flux.Chain(flux.Dense(2, 2))
            opt = flux.setup(flux.Descent(), model)
            model.layers = (*model.layers, flux.Dense(2, 2))
            loss = lambda m, x: np.sum(m(x) ** 2)
            x = np.ones((1, 2), np.float32)
            {call}
            """,
            error(WRONG, r"layers\[1\]", "setup"),
        )
        for how, call in (
            ("update", "flux.update(opt, model, flux.gradient(loss, model, x)[0])"),
            ("train", 'flux.train(loss, model, [x], opt, compile="auto")'),
        )
    ],
]

ENTRIES = [*COMPLEX, *TREES, *NUMBERS, *RULES, *OTHER_ARRAYS, *UNTRAINED]

"""Mistakes whose messages said something else than what to do, and what is shown at the prompt."""

import contextlib
import io

import numpy as np

import tinyflux as flux
from tests.faults.fault import Fault, error, exactly, that

WRONG = (TypeError, ValueError)


class Foreign:
    """What torch's tensors and pandas' frames have in common: NumPy makes arrays of them."""

    def __init__(self, module, name):
        self.array = np.ones((1, 2), np.float32)
        self.shape, self.dtype = (1, 2), "float32"
        self.__class__ = type(name, (Foreign,), {"__module__": module, "__init__": object.__init__})

    def __array__(self, dtype=None, copy=None):
        return self.array

    def __len__(self):
        return 1


class Swapped:
    """A rule that returns its step first, and then its state."""

    def init(self, x):
        return (np.zeros_like(x),)

    def apply(self, state, x, g):
        return 0.1 * g, state


class Bare:
    """A rule whose state is no tuple."""

    def init(self, x):
        return np.zeros_like(x)

    def apply(self, state, x, g):
        return state, 0.1 * g


def stderr_of(f):
    """What a function writes to stderr, after the exception that it raises."""
    with contextlib.redirect_stderr(io.StringIO()) as written:
        try:
            f()
        except Exception as error:
            return f"{type(error).__name__}: {error}", written.getvalue()
    return None, written.getvalue()


HELPERS = {"Foreign": Foreign, "Swapped": Swapped, "Bare": Bare, "stderr_of": stderr_of}

BEFORE = """
model = flux.Chain(flux.Dense(2, 2))
opt = flux.setup(flux.Descent(), model)
loss = lambda m, x, *y: np.sum(m(x) ** 2)
x = np.ones((1, 2), np.float32)
"""


def mistake(name, code, *patterns, kinds=WRONG):
    """Something typed with a model `model`, its state `opt`, a loss, and data."""
    return Fault(name, code, error(kinds, *patterns), HELPERS, BEFORE)


TRAIN = [
    mistake("data that is a pair", "flux.train(loss, model, (x, x), opt)", r"\[\(x, y\)\]|DataLoader"),
    mistake("one callback", "flux.train(loss, model, [x], opt, callbacks=print)", r"callbacks", r"\["),
    mistake("epochs in a string", 'flux.train(loss, model, [x], opt, epochs="2")', "epochs", "'2'"),
    mistake("an empty batch", "flux.train(lambda m, x: flux.mse(m(x), x), model, [x[:0]], opt)",
            "empty|samples", kinds=(*WRONG, flux.NonFiniteLoss)),
    mistake("a tensor as data", 'flux.train(loss, model, [Foreign("torch", "Tensor")], opt)', "torch|Tensor", "NumPy"),
    mistake("a frame as data", 'flux.train(loss, model, [Foreign("pandas.core.frame", "DataFrame")], opt)',
            "pandas|DataFrame", "NumPy"),
    mistake("a loss with more results", "flux.train(lambda m, x: (np.sum(m(x)), 1), model, [x], opt)",
            "loss", "alone|scalar|tuple"),
    *[
        Fault(
            f"a mistake in the user's own {what}",
            f"stderr_of(lambda: flux.train({f}, model, [x], opt))",
            that("it alone, and nothing on stder", lambda x, kind=kind: x[0].startswith(kind) and not x[1]),
            HELPERS,
            BEFORE,
        )
        for what, f, kind in (
            ("shapes", "lambda m, x: np.sum(m(x) @ np.ones((3, 2)))", "ValueError"),
            ("names", "lambda m, x: np.sum(m(x) * undefined)", "NameError"),
        )
    ],
]  # fmt: skip

LAYERS = [
    mistake("lists as input", "model([[1.0, 2]])", "array", "list"),
    mistake("a tensor as input", 'model(Foreign("torch", "Tensor"))', "torch|Tensor", "NumPy"),
    mistake("an activation by its name", 'flux.Dense(4, 8, "relu")', "flux.relu"),
    mistake("a class in the place of a layer", "flux.Chain(flux.Dropout)", r"Dropout\("),
    mistake("a list of layers", "flux.Chain([flux.Dense(2, 2), flux.relu])", r"\*"),
    mistake("samples in columns", "flux.Dense(4, 2)(np.ones((4, 7), np.float32))", r"x\.T|rows"),
    Fault(
        "layers that don't fit each other",
        "stderr_of(lambda: flux.Chain(flux.Dense(2, 5), flux.Dense(3, 2))(np.ones((3, 2), np.float32)))[0]",
        that("no advice to transpose x", lambda text: text.startswith("ValueError") and "x.T" not in text),
        HELPERS,
    ),
    Fault(
        "a result that is put into a plain array",
        """
        def f(x):
            z = np.zeros(2)
            z[0] = x[0]
            return np.sum(z)
        flux.gradient(f, np.ones(2))
        """,
        error(WRONG, r"np\.stack"),
    ),
]

RULES = [
    mistake("a learning rate by position", "flux.adjust(opt, 0.1)", "eta=", kinds=TypeError),
    mistake("a negative learning rate", "flux.Adam(-1)", "eta", "-1"),
    mistake("an infinite learning rate", "flux.Descent(eta=np.inf)", "eta", "inf"),
    mistake("an adjusted learning rate that is infinite", "flux.adjust(opt, eta=np.inf)", "eta", "inf"),
    mistake("a rule that returns its results swapped",
            "flux.update(flux.setup(Swapped(), model), model, flux.gradient(loss, model, x)[0])", "Swapped", "state"),
    mistake("a rule whose state is no tuple", "flux.setup(Bare(), model)", "Bare", "tuple"),
]  # fmt: skip

PROMPT = [
    Fault(
        "a gradient is shown",
        "repr(flux.gradient(loss, model, x)[0]) == repr(model)",
        exactly(False),
        before=BEFORE,
    ),
    Fault("a model of shapes is shown", "repr(flux.tree.map(np.shape, model))",
          that("a text", lambda x: isinstance(x, str)), before=BEFORE),
    Fault("names in dir",
          '{"compile", "compile_training", "NotCompilable", "CompilationFailed", "CompilerNotFound"} - {*dir(flux)}',
          exactly(set())),
    Fault(
        "a state is shown",
        """
        rule = flux.OptimiserChain(flux.ClipNorm(1.0), flux.WeightDecay(0.01), flux.Adam(0.01))
        opt = flux.setup(rule, flux.Chain(flux.Dense(2, 3), flux.Dense(3, 2)))
        repr(opt).count("WeightDecay")
        """,
        exactly(1),
    ),
    Fault(
        "a progress bar without a total",
        """
        loader = flux.DataLoader(np.ones((8, 2), np.float32), batchsize=1)
        "16/16" in stderr_of(
            lambda: flux.train(loss, model, loader, opt, epochs=2, callbacks=[flux.progress_bar()]))[1]
        """,
        exactly(True),
        HELPERS,
        BEFORE,
    ),
]  # fmt: skip

ENTRIES = [*TRAIN, *LAYERS, *RULES, *PROMPT]

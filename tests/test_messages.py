"""What was typed, and what the error has to say: the thing, what was expected, what was got, the fix."""

import re

import numpy as np
import pytest

import tinyflux as flux


def foreign(module, name):
    """An object as another library has them, which aren't installed here."""
    attributes = {"shape": (4, 2), "__array__": lambda self, *args, **options: np.ones((4, 2), np.float32)}
    return type(name, (), {"__module__": module, **attributes})()


TENSOR, FRAME = foreign("torch", "Tensor"), foreign("pandas.core.frame", "DataFrame")
X, Y = np.ones((4, 2), np.float32), np.ones((4, 1), np.float32)
MODEL = flux.Dense(2, 1)
CHAIN = flux.Chain(flux.Dense(2, 3), flux.Dense(3, 1))


def table(*rows):
    return pytest.mark.parametrize(("typed", "error", "said"), rows)


def check(typed, error, *said):
    with pytest.raises(error) as raised:
        typed()
    assert raised.type is error or issubclass(raised.type, error)
    for words in said:
        assert words in str(raised.value)
    assert "\n" not in str(raised.value)


@table(
    (lambda: MODEL([[1.0, 2.0]]), TypeError, "Dense(2, 1): expected an array, got a list. Give np.array(x)."),
    (lambda: CHAIN([X, X]), TypeError, "Dense(2, 3): expected an array, got a list. Give np.stack(x)."),
    (lambda: MODEL(5), TypeError, "got 5"),
    (lambda: MODEL(None), TypeError, "Dense(2, 1): expected an array, got None."),
    (lambda: MODEL(TENSOR), TypeError, "got a torch tensor of shape (4, 2). Give x.detach().cpu().numpy()."),
    (lambda: MODEL(FRAME), TypeError, "got a pandas DataFrame of shape (4, 2). Give x.to_numpy()."),
    (lambda: MODEL(X.astype(str)), TypeError, "Dense(2, 1): expected an array of numbers, got one of <U32."),
    (lambda: flux.trainmode(flux.Dropout(0.5))([1.0]), TypeError, "Dropout(0.5): expected an array, got a list."),
    (lambda: flux.flatten([[1.0]]), TypeError, "flatten: expected an array, got a list. Give np.array(x)."),
    (lambda: flux.flatten(np.ones(())), ValueError, "flatten: expected samples along the first axis"),
    (lambda: flux.softmax([1.0, 2.0]), TypeError, "softmax: expected an array, got a list. Give np.array(x)."),
    (lambda: flux.logsumexp(TENSOR), TypeError, "logsumexp: expected an array, got a torch tensor"),
    (lambda: flux.elu([1.0]), TypeError, "elu: expected an array, got a list"),
    (lambda: flux.mse([1.0], [2.0]), TypeError, "mse: expected arrays as prediction and target, got a list."),
    (lambda: flux.mse(X, FRAME), TypeError, "got a pandas DataFrame of shape (4, 2). Give x.to_numpy()."),
    (lambda: flux.mse(MODEL, X), TypeError, "got a Dense. Give what the model returns, model(x)."),
    (lambda: flux.mse(X, 0.5), ValueError, "expected prediction and target of one shape, got (4, 2) and ()."),
    (lambda: flux.mae(X, X, "mean"), TypeError, "mae: expected agg to be a function, such as np.mean or np.sum, got"),
    (lambda: flux.huber(X, X, 0.5), TypeError, "huber: expected agg to be a function"),
    (lambda: flux.huber(X, X, delta=-1), ValueError, "huber: expected delta to be a number above 0, got -1."),
    (lambda: flux.huber(X, X, delta="a"), TypeError, "huber: expected delta to be a number above 0, got 'a'."),
    (lambda: flux.crossentropy(X, np.arange(4)), ValueError, "encode labels with flux.onehotbatch"),
    (lambda: flux.crossentropy(np.eye(2, dtype=int), np.eye(2)), TypeError, "expected floating-point probabilities"),
    (lambda: flux.logitcrossentropy(X[0, 0], X[0, 0]), ValueError, "take logitbinarycrossentropy"),
)
def test_inputs(typed, error, said):
    check(typed, error, said)


@table(
    (lambda: flux.Dense(4, 8, "relu"), TypeError, "got 'relu'. Give the function itself: flux.relu."),
    (lambda: flux.Dense(4, 8, flux.Dropout), TypeError, "got the class Dropout. Make one: Dropout(…)."),
    (lambda: flux.Dense(4, 8, None), TypeError, "got None. For no function, take flux.identity."),
    (lambda: flux.Dense(4, 8, flux.relu(X)), TypeError, "Give the function itself, without calling it."),
    (lambda: flux.Dense(-4, 8), ValueError, "Dense: expected nin to be an integer, at least 1, got -4."),
    (lambda: flux.Dense(4, 0), ValueError, "Dense: expected nout to be an integer, at least 1, got 0."),
    (lambda: flux.Dense(4.0, 8), TypeError, "expected nin to be an integer, at least 1, got 4.0."),
    (lambda: flux.Dense(4, True), TypeError, "expected nout to be an integer, at least 1, got True."),
    (lambda: flux.Dense((4, 8), flux.relu), TypeError, "got (4, 8)"),
    (lambda: flux.Dense(4, 8, init="glorot"), TypeError, "init to be a function of a shape and a generator"),
    (lambda: flux.Dense(4, 8, init=lambda shape: 0), TypeError, "init is called as init((8, 4), rng), which failed"),
    (lambda: flux.Dense(4, 8, init=lambda s, r: np.ones((4, 8))), ValueError, "shape (8, 4), got an array of shape (4"),
    (lambda: flux.Dense(4, 8, init=lambda s, r: np.ones(s, int)), ValueError, "floating-point array of shape (8, 4)"),
    (lambda: flux.Dense(4, 8, init=lambda s, r: None), ValueError, "floating-point array of shape (8, 4), got None"),
    (lambda: flux.Dense(4, 8, bias="no"), TypeError, "expected bias to be True or False, got 'no'."),
    (lambda: flux.Dense(4, 8, bias=np.zeros(8)), TypeError, "True or False, got an array of shape (8,)"),
    (lambda: flux.Dense(4, 8, rng=0), TypeError, "got 0. Make one by np.random.default_rng(0)."),
    (lambda: flux.Dropout("0.5"), TypeError, "Dropout: expected p to be a probability from 0 to 1, got '0.5'."),
    (lambda: flux.Dropout(True), TypeError, "got True"),
    (lambda: flux.Dropout(np.nan), ValueError, "got nan"),
    (lambda: flux.Dropout(0.5, seed=1.5), TypeError, "expected seed to be an integer, at least 0, got 1.5."),
    (lambda: flux.Dropout(0.5, seed=2**64), ValueError, "expected a seed below 2**64"),
    (
        lambda: flux.Chain(flux.Dropout),
        TypeError,
        "Chain: expected argument 0 to be a layer or a function, got the cla",
    ),
    (lambda: flux.Chain([MODEL, MODEL]), TypeError, "got a list. Unpack it: Chain(*layers)."),
    (lambda: flux.Chain(MODEL for _ in range(2)), TypeError, "got a generator. Unpack it: Chain(*layers)."),
    (lambda: flux.Chain({"a": MODEL}), TypeError, "got a dict. Unpack it: Chain(*layers.values())."),
    (lambda: flux.Chain(MODEL, "relu"), TypeError, "expected argument 1 to be a layer or a function, got 'relu'. Give"),
    (lambda: flux.Chain(MODEL, flux.Adam()), TypeError, "got an Adam. A rule is for flux.setup(rule, model)."),
    (lambda: flux.SkipConnection(flux.Dense, np.add), TypeError, "SkipConnection: expected layer to be a layer or a"),
    (lambda: flux.SkipConnection(MODEL, "add"), TypeError, "got 'add'. Give the function itself: np.add."),
    (lambda: flux.Parallel(np.add), ValueError, "Parallel: expected a connection and at least one branch"),
    (lambda: flux.Parallel(np.add, MODEL, flux.Dense), TypeError, "expected argument 2 to be a layer or a function"),
    (lambda: flux.trainmode(MODEL, 1), ValueError, "trainmode: expected a mode True, False, None or 'auto', got 1."),
    (lambda: flux.trainmode(MODEL, X), ValueError, "got an array of shape (4, 2)"),
    (lambda: flux.zeros(2, 3), TypeError, "zeros: expected a shape and a generator, got 2 and 3. Write (2, 3)."),
    (lambda: flux.ones(3), TypeError, "ones: expected a shape, a tuple of integers such as (2, 3), got 3."),
    (lambda: flux.glorot_uniform((-1, 2)), TypeError, "got (-1, 2)"),
    (lambda: flux.glorot_normal((2, 2.5)), TypeError, "got (2, 2.5)"),
    (lambda: flux.kaiming_uniform((2, 3), rng=0), TypeError, "expected rng to be a numpy.random.Generator, got 0."),
    (lambda: flux.kaiming_normal((2, 3), gain=np.inf), ValueError, "expected gain to be a finite number, got inf."),
)
def test_layers(typed, error, said):
    check(typed, error, said)


@pytest.mark.parametrize(
    ("model", "shape", "fix"),
    [
        (
            flux.Dense(2, 1),
            (2, 5),
            "Samples are rows here: give x.T if yours are columns, or build the layer for it: D",
        ),
        (flux.Dense(2, 1), (3, 5), "Reshape the input, or build the layer for it: Dense(5, 1)."),
        (flux.Dense(2, 1), (2, 2, 5), "Reshape the input, or build the layer for it: Dense(5, 1)."),
        (flux.Dense(2, 1), (3, 2, 1), "Flatten the samples first: flux.flatten(x)"),
        (flux.Dense(4, 2), (4, 1), "Flatten the sample first: x.reshape(1, 4)."),
        (flux.Chain(flux.Dense(4, 1)), (4, 3), "Samples are rows here"),
        (
            flux.Chain(flux.Dense(2, 3), flux.Dense(4, 1)),
            (4, 2),
            "got shape (4, 3). The layer before it, Dense(2, 3), gives that; build one for the other: Dense(3, 1).",
        ),
        (
            flux.Chain(flux.Dense(2, 3), flux.Chain(flux.relu, flux.Dense(4, 1))),
            (4, 2),
            "The layer before it, relu, gives that; build one for the other: Dense(3, 1).",
        ),
    ],
)
def test_rows_are_named_only_where_that_fits(model, shape, fix):
    check(lambda: model(np.ones(shape)), ValueError, fix)
    with pytest.raises(ValueError, match=re.escape(fix)):
        flux.gradient(lambda m: np.sum(m(np.ones(shape))), model)


def test_a_connection_says_what_it_was_called_with():
    for layer in (flux.SkipConnection(flux.Dense(2, 3), np.add), flux.Parallel(np.add, flux.Dense(2, 3), flux.relu)):
        with pytest.raises(ValueError, match="broadcast") as raised:
            layer(X)
        (note,) = raised.value.__notes__
        given = "an array of shape (4, 3), an array of shape (4, 2)"
        assert note == f"{type(layer).__name__}: its connection, add, was called with {given}."


ODD = [(np.shape, "(3, 2)"), (lambda a: a.sum(), "np.float32("), (lambda a: None, "None"), (lambda a: [1], "[1]")]


@pytest.mark.parametrize(("f", "text"), ODD)
def test_a_tree_that_no_constructor_made_prints(f, text):
    shown = repr(flux.tree.map(f, CHAIN))
    assert f"Dense(weight={text}" in shown
    assert "activation=identity)" in shown


def test_what_a_gradient_holds_prints():
    bias = flux.gradient(lambda m: np.sum(m.bias), MODEL)
    assert repr(bias).startswith("Dense(weight=None, bias=float32[1], activation=identity)")
    assert repr(flux.gradient(lambda m: np.sum(m(X)), MODEL)).startswith("Dense(2, 1)")

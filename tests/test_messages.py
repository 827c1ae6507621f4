"""What was typed, and what the error has to say: the thing, what was expected, what was got, the fix."""

import re
import weakref

import numpy as np
import pytest

import tinyflux as flux
from tinyflux import schedules


def foreign(module, name):
    """An object as another library has them, which aren't installed here."""
    attributes = {"shape": (4, 2), "__array__": lambda self, *args, **options: np.ones((4, 2), np.float32)}
    return type(name, (), {"__module__": module, **attributes})()


TENSOR, FRAME = foreign("torch", "Tensor"), foreign("pandas.core.frame", "DataFrame")
X, Y = np.ones((4, 2), np.float32), np.ones((4, 1), np.float32)
MODEL = flux.Dense(2, 1)
OPT = flux.setup(flux.Descent(), MODEL)
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
    (
        lambda: MODEL(TENSOR),
        TypeError,
        "got a torch tensor of shape (4, 2). Give an array of NumPy's, x.detach",
    ),
    (lambda: MODEL(FRAME), TypeError, "DataFrame of shape (4, 2). Give an array of NumPy's, x.to_num"),
    (lambda: MODEL(X.astype(str)), TypeError, "Dense(2, 1): expected an array of numbers, got one of <U32."),
    (lambda: flux.trainmode(flux.Dropout(0.5))([1.0]), TypeError, "Dropout(0.5): expected an array, got a list."),
    (lambda: flux.flatten([[1.0]]), TypeError, "flatten: expected an array, got a list. Give np.array(x)."),
    (lambda: flux.flatten(np.ones(())), ValueError, "flatten: expected samples along the first axis"),
    (lambda: flux.softmax([1.0, 2.0]), TypeError, "softmax: expected an array, got a list. Give np.array(x)."),
    (lambda: flux.logsumexp(TENSOR), TypeError, "logsumexp: expected an array, got a torch tensor"),
    (lambda: flux.elu([1.0]), TypeError, "elu: expected an array, got a list"),
    (lambda: flux.mse([1.0], [2.0]), TypeError, "mse: expected arrays as prediction and target, got a list."),
    (lambda: flux.mse(X, FRAME), TypeError, "DataFrame of shape (4, 2). Give an array of NumPy's, x.to_num"),
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
    (lambda: flux.Chain(MODEL, flux.Adam()), TypeError, "epsilon=1e-08). A rule is for flux.setup(rule, model)."),
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


@table(
    (lambda: flux.Adam(-1), ValueError, "Adam: expected eta to be a finite number, at least 0, got -1. To go uphill, "),
    (lambda: flux.Adam(np.inf), ValueError, "Adam: expected eta to be a finite number, at least 0, got inf."),
    (lambda: flux.Descent(1j), ValueError, "got 1j"),
    (lambda: flux.Adam([0.1]), ValueError, "got a list"),
    (lambda: flux.Adam(X), ValueError, "got an array of shape (4, 2)"),
    (lambda: flux.Adam(flux.schedules.Cosine), ValueError, "got the class Cosine. Make one: Cosine(…)."),
    (lambda: flux.Adam(MODEL), ValueError, "got Dense, which fails for step 0 (TypeError: Dense(2, 1): expected an"),
    (lambda: flux.Adam(lambda: 0.1), ValueError, "which fails for step 0 (TypeError"),
    (lambda: flux.Adam(lambda t: "a"), ValueError, "got 'a' from <lambda> for step 0."),
    (lambda: flux.Adam(schedules.Constant(-0.1)), ValueError, "got -0.1 from Constant for step 0. To go uphill, "),
    (lambda: flux.Momentum(rho=lambda t: 1.5), ValueError, "expected rho to be a number in [0, 1)"),
    (lambda: flux.Adam(beta=(np.nan, 0.9)), ValueError, "expected beta to be two numbers in [0, 1), got (nan, 0.9)."),
    (lambda: flux.Adam(beta=(True, 0.9)), ValueError, "expected beta to be two numbers in [0, 1)"),
    (lambda: flux.Adam(epsilon=np.inf), ValueError, "expected epsilon to be a finite number, at least 0, got inf."),
    (lambda: flux.AdamW(lambda_=-1), ValueError, "expected lambda_ to be a finite number, at least 0, got -1."),
    (
        lambda: flux.AdaGrad(initial=-1),
        ValueError,
        "expected initial to be a finite number or None, at least 0, got -1.",
    ),
    (lambda: flux.QHM(nu=np.inf), ValueError, "expected nu to be a finite number, got inf."),
    (lambda: flux.QHAdam(nu=(0.5,)), ValueError, "QHAdam: expected nu to be two numbers of at least 0, got (0.5,)."),
    (lambda: flux.QHAdam(nu="a"), ValueError, "QHAdam: expected nu to be two numbers of at least 0, got 'a'."),
    (lambda: flux.ASGD(t0=-1), ValueError, "expected t0 to be a finite number, at least 0, got -1."),
    (lambda: flux.YellowFin(window=0), ValueError, "expected window to be an integer, at least 1, got 0."),
    (lambda: flux.WeightDecay(-1), ValueError, "expected lambda_ to be a finite number, at least 0, got -1."),
    (lambda: flux.ClipNorm(np.inf), ValueError, "ClipNorm: expected omega to be a finite number, at least 0, got inf."),
    (lambda: flux.OptimiserChain([flux.Adam()]), TypeError, "got a list. Chain them: flux.OptimiserChain(*rules)."),
    (lambda: flux.OptimiserChain(flux.Adam), TypeError, "got the class Adam. Make one: Adam(…)."),
    (lambda: schedules.Cosine("a", 10), ValueError, "Cosine: expected start to be a finite number, got 'a'."),
    (
        lambda: schedules.Cosine(0.1, "a"),
        ValueError,
        "Cosine: expected over to be a finite number, at least 1, got 'a'.",
    ),
    (lambda: schedules.Cosine(0.1, np.inf), ValueError, "expected over to be a finite number, at least 1, got inf."),
    (lambda: schedules.Cosine(0.1, 10, stop="a"), ValueError, "expected stop to be a finite number, got 'a'."),
    (lambda: schedules.Constant(flux.Adam()), ValueError, "Constant: expected value to be a finite number, got Adam("),
    (lambda: schedules.Step(0.1, every=True), ValueError, "expected every to be a finite number, at least 1, got True"),
    (
        lambda: schedules.Exponential(0.1, np.nan),
        ValueError,
        "expected gamma to be a finite number, at least 0, got nan",
    ),
    (lambda: schedules.InverseTime(0.1, decay=-1), ValueError, "expected decay to be a finite number, at least 0, got"),
    (lambda: schedules.OneCycle(0.1, 10, divide=0), ValueError, "expected divide and final to be above 0"),
    (lambda: schedules.OneCycle(0.1, 10, rise="a"), ValueError, "OneCycle: expected rise to be a finite number"),
    (lambda: schedules.Demon(1.5, 10), ValueError, "Demon: expected start to be a number in [0, 1), got 1.5."),
    (
        lambda: schedules.MultiStep(0.1, 10),
        ValueError,
        "expected milestones to be a tuple of numbers of steps, such as",
    ),
    (lambda: schedules.Sequence(schedules.Constant(1), 3), TypeError, "Sequence: expected a tuple of schedules"),
    (lambda: schedules.Sequence([np.sin, np.cos], 3), ValueError, "expected steps to be a tuple of numbers of steps"),
    (lambda: flux.setup(flux.Adam, MODEL), TypeError, "setup: expected a rule such as flux.Adam(0.001), got the class"),
    (lambda: flux.setup("adam", MODEL), TypeError, "got 'adam'."),
    (lambda: flux.OptimiserChain(lambda x: MODEL), TypeError, "belongs to setup: flux.setup(lambda x: flux.Optimiser"),
    (lambda: flux.setup(schedules.Constant(0.1), MODEL), TypeError, "A schedule stands in a rule: flux.Adam(eta=sched"),
    (lambda: flux.setup(MODEL, flux.Adam()), TypeError, "the rule first, got a Dense. Write flux.setup(rule, model)."),
    (
        lambda: flux.setup(flux.Adam(), flux.Dense),
        TypeError,
        "expected a model, got the class Dense. Make one: Dense(…)",
    ),
    (lambda: flux.setup(flux.Adam(), OPT), TypeError, "setup: expected a model, got an OptimiserState."),
    (lambda: flux.setup(flux.Adam(), TENSOR), TypeError, "expected a model, got a torch tensor of shape (4, 2). Give"),
    (lambda: flux.setup(flux.Adam(), flux.relu), ValueError, "setup: a function holds no floating-point array"),
    (lambda: flux.adjust(OPT, 0.1), TypeError, "hyperparameters by name, got 0.1. Write flux.adjust(opt, eta=0.1)."),
    (lambda: flux.adjust(OPT, eta=-1), ValueError, "Descent: expected eta to be a finite number, at least 0, got -1."),
    (lambda: flux.adjust(flux.Adam(), eta=0.1), TypeError, "adjust: expected what setup returned or a part of it"),
    (lambda: flux.freeze(flux.Adam), TypeError, "freeze: expected what setup returned or a part of it"),
    (lambda: flux.thaw(MODEL), TypeError, "got a Dense, which holds parameters."),
    (lambda: flux.update(flux.Adam(), MODEL, MODEL), TypeError, "the state opt = flux.setup(rule, model), got Adam("),
)
def test_optimisers(typed, error, said):
    check(typed, error, said)


def test_rules_take_every_number_there_is():
    """NumPy's numbers, arrays of one, integers, and functions of the step, also as one of two rates."""
    for eta in (0, 1, np.float32(0.5), np.array(0.5), np.int64(2), lambda t: 0.1, lambda t: np.float64(0.1)):
        assert flux.Descent(eta).eta is eta
    flux.Adam(beta=(lambda t: 0.9, np.float32(0.5)))
    schedules.Cosine(np.float32(0.1), over=1e4)


def test_the_state_shows_each_rule_once():
    model = flux.Chain(flux.Dense(2, 3), flux.Dense(3, 1))
    opt = flux.setup(flux.OptimiserChain(flux.ClipNorm(1.0), flux.Descent(0.5)), model)
    flux.freeze(opt[1].bias)
    chain = "  OptimiserChain(ClipNorm(omega=1.0, over='array'), Descent(eta={})):"
    names = [f"    .layers[{i}].{name}" for i in (0, 1) for name in ("weight", "bias")]
    names[3] += " (frozen)"
    last = f"{')':40}# 13 parameters in 4 arrays"
    assert repr(opt).splitlines() == ["OptimiserState(", chain.format(0.5), *names, last]
    flux.adjust(opt[1], eta=0.25)
    shown = [chain.format(0.5), *names[:2], chain.format(0.25), *names[2:]]
    assert repr(opt).splitlines() == ["OptimiserState(", *shown, last]


@table(
    (lambda: flux.DataLoader([X, Y]), TypeError, "got a list. Give a tuple: DataLoader((x, y))."),
    (lambda: flux.DataLoader((X, Y.tolist())), TypeError, "expected data[1] to be an array"),
    (
        lambda: flux.DataLoader(TENSOR),
        TypeError,
        "got a torch tensor of shape (4, 2). Give an array of NumPy's, x.detach",
    ),
    (
        lambda: flux.DataLoader((FRAME, Y)),
        TypeError,
        "DataFrame of shape (4, 2). Give an array of NumPy's, x.to_num",
    ),
    (lambda: flux.DataLoader(x for x in X), TypeError, "got a generator. Give np.stack(list(x)), or the batches"),
    (lambda: flux.DataLoader(X, Y), TypeError, "Give all arrays as one tuple: DataLoader((x, y))."),
    (lambda: flux.DataLoader(X, 0), ValueError, "DataLoader: expected batchsize to be an integer, at least 1, got 0."),
    (lambda: flux.DataLoader(X, shuffle="yes"), TypeError, "expected shuffle to be True or False, got 'yes'."),
    (lambda: flux.DataLoader(X, partial=None), TypeError, "expected partial to be True or False, got None."),
    (lambda: flux.DataLoader(X, rng=0), TypeError, "expected rng to be a numpy.random.Generator, got 0."),
    (
        lambda: flux.onehot([1, 2], range(3)),
        TypeError,
        "onehot: expected one label, got a list. For many, flux",
    ),
    (lambda: flux.onehot(np.arange(2), range(3)), TypeError, "got an array of shape (2,)"),
    (
        lambda: flux.onehot(3, 10),
        TypeError,
        "classes: expected all labels, in the order of the columns, got 10",
    ),
    (lambda: flux.onehotbatch(3, range(3)), TypeError, "got 3. For one label, flux.onehot(label, classes)."),
    (lambda: flux.onehotbatch([[1], [2]], range(3)), TypeError, "expected one label a sample, got a list at index"),
    (
        lambda: flux.onehotbatch([1], None),
        TypeError,
        "classes: expected all labels, in the order of the columns, got",
    ),
    (lambda: flux.onecold(5), TypeError, "onecold: expected scores of shape (..., K), got 5."),
    (lambda: flux.onecold([[]]), TypeError, "onecold: expected scores of shape (..., K), got a list."),
    (lambda: flux.onecold(np.ones(())), TypeError, "got an array of shape ()"),
    (lambda: flux.onecold(TENSOR), TypeError, "got a torch tensor of shape (4, 2)."),
    (lambda: flux.onecold(X, 2), TypeError, "Give range(2)."),
    (lambda: flux.seed(-1), TypeError, "seed: expected a non-negative integer or None, got -1."),
    (lambda: flux.seed(1.5), TypeError, "got 1.5"),
    (lambda: flux.seed(True), TypeError, "got True"),
    (lambda: flux.seed(np.random.default_rng(0)), TypeError, "got a Generator"),
)
def test_data(typed, error, said):
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
        with pytest.raises(ValueError, match=rf"{type(layer).__name__}: np.add can't join .*\(4, 3\), .*\(4, 2\)"):
            layer(X)
        layer.connection = lambda a, b: a + b
        with pytest.raises(ValueError, match="broadcast") as raised:
            layer(X)
        (note,) = raised.value.__notes__
        assert note.startswith(f"{type(layer).__name__}: its connection, ")
        assert note.endswith(" was called with an array of shape (4, 3), an array of shape (4, 2).")


ODD = [(np.shape, "(3, 2)"), (lambda a: a.sum(), "np.float32("), (lambda a: None, "None"), (lambda a: [1], "[1]")]


@pytest.mark.parametrize(("f", "text"), ODD)
def test_a_tree_that_no_constructor_made_prints(f, text):
    shown = repr(flux.tree.map(f, CHAIN))
    assert f"Dense(weight={text}" in shown
    assert "activation=identity)" in shown


def test_a_gradient_prints_with_norms_of_its_own():
    """By hand: the slope of the sum of x·Wᵀ + b over 4 samples of ones is 4 by each number."""
    model = flux.Chain(flux.Dense(2, 3), flux.Dropout(0.5), flux.SkipConnection(flux.Dense(3, 3), np.add))
    grads = flux.gradient(lambda m: np.sum(m[0](X)), model)
    assert repr(grads).splitlines()[1].split("  #") == ["  Dense(2, 3)," + " " * 41, " gradient of norm 12"]  # √(9·16)
    assert "  Dropout(p=None)," in repr(grads)
    assert repr(grads).splitlines()[-1].endswith("# gradient of norm 12 in all")
    assert repr(grads[0]).endswith("  # gradient of norm 12")
    assert "parameter" not in repr(grads)
    assert repr(model).splitlines()[-1].endswith("# 21 parameters in all")
    bias = flux.gradient(lambda m: np.sum(m.bias), MODEL)
    assert repr(bias) == "Dense(weight=None, bias=float32[1], activation=identity)  # gradient of norm 1"


def test_a_gradient_that_is_gone_is_not_remembered():
    grads = flux.gradient(lambda m: np.sum(m(X)), MODEL)
    still = weakref.ref(grads)
    assert still() is grads
    del grads
    assert still() is None


@pytest.mark.parametrize("model", [flux.relu, {}, [], {"a": [1, [X]]}, flux.Chain(), flux.Dense, 5, OPT, None, TENSOR])
def test_odd_models_are_summarised(model):
    assert str(flux.summary(model)).splitlines()[0].startswith("layer")


def written(z, index, value):
    z[index] = value
    return np.sum(z)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: written(np.zeros(2), 0, x[0]),
        lambda x: written(np.zeros(2, int), 1, np.sum(x)),
        lambda x: written(np.zeros((2, 3)), 0, x),
        lambda x: np.zeros(2).fill(x[0]),
        lambda x: np.array([x[0], 1.0]),
    ],
)
def test_what_is_written_into_a_plain_array(f):
    for gradient in (flux.gradient, flux.withgradient, flux.pullback):
        with pytest.raises((TypeError, ValueError), match=r"np\.stack"):
            gradient(f, np.ones(3))
    with pytest.raises(flux.NotCompilable, match=r"values are not known yet"):
        flux.compile(f)(np.ones(3))


def test_an_array_of_rows_of_several_lengths_is_told_as_it_is():
    with pytest.raises(ValueError, match=r"^setting an array element with a sequence"):
        flux.gradient(lambda x: np.sum(x) + written(np.zeros(2), 0, [1.0, 2.0]), np.ones(3))

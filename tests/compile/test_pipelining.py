"""The first product of the next iteration, calculated ahead where one sample at a time is learnt from."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyflux as flux
from tests.compile.test_training_rules import COMPILED, DEMON, FORMS, MODIFIED
from tests.support.training_cases import _seeded as _seeded  # a fixture
from tests.support.training_cases import assert_same, eager, mse
from tinyflux.compile.backends.c.build import available

pytestmark = pytest.mark.skipif(not available(), reason="there is no C compiler here")

SAMPLES = 20


def network(features, outputs, dtype=np.float64):
    flux.seed(0)
    model = flux.Chain(flux.Dense(features, outputs, flux.tanh), flux.Dense(outputs, 2))
    return flux.f64(model) if dtype == np.float64 else model


def samples(features, dtype=np.float64):
    rng = np.random.default_rng(1)
    return rng.normal(size=(SAMPLES, features)).astype(dtype), rng.normal(size=(SAMPLES, 2)).astype(dtype)


def orders(iterations, batchsize=1):
    return np.random.default_rng(2).integers(SAMPLES, size=(iterations, batchsize))


def compiled(model, rule, batchsize=1, loss=mse):
    opt = flux.setup(rule, model)
    return flux.compile_training(loss, model, opt, batchsize=batchsize), opt


def agrees(model, rule, data, rtol, loss=mse, ahead=True):
    """Compiled iterations, some in every call, with eager ones in between, give what eager ones give."""
    plain = copy.deepcopy(model)
    plain = plain, flux.setup(rule, plain)
    step, opt = compiled(model, rule, loss=loss)
    order = orders(30)
    losses = [*step(data, order[:11]), *eager(loss, model, opt, data, order[11:13])]
    losses += [*step(data, order[13:14]), *step(data, order[14:])]
    assert ("begin(p, arena)" in step.source) is ahead
    np.testing.assert_allclose(losses, eager(loss, *plain, data, order), rtol=rtol, atol=rtol)
    assert_same((model, opt), plain, rtol)


@pytest.mark.parametrize("rule", [*(kind() for kind in COMPILED), *FORMS, *MODIFIED, *DEMON], ids=repr)
def test_rules(rule):
    agrees(network(67, 6), rule, samples(67), 1e-11)


class Watched:
    """A layer that keeps what its weight makes of a sample, and gives what half of it does."""

    buffers = ("seen",)

    def __init__(self, weight):
        self.weight, self.seen = weight, np.zeros((1, len(weight)))

    def __call__(self, x):
        self.seen = x @ self.weight.T
        return np.tanh(x[:, :32] @ self.weight[:, :32].T)


MODELS = {
    "for the update alone": lambda: flux.Chain(Watched(np.ones((2, 64)) / 64)),
    "z is read again": lambda: flux.Chain(flux.Dense(64, 6, flux.relu), flux.Dense(6, 2)),
    "two first layers": lambda: flux.Chain(flux.Parallel(np.add, flux.Dense(64, 2), flux.Dense(64, 2)), np.tanh),
    "no activation": lambda: flux.Chain(flux.Dense(64, 2)),
    "some columns of the sample": lambda: flux.Chain(lambda x: x[:, 20:56], flux.Dense(36, 2, np.tanh)),
    "no bias": lambda: flux.Chain(flux.Dense(64, 4, flux.sigmoid, bias=False), flux.Dense(4, 2)),
}  # fmt: skip
LOSSES = {
    "weight decay": lambda m, x, y: flux.mse(m(x), y) + 0.1 * np.sum(m[0].weight ** 2),
    "transposed": lambda m, x, y: np.mean((m[0].weight @ x.T) ** 2),
    "there and back": lambda m, x, y: flux.mse(np.tanh(x @ m[0].weight.T) @ m[0].weight, x),
}


class Lookup:
    """A layer that multiplies its weight by a row of a table of its own."""

    buffers = ("table",)

    def __init__(self):
        self.weight, self.table, self.row = np.ones((2, 64)) / 64, samples(64)[0], np.array([3])

    def __call__(self, x):
        return np.tanh(self.table[self.row] @ self.weight.T)


SPREAD = np.array([[1.0, 2.0], [3.0, 4.0]])
OTHERS = {  # which have no product of one sample and a whole weight
    "a row of a table": (lambda: flux.Chain(Lookup()), mse),
    "some rows of the weight": (
        lambda: flux.Chain(flux.Dense(64, 4)),
        lambda m, x, y: np.mean((x @ m[0].weight[:2].T - y) ** 2),
    ),
    "some columns of the weight": (
        lambda: flux.Chain(flux.Dense(80, 2)),
        lambda m, x, y: np.mean((x @ m[0].weight[:, :64].T - y) ** 2),
    ),
    "a weight of one row, as two": (
        lambda: {"w": flux.glorot_uniform((1, 128))},
        lambda m, x, y: np.mean((x @ m["w"].reshape(2, 64).T - y) ** 2),
    ),
    "a weight of one column, as two rows": (
        lambda: {"w": flux.glorot_uniform((128, 1))},
        lambda m, x, y: np.mean((x @ m["w"].reshape(2, 64).T - y) ** 2),
    ),
    "rows of the weight in another order": (
        lambda: flux.Chain(flux.Dense(64, 4)),
        lambda m, x, y: np.mean(
            (np.sum(np.transpose(m[0].weight.reshape(2, 2, 64), (1, 0, 2)) * x[0], axis=-1) - SPREAD) ** 2
        ),
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_products(name):
    model, loss = OTHERS[name]
    agrees(flux.f64(model()), flux.Momentum(0.01), samples(64), 1e-11, loss, ahead=False)


@pytest.mark.parametrize("name", MODELS)
def test_models(name):
    agrees(flux.f64(MODELS[name]()), flux.Adam(0.01), samples(64), 1e-11)


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    agrees(network(64, 4), flux.Momentum(0.01), samples(64), 1e-11, LOSSES[name])


@pytest.mark.slow
@settings(max_examples=25)
@given(
    features=st.integers(64, 150),
    outputs=st.integers(2, 9),
    dtype=st.sampled_from([np.float32, np.float64]),
    rule=st.sampled_from([flux.Descent(0.1), flux.Momentum(0.01)]),
)
def test_shapes(features, outputs, dtype, rule):
    rtol = 1e-12 if dtype == np.float64 else 2e-5
    agrees(network(features, outputs, dtype), rule, samples(features, dtype), rtol)


@settings(max_examples=15)
@given(
    features=st.integers(64, 150),
    outputs=st.integers(2, 9),
    dtype=st.sampled_from([np.float32, np.float64]),
    cuts=st.lists(st.integers(0, 40), max_size=8),
    rule=st.sampled_from([flux.Descent(0.1), flux.Adam(0.01)]),
)
def test_calls_may_be_cut_anywhere(features, outputs, dtype, cuts, rule):
    """To the bit: the product before the first iteration of a call is the one that is calculated ahead."""
    data, order = samples(features, dtype), orders(40)
    whole, parts = network(features, outputs, dtype), network(features, outputs, dtype)
    expected = compiled(whole, rule)[0](data, order)
    step, _ = compiled(parts, rule)
    losses = [loss for piece in np.split(order, sorted(cuts)) for loss in step(data, piece)]
    assert losses == list(expected)
    for one, other in zip(flux.leaves(whole), flux.leaves(parts), strict=True):
        np.testing.assert_array_equal(one, other)


def test_nothing_is_read_past_the_order():
    data = samples(64)
    step, _ = compiled(network(64, 4), flux.Descent(0.1))
    longer = np.concatenate([orders(10), [[2**50]]])  # reading such a sample would be the process' end
    assert len(step(data, longer[:10])) == 10


def test_each_call_reads_weights_and_samples_anew():
    model, data = network(64, 4), samples(64)
    step, _ = compiled(model, flux.Descent(0.1))
    step(data, orders(3))
    model[0].weight[...] *= 2
    data[0][...] += 1
    expected = flux.mse(model(data[0][7:8]), data[1][7:8])
    np.testing.assert_allclose(step(data, np.array([[7]])), [expected], rtol=1e-12)


def test_a_loss_that_is_no_number_stops_before_its_update():
    data = samples(64)
    data[0][5] = np.nan
    order = np.array([[1], [2], [5], [3]])
    model = network(64, 4)
    plain = copy.deepcopy(model)
    plain = plain, flux.setup(flux.Adam(0.01), plain)
    step, opt = compiled(model, flux.Adam(0.01))
    with pytest.raises(flux.NonFiniteLoss, match="iteration 2"):
        step(data, order)
    eager(mse, *plain, data, order[:2])
    assert_same((model, opt), plain)


class Scaled:
    """A layer whose weight is multiplied by what is no sample of the data."""

    def __init__(self, weight):
        self.weight = weight

    def __call__(self, x):
        return 2 * x @ self.weight.T


@pytest.mark.parametrize(
    ("change", "batchsize", "expected"),
    [
        (lambda model, opt: None, 1, True),
        (lambda model, opt: None, 2, False),
        (lambda model, opt: flux.freeze(opt[0].bias), 1, True),
        (lambda model, opt: flux.freeze(opt[0].weight), 1, False),
    ],
)
def test_where_it_is_done(change, batchsize, expected):
    model = network(64, 4)
    opt = flux.setup(flux.Descent(0.1), model)
    change(model, opt)
    step = flux.compile_training(mse, model, opt, batchsize=batchsize)
    step(samples(64), orders(1, batchsize))
    assert ("begin(p, arena)" in step.source) is expected


def test_where_it_is_not_worth_it_or_not_possible():
    for model, data in (
        (network(20, 4), samples(20)),  # rows of 160 bytes
        (flux.Chain(Scaled(np.ones((4, 64)) / 64), flux.f64(flux.Dense(4, 2))), samples(64)),
    ):
        step, _ = compiled(model, flux.Descent(0.1))
        step(data, orders(1))
        assert "begin(p, arena)" not in step.source

"""Training where the update can't be compiled: loss and gradient are native code, and all is as in plain NumPy."""

import dataclasses
import functools
import types

import numpy as np
import pytest

import tinyflux as flux
from tests.support.branching import SCHEDULED, Branching
from tests.support.train_option import DATA, OFF, X, Y, assert_equal, mse, network, trained
from tests.support.training_cases import BatchNorm, Constant, Last, Running
from tinyflux.compile.backends.c.build import available
from tinyflux.training import native, validation

pytestmark = pytest.mark.skipif(not available(), reason="there is no C compiler here")


def printing(m, x, y):
    print("called with", type(x).__name__)
    return mse(m, x, y)


GRADIENT = "native code for the gradient, and plain NumPy for the update: "
RULES = [
    Branching(),
    pytest.param(SCHEDULED, id="Adam, scheduled"),
    flux.OptimiserChain(flux.ClipNorm(0.1, over="model"), Branching()),
    flux.OptimiserChain(flux.AccumGrad(2), Branching()),
]


def check(data="shuffled", **options):
    """A training beside one in plain NumPy."""
    options = {"rule": Branching(), **options}
    found = trained("auto", DATA[data] if isinstance(data, str) else data, **options)
    assert found[0].engine.startswith(GRADIENT), found[0].engine
    assert_equal(found, trained(False, DATA[data] if isinstance(data, str) else data, **options))


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("data", ["shuffled", "a list"])
def test_as_in_numpy(rule, data):
    check(data, rule=rule, epochs=2)


def test_the_loss_is_recorded_and_not_called_again(capsys):
    model = network()
    flux.train(printing, model, DATA["none"](), flux.setup(Branching(), model), epochs=5)
    assert capsys.readouterr().out == 3 * "called with Symbolic\n"  # once with the update, and twice without


def test_what_is_said(capsys):
    for _ in range(2):
        found = trained("auto", DATA["a partial batch"], rule=Branching())
    reason = "a branch that depends on a number's value can't be compiled. Write it with np.where"
    where = r"(In Branching.apply, "
    assert found[0].engine.startswith(GRADIENT + reason)
    assert where in found[0].engine
    err = capsys.readouterr().err
    assert err.count("\n") == err.count(f"tinyflux: training runs as {GRADIENT}{reason}") == err.count(where) == 1


def test_an_error_of_another_kind():
    """Any error of an update that is recorded, and that is none with numbers."""

    @dataclasses.dataclass(frozen=True)
    class Rounding(Branching):
        def apply(self, state, x, g):
            return (state[0], state[1] + 1), round(self.eta / (1 + state[1]), 3) * g

    check(rule=Rounding())
    with pytest.raises(flux.NotCompilable, match=r"TypeError: type Symbolic doesn't define __round__.*Rounding.apply"):
        trained(True, DATA["shuffled"], rule=Rounding())


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_compile_true_refuses_it(rule):
    with pytest.raises(flux.NotCompilable, match="branch that depends on a number's value"):
        trained(True, DATA["shuffled"], rule=rule)


def test_where_the_gradient_cannot_be_compiled_either(capsys):
    loss = lambda m, x, y: mse(m, x, y) * len(np.unique(x))  # noqa: E731
    both = [trained(c, DATA["shuffled"], loss=loss, rule=Branching()) for c in ("auto", False)]
    assert_equal(*both)
    assert both[0][0].engine.startswith("plain NumPy: np.unique can't be compiled")
    assert OFF in capsys.readouterr().err


SOME = [(X[:8], Y[:8], 1.0), (X[8:16], Y[8:16], "a"), (X[:8], Y[:8], 1.0)]
LATER = {
    "np.unique can't be compiled": lambda m, x, y, z: printing(m, x, y) * (len(np.unique(x)) if z == "a" else z),
    "the program has more than 300 op": lambda m, x, y, z: sum(printing(m, x, y) for _ in range(9 if z == "a" else 1)),
}


@pytest.mark.parametrize("reason", LATER)
def test_a_list_whose_second_item_cannot_be_compiled(reason, monkeypatch, capsys):
    """It is left to NumPy, and so is all behind it."""
    monkeypatch.setattr(native, "max_nodes", lambda iterations: 300)
    found = trained("auto", lambda: SOME, loss=LATER[reason], rule=Branching(), epochs=2)
    calls = capsys.readouterr().out
    assert_equal(found, trained(False, lambda: SOME, loss=LATER[reason], rule=Branching(), epochs=2))
    assert found[0].engine.startswith(f"plain NumPy: {reason}")
    assert capsys.readouterr().out.count("ndarray") - calls.count("ndarray") == 1


def test_an_array_of_another_class():
    """Compiled code would take it for NumPy's own."""
    masked = np.ma.array(X[8:16], mask=X[8:16] > 1)
    ends = []
    for option in ("auto", False):
        model = network()
        opt = flux.setup(Branching(), model)
        with pytest.raises((TypeError, ValueError)) as caught:  # whatever NumPy has to say
            flux.train(mse, model, [(X[:8], Y[:8]), (masked, Y[8:16])], opt, compile=option)
        ends.append((str(caught.value), *[x.round(12).tolist() for x in flux.leaves(model)]))
    assert ends[0] == ends[1]


def test_a_function_in_an_item():
    def run(option):
        setting = types.SimpleNamespace(factor=1.0)
        change = lambda model, opt: lambda p: setattr(setting, "factor", 1.0 + p.iteration // 2)  # noqa: E731
        loss = lambda m, x, y, factor: factor() * mse(m, x, y)  # noqa: E731
        data = lambda: [(X[:8], Y[:8], lambda: setting.factor)] * 5  # noqa: E731
        return trained(option, data, loss=loss, rule=Branching(), callbacks=[change])

    assert_equal(run("auto"), run(False))


@pytest.mark.parametrize("layer", [lambda: Running(True), lambda: Running(False), lambda: BatchNorm(6)])
def test_layers_that_change_their_state(layer):
    check(make=lambda: flux.Chain(layer(), network()), epochs=2)
    check(lambda: [(X[:8], Y[:8])] * 3, make=lambda: flux.Chain(layer(), Last(8), network()))


def test_the_old_state_may_stand_in_another_model():
    model = flux.Chain(Running(True), network())
    mean = model[0].mean
    flux.train(mse, model, DATA["a list"](), flux.setup(Branching(), model))
    assert mean.tolist() == [0] * 6
    assert model[0].mean.any()


def test_arrays_in_two_places():
    def make():
        layer, tied, shared = flux.f64(flux.Dense(6, 6)), flux.f64(flux.Dense(6, 6)), np.arange(6.0)
        tied.bias = layer.bias
        return flux.Chain(layer, Constant(shared), layer, tied, Constant(shared), network())

    def untie(model, opt):
        return lambda p: setattr(model[1], "array", np.ones(6)) if p.iteration == 2 else None

    check(make=make, callbacks=[untie])


def test_what_no_program_can_return():
    """A gradient has what stands in the model in the places of what is no array."""
    check(make=lambda: flux.Chain(flux.f64(flux.Dense(6, 6, functools.partial(np.multiply, 2.0))), network()))


class Scaled:
    """A parameter without axes, and a state without any."""

    buffers = ("seen",)

    def __init__(self):
        self.scale, self.seen, self.network = np.array(1.0), np.array(0.0), network()

    def __call__(self, x):
        self.seen = self.seen + np.sum(x)
        return self.scale * self.network(x)


def test_numbers_in_arrays():
    check(make=Scaled)
    model = Scaled()
    flux.train(mse, model, DATA["shuffled"](), flux.setup(Branching(), model))
    assert type(model.seen) is np.ndarray


def test_what_callbacks_and_the_rule_change():
    """A layer's setting and state, a frozen layer, a rate, a constant of the loss: from the next update on."""

    def run(option):
        options = types.SimpleNamespace(factor=1.0)

        @dataclasses.dataclass(frozen=True)
        class Changing(Branching):
            def apply(self, state, x, g):
                if state[1] == 8:
                    options.factor = 3.0
                return super().apply(state, x, g)

        def change(model, opt):
            def callback(p):
                if p.iteration == 2:
                    model[0].activation = flux.relu
                if p.iteration == 3:
                    flux.freeze(opt[0])
                if p.iteration == 4:
                    flux.adjust(opt, eta=0.01)
                if p.iteration == 5:
                    options.factor = 2.0

            return callback

        loss = lambda m, x, y: options.factor * mse(m, x, y)  # noqa: E731
        return trained(option, DATA["shuffled"], loss=loss, rule=Changing(), callbacks=[change], epochs=3)

    assert_equal(run("auto"), run(False))


def test_a_loss_that_reads_the_model_from_its_surroundings():
    ends = []
    for option in ("auto", False):
        model = network()
        opt = flux.setup(Branching(), model)
        part = model[0].weight[1:]
        loss = lambda m, x, y: mse(m, x, y) + np.sum(part**2)  # noqa: B023, E731
        ends.append((flux.train(loss, model, DATA["none"](), opt, compile=option), flux.leaves(model)))
    assert ends[0][0].engine.startswith("plain NumPy: the loss reads the model from its surroundings")
    for a, b in zip(*[leaves for _, leaves in ends], strict=True):
        np.testing.assert_array_equal(a, b)


class Boom(Exception):
    pass


@dataclasses.dataclass(frozen=True)
class Failing(Branching):
    def apply(self, state, x, g):
        if state[1] == 2:
            raise Boom
        return super().apply(state, x, g)


BAD = X[:8].copy()
BAD[3, 2] = np.nan


@pytest.mark.parametrize("option", ["auto", False])
@pytest.mark.parametrize(
    ("rule", "third", "error", "message"),
    [
        (
            Branching(),
            (BAD, Y[:8]),
            flux.NonFiniteLoss,
            r"at item 2 of epoch 1.*NaN or infinity is in the data: item",
        ),
        (Failing(), (X[:8], Y[:8]), Boom, None),
        (Branching(), (X[:8], Y[:7]), ValueError, None),
    ],
)
@np.errstate(all="ignore")
def test_an_error_leaves_all_as_before_that_update(option, rule, third, error, message):
    """Parameters, the optimiser's state, and that of layers."""
    make = lambda: flux.Chain(Running(True), BatchNorm(6), network())  # noqa: E731
    good = [(X[:8], Y[:8]), (X[8:16], Y[8:16])]
    model = make()
    opt = flux.setup(rule, model)
    with pytest.raises(error, match=message):
        flux.train(mse, model, [*good, third, good[0]], opt, compile=option)
    expected = trained(option, lambda: good, make=make, rule=Branching())
    for a, b in zip(flux.leaves(model), expected[2], strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip([x for leaf in opt._leaves for x in leaf.state], expected[3], strict=True):
        np.testing.assert_array_equal(a, b)


def test_labels_out_of_range_are_an_index_error():
    labels = np.arange(50) % 3
    labels[20] = 3
    loss = lambda m, x, i: np.mean(-np.log(flux.softmax(m(x))[np.arange(len(i)), i]))  # noqa: E731
    with pytest.raises(IndexError, match="out of bounds for a"):
        trained("auto", lambda: flux.DataLoader((X, labels), batchsize=8), loss=loss, rule=Branching())


def test_a_second_training_finds_its_programs():
    model = network()
    opt = flux.setup(Branching(), model)
    programs = []
    for _ in range(3):
        flux.train(mse, model, DATA["none"](), opt)
        programs.append(opt._programs["gradients"].latest)
    assert programs[0] is programs[1] is programs[2]


def test_validation_is_compiled_with_it(monkeypatch, capsys):
    monkeypatch.setattr(validation, "PAYS_FROM", 0)
    model = network()
    flux.train(printing, model, DATA["none"](), flux.setup(Branching(), model), epochs=4, validation=(X, Y))
    assert capsys.readouterr().out.count("ndarray") == 1  # to try the data out

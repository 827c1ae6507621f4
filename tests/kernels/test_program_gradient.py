"""Training on the device where the update can't be recorded: kernels for the gradient, and an update of its own."""

import numpy as np
import pytest

import tinyflux as flux
from tests.support import index_faults
from tests.support.branching import SCHEDULED, Branching
from tests.support.device_standin import counted
from tests.support.program_cases import InOrder, check_trained, data, loss, network
from tests.support.state_cases import Counter, Running, check, normalised, running
from tinyflux.optimise.kernels import loss_guard

pytestmark = pytest.mark.usefixtures("compiling")

# CuPy makes the update of the first; that of the second is one kernel, which looks at the loss itself.
both_ways = pytest.mark.parametrize("rule", [Branching(), pytest.param(SCHEDULED, id="Adam, scheduled")])


@pytest.mark.parametrize("loader", [flux.DataLoader, InOrder], ids=["slices", "numbers"])
@both_ways
def test_a_loader(rule, loader):
    """The last batch is smaller, and has a program of its own."""
    check_trained(lambda: loader(data(), 16), rule=rule, native="auto")


@pytest.mark.parametrize("make", [running, normalised])
@both_ways
def test_layers_with_a_state(rule, make):
    check(make, rule=rule, option="auto")
    check(make, lambda move: (move(data(10)) for _ in range(4)), rule=rule, option="auto", epochs=1)


class Starting:
    """A rule that keeps something from its first step."""

    whole = "array"

    def init(self, x):
        return ()

    def apply(self, state, x, g):
        self.rate = getattr(self, "rate", 0.1)
        return (), self.rate * g


@pytest.mark.parametrize("batches", [lambda: flux.DataLoader(data(), 16), lambda: [data()] * 3])
def test_a_rule_that_changes_itself_in_its_first_step_alone(batches):
    """CuPy makes that step; the others are compiled, or `compile=True` would be an error."""
    check_trained(batches, rule=lambda x: Starting())


def test_what_is_said(capsys):
    for _ in range(2):
        model = flux.gpu(network())
        history = flux.train(loss, model, flux.gpu([data()]), flux.setup(Branching(), model))
    said = "CUDA kernels for the gradient, and CuPy for the update: a branch that depends on a number's value"
    assert history.engine.startswith(said)
    err = capsys.readouterr().err
    assert err.count("\n") == err.count(f"tinyflux: training runs by {said}") == err.count("In Branching.apply") == 1


@both_ways
def test_compile_true_refuses_it(rule):
    model = flux.gpu(network())
    with pytest.raises(flux.NotCompilable, match="a branch that depends on a number's value"):
        flux.train(loss, model, flux.gpu([data()]), flux.setup(rule, model), compile=True)


def test_a_gradient_that_cannot_be_compiled_either(capsys):
    model = flux.gpu(flux.Chain(Counter(0, True), network()))
    flux.train(loss, model, flux.gpu([data()] * 2), flux.setup(Branching(), model))
    assert capsys.readouterr().err.startswith("tinyflux: training runs by CuPy: the model changes an attribute")


def test_losses_that_kernels_look_at_are_read_together(monkeypatch):
    monkeypatch.setattr(loss_guard, "SECONDS", 1e9)  # g++'s code takes longer
    model, item = flux.gpu(network()), flux.gpu(data())
    opt = flux.setup(SCHEDULED, model)
    reads = [counted(lambda: flux.train(loss, model, [item] * n, opt))[1] for n in (1, 2, 9)]  # noqa: B023
    assert reads[1] == reads[2] < 9
    assert opt.layers[0].weight.numbers[-1] == 12


def left(rule, items, error=None):
    """What a training leaves behind."""
    flux.seed(0)
    model = flux.gpu(flux.Chain(Running(True), normalised()))
    opt = flux.setup(rule, model)
    with np.errstate(all="ignore"):
        if error is None:
            flux.train(loss, model, items, opt)
        else:
            with pytest.raises(error):
                flux.train(loss, model, items, opt)
    return [flux.cpu(x) for x in [*flux.leaves(model), *[s for leaf in opt._leaves for s in leaf.state]]]


@pytest.mark.parametrize("error", [flux.NonFiniteLoss, ValueError, KeyError])
@both_ways
def test_an_error_leaves_all_as_before_that_update(rule, error):
    """In the third update; of a loss that is not finite, the two behind it come to nothing, too."""
    x, y = flux.gpu(data(10))

    def items():
        yield from [(x, y)] * 2
        if error is KeyError:
            raise KeyError("in the data")
        yield (x * np.nan, y) if error is flux.NonFiniteLoss else (x, y[:7])
        yield from [(x, y)] * 2

    for a, b in zip(left(rule, items(), error), left(rule, [(x, y)] * 2), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["behind a loss that is not finite", "before a loss that is not finite"])
@both_ways
def test_an_index_that_is_out_of_bounds(name, rule):
    index_faults.check(name, rule, option="auto")

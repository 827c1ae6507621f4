"""What shows of a training at the prompt: the optimiser's state, a compiled step, a Progress, a loader."""

import numpy as np
import pytest

import tinyflux as flux
from tests.test_display import Failing, Table

X = np.ones((4, 2), np.float32)


def loss(model, x):
    return np.sum(model(x) ** 2)


def test_what_schedules_are_at_is_shown():
    """Warmup gives value·(t + 1)/over after t steps, and a chain's schedules are found in it."""
    model = flux.Dense(2, 3)
    rule = flux.OptimiserChain(flux.WeightDecay(lambda t: 0.5), flux.Momentum(flux.schedules.Warmup(0.1, over=10)))
    opt = flux.setup(rule, model)
    assert repr(opt).splitlines()[2] == "    lambda_=0.5, eta=0.01 after 0 steps"
    for _ in range(2):
        flux.update(opt, model, flux.gradient(loss, model, X)[0])
    lines = repr(opt).splitlines()
    assert lines[2:5] == ["    lambda_=0.5, eta=0.03 after 2 steps", "    .weight", "    .bias"]
    assert lines[5] == f"{')':40}# 9 parameters in 2 arrays"
    betas = flux.setup(flux.Adam(0.1, beta=(flux.schedules.Constant(0.25), 0.5)), model)
    assert repr(betas).splitlines()[2] == "    beta=0.25 after 0 steps"
    assert len(repr(flux.setup(flux.Adam(), model)).splitlines()) == 5


def test_a_compiled_training_counts_in_the_state():
    model = flux.Dense(2, 3)
    opt = flux.setup(flux.Momentum(flux.schedules.Warmup(0.1, over=10)), model)
    step = flux.compile_training(loss, model, opt, batchsize=2)
    assert repr(step) == "flux.compile_training(loss, Dense, Momentum, batchsize=2), no programs compiled"
    step(X, np.array([[0, 1], [2, 3], [0, 1]]))
    assert repr(step) == "flux.compile_training(loss, Dense, Momentum, batchsize=2), 1 program compiled"
    assert "eta=0.04 after 3 steps" in repr(opt)


def test_many_parameters_take_few_lines():
    model = flux.models.resnet20()
    opt = flux.setup(lambda x: flux.Descent() if x.ndim == 1 else flux.Adam(), model)
    flux.freeze(opt[2])
    lines = repr(opt).splitlines()
    assert len(lines) == 2 + 2 * 9
    assert lines[1] == "  Adam(eta=0.001, beta=(0.9, 0.999), epsilon=1e-08):"
    assert lines[2] == "    .layers[0].weight"
    assert lines[8:10] == ["    ... 13 more, 1 of them frozen", "    .layers[7].weight"]
    assert lines[10] == "  Descent(eta=0.1):"
    assert lines[-1] == f"{')':40}# {flux.parameter_count(model):,} parameters in {len(flux.parameters(model))} arrays"
    assert repr(flux.setup(flux.Descent(), [np.ones(1)])).endswith("# 1 parameter in 1 array")
    assert sum(int(line.split()[1]) + 7 for line in lines if "more" in line) == len(flux.parameters(model))


def test_the_table_of_a_state():
    model = flux.Chain(flux.Dense(2, 3), flux.Dense(3, 1))
    opt = flux.setup(flux.Descent(flux.schedules.Constant(0.5)), model)
    flux.freeze(opt[1])
    table = Table(opt._repr_html_())
    assert table.rows == [
        ["rule", "its parameters", "in all"],
        ["Descent(eta=Constant(value=0.5))", "eta=0.5 after 0 steps", "13 parameters in 4 arrays"],
        ["", ".layers[0].weight", ""], ["", ".layers[0].bias", ""],
        ["", ".layers[1].weight (frozen)", ""], ["", ".layers[1].bias (frozen)", ""],
    ]  # fmt: skip


class Odd:
    """A rule of a user's that can't be shown."""

    def init(self, x):
        return ()

    def apply(self, state, x, g):
        return state, g

    __repr__ = Failing.__repr__


def test_what_can_not_be_shown_fails_nowhere():
    opt = flux.setup(Odd(), flux.Dense(2, 3))
    step = flux.compile_training(Failing(), flux.Dense(2, 3), opt)
    assert repr(opt) == "OptimiserState(...)"
    assert opt._repr_html_() is None
    assert repr(opt.weight) == "Leaf(...)"
    assert repr(step) == "flux.compile_training(Failing(...), Dense, Odd, batchsize=1), no programs compiled"
    assert repr(flux.Progress(Failing(), opt, loss="?", total="?")) == "Progress(...)"
    for cls in (flux.DataLoader, flux.Progress, type(opt), type(opt.weight), type(step), type(flux.compile(loss))):
        assert repr(cls.__new__(cls)).startswith((cls.__name__, "flux.compile("))
    late = flux.setup(flux.Descent(lambda t: 0.1 if t == 0 else 1 / 0), flux.Dense(2, 3))
    assert repr(late).startswith("OptimiserState(\n")
    late._leaves[0].numbers = late._leaves[1].numbers = (1,)
    assert repr(late) == "OptimiserState(...)"


def test_a_progress_is_one_line():
    said = []
    model = flux.Dense(2, 3)
    model.weight[:] = 0
    opt = flux.setup(flux.Descent(0), model)
    flux.train(loss, model, [X, X], opt, epochs=2, callbacks=[lambda p: said.append(repr(p))], compile=False)
    assert said == [
        "Progress(epoch 1, iteration 1 of 4, loss 0)", "Progress(epoch 1, iteration 2 of 4, loss 0)",
        "Progress(epoch 1 ended, iteration 2 of 4, loss 0)", "Progress(epoch 2, iteration 3 of 4, loss 0)",
        "Progress(epoch 2, iteration 4 of 4, loss 0)", "Progress(epoch 2 ended, iteration 4 of 4, loss 0)",
    ]  # fmt: skip
    assert repr(flux.Progress(None, None, iteration=12345, loss=0.123456)) == (
        "Progress(epoch 1, iteration 12,345, loss 0.1235)"
    )


def test_the_results_of_validation_are_shown():
    progress = flux.Progress(None, None, epoch=3, loss=0.5)
    progress.validation = {"loss": 0.25, "accuracy": 0.98761}
    assert (
        repr(progress) == "Progress(epoch 3, iteration 0, loss 0.5, validation loss 0.25, validation accuracy 0.9876)"
    )


class Unspeakable:
    __repr__ = Failing.__repr__

    def __call__(self, x):
        return x


@pytest.mark.parametrize(
    ("f", "text"),
    [
        (loss, "flux.compile(loss)"),
        (flux.Chain(flux.Dense(2, 3), np.tanh), "flux.compile(Chain(Dense(2, 3), tanh))"),
        (Unspeakable(), "flux.compile(Unspeakable(...))"),
    ],
    ids=["a function", "a model", "what fails"],
)
def test_a_compiled_function_is_one_line(f, text):
    assert repr(flux.compile(f)) == text

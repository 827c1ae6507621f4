"""Validation: its numbers, and that training goes on as without it."""

import contextlib
import pickle

import numpy as np
import pytest

import tinyflux as flux
from tinyflux.autodiff.tape import is_recording
from tinyflux.training import validation

RNG = np.random.default_rng(7)
X, LABELS = RNG.normal(size=(40, 6)).astype(np.float32), RNG.integers(3, size=40)
Y = flux.onehotbatch(LABELS, range(3))
HELD_X, HELD_LABELS = RNG.normal(size=(23, 6)).astype(np.float32), RNG.integers(3, size=23)
HELD_Y = flux.onehotbatch(HELD_LABELS, range(3))
HELD = HELD_X, HELD_Y
HOW = pytest.mark.parametrize("how", [False, "auto"], ids=["NumPy", "native"])


def loss(model, x, y):
    return flux.logitcrossentropy(model(x), y)


def network():
    """Layers that draw random numbers, and that keep running means."""
    flux.seed(3)
    return flux.Chain(flux.Dense(6, 8), flux.BatchNorm(8), flux.relu, flux.Dropout(0.4), flux.Dense(8, 3))


def trained(epochs=3, model=None, **options):
    model = network() if model is None else model
    opt = flux.setup(flux.Adam(0.03), model)
    data = flux.DataLoader((X, Y), batchsize=8, shuffle=True)
    return flux.train(loss, model, data, opt, epochs, **options), model, opt


def by_hand(model, x=HELD_X, labels=HELD_LABELS):
    """The cross-entropy and the accuracy in float64, from the parameters."""
    first, norm, _, _, last = flux.f64(model)
    h = x.astype(float) @ first.weight.T + first.bias
    h = norm.weight * (h - norm.running_mean) / np.sqrt(norm.running_var + norm.epsilon) + norm.bias
    scores = np.maximum(h, 0) @ last.weight.T + last.bias
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return -np.mean(np.log(shares[np.arange(len(x)), labels])), np.mean(scores.argmax(axis=1) == labels)


@pytest.fixture(autouse=True)
def _native(monkeypatch):
    """By native code, however little there is to do."""
    monkeypatch.setattr(validation, "PAYS_FROM", 0)


@HOW
def test_the_numbers_of_each_epoch(how):
    expected = []
    see = [lambda p: expected.append(by_hand(p.model)) if p.epoch_ended else None]
    history, *_ = trained(callbacks=see, compile=how, validation=HELD, metrics=[flux.accuracy])
    assert list(history.validation) == ["loss", "accuracy"]
    np.testing.assert_allclose(history.validation["loss"], [a for a, _ in expected], rtol=1e-5)
    np.testing.assert_allclose(history.validation["accuracy"], [b for _, b in expected], rtol=1e-12)
    assert all(type(value) is float for values in history.validation.values() for value in values)


@HOW
@pytest.mark.parametrize(
    "data",
    [
        flux.DataLoader(HELD, batchsize=5),  # the last batch has three
        flux.DataLoader(HELD, batchsize=10, shuffle=True),
        [(HELD_X[:1], HELD_Y[:1]), (HELD_X[1:20], HELD_Y[1:20]), (HELD_X[20:], HELD_Y[20:])],
        list(HELD),
    ],
    ids=["loader", "shuffled", "items", "arrays in a list"],
)
def test_batches_of_any_size_give_the_mean_over_samples(data, how, monkeypatch):
    monkeypatch.setattr(validation, "BATCH", 7)
    if type(data) is list and len(data) == 2:
        data = tuple(data)
    metrics = {"right": flux.accuracy, "f1": flux.metrics.f1}
    history, model, _ = trained(1, compile=how, validation=data, metrics=metrics)
    loss, accuracy = by_hand(model)
    assert history.validation["loss"] == [pytest.approx(loss, rel=1e-5)]
    assert history.validation["right"] == [pytest.approx(accuracy, rel=1e-12)]
    assert history.validation["f1"] == [flux.metrics.f1(model(HELD_X), HELD_LABELS)]  # no mean of batches is that


def test_arrays_come_in_even_batches(monkeypatch):
    monkeypatch.setattr(validation, "BATCH", 7)
    sizes = []

    def loss(model, x, y):
        sizes.append(len(x))
        return flux.mse(model(x), y)

    model = flux.Dense(6, 3)
    flux.train(loss, model, [(X, Y)], flux.setup(flux.Descent(), model), compile=False, validation=HELD)
    assert sizes == [6, 40, 6, 6, 6, 5]  # the first try, the training, and all 23


def test_labels_as_numbers():
    def loss(model, x, labels):
        return flux.logitcrossentropy(model(x), np.eye(3, dtype=np.float32)[labels])

    model = network()
    opt = flux.setup(flux.Descent(), model)
    held = (HELD_X, HELD_LABELS)
    history = flux.train(loss, model, [(X, LABELS)], opt, validation=held, metrics=[flux.accuracy])
    assert history.validation["accuracy"] == [by_hand(model)[1]]


def test_without_metrics_items_are_what_the_loss_takes():
    model = {"w": np.ones(3)}
    opt = flux.setup(flux.Descent(0.0), model)
    for data in (X[:, :3], {"x": X[:, :3]}):
        f = lambda m, batch: np.mean((batch["x"] if isinstance(batch, dict) else batch) * m["w"])  # noqa: E731
        history = flux.train(f, model, flux.DataLoader(data, 8), opt, validation=data)
        assert history.validation["loss"] == [pytest.approx(X[:, :3].mean(), rel=1e-5)]


LENGTHS = np.arange(23) % 6 + 1
MASK = np.arange(6) < LENGTHS[:, None]
SEVERAL = HELD_X, MASK, HELD_Y


class Masked:
    """A model of two inputs: the mean of a row where the mask allows, times weights."""

    def __init__(self):
        self.weight = np.array([1.0, -1.0, 0.5], np.float32)

    def __call__(self, x, mask):
        return (np.sum(x * mask, axis=1) / np.sum(mask, axis=1))[:, None] * self.weight


@HOW
@pytest.mark.parametrize(
    "held",
    [SEVERAL, flux.DataLoader(SEVERAL, 5), [SEVERAL], [tuple(x[:9] for x in SEVERAL), tuple(x[9:] for x in SEVERAL)]],
    ids=["arrays", "loader", "item", "items"],
)
def test_metrics_of_models_with_several_inputs(held, how, monkeypatch):
    monkeypatch.setattr(validation, "BATCH", 7)
    model = Masked()
    f = lambda m, x, mask, y: flux.logitcrossentropy(m(x, mask), y)  # noqa: E731
    data = flux.DataLoader((X, X > 0, Y), 8)
    history = flux.train(
        f, model, data, flux.setup(flux.Descent(0.0), model), compile=how, validation=held, metrics=[flux.accuracy]
    )
    means = np.array([x[:n].astype(float).mean() for x, n in zip(HELD_X, LENGTHS)])
    guessed = np.where(means > 0, 0, 1)  # of m, −m and m/2 the first is the largest, or the second
    assert history.validation["accuracy"] == [pytest.approx(np.mean(guessed == HELD_LABELS), rel=1e-12)]


def state_of(model, opt):
    return [np.asarray(x).tobytes() for x in flux.leaves(model)] + [repr(leaf.numbers) for leaf in opt._leaves]


@HOW
@pytest.mark.parametrize("shuffle", [False, True])
def test_training_is_the_same_bit_for_bit(how, shuffle):
    """Both loaders draw from the generator that flux.seed restarts."""
    held = flux.DataLoader(HELD, 4, shuffle=shuffle, transform=lambda batch, rng: (batch[0] + rng.normal(), batch[1]))
    plain, model, opt = trained(compile=how)
    drawn = flux.default_rng().integers(2**60)
    history, other, other_opt = trained(compile=how, validation=held, metrics=[flux.accuracy])
    assert flux.default_rng().integers(2**60) == drawn
    assert history == plain
    assert state_of(other, other_opt) == state_of(model, opt)
    assert plain.validation == {}


def test_the_loaders_own_generator_is_put_back():
    rng = np.random.default_rng(0)
    held = flux.DataLoader(
        HELD, 4, shuffle=True, transform=lambda batch, rng: (batch[0] + rng.normal(), batch[1]), rng=rng
    )
    before = rng.bit_generator.state
    history, *_ = trained(validation=held)
    assert rng.bit_generator.state == before
    assert len(set(history.validation["loss"])) == 3


def test_modes_are_restored_after_it():
    """A callback has frozen the statistics of a norm, and another layer is to drop always."""
    seen = []

    class Spy:
        def __init__(self):
            self.active = None

        def __call__(self, x):
            seen.append((flux.is_training(self), x.shape[0]))
            return x

    model = flux.Chain(flux.Dense(6, 3), Spy(), flux.Dropout(0.5))

    def switch(progress):
        flux.trainmode(progress.model[1])

    modes = []
    note = lambda p: modes.append([layer.active for layer in p.model[1:]]) if p.epoch_ended else None  # noqa: E731
    opt = flux.setup(flux.Descent(), model)
    flux.train(loss, model, [(X, Y)], opt, 2, [note, switch], compile=False, validation=HELD)
    assert modes == [[True, None]] * 2
    assert [active for active, samples in seen if samples == len(HELD_X)] == [False] * 3  # one before the training
    assert {active for active, samples in seen if samples == len(X)} == {True}


def test_modes_are_restored_after_an_error():
    calls = []

    def failing(scores, labels):
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("failed")
        return 0.5

    model = network()
    seen = []
    with pytest.raises(RuntimeError, match="failed"):
        trained(model=model, callbacks=[lambda p: seen.append(p.epoch_ended)], validation=HELD, metrics=[failing])
    assert model[3].active is None
    assert not any(seen)


@pytest.mark.parametrize(("how", "count"), [("auto", 6), (False, 0)])
def test_it_is_compiled_where_training_is(how, count, monkeypatch):
    """For the shape of all batches but the last one, which is left to NumPy."""
    ran = recorded(monkeypatch)
    trained(3, compile=how, validation=flux.DataLoader(HELD, 10), metrics=[flux.accuracy])
    assert ran == [(10, 6)] * count


@pytest.mark.parametrize(("share", "count"), [(1.0, 3), (1.02, 0)])
def test_it_is_compiled_where_that_pays(share, count, monkeypatch):
    """The work of x·w + b is a product for each weight and row, and less than a hundredth more."""
    rows, batches, epochs = 23, 1, 3
    monkeypatch.setattr(validation, "PAYS_FROM", share * 1.0 * 400 * 300 * rows * batches * epochs)
    ran = recorded(monkeypatch)
    model = flux.Dense(400, 300)
    x, y = np.zeros((rows, 400), np.float32), np.zeros((rows, 300), np.float32)
    f = lambda m, x, y: np.sum(m(x))  # noqa: E731
    flux.train(f, model, [(x, y)], flux.setup(flux.Descent(), model), epochs, validation=(x, y))
    assert len(ran) == count


def test_a_loop_always_pays(monkeypatch):
    monkeypatch.setattr(validation, "PAYS_FROM", 1e300)
    ran = recorded(monkeypatch)
    model = {"w": np.eye(6, dtype=np.float32)}

    def loss(model, x, y):
        return np.sum(flux.scan(lambda h, row: (np.tanh(h @ model["w"] + row), None), np.zeros_like(x[0]), x)[0])

    flux.train(loss, model, flux.DataLoader((X, Y), 20), flux.setup(flux.Descent(), model), 3, validation=HELD)
    assert len(ran) == 3


def recorded(monkeypatch):
    """The shapes of the batches that will be evaluated by programs."""
    ran = []

    def noted(f):
        program = flux.compile(f)
        return lambda model, x, y: (ran.append(x.shape), program(model, x, y))[1]

    monkeypatch.setattr(validation, "compiled", noted)
    return ran


def test_what_cannot_be_compiled_is_left_to_numpy(capsys):
    """A forward pass that is other code outside of a gradient."""
    model = flux.Chain(flux.Dense(6, 3), lambda x: x if is_recording() else x[x[:, 0] < np.inf])
    opt = flux.setup(flux.Descent(), model)
    data = flux.DataLoader((X, Y), 8)
    history = flux.train(lambda m, x, y: flux.mse(m(x), y), model, data, opt, 3, validation=HELD)
    expected = np.mean((model(HELD_X) - HELD_Y) ** 2)
    assert history.validation["loss"][-1] == pytest.approx(expected, rel=1e-5)
    shown = capsys.readouterr().err
    assert shown.count("tinyflux: validation runs as plain NumPy: ") == 1
    assert "training runs as native code" in shown


def test_callbacks_see_it():
    seen = []
    see = [lambda p: seen.append((p.epoch_ended, dict(p.validation)))]
    history, *_ = trained(2, callbacks=see, compile=False, validation=HELD, metrics=[flux.accuracy])
    first, second = ({name: xs[i] for name, xs in history.validation.items()} for i in (0, 1))
    assert seen == [(False, {})] * 5 + [(True, first)] + [(False, first)] * 5 + [(True, second)]


# Early stopping


def stops_at(values, **options):
    given = iter([0.0, *values])  # the first one is that of the first try
    model = network()
    opt = flux.setup(flux.Descent(), model)
    metrics = {"value": lambda scores, labels: next(given)}
    stop = flux.early_stopping("value", **options)
    return len(flux.train(loss, model, [(X, Y)], opt, 9, [stop], compile=False, validation=HELD, metrics=metrics))


def test_early_stopping_by_name():
    assert stops_at([5, 6, 4, 6, 7, 1, 1, 1, 1], patience=2, best=min) == 5
    assert stops_at([5, 4, 6, 4, 6, 7, 1, 1, 1], patience=2, best=max) == 5
    assert stops_at([1, 2, 3, 4, 5, 6, 7, 8, 9], patience=1, best=max) == 9


def test_early_stopping_by_the_loss():
    model = {"x": np.array([4.0])}
    opt = flux.setup(flux.Descent(0.5), model)
    f = lambda m, target: np.sum((m["x"] - target) ** 2)  # noqa: E731
    # Training goes to 0 at once, away from 3: the validation loss is 9 from the first epoch on.
    history = flux.train(f, model, [0.0], opt, 9, [flux.early_stopping("loss", 2)], validation=[3.0])
    assert history.validation["loss"] == [9.0] * 3


def test_a_history_can_be_pickled():
    history, *_ = trained(2, validation=HELD)
    again = pickle.loads(pickle.dumps(history))
    assert type(again) is flux.History
    assert again == history
    assert again.validation == history.validation


class Counts:
    """A layer that changes its state in inference mode as well: a buffer in two ways, a number, and a list."""

    buffers = ("calls", "written")

    def __init__(self):
        self.weight = np.ones(3, np.float32)
        self.calls, self.written, self.n, self.seen = np.zeros(1, np.float32), np.zeros(1, np.float32), 0, []
        self.parts = [np.ones(3, np.float32), 0]

    def __call__(self, x):
        self.calls = self.calls + 1
        self.written += 1
        self.n += 1
        self.parts[1] += 1
        self.seen.append(len(x))
        return x * self.weight * self.parts[0]


@pytest.mark.parametrize("raises", [False, True])
def test_what_layers_keep_is_put_back(raises):
    def metric(scores, labels):
        if raises and model.n > 2:  # the loss and the scores count in the first try, too
            raise KeyError("a mistake after the first try")
        return 0.0

    model = Counts()
    opt = flux.setup(flux.Descent(), model)
    loss = lambda m, x, y: flux.mse(m(x), y)  # noqa: E731
    data, held = [(X[:, :3], Y)] * 2, (HELD_X[:, :3], HELD_Y)
    with pytest.raises(KeyError) if raises else contextlib.nullcontext():
        flux.train(loss, model, data, opt, compile=False, validation=held, metrics=[metric])
    assert (model.calls, model.written, model.n, model.parts[1], model.seen) == (2, 2, 2, 2, [40, 40])


def test_histories_are_added():
    """A training that goes on, `history += flux.train(…)`: losses and validation belong to the same epochs."""
    first, second = flux.History([3.0, 2.0]), flux.History([1.0], {"loss": [4.0]})
    second.engine = "plain NumPy"
    both = first + second
    assert (type(both), list(both), list(both.validation), both.engine) == (
        flux.History, [3.0, 2.0, 1.0], ["loss"], "plain NumPy",
    )  # fmt: skip
    np.testing.assert_array_equal(both.validation["loss"], [np.nan, np.nan, 4.0])
    assert (list(first), first.validation) == ([3.0, 2.0], {})
    same = second
    second += first
    assert second is same
    assert list(second) == [1.0, 3.0, 2.0]
    np.testing.assert_array_equal(second.validation["loss"], [4.0, np.nan, np.nan])
    assert first.__add__([1.0]) == [3.0, 2.0, 1.0]

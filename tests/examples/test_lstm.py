"""examples/lstm.py: its layers by hand, what it asks of them, and a small run of the whole."""

import json

import numpy as np
import pytest

import tinyflux as flux
from examples import lstm
from tinyflux.compile.backends.c.build import available

T, N, HIDDEN = 4, 3, 2


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def rnn(x, h, c, W, U):
    return np.tanh(W[0] + U[0]), c


def lstm_cell(x, h, c, W, U):
    i, f, o, g = W + U
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru(x, h, c, W, U):
    r, z = sigmoid(W[0] + U[0]), sigmoid(W[1] + U[1])
    return (1 - z) * np.tanh(W[2] + r * U[2]) + z * h, c


CELLS = {"RNN": rnn, "LSTM": lstm_cell, "GRU": gru}


@pytest.fixture(params=lstm.LAYERS)
def name(request):
    return request.param


def adder(name):
    flux.seed(3)
    model = flux.f64(lstm.Adder(lstm.LAYERS[name](2, HIDDEN)))
    rng = np.random.default_rng(0)
    for weights in flux.leaves(model):  # no bias is 0
        weights += rng.normal(size=weights.shape) / 3
    return model


def by_hand(name, layer, x):
    """The last state of one sequence (T, 2), unit by unit, each gate with rows of its own of the weights."""
    h, c = np.zeros(HIDDEN), np.zeros(HIDDEN)
    for step in x:
        W, U = (
            np.array([w @ v for w in dense.weight]) + (0 if dense.bias is None else dense.bias)
            for dense, v in ((layer.inputs, step), (layer.hidden, h))
        )
        h, c = CELLS[name](step, h, c, W.reshape(-1, HIDDEN), U.reshape(-1, HIDDEN))
    return h


def test_layers(name):
    model = adder(name)
    x = np.random.default_rng(1).normal(size=(N, T, 2))
    states = np.array([by_hand(name, model.layer, each) for each in x])
    np.testing.assert_allclose(model.layer(np.swapaxes(x, 0, 1)), states, rtol=1e-12)
    np.testing.assert_allclose(model(x), states @ model.output.weight.T + model.output.bias, rtol=1e-12)


def test_gradients(name):
    model = adder(name)
    x, y = flux.f64(lstm.sequences(N, T, np.random.default_rng(2)))
    flux.gradcheck(lambda m: lstm.loss(m, x, y), model)
    if available():
        compiled = flux.compile(lambda m: flux.gradient(lstm.loss, m, x, y)[0])(model)
        for a, b in zip(flux.leaves(compiled), flux.leaves(flux.gradient(lstm.loss, model, x, y)[0]), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-14)


def test_an_lstm_begins_by_remembering():
    assert lstm.LSTM(2, 3).inputs.bias.tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0]


def test_sequences():
    x, y = lstm.sequences(500, 11, np.random.default_rng(0))
    assert x.shape == (500, 11, 2)
    assert y.shape == (500, 1)
    assert x.dtype == y.dtype == np.float32
    marks = x[..., 1]
    assert set(marks.ravel()) == {0, 1}
    assert (np.sum(marks[:, :5], axis=1) == 1).all()
    assert (np.sum(marks[:, 5:], axis=1) == 1).all()
    assert (marks.sum(axis=0) > 20).all()  # none of the places is left out
    for numbers, marked, total in zip(x[..., 0], marks, y[:, 0], strict=True):
        a, b = numbers[marked == 1]
        assert total == a + b
    assert x[..., 0].min() >= 0
    assert 0.99 < x[..., 0].max() < 1
    np.testing.assert_allclose(np.var(y), 1 / 6, rtol=0.1)  # the error of 1, whatever is asked


def test_what_is_remembered():
    """By one who adds, and by one who forgets all but the last half, and half of that."""
    x, _ = lstm.sequences(200, 20, np.random.default_rng(0))
    products = lambda x: x[..., 0] * x[..., 1]  # noqa: E731
    np.testing.assert_allclose(lstm.remembered(lambda x: np.sum(products(x), axis=1), x), np.ones(10))
    late = lstm.remembered(lambda x: 0.5 * np.sum(products(x)[:, 10:], axis=1), x)
    np.testing.assert_allclose(late, [0.5] * 5 + [0] * 5)


SMALL = ["--layers", "RNN", "--hidden", "4", "--updates"]


def test_a_run(tmp_path, capsys):
    options = [*SMALL, "250", "--lengths", "12", "10", "12", "--output", str(tmp_path)]
    assert lstm.main(options) == 0
    said = capsys.readouterr().out
    assert said.count("epoch   1: error 0.") == 2
    assert "        steps           10           12\n          RNN  not reached  not reached\n" in said
    results = json.loads((tmp_path / "results.json").read_text())
    assert [(r["layer"], r["steps"]) for r in results["runs"]] == [("RNN", 10), ("RNN", 12)]
    assert all(len(r["history"]) == 1 and len(r["memory"]) == 10 for r in results["runs"])
    for picture in ("errors.png", "memory.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")

    assert lstm.main(options) == 0  # nothing is left to do
    assert "epoch" not in capsys.readouterr().out
    assert json.loads((tmp_path / "results.json").read_text()) == results


def test_a_run_that_is_gone_on_with(tmp_path):
    found = []
    for name, updates in (("in one", [500]), ("in two", [250, 500])):
        folder = tmp_path / name
        for n in updates:
            assert lstm.main([*SMALL, str(n), "--lengths", "10", "--output", str(folder)]) == 0
        (one,) = json.loads((folder / "results.json").read_text())["runs"]
        found.append(([{**entry, "seconds": 0} for entry in one["history"]], one["memory"]))
    assert found[0] == found[1]


def test_a_training_ends_once_it_can_add(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lstm, "SOLVED", 1.0)
    for _ in range(2):
        assert lstm.main([*SMALL, "1000", "--lengths", "10", "--output", str(tmp_path)]) == 0
    (one,) = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert one["updates"] == 250
    assert "          RNN          250\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--lengths 9", "argument --lengths: expected at least 10 steps, got '9'"),
        ("--layers Elman", "argument --layers: invalid choice: 'Elman'"),
        ("--eta 0", "argument --eta: expected a number above 0, got '0'"),
    ],
)
def test_refusals(options, message, capsys):
    with pytest.raises(SystemExit) as stop:
        lstm.main(options.split())
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_a_folder_of_another_run(tmp_path, capsys):
    options = ["--lengths", "10", "--output", str(tmp_path)]
    assert lstm.main([*SMALL, "250", *options]) == 0
    assert lstm.main([*SMALL, "250", *options, "--seed", "1"]) == 1
    assert "run.json is of a run with seed 0, not seed 1; name another folder by --output" in capsys.readouterr().err

"""The table of what a model holds."""

import re

import numpy as np
import pytest

import tinyflux as flux


def test_rows():
    model = flux.Chain(flux.Dense(784, 32, flux.relu), flux.Dropout(0.5), flux.Dense(32, 10), flux.softmax)
    lines = str(flux.summary(model)).splitlines()
    assert lines[0].split() == ["layer", "shape", "dtype", "count"]
    assert lines[1].split() == [".layers[0].weight", "(32,", "784)", "float32", "25,088"]
    assert lines[2].split() == [".layers[0].bias", "(32,)", "float32", "32", "(all", "zero)"]
    assert lines[3].split() == [".layers[1].state", "(2,)", "uint64", "2", "(buffer)"]
    assert lines[-1].split(maxsplit=1) == ["total", "25,450 parameters in 5 arrays, 101,816 bytes"]
    assert repr(flux.summary(model)) == str(flux.summary(model))


def line(x, path="['x']"):
    (found,) = [row for row in flux.summary({"x": x}).splitlines() if row.startswith(path)]
    return found


def test_flags():
    assert "(" not in line(np.array([0.0, 1.0])).replace("(2,)", "")
    assert line(np.zeros(2)).endswith("(all zero)")
    assert line(np.array([1.0, np.nan])).endswith("(some NaN)")
    assert line(np.array([1.0, -np.inf])).endswith("(some Inf)")
    assert line(np.array([np.inf, np.nan])).endswith("(some NaN) (some Inf)")
    assert line(np.zeros((0, 3))).endswith(" 0")
    assert line(np.array([1, 2])).endswith("2  (buffer)")


def test_tied_arrays_count_once():
    w = np.ones((2, 3))
    lines = flux.summary({"a": w, "b": w}).splitlines()
    assert "(tied)" not in lines[1]
    assert lines[2].endswith("(tied)")
    assert lines[-1].endswith("6 parameters in 1 array, 48 bytes")


def test_buffers():
    class Norm:
        buffers = ("mean",)

        def __init__(self):
            self.scale, self.mean = np.ones(4, np.float32), np.ones(4, np.float32)

    lines = flux.summary(Norm()).splitlines()
    assert "(buffer)" not in lines[1]
    assert lines[2].endswith("(buffer)")
    assert lines[-1].endswith("4 parameters in 2 arrays, 32 bytes")


def test_a_model_without_arrays():
    assert flux.summary(flux.Chain(flux.relu)).splitlines()[-1].endswith("0 parameters in 0 arrays, 0 bytes")
    assert flux.summary(np.ones(2)).splitlines()[1].startswith("(array)")


def calls(model, shape):
    """The table's rows, and the numbers in the last one."""
    rows = [re.split(r"\s{2,}", row) for row in str(flux.summary(model, shape)).splitlines()]
    assert rows[0] == ["layer", "output", "parameters", "multiplications"]
    assert rows[-1][0] == "total"
    return rows[1:-1], rows[-1][1:]


def test_what_layers_make_of_an_input():
    conv = flux.Conv((5, 3), 4, 6, flux.relu, stride=(2, 1), groups=2)
    back = flux.ConvTranspose((2, 2), 6, 4, stride=2, groups=2, bias=False)
    model = flux.Chain(conv, flux.Dropout(0.5), np.tanh, back, flux.flatten, flux.Dense(288, 7))
    rows, total = calls(model, (9, 8, 4))
    windows, pixels = 3 * 6 * 6, 3 * 6 * 6  # how many numbers come out of the first, and go into the second
    assert rows == [
        [".layers[0]", repr(conv).split("  ")[0], "(N, 3, 6, 6)", "186", f"{windows * 5 * 3 * 2:,}"],
        [".layers[1]", "Dropout(0.5)", "(N, 3, 6, 6)", "0", "0"],
        [".layers[2]", "tanh", "(N, 3, 6, 6)", "0", "0"],
        [".layers[3]", repr(back).split("  ")[0], "(N, 6, 12, 4)", "48", f"{pixels * 2 * 2 * 2:,}"],
        [".layers[4]", "flatten", "(N, 288)", "0", "0"],
        [".layers[5]", "Dense(288, 7)", "(N, 7)", "2,023", "2,016"],
    ]
    assert total == ["2,257", f"{windows * 30 + pixels * 8 + 2016:,}"]


class Own:
    def __init__(self):
        self.scale, self.inner, self.spare = np.ones(3, np.float32), flux.Dense(3, 3), flux.Dense(2, 2)

    def __call__(self, x):
        return self.inner(self.inner(x)) * self.scale + self.inner.bias


def test_layers_in_layers():
    """A layer that is called twice has one row; one that is never called counts with what it stands in."""
    rows, total = calls(flux.Chain(Own(), flux.Parallel(np.add, np.tanh, np.sin)), (5, 3))
    assert rows == [
        [".layers[0].inner", "Dense(3, 3)", "(N, 5, 3) × 2", "12", "90"],
        [".layers[0]", "Own", "(N, 5, 3)", "9", "0"],
        [".layers[1].branches[0]", "tanh", "(N, 5, 3)", "0", "0"],
        [".layers[1].branches[1]", "sin", "(N, 5, 3)", "0", "0"],
        [".layers[1]", "Parallel", "(N, 5, 3)", "0", "0"],
    ]
    assert total == ["21", "90"]
    assert calls(Own(), (3,))[0][-1] == ["(model)", "Own", "(N, 3)", "9", "0"]


class Steps:
    """Two layers that are called in turns, one of them with two shapes."""

    def __init__(self):
        self.inputs, self.hidden = flux.Dense(2, 4), flux.Dense(4, 4, bias=False)

    def __call__(self, xs):  # (N, T, 2)
        step = lambda h, x: (np.tanh(self.inputs(x) + self.hidden(h)), None)  # noqa: E731
        h, _ = flux.scan(step, np.zeros((len(xs), 4), xs.dtype), np.swapaxes(xs, 0, 1))
        return h + np.sum(self.inputs(xs), axis=1)


def test_the_steps_of_a_sequence_share_a_row():
    rows, total = calls(Steps(), (1200, 2))
    assert rows == [
        [".inputs", "Dense(2, 4)", "(N, 4) × 1,200", "12", "9,600"],
        [".hidden", "Dense(4, 4, bias=False)", "(N, 4) × 1,200", "16", "19,200"],
        [".inputs", "Dense(2, 4)", "(N, 1200, 4)", "(tied)", "9,600"],
    ]
    assert total == ["28", "38,400"]


def test_nothing_changes():
    seen = []
    model = flux.f64(flux.Chain(flux.Dense(3, 2), flux.Dropout(0.5, seed=1), lambda x: seen.append(x) or x))
    model[0].bias[:] = 1
    flux.trainmode(model)
    layers, weight, state = model.layers, model[0].weight, model[1].state
    flux.summary(model, (3,))
    assert seen[0].dtype == np.float64
    np.testing.assert_array_equal(seen[0], np.ones((1, 2)))  # Dropout was not active
    assert model.layers is layers
    assert type(model) is flux.Chain
    assert type(model[0]) is flux.Dense
    assert model[0].weight is weight
    assert model[1].state is state
    assert model[1].active is True


def test_a_way_past_a_layer_has_a_row():
    rows, total = calls(
        flux.Chain(flux.SkipConnection(flux.Dense(3, 3), lambda y, x: np.concatenate([y, x], -1))), (3,)
    )
    assert rows[1] == [".layers[0]", "SkipConnection", "(N, 6)", "0", "0"]
    assert total == ["12", "9"]


def test_a_shape_with_the_axis_of_samples():
    with pytest.raises(ValueError, match="expected images") as error:
        flux.summary(flux.Conv((3, 3), 1, 2), (1, 14, 14, 1))
    assert error.value.__notes__[-1] == (
        "summary: the model was called with one sample, of shape (1, 1, 14, 14, 1). Give input_shape without "
        "the axis of the samples."
    )


def test_what_can_not_be_called():
    for shape in (28, (0, 3), ("a",), np.ones(2)):
        with pytest.raises(TypeError, match=r"expected input_shape to be a tuple such as \(28, 28, 1\), got"):
            flux.summary(flux.Dense(3, 2), shape)
    with pytest.raises(TypeError, match="expected a model that can be called with an input, got a dict"):
        flux.summary({"w": np.ones(2)}, (2,))
    with pytest.raises(ValueError, match=r"Dense\(3, 2\): expected an input of shape"):
        flux.summary(flux.Chain(flux.Dense(3, 2)), (4,))

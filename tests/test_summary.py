"""The table of what a model holds."""

import numpy as np

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

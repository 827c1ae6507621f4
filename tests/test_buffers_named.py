"""What a class names in `buffers` is found, and mistakes in it are told."""

import numpy as np
import pytest

import tinyflux as flux


class Counting:
    buffers = ("n", "mean")

    def __init__(self):
        self.w, self.n, self.mean = np.ones(2, np.float32), np.array(0), np.zeros(2, np.float32)

    def __call__(self, x):
        return self.w * x


def loss(model, x):
    return np.sum(model(x))


X = np.ones(2, np.float32)


def test_a_string_is_no_tuple_of_names():
    class Wrong(Counting):
        buffers = "mean"  # in which "me" and "an" would be found, too

    for use in (flux.leaves, flux.parameters, lambda m: flux.gradient(lambda m: loss(m, X), m)):
        with pytest.raises(TypeError, match=r"Wrong: expected buffers to be a tuple .* Write buffers = \('mean',\)"):
            use([Wrong()])
    assert repr(flux.Chain(Wrong())) == "Chain(\n  Wrong(...),\n)"


@pytest.mark.parametrize("number", [3, 0.5, np.float32(2), np.int64(1)])
def test_a_number_in_the_place_of_a_buffer(number, tmp_path):
    model = {"layers": [Counting()]}
    opt = flux.setup(flux.Descent(), model)
    model["layers"][0].n = number
    message = r"\['layers'\]\[0\]\.n is named in Counting\.buffers, but holds the number .* layer\.n\[\.\.\.\] ="
    for use in (
        lambda: flux.save(tmp_path / "model.npz", model),
        lambda: flux.setup(flux.Descent(), model),
        lambda: flux.train(lambda m, x: loss(m["layers"][0], x), model, [X], opt),
    ):
        with pytest.raises(ValueError, match=message):
            use()
    assert list(tmp_path.iterdir()) == []


def test_a_buffer_may_be_none():
    model = flux.BatchNorm(2, track=False)
    assert model.running_mean is None
    flux.setup(flux.Descent(), model)


def test_a_name_that_no_attribute_has():
    class Misspelt(Counting):
        buffers = ("n", "maen")

        def __call__(self, x):
            self.mean = 0.9 * self.mean + 0.1 * x
            return self.w * x

    with pytest.raises(TypeError, match=r"replaces argument 0\.mean.* Misspelt\.buffers names 'maen', which no attrib"):
        flux.gradient(lambda m: loss(m, X), Misspelt())


def test_a_buffer_that_becomes_float64_says_how_to_keep_it():
    class Average(Counting):
        def __call__(self, x):
            self.n = self.n + 1
            self.mean = self.mean + (x - self.mean) / self.n
            return self.w * x

    model = Average()
    with pytest.raises(flux.NotCompilable, match=r"mean changes .*float32.* to .*float64.*\.astype\(np\.float32\)"):
        flux.train(loss, model, [X], flux.setup(flux.Descent(), model), compile=True)

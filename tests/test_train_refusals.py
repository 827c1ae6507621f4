"""train and update: what can't be trained is refused, with what was found."""

import numpy as np
import pytest

import tinyflux as flux
from tinyflux.compile.backends.c.build import available


def accuracy(m, x):
    return np.mean((m(x) > 0) == (x > 0))


OTHER = flux.Dense(1, 1)
WITHOUT = {
    "an accuracy": accuracy,
    "another model": lambda m, x: np.sum(OTHER(x) ** 2),
}


@pytest.mark.parametrize("compile", [False, "auto", True])
@pytest.mark.parametrize("loss", WITHOUT.values(), ids=WITHOUT)
def test_a_loss_without_a_gradient(loss, compile, capsys):  # noqa: A002
    if compile is True and not available():
        pytest.skip("there is no C compiler here")
    model = flux.Dense(1, 1)
    opt = flux.setup(flux.Adam(), model)
    x = np.ones((4, 1), np.float32)
    for data in ([x], flux.DataLoader(x, 2)):
        with pytest.raises(ValueError, match="no gradient by any of the parameters that are to be trained"):
            flux.train(loss, model, data, opt, compile=compile)
    assert "ValueError" not in capsys.readouterr().err


@pytest.mark.parametrize("compile", [False, "auto"])
def test_a_part_without_a_gradient(compile):  # noqa: A002
    """Parameters that the loss doesn't depend on stay; not if only frozen ones have a gradient."""
    model = [np.ones(2), np.ones(2)]
    opt = flux.setup(flux.Descent(0.5), model)
    flux.train(lambda m, x: np.sum(m[0] * x), model, [np.ones(2)], opt, compile=compile)
    np.testing.assert_array_equal(model, [[0.5, 0.5], [1, 1]])
    flux.freeze(opt[0])
    with pytest.raises(ValueError, match="that are to be trained, only by frozen ones"):
        flux.train(lambda m, x: np.sum(m[0] * x), model, [np.ones(2)], opt, compile=compile)
    flux.freeze(opt)
    assert flux.train(lambda m, x: np.sum(m[0] * x), model, [np.ones(2)], opt, compile=compile) == [1.0]


@pytest.mark.parametrize("compile", [False, "auto"])
def test_a_layer_appended_after_setup(compile):  # noqa: A002
    def grown(how):
        model = flux.Chain(flux.Dense(2, 2, bias=False), flux.Dense(2, 1))
        opt = flux.setup(flux.Adam(), model)
        return model, opt, lambda: how(model)

    def append(model):
        model.layers = (*model.layers, flux.Dense(1, 1))

    def put_where_none_was(model):
        model.layers[0].bias = np.zeros(2, np.float32)

    def give_an_attribute(model):
        model.layers[1].scale = np.ones(1, np.float32)

    x = np.ones((4, 2), np.float32)
    loss = lambda m, x: np.sum(m(x) ** 2)  # noqa: E731
    for how, path in (
        (append, r"\.layers\[2\]\.weight"),
        (put_where_none_was, r"\.layers\[0\]\.bias"),
        (give_an_attribute, r"\.layers\[1\]\.scale"),
    ):
        message = f"state doesn't know the parameter {path}, which was not there when setup was called"
        model, opt, grow = grown(how)
        flux.update(opt, model, flux.gradient(loss, model, x)[0])
        grow()
        for _ in range(2):
            with pytest.raises(ValueError, match=f"update: .*{message}"):
                flux.update(opt, model, flux.gradient(loss, model, x)[0])
        with pytest.raises(ValueError, match=f"train: .*{message}"):
            flux.train(loss, model, [x], opt, compile=compile)
        model, opt, grow = grown(how)
        with pytest.raises(ValueError, match=message):
            flux.train(loss, model, [x] * 3, opt, compile=compile, callbacks=[lambda p, grow=grow: grow()])


def test_attributes_that_are_no_parameters_may_come():
    model = flux.Chain(flux.Dense(2, 1))
    opt = flux.setup(flux.Descent(0.1), model)
    for i in range(3):
        model.notes = [*getattr(model, "notes", []), f"step {i}"]
        flux.update(opt, model, flux.gradient(lambda m: np.sum(m.layers[0].weight), model))

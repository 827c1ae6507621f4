"""Arrays of classes of one's own to and from PyTorch: a call of the model shows what its layers are given."""

import numpy as np
import pytest

import tinyflux as flux
from tinyflux import interop

SHAPE = (4, 3, 2)  # different for each axis
CHANNELS, SPACE = 5, (4, 3)


def theirs_to_ours(weight, channels, space):
    """The columns of PyTorch's (C, *space) in our order (*space, C), element by element."""
    ours = np.empty_like(weight)
    for place, index in enumerate(np.ndindex(*space, channels)):
        *pixel, c = index
        ours[:, place] = weight[:, c * int(np.prod(space)) + int(np.ravel_multi_index(pixel, space))]
    return ours


class Own:
    """The layer behind the images is the first attribute; `between` brings them to it."""

    def __init__(self, columns, between, fc=None):
        self.fc = fc or flux.Dense(columns, 3)
        self.conv = flux.Conv((3, 3), 2, CHANNELS, pad=1)
        self.between = between

    def __call__(self, x):
        return self.fc(self.between(self.conv(x)))


def rows(x):
    return x.reshape(len(x), -1)


PIXELS = 12 * CHANNELS
# Columns, what stands between the convolution and the Dense, and the channels and the space of its columns.
KNOWN = {
    "reshape": (PIXELS, rows, CHANNELS, SPACE),
    "flux.flatten": (PIXELS, lambda x: flux.flatten(flux.relu(x)), CHANNELS, SPACE),
    "functions behind": (PIXELS, lambda x: np.maximum(rows(x) * 2 + 1, 0), CHANNELS, SPACE),
    "a crop": (2 * 3 * CHANNELS, lambda x: rows(x[:, 1:3]), CHANNELS, (2, 3)),
    "some channels": (12 * 2, lambda x: rows(x[..., 1:3]), 2, SPACE),
    "pooling": (2 * CHANNELS, lambda x: rows(flux.maxpool(x, (2, 2))), CHANNELS, (2, 1)),
    "meanpool": (2 * CHANNELS, lambda x: rows(flux.meanpool(x, (2, 2))), CHANNELS, (2, 1)),
    "side by side": (24 * CHANNELS, lambda x: rows(np.concatenate([x, x], axis=-1)), 2 * CHANNELS, SPACE),
    "padding": (20 * CHANNELS, lambda x: rows(np.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0)))), CHANNELS, (4, 5)),
    "at pixels": (CHANNELS, lambda x: x, 1, (CHANNELS,)),
    "the mean": (CHANNELS, lambda x: x.mean(axis=(1, 2)), 1, (CHANNELS,)),
    "GlobalMeanPool": (CHANNELS, lambda x: flux.flatten(flux.GlobalMeanPool()(x)), 1, (CHANNELS,)),
    "channels first": (PIXELS, lambda x: rows(np.moveaxis(x, -1, 1)), 1, (PIXELS,)),
    "gates": (PIXELS, lambda x: rows(x * flux.sigmoid(x.mean(axis=(1, 2)))[:, None, None]), CHANNELS, SPACE),
    "there and back": (PIXELS, lambda x: rows(x.transpose(0, 3, 1, 2).transpose(0, 2, 3, 1)), CHANNELS, SPACE),
}


@pytest.mark.parametrize("case", KNOWN)
def test_columns(case):
    columns, between, channels, space = KNOWN[case]
    model = Own(columns, between)
    state = {name: np.random.default_rng(0).random(x.shape, np.float32) for name, x in
             interop.state_dict(model, input_shape=SHAPE).items()}  # fmt: skip
    assert list(state) == ["fc.weight", "fc.bias", "conv.weight", "conv.bias"]
    interop.load_state_dict(model, state, input_shape=SHAPE)
    np.testing.assert_array_equal(model.fc.weight, theirs_to_ours(state["fc.weight"], channels, space))
    np.testing.assert_array_equal(model.conv.weight, np.moveaxis(state["conv.weight"], 1, -1))
    for name, x in interop.state_dict(model, input_shape=SHAPE).items():
        np.testing.assert_array_equal(x, state[name])
    with pytest.raises(
        ValueError, match=r"state_dict: can't tell .* of the layer fc: it may stand .* Give input_shape"
    ):
        interop.state_dict(model)


@pytest.mark.parametrize(
    "between",
    [
        lambda x: rows(np.swapaxes(x, 1, 2)),
        lambda x: rows(np.swapaxes(x, 1, 3)),
        lambda x: rows(x.transpose(0, 3, 1, 2).transpose(0, 3, 2, 1)),
        lambda x: rows(x)[:, ::-1],
        lambda x: np.concatenate([rows(x)[:, :30], rows(x)[:, 30:]], axis=1),
        lambda x: rows(x.reshape(-1, 2, 6, 5)),
        lambda x: rows(x) + np.zeros_like(x[:, 0, 0]).sum() + rows(np.moveaxis(x, -1, 1)),
        lambda x: np.zeros((2, PIXELS), np.float32),
    ],
)
def test_what_can_not_be_told(between):
    with pytest.raises(ValueError, match=r"load_state_dict: can't tell .* layer fc: it wasn't called, or functions"):
        interop.load_state_dict(Own(PIXELS, between), {}, input_shape=SHAPE)


@pytest.mark.parametrize(
    ("columns", "between"),
    [
        (12, lambda x: rows(x.sum(axis=-1))),
        (PIXELS, lambda x: rows(x * rows(np.moveaxis(x, -1, 1)).reshape(x.shape))),  # of the same shape, no gates
        (PIXELS, lambda x: rows(np.moveaxis(x, -1, 1) * x.mean(axis=(1, 2))[:, None, None, :3])),  # not by channels
        (30, lambda x: x.reshape(-1, 30)),  # several rows for a sample
        (5, lambda x: x[:, :, [0, 1, 2, 0, 1]].mean(axis=(1, 3))),  # as many columns as channels
    ],
)
def test_columns_that_are_no_images(columns, between):
    with pytest.raises(ValueError, match="layer fc: it wasn't called, or functions that move numbers"):
        interop.state_dict(Own(columns, between), input_shape=SHAPE)


@pytest.mark.parametrize("norm", [flux.BatchNorm, flux.LayerNorm])
def test_norms(norm):
    model = Own(0, rows, norm(PIXELS))
    numbers = np.arange(PIXELS, dtype=np.float32)
    state = {name: numbers if name[:2] == "fc" else x for name, x in
             interop.state_dict(model, input_shape=SHAPE).items()}  # fmt: skip
    interop.load_state_dict(model, state, input_shape=SHAPE)
    for x in flux.leaves(model.fc):
        np.testing.assert_array_equal(x, theirs_to_ours(numbers[np.newaxis], CHANNELS, SPACE)[0])
    state = interop.state_dict(Own(0, lambda x: x, norm(CHANNELS)))  # as many as a convolution makes: no need to ask
    assert "fc.weight" in state
    with pytest.raises(ValueError, match="Give input_shape"):
        interop.state_dict(model)


class Twice(Own):
    def __call__(self, x):
        x = self.conv(x)
        return self.fc(rows(np.moveaxis(x, -1, 1))) + self.fc(rows(x))


def test_a_layer_for_two_orders():
    with pytest.raises(ValueError, match="the layer fc: "):
        interop.state_dict(Twice(PIXELS, rows), input_shape=SHAPE)


class Decoder:
    def __init__(self, bring):
        self.conv, self.fc, self.bring = flux.ConvTranspose((2, 2), 5, 1), flux.Dense(3, 60), bring

    def __call__(self, z):
        return self.conv(self.bring(flux.relu(self.fc(z))))


def test_images_made_of_rows():
    with pytest.raises(ValueError, match=r"of the layer conv: its images are made of numbers in a row"):
        interop.state_dict(Decoder(lambda x: x.reshape(len(x), 4, 3, 5)), input_shape=(3,))
    model = Decoder(lambda x: np.moveaxis(x.reshape(len(x), 5, 4, 3), 1, -1))
    state = interop.state_dict(model, input_shape=(3,))
    np.testing.assert_array_equal(state["fc.weight"], model.fc.weight)


class Attention:
    """Sequences are in the same order in both libraries."""

    def __init__(self):
        self.last, self.first = flux.Dense(5 * 6, 2), flux.Dense(4, 6)

    def __call__(self, x):  # (N, T, C)
        heads = self.first(x).reshape(len(x), 5, 2, 3).transpose(0, 2, 1, 3)
        y = flux.softmax(heads @ np.swapaxes(heads, -1, -2)) @ heads
        return self.last(rows(y.transpose(0, 2, 1, 3)))


def test_sequences():
    model = Attention()
    for state in (interop.state_dict(model), interop.state_dict(model, input_shape=(5, 4))):
        np.testing.assert_array_equal(state["last.weight"], model.last.weight)


def test_a_norm_of_sequences_and_one_of_images():
    norm = flux.LayerNorm(5, 4)
    norm.weight[...] = np.arange(20).reshape(5, 4)
    for state in (interop.state_dict(norm), interop.state_dict(norm, input_shape=(5, 4))):
        np.testing.assert_array_equal(state["weight"], norm.weight)
    (found,) = {x.shape for x in interop.state_dict(flux.LayerNorm(3, 5, 4), input_shape=(3, 5, 4)).values()}
    assert found == (4, 3, 5)
    turned = flux.Chain(flux.Conv((1, 1), 2, 4), lambda x: np.swapaxes(x, 1, 2), flux.BatchNorm(4))
    assert "2.running_var" in interop.state_dict(turned, input_shape=SHAPE)


def test_signals():
    model = flux.Chain(lambda x: 2 * x, flux.Conv((3,), 2, 4, pad=1), rows, flux.Dense(24, 3))
    weight = interop.state_dict(model, input_shape=(6, 2))["3.weight"]
    np.testing.assert_array_equal(theirs_to_ours(weight, 4, (6,)), model[3].weight)


def test_flattened_input():
    model = flux.Chain(flux.flatten, flux.Dense(24, 3))
    weight = interop.state_dict(model, input_shape=SHAPE)["1.weight"]
    np.testing.assert_array_equal(theirs_to_ours(weight, 2, SPACE), model[1].weight)
    np.testing.assert_array_equal(interop.state_dict(model)["1.weight"], model[1].weight)  # one channel
    grey = interop.state_dict(flux.Chain(lambda x: x[..., np.newaxis], model), input_shape=(6, 4))
    np.testing.assert_array_equal(grey["1.1.weight"], model[1].weight)
    conv = flux.Chain(lambda x: x[..., np.newaxis], flux.Conv((3, 3), 1, 2))
    assert interop.state_dict(conv, input_shape=(6, 4))["1.weight"].shape == (2, 1, 3, 3)


def test_a_function_of_ones_own_in_a_chain():
    half = flux.Chain(flux.Conv((3, 3), 2, 4, pad=1), lambda x: x[..., ::2], flux.flatten, flux.Dense(24, 3))
    with pytest.raises(ValueError, match=r"the layer 3: .* Give input_shape"):
        interop.state_dict(half)
    weight = interop.state_dict(half, input_shape=SHAPE)["3.weight"]
    np.testing.assert_array_equal(theirs_to_ours(weight, 2, SPACE), half[3].weight)


def test_branches_of_ones_own_functions():
    branches = flux.Parallel(lambda a, b: a + b, rows, lambda x: 2 * rows(x))
    with pytest.raises(ValueError, match=r"the layer 2: .* Give input_shape"):
        interop.state_dict(flux.Chain(flux.Conv((3, 3), 2, 4, pad=1), branches, flux.BatchNorm(48)))


def test_nothing_changes():
    model = flux.Chain(flux.Conv((3, 3), 2, 4), flux.Dropout(0.5, seed=1), flux.BatchNorm(4), flux.flatten)
    before = [(x, x.copy(), x.flags.writeable) for x in flux.leaves(model)]
    flux.trainmode(model)
    interop.state_dict(model, input_shape=SHAPE)
    for x, (same, copy, writeable) in zip(flux.leaves(model), before, strict=True):
        assert x is same
        assert x.flags.writeable == writeable
        np.testing.assert_array_equal(x, copy)
    assert model[1].active is True
    with pytest.raises(TypeError, match="state_dict: expected input_shape to be a tuple such as"):
        interop.state_dict(model, input_shape=28)


def test_a_group_norm_behind_flattened_images():
    """One group of all has PyTorch's order; several are other groups there, in front of `flatten` the same ones."""
    norm = flux.GroupNorm(24, 1)
    norm.weight[...] = np.arange(24)
    for model in (flux.Chain(flux.Conv((1, 1), 3, 2), rows, norm), flux.Chain(flux.GroupNorm(2, 2), rows, norm)):
        weight = interop.state_dict(model, input_shape=(*SPACE, model[0].weight.shape[-1]))["2.weight"]
        np.testing.assert_array_equal(theirs_to_ours(weight[np.newaxis], 2, SPACE)[0], norm.weight)
    model = flux.Chain(flux.Conv((1, 1), 2, 4), flux.GroupNorm(4, 2), flux.flatten, flux.GroupNorm(48, 2))
    with pytest.raises(
        ValueError, match=r"state_dict: the layer 3 stands behind flattened images, where PyTorch has other"
    ):
        interop.state_dict(model)
    assert set(interop.state_dict(model[:3])) == {"0.weight", "0.bias", "1.weight", "1.bias"}


@pytest.mark.parametrize("layer", [flux.BatchNorm(4), flux.GroupNorm(4, 2), flux.InstanceNorm(4), flux.MaxPool(1)])
def test_layers_for_signals(layer):
    """PyTorch's take (N, C, L): what is flattened behind them has whole channels in a row."""
    model = flux.Chain(layer, flux.flatten, flux.Dense(24, 3))
    weight = interop.state_dict(model, input_shape=(6, 4))["2.weight"]
    np.testing.assert_array_equal(theirs_to_ours(weight, 4, (6,)), model[2].weight)


def test_pooled_images_of_unknown_channels():
    with pytest.raises(ValueError, match=r"the layer 2: .* Give input_shape"):
        interop.state_dict(flux.Chain(flux.MaxPool(2), flux.flatten, flux.Dense(24, 3)))
    model = flux.Chain(flux.InstanceNorm(2), flux.flatten, flux.Dense(24, 3))
    np.testing.assert_array_equal(theirs_to_ours(interop.state_dict(model)["2.weight"], 2, SPACE), model[2].weight)

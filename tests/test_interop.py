"""Arrays to and from PyTorch: its models' numbers with the same weights, files, and errors that help."""

import json
from pathlib import Path

import numpy as np
import pytest

import tinyflux as flux
from tests.support.device_standin import DeviceArray
from tests.support.model_cases import CASES, formula, images, sums
from tinyflux import interop

RECORDED = json.loads(Path(__file__).with_name("interop.json").read_text(encoding="utf-8"))


def layers(names):
    """The layers that PyTorch's names of arrays begin with."""
    return list(dict.fromkeys(name.rpartition(".")[0] for name in names))


@pytest.mark.parametrize("case", CASES)
def test_what_pytorch_gives(case):
    build, shape = CASES[case]
    model, recorded = flux.f64(build()), RECORDED["values"][case]
    names = layers(recorded["names"])
    state = interop.state_dict(model, names, shape)
    assert list(state) == recorded["names"]
    assert flux.parameter_count(model) == recorded["parameters"]
    state = {name: formula(name, x.shape) for name, x in state.items()}
    interop.load_state_dict(model, state, names, shape)
    y = model(images(shape))
    np.testing.assert_allclose(sums(y), recorded["sums"], rtol=0, atol=1e-12 * np.abs(y).sum())
    for name, x in interop.state_dict(model, names, shape if case == "own" else None).items():
        np.testing.assert_array_equal(x, state[name])


def test_layouts():
    """Element by element: a kernel's channels stand second in PyTorch, and a flattened image's first."""
    conv, dense = flux.Conv((5, 3), 2, 4), flux.Dense(4 * 3 * 2, 7)
    state = interop.state_dict(flux.Chain(conv, flux.relu, flux.flatten, dense))
    assert {name: x.shape for name, x in state.items()} == {
        "0.weight": (4, 2, 5, 3), "0.bias": (4,), "3.weight": (7, 24), "3.bias": (7,),
    }  # fmt: skip
    for o, c, i, j in np.ndindex(4, 2, 5, 3):
        assert state["0.weight"][o, c, i, j] == conv.weight[o, i, j, c]
    theirs, ours = state["3.weight"].reshape(7, 4, 3, 2), dense.weight.reshape(7, 3, 2, 4)
    for o, c, i, j in np.ndindex(7, 4, 3, 2):
        assert theirs[o, c, i, j] == ours[o, i, j, c]


@pytest.mark.parametrize("name", RECORDED["torchvision"])
def test_torchvisions_names(name):
    names = interop.torchvision_names(name)
    assert names == layers(RECORDED["torchvision"][name]["names"])
    if name.startswith("resnet"):
        model = getattr(flux.models, name)(10, size=32)
        assert list(interop.state_dict(model, names)) == RECORDED["torchvision"][name]["names"]


def test_names():
    class Own:
        def __init__(self):
            self.scale, self.parts = np.ones(2), {"a": flux.Dense(2, 2, bias=False)}

        def __call__(self, x):
            return self.parts["a"](x) * self.scale

    model = flux.Chain(
        flux.Parallel(np.add, flux.Chain(flux.Dense(2, 2)), flux.Dropout(0.5)), flux.SkipConnection(Own(), np.add)
    )
    assert list(interop.state_dict(model)) == [
        "0.branches.0.0.weight", "0.branches.0.0.bias", "1.layer.scale", "1.layer.parts.a.weight",
    ]  # fmt: skip
    assert list(interop.state_dict(model, ["x", "y", "z"])) == ["x.weight", "x.bias", "y.scale", "z.weight"]
    assert list(interop.state_dict(flux.Dense(2, 2))) == ["weight", "bias"]


IMAGES = flux.Conv((3, 3), 2, 4, pad=1)


@pytest.mark.parametrize("k", range(6))
def test_a_dense_that_stands_at_pixels(k):
    """Its columns are channels alone: they stay as they are."""
    add = flux.SkipConnection(flux.Conv((3, 3), 4, 4, pad=1), np.add)
    lost = flux.SkipConnection(IMAGES, lambda a, b: a + b)
    before = [
        [IMAGES],
        [IMAGES, add],
        [IMAGES, lost, flux.BatchNorm(4)],
        [IMAGES, lost, flux.GlobalMeanPool()],
        [IMAGES, flux.Dense(4, 4)],
        [IMAGES, flux.SkipConnection(np.tanh, np.add)],
    ][k]
    dense = flux.Dense(4, 3)
    state = interop.state_dict(flux.Chain(*before, dense))
    np.testing.assert_array_equal(state[f"{len(before)}.weight"], dense.weight)


CANT_TELL = [
    flux.Chain(flux.Conv((3, 3), 2, 5), flux.flatten, flux.Dense(12, 3)),
    flux.Chain(IMAGES, flux.SkipConnection(IMAGES, lambda a, b: a + b), flux.flatten, flux.Dense(32, 3)),
    flux.Chain(flux.relu, flux.Parallel(np.add, IMAGES, flux.flatten), flux.Dense(8, 3)),
    flux.Chain(IMAGES, flux.SkipConnection(IMAGES, lambda a, b: a + b), flux.flatten, flux.BatchNorm(8)),
    flux.Chain(IMAGES, flux.PixelShuffle(2), flux.flatten, flux.Dense(16, 3)),
]


def test_what_an_own_class_gives_is_not_known():
    """Its layers need not be called in the order of its attributes."""

    class Reversed:
        def __init__(self):
            self.second, self.first = flux.Conv((1, 1), 3, 8), flux.Conv((1, 1), 2, 3)

        def __call__(self, x):
            return self.second(self.first(x))

    with pytest.raises(ValueError, match="can't tell in which order"):
        interop.state_dict(flux.Chain(Reversed(), flux.flatten, flux.Dense(24, 3)))


@pytest.mark.parametrize("k", range(len(CANT_TELL)))
def test_an_order_that_can_not_be_told(k):
    with pytest.raises(ValueError, match=r"state_dict: can't tell in which order .* the layer [234]: "):
        interop.state_dict(CANT_TELL[k])


def test_everything_is_checked_first():
    model = flux.Chain(flux.Conv((3, 3), 1, 2), flux.flatten, flux.Dense(8, 3))
    before = [x.copy() for x in flux.leaves(model)]
    state = {name: x + 1 for name, x in interop.state_dict(model).items()}
    missing = state.pop("0.bias")
    state["2.weight"], state["fc.weight"] = state["2.weight"].T, missing
    with pytest.raises(ValueError) as error:
        interop.load_state_dict(model, state)
    assert str(error.value) == (
        "load_state_dict: the arrays don't fit the model: 0.bias is missing; fc.weight is left over; "
        "2.weight has shape (8, 3) and float32, expected (3, 8)."
    )
    for x, y in zip(flux.leaves(model), before, strict=True):
        np.testing.assert_array_equal(x, y)
    with pytest.raises(ValueError, match=r"expected names for 2 layers with arrays, got 1 .*are 0, 2\."):
        interop.state_dict(model, ["conv"])
    with pytest.raises(ValueError, match=r"got 1 different"):
        interop.state_dict(model, ["conv", "conv"])
    with pytest.raises(ValueError, match=r"weight has shape .* and int64, expected"):
        interop.load_state_dict(flux.Dense(1, 1, bias=False), {"weight": np.ones((1, 1), int)})


def test_a_hint_at_names():
    model = flux.Chain(flux.Conv((3, 3), 1, 2), flux.flatten, flux.Dense(8, 3))
    state = interop.state_dict(model, ["conv", "fc"])
    with pytest.raises(ValueError, match=r"and 1 more; .*layers are 0, 2; those given are conv, fc\. Give names="):
        interop.load_state_dict(model, state)
    with pytest.raises(ValueError, match=r"and 2 more\.$"):  # of other layers
        interop.load_state_dict(model, {**state, "bn.weight": np.ones(2)})
    with pytest.raises(ValueError, match=r"and 1 more\.$"):
        interop.load_state_dict(model, state, names=["a", "b"])
    with pytest.raises(ValueError, match=r"fc\.weight is left over\.$"):  # one fits
        interop.load_state_dict(model, interop.state_dict(model, ["0", "fc"]))


def test_arrays_on_the_gpu():
    """What is given lies in NumPy; what is filled stays where it is."""
    model = flux.Chain(flux.Conv((3, 3), 1, 2), flux.flatten, flux.Dense(8, 3))
    there, fresh = (flux.tree.map(DeviceArray, flux.f64(model)) for _ in range(2))
    interop.load_state_dict(fresh, {name: 0 * x for name, x in interop.state_dict(there).items()})
    state = interop.state_dict(there)
    assert {type(x) for x in state.values()} == {np.ndarray}
    interop.load_state_dict(fresh, state)
    for x, y in zip(flux.leaves(model), flux.leaves(fresh), strict=True):
        np.testing.assert_array_equal(x, y.get())
    assert flux.summary(there, (4, 4, 1)) == flux.summary(model, (4, 4, 1))


def test_an_array_that_can_not_be_filled():
    model = flux.Dense(3, 2)
    model.bias.flags.writeable = False
    with pytest.raises(ValueError, match=r"load_state_dict: the arrays don't fit the model: bias is read-only here\."):
        interop.load_state_dict(model, interop.state_dict(flux.Dense(3, 2)))


def test_pytorchs_counter_of_batches_is_ignored():
    model = flux.Chain(flux.BatchNorm(2))
    state = {name: x + 1 for name, x in interop.state_dict(model).items()}
    interop.load_state_dict(model, {**state, "0.num_batches_tracked": np.array(7)})
    assert [x.tolist() for x in flux.leaves(model)] == [[2, 2], [1, 1], [1, 1], [2, 2]]


def test_files(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    path, names = tmp_path / "model.safetensors", ["conv", "fc"]
    build = lambda: flux.Chain(flux.Conv((3, 3), 1, 2), flux.flatten, flux.Dense(8, 3))  # noqa: E731
    model, fresh = build(), build()
    interop.save_safetensors(path, model, names)
    state = library.load_file(path)
    for name, x in interop.state_dict(model, names).items():
        np.testing.assert_array_equal(state.pop(name), x)
    assert not state
    interop.load_safetensors(path, fresh, names)
    for x, y in zip(flux.leaves(model), flux.leaves(fresh), strict=True):
        np.testing.assert_array_equal(x, y)
    with pytest.raises(
        ValueError, match=r"load_safetensors: .*2\.weight is missing; and 1 more; conv\.bias is left over"
    ):
        interop.load_safetensors(path, fresh)
    header = b'{"conv.weight":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'
    damaged = path.read_bytes()[:-1], len(header).to_bytes(8, "little") + header + bytes(4)
    for content, reason in zip(damaged, ("", "BF16")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"model\.safetensors is damaged, or has .*{reason}"):
            interop.load_safetensors(path, fresh, names)


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r"safetensors is missing: pip install .*\[interop\]"):
        interop.save_safetensors("never", flux.Dense(1, 1))

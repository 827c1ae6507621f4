"""save and load: what comes back, and what is refused."""

import json
import os
import pickle
import re
import zipfile
from itertools import pairwise

import numpy as np
import pytest

import tinyflux as flux


class Normalised:
    buffers = ("mean",)

    def __init__(self):
        self.scale, self.mean = np.ones(3), np.zeros(3)


def chain(seed=0, sizes=(4, 6, 2)):
    flux.seed(seed)
    layers = [flux.Dense(n, m, flux.tanh) for n, m in pairwise(sizes)]
    return flux.Chain(*layers)


def train(model, opt, steps, start=0):
    """Steps on a table of numbers; the first layer gets no gradient in every third."""
    rng = np.random.default_rng(5)
    table = rng.standard_normal((start + steps, 8, 4)).astype(np.float32)
    for t in range(start, start + steps):
        grads = flux.gradient(lambda m: np.sum((m(table[t]) - 1) ** 2), model)  # noqa: B023
        if t % 3 == 0:
            grads.layers[0].weight = None
        flux.update(opt, model, grads)


def everything(model, opt=None):
    """All numbers of a model and its state, as bytes and reprs."""
    held = [(path, a.tobytes(), a.dtype, a.shape) for path, a in flux.tree.walk(model)]
    for leaf in opt._leaves if opt is not None else ():
        held.append((leaf.rule, leaf.frozen, leaf.numbers, [np.asarray(s).tobytes() for s in leaf.state]))
    return repr(held)


@pytest.mark.parametrize("rule", [flux.Descent(0.01), flux.Adam(0.01, (0.8, 0.99), 1e-6)])
def test_an_interrupted_run_goes_on_to_the_same_numbers(rule, tmp_path):
    """Bit for bit: with a frozen part, a learning rate that was adjusted, and counters that differ."""
    path = tmp_path / "run.npz"
    model = chain()
    opt = flux.setup(rule, model)
    train(model, opt, 7)
    flux.adjust(opt[1], eta=1 / 3)
    flux.freeze(opt[0].bias)
    train(model, opt, 5, start=7)
    flux.save(path, model, opt)
    saved = everything(model, opt)
    train(model, opt, 9, start=12)
    expected = everything(model, opt)

    other = chain(seed=1)
    other_opt = flux.setup(type(rule)(), other)
    train(other, other_opt, 1)  # with the same gradients missing as in the first step after loading
    flux.load(path, other, other_opt)
    assert everything(other, other_opt) == saved
    train(other, other_opt, 9, start=12)
    assert everything(other, other_opt) == expected
    assert other_opt[0].bias.frozen
    assert other_opt[1].weight.rule.eta == 1 / 3


def test_dropout_goes_on_with_the_masks_that_would_have_come(tmp_path):
    """Bit for bit; in a fresh model, with other keys."""

    def build(seed):
        flux.seed(seed)
        model = flux.Chain(flux.Dense(4, 16, flux.tanh), flux.Dropout(0.5), flux.Dense(16, 2), flux.Dropout(0.1))
        return model, flux.setup(flux.Adam(0.01), model)

    model, opt = build(0)
    train(model, opt, 3)
    flux.save(tmp_path / "run.npz", model, opt)
    train(model, opt, 4, start=3)

    other, other_opt = build(1)
    train(other, other_opt, 1)
    flux.load(tmp_path / "run.npz", other, other_opt)
    assert other[1].state[1] == 3 * 8 * 16
    train(other, other_opt, 4, start=3)
    assert everything(other, other_opt) == everything(model, opt)
    assert other[1].state[1] == 7 * 8 * 16


def test_arrays_are_filled_in_place(tmp_path):
    model = chain()
    opt = flux.setup(flux.Adam(), model)
    arrays = flux.leaves(model)
    flux.save(tmp_path / "a", model, opt)
    flux.load(tmp_path / "a", model, opt)
    assert all(a is b for a, b in zip(flux.leaves(model), arrays, strict=True))
    flux.update(opt, model, flux.tree.map(np.ones_like, model))


def test_all_that_a_tree_holds(tmp_path):
    w = np.arange(3.0)

    def make(k):
        return {
            "layer": Normalised(),
            "tied": [w * k, w * k],
            "tuple": (np.full((), 2.5 * k), np.zeros((0, 3))),
            "a/b": np.ones(1) * k,
            "count": np.arange(3) * k,
            "text": np.array(["ab", "c"]),
            "flag": np.array(k == 1),
            3: np.ones((2, 3), np.float16).T * k,
            "..": np.ones(2, ">f8") * k,
            "nan": np.array([np.nan, np.inf, -0.0, 5e-324]) * k,
        }

    with np.errstate(invalid="ignore"):
        model, other = make(1), make(0)
    model["layer"].mean[:] = 7
    other["text"][:] = "zz"
    flux.save(tmp_path / "m.npz", model)
    flux.load(tmp_path / "m.npz", other)
    assert everything(other) == everything(model)


def test_the_root_is_an_array(tmp_path):
    a, b = np.arange(3.0), np.zeros(3)
    flux.save(tmp_path / "m.npz", a)
    flux.load(tmp_path / "m.npz", b)
    np.testing.assert_array_equal(b, a)


def test_tied_arrays_stay_tied(tmp_path):
    layer = flux.Dense(2, 2)
    model = flux.Chain(layer, layer)
    opt = flux.setup(flux.Adam(), model)
    flux.update(opt, model, flux.tree.map(np.ones_like, model))
    flux.save(tmp_path / "m.npz", model, opt)
    saved = everything(model, opt)
    flux.update(opt, model, flux.tree.map(np.ones_like, model))
    flux.load(tmp_path / "m.npz", model, opt)
    assert everything(model, opt) == saved
    assert model[0].weight is model[1].weight


def test_a_model_without_its_state(tmp_path):
    path = tmp_path / "m.npz"
    model, other = chain(), chain(seed=1)
    opt = flux.setup(flux.Adam(), other)
    flux.save(path, model)
    with pytest.raises(flux.CheckpointError, match="holds no optimiser state; load it without one, or save with save"):
        flux.load(path, other, opt)
    assert everything(other) != everything(model)
    flux.load(path, other)
    assert everything(other) == everything(model)
    flux.save(path, other, opt)
    flux.load(path, chain(seed=2))


def test_the_file_is_plain(tmp_path):
    """numpy.load reads it without pickle; the name is used as it is."""
    model = chain()
    flux.save(tmp_path / "name", model, flux.setup(flux.Adam(), model))
    assert os.listdir(tmp_path) == ["name"]
    with np.load(tmp_path / "name", allow_pickle=False) as file:
        assert "model.layers[0].weight" in file.files
        about = json.loads(file["about"].tobytes())
    assert about["format"] == "tinyflux checkpoint"
    assert about["version"] == 2
    fields = {"eta": 0.001, "beta": [0.9, 0.999], "epsilon": 1e-8}
    assert about["optimiser"][0]["rule"] == {"record": "Adam", "fields": fields}


def test_objects_are_not_saved(tmp_path):
    with pytest.raises(TypeError, match=r"save: model\['x'\] is an array of Python objects"):
        flux.save(tmp_path / "m.npz", {"w": np.ones(2), "x": np.array([{}, None])})
    assert os.listdir(tmp_path) == []


def test_a_state_within_the_model_is_refused(tmp_path):
    model = flux.Dense(1, 1)
    opt = flux.setup(flux.Adam(), model)
    with pytest.raises(TypeError, match="give it as third argument"):
        flux.save(tmp_path / "both.npz", {"model": model, "opt": opt})
    assert not list(tmp_path.iterdir())


# Models that don't fit


def refused(message, path, model, opt=None, error=flux.CheckpointError):
    before = everything(model, opt)
    with pytest.raises(error, match=message):
        flux.load(path, model, opt)
    assert everything(model, opt) == before


def test_errors_are_values():
    assert issubclass(flux.CheckpointError, ValueError)


def test_another_model(tmp_path):
    path = tmp_path / "m.npz"
    model = chain()
    flux.save(path, model, flux.setup(flux.Adam(), model))
    deeper, narrower = chain(1, (4, 6, 2, 2)), chain(1, (4, 5, 2))
    refused(r"another model: model\.layers\[2\]\.bias is missing in the file; .*weight is missing", path, deeper)
    refused(r"layers\[0\]\.bias is float32\(5,\) in the model, float32\(6,\) in the file; ", path, narrower)
    refused(r"model\.layers\[1\]\.bias is in the file alone", path, chain(1, (4, 6)))
    refused(r"layers\[0\]\.bias is float64\(6,\) in the model, float32\(6,\) in the file; ", path, flux.f64(model))
    refused("another model: .*, and 5 more", path, [np.ones(2), np.ones(3), np.ones(4), np.ones(5)])
    opt = flux.setup(flux.Adam(), deeper)
    refused("another model", path, deeper, opt)


def test_another_state(tmp_path):
    path = tmp_path / "m.npz"
    model = chain()
    opt = flux.setup(flux.Adam(), model)
    train(model, opt, 2)
    flux.save(path, model, opt)
    other = chain(seed=1)
    refused("state in .* is of Adam, the given one Descent; use", path, other, flux.setup(flux.Descent(), other))
    part = flux.setup(flux.Adam(), other[0])
    refused("the optimiser state in .* has 4 parameters, the given one 2", path, other, part)
    swapped = {"b": np.ones(2), "a": np.ones(2)}
    flux.save(path, swapped, flux.setup(flux.Adam(), swapped))
    model = {"a": np.zeros(2), "b": np.zeros(2)}
    refused(r"state in .* does not fit the parameter \['a'\]", path, model, flux.setup(flux.Adam(), model))


def rewritten(path, change):
    """The file again with some of its contents changed."""
    with np.load(path) as file:
        arrays = dict(file)
    about = json.loads(arrays["about"].tobytes())
    change(about, arrays)
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    np.savez(path, **arrays)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda about, arrays: about.update(version=3), "is 'tinyflux checkpoint' of version 3; this tinyflux reads"),
        (lambda about, arrays: about.update(version=0), "of version 0"),
        (lambda about, arrays: about.update(format="other"), "is 'other' of version 2; this"),
        (lambda about, arrays: about.pop("format"), "is None of version 2"),
        (
            lambda about, arrays: about["optimiser"][2]["rule"]["fields"].update(rho=1),
            r"Adam in .* is not as a training could have left it, at the parameter \.layers\[1\]\.weight",
        ),
        (
            lambda about, arrays: about["optimiser"][2]["rule"]["fields"].pop("eta"),
            "Adam in .* is not as a training could have left it",
        ),
        (lambda about, arrays: about["optimiser"][2]["numbers"].pop(), r"its state has 2 numbers, not \[1\.0\]"),
        (lambda about, arrays: arrays.pop("optimiser/2/1"), "does not fit the parameter"),
        (lambda about, arrays: arrays.update({"optimiser/4/0": np.ones(7)}), "not fit: optimiser/4/0 is in the f"),
        (lambda about, arrays: arrays.update({"model.x": np.ones(7)}), r"model\.x is in the file alone"),
    ],
)
def test_contents_that_do_not_fit(change, message, tmp_path):
    path = tmp_path / "m.npz"
    model, other = chain(), chain(seed=1)
    flux.save(path, model, flux.setup(flux.Adam(), model))
    rewritten(path, change)
    refused(message, path, other, flux.setup(flux.Adam(), other))


def test_a_model_that_can_not_be_filled(tmp_path):
    path = tmp_path / "m.npz"
    flux.save(path, [np.ones(2), np.ones(3)])
    model = [np.zeros(2), np.zeros(3)]
    model[1].flags.writeable = False
    refused(r"model\[1\] is a read-only array and can't be filled", path, model, error=ValueError)


# Files that are damaged, or something else


@pytest.fixture(scope="module")
def file_bytes(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "m.npz"
    model = chain(0, (2, 2))
    flux.save(path, model, flux.setup(flux.Adam(), model))
    return path.read_bytes()


def test_a_truncated_file(file_bytes, tmp_path):
    path = tmp_path / "m.npz"
    model = chain(1, (2, 2))
    opt = flux.setup(flux.Adam(), model)
    for length in [*range(0, len(file_bytes), 13), len(file_bytes) - 1]:
        path.write_bytes(file_bytes[:length])
        refused("is damaged or no tinyflux checkpoint", path, model, opt)


def test_damaged_bytes(file_bytes, tmp_path):
    """A changed byte is found, or it is one that doesn't matter: then all numbers are right."""
    path = tmp_path / "m.npz"
    model = chain(0, (2, 2))
    right = everything(model, flux.setup(flux.Adam(), model))
    other = chain(1, (2, 2))
    opt = flux.setup(flux.Adam(), other)
    start = everything(other, opt)
    found = 0
    for place in range(0, len(file_bytes), 3):
        damaged = bytearray(file_bytes)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        try:
            flux.load(path, other, opt)
        except flux.CheckpointError:
            found += 1
            assert everything(other, opt) == start
        else:
            assert everything(other, opt) == right
            other = chain(1, (2, 2))
            opt = flux.setup(flux.Adam(), other)
    assert found > len(file_bytes) / 3 / 2


@pytest.mark.parametrize("kind", ["random", "empty", "html", "npy", "zip", "pickle", "npz", "list"])
def test_other_files(kind, tmp_path):
    path = tmp_path / "m.npz"
    contents = {
        "random": np.random.default_rng(0).bytes(2000),
        "empty": b"",
        "html": b"<html></html>",
        "pickle": pickle.dumps([1]),
    }
    if kind in contents:
        path.write_bytes(contents[kind])
    elif kind == "npy":
        with open(path, "wb") as file:
            np.save(file, np.ones(3))
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("about", "{}")
    elif kind == "npz":
        np.savez(path, x=np.ones(3))
    else:
        np.savez(path, about=np.frombuffer(b"[1, 2]", np.uint8))
    refused(f"{re.escape(str(path))} is damaged or no tinyflux checkpoint", path, chain())


class Malicious:
    def __reduce__(self):
        return exec, ("raise SystemExit('a pickle was opened')",)


def test_a_pickle_in_the_file_is_not_opened(tmp_path):
    path = tmp_path / "m.npz"
    model = {"w": np.ones(2)}
    flux.save(path, model)
    with np.load(path) as file:
        arrays = dict(file)
    for name in ("model['w']", "about"):
        np.savez(path, **(arrays | {name: np.array([Malicious()], dtype=object)}))
        refused("is damaged or no tinyflux checkpoint .* holds Python objects", path, model)


def test_files_that_can_not_be_read(tmp_path):
    refused("No such file", tmp_path / "absent.npz", chain(), error=FileNotFoundError)
    refused("directory|denied", tmp_path, chain(), error=OSError)

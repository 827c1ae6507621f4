"""load: what no training could have written is refused, and model and state stay as they were."""

import os
import struct
import zipfile
from dataclasses import dataclass

import numpy as np
import pytest

import tinyflux as flux
from tests.test_checkpoint import chain, everything, refused, rewritten, train


def saved(path, rule, steps=3):
    """A file of a trained model; returns another model and its state, trained as well."""
    model, other = chain(), chain(seed=1)
    opt, other_opt = flux.setup(rule, model), flux.setup(rule, other)
    train(model, opt, steps)
    train(other, other_opt, 2)
    flux.save(path, model, opt)
    return other, other_opt


# Numbers of the optimiser


RULES = [
    flux.Adam(),
    flux.AdaMax(),
    flux.NAdam(psi=4e-3),
    flux.RAdam(),
    flux.OAdam(),
    flux.AMSGrad(form="torch"),
    flux.Padam(form="code"),
    flux.ASGD(eta=1),
    flux.YellowFin(window=2),
    flux.OptimiserChain(flux.AccumGrad(2), flux.ClipNorm(1.0), flux.Adam()),
    flux.Descent(flux.schedules.Step(0.1, 2)),
    flux.OptimiserChain(flux.WeightDecay(0.1), flux.RAdam(eta=flux.schedules.Cosine(0.1, 9))),
]
NEVER = [float("nan"), float("inf"), "0.5", None, True, [0.5], -3]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_every_number_of_a_state(rule, tmp_path):
    path = tmp_path / "m.npz"
    model, opt = saved(path, rule)
    flux.load(path, model, opt)
    count = len(opt._leaves[0].numbers)
    assert count > 0
    whole = path.read_bytes()
    for place in range(count):
        for value in NEVER:
            path.write_bytes(whole)
            rewritten(path, lambda about, arrays: about["optimiser"][1]["numbers"].__setitem__(place, value))  # noqa: B023
            refused(
                r"is not as a training could have left it, at the parameter \.layers\[0\]\.bias: ", path, model, opt
            )


@pytest.mark.parametrize(
    ("rule", "place", "values"),
    [
        (flux.Adam(), 0, [1.1, -0.1]),
        (flux.RAdam(), 2, [1.5, 2.0, 2**60]),  # a count
        (flux.ASGD(), 2, [1.5]),
        (flux.YellowFin(window=2), 5, [1.5, -0.5]),  # the weight
        (flux.YellowFin(window=2), 2, [-0.5]),  # a norm
        (flux.OptimiserChain(flux.AccumGrad(2), flux.Adam()), 0, [-1, 1.5]),
        (flux.Descent(flux.schedules.Step(0.1, 2)), 0, [2.5, -1]),
    ],
)
def test_numbers_that_no_step_leaves(rule, place, values, tmp_path):
    path = tmp_path / "m.npz"
    model, opt = saved(path, rule)
    for value in values:
        rewritten(path, lambda about, arrays: about["optimiser"][0]["numbers"].__setitem__(place, value))  # noqa: B023
        refused("is not as a training could have left it", path, model, opt)


def test_numbers_at_the_edge_of_what_steps_leave(tmp_path):
    """β powers fade to 0 in a long training: 0.9 to the 8,000th is below what a float can hold."""
    model = {"w": np.ones(2)}
    opt = flux.setup(flux.Adam(beta=(0.0, 0.9)), model)
    for _ in range(8000):
        flux.update(opt, model, {"w": np.ones(2)})
    assert opt["w"].numbers == (0.0, 0.0)
    flux.save(tmp_path / "m.npz", model, opt)
    before = everything(model, opt)
    flux.update(opt, model, {"w": np.ones(2)})
    flux.load(tmp_path / "m.npz", model, opt)
    assert everything(model, opt) == before


@pytest.mark.parametrize(
    ("rule", "squares"),
    [
        (flux.Adam(), (1,)),
        (flux.AdaMax(), (1,)),
        (flux.AMSGrad(), (1, 2)),
        (flux.Padam(), (1, 2)),
        (flux.RMSProp(centred=True), (0,)),
        (flux.AdaGrad(), (0,)),
        (flux.AdaDelta(), (0, 1)),
        (flux.YellowFin(), (2,)),
        (flux.OptimiserChain(flux.AccumGrad(2), flux.ClipNorm(1.0), flux.Adam()), (2,)),
        (flux.RMSProp(flux.schedules.Step(0.1, 2)), (0,)),
        (flux.Momentum(), ()),
    ],
    ids=lambda x: type(x).__name__,
)
def test_averages_that_no_step_leaves(rule, squares, tmp_path):
    """NaN, and squares below 0; other averages may be below 0, and any may have overflown."""
    path = tmp_path / "m.npz"
    model, opt = saved(path, rule)
    whole = path.read_bytes()
    for k in range(len(flux.tree.leaves(list(opt[0].bias.state)))):
        for value in (np.nan, -1.0, np.inf):
            path.write_bytes(whole)
            rewritten(path, lambda about, arrays: arrays[f"optimiser/1/{k}"].__setitem__(3, value))  # noqa: B023
            if np.isnan(value) or (value < 0 and k in squares):
                refused(
                    r"as a training could have left it, at the parameter \.layers\[0\]\.bias: expected",
                    path,
                    model,
                    opt,
                )
            else:
                flux.load(path, model, opt)


@dataclass(frozen=True)
class Own:
    """A user's rule: it counts by halves, and knows the best so far."""

    eta: float = 0.1

    def init(self, x):
        return np.zeros_like(x), 0, float("inf")

    def apply(self, state, x, g):
        m, count, best = state
        return (m + g, count + 0.5, best), self.eta * g


def test_a_users_rule_has_any_numbers_but_nothing_else(tmp_path):
    path = tmp_path / "m.npz"
    model, opt = saved(path, Own())
    flux.load(path, model, opt)
    assert opt[0].weight.numbers in [(1.0, float("inf")), (1.5, float("inf"))]
    for value in ("a", float("nan"), None, [1]):
        rewritten(path, lambda about, arrays: about["optimiser"][0]["numbers"].__setitem__(0, value))  # noqa: B023
        refused("expected numbers in the state", path, model, opt)


@dataclass(frozen=True)
class Counted(flux.optimise.rule.Rule):
    """A new rule that declares nothing."""

    def init(self, x):
        return 0, 0.0

    def apply(self, state, x, g):
        return (state[0] + 1, state[1] + 0.5), g


def test_a_new_rule_is_checked_by_what_its_state_begins_with():
    Counted().check_state((), (3, -1.5))
    for numbers in [(-1, 1.0), (1.5, 1.0), (3, float("nan")), (3, "a"), (True, 1.0), (3, 1)]:
        with pytest.raises(ValueError, match=r"expected a (count of steps|finite number) in the state"):
            Counted().check_state((), numbers)


# Settings


def fields(about, place=0):
    return about["optimiser"][place]["rule"]["fields"]


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        (flux.Adam(), lambda about: fields(about).update(eta="0.1")),
        (flux.Adam(), lambda about: fields(about).update(eta=float("nan"))),
        (flux.Adam(), lambda about: fields(about).update(eta=None)),
        (flux.Adam(), lambda about: fields(about).update(eta=10**400)),
        (flux.Adam(), lambda about: fields(about).update(beta=[0.9, 1.5])),
        (flux.Adam(), lambda about: fields(about).update(beta=[0.9])),
        (flux.Adam(), lambda about: fields(about).update(beta=0.9)),
        (flux.Adam(), lambda about: fields(about).update(epsilon=-1.0)),
        (flux.Adam(), lambda about: fields(about).update(eta={"record": "Constant", "fields": {"value": "a"}})),
        (flux.Adam(), lambda about: about["optimiser"][0].update(rule=5)),
        (flux.Adam(), lambda about: about["optimiser"][0].update(rule=[])),
        (flux.Adam(), lambda about: about["optimiser"][0].update(rule={"record": [], "fields": 3})),
        (flux.Adam(), lambda about: about["optimiser"][0].update(rule={"record": "Adam", "fields": 3})),
        (flux.Adam(), lambda about: about["optimiser"][0].update(rule={"record": "Descent", "fields": {"eta": 1.0}})),
        (flux.Adam(), lambda about: about["optimiser"][0].pop("rule")),
        (flux.Adam(), lambda about: about["optimiser"][0].update(frozen="false")),
        (flux.Adam(), lambda about: about["optimiser"][0].update(frozen=0)),
        (flux.Adam(), lambda about: about["optimiser"][0].pop("frozen")),
        (flux.Adam(), lambda about: about["optimiser"][0].update(numbers="ab")),
        (flux.Adam(), lambda about: about["optimiser"][0].update(numbers={"0": 1.0, "1": 1.0})),
        (flux.Adam(), lambda about: about["optimiser"][0].pop("numbers")),
        (flux.QHAdam(), lambda about: fields(about).update(nu=["a", 1.0])),
        (flux.QHAdam(), lambda about: fields(about).update(nu=[0.7])),
        (flux.Momentum(), lambda about: fields(about).update(form="other")),
        (flux.RMSProp(), lambda about: fields(about).update(centred=True)),  # which has another state
        (flux.NAdam(), lambda about: fields(about).update(psi=4e-3)),
        (flux.AggMo(), lambda about: fields(about).update(beta=[0.0, 0.5])),
        (flux.Descent(flux.schedules.Step(0.1, 2)), lambda about: fields(about).update(rule=0.1)),
    ],
)
def test_settings_that_no_rule_has(rule, change, tmp_path):
    path = tmp_path / "m.npz"
    model, opt = saved(path, rule)
    rewritten(path, lambda about, arrays: change(about))
    refused("is not as a training could have left it", path, model, opt)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 2], "damaged: its description of the optimiser is"),
        ({"a": 1}, "damaged: its description of the optimiser is"),
        ("text", "damaged"),
        (5, "damaged"),
        ([], "has 0 parameters"),
        ([{}] * 4, "is of None"),
        (None, "holds no optimiser state"),
    ],
)
def test_a_description_of_another_form(value, message, tmp_path):
    path = tmp_path / "m.npz"
    model, opt = saved(path, flux.Adam())
    rewritten(path, lambda about, arrays: about.update(optimiser=value))
    refused(message, path, model, opt)


@pytest.mark.parametrize(
    "text", [b"[" * 100_000, b'{"format": ' + b"9" * 5_000 + b"}", b'"tinyflux checkpoint"', b"\xff"]
)
def test_a_description_that_can_not_be_read(text, tmp_path):
    path = tmp_path / "m.npz"
    model, opt = saved(path, flux.Adam())
    with np.load(path) as file:
        arrays = {**file, "about": np.frombuffer(text, np.uint8)}
    np.savez(path, **arrays)
    refused("is damaged or no tinyflux checkpoint", path, model, opt)


def test_a_rule_that_is_nested_too_deep(tmp_path):
    path = tmp_path / "m.npz"
    model, opt = saved(path, flux.Adam())
    deep = 0.1
    for _ in range(600):
        deep = [deep]
    rewritten(path, lambda about, arrays: fields(about).update(eta=deep))
    refused("is not as a training could have left it|is damaged", path, model, opt)


# Arrays


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.complex64, "U3", ">f4"])
@pytest.mark.parametrize("name", ["optimiser/2/1", "model.layers[1].weight"])
def test_arrays_of_another_dtype(dtype, name, tmp_path):
    path = tmp_path / "m.npz"
    model, opt = saved(path, flux.Adam())
    rewritten(path, lambda about, arrays: arrays.update({name: np.ones_like(arrays[name]).astype(dtype)}))
    refused(
        rf"{name.replace('[', '.')[:12]}.* is float32\(2, 6\) in the model, .*\(2, 6\) in the file", path, model, opt
    )


def replaced(path, name, content):
    """The file again with other bytes in the place of a member's; more than one of them: so many members."""
    with zipfile.ZipFile(path) as file:
        members = {info.filename: file.read(info) for info in file.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for known, old in members.items():
            file.writestr(known, content if known == name else old)


@pytest.mark.parametrize("name", ["about.npy", "model.layers[0].bias.npy", "optimiser/0/0.npy"])
@pytest.mark.parametrize(
    "content", [b"no array", b"", b"\x93NUMPY", b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1)]
)
def test_a_member_that_is_no_array(name, content, tmp_path):
    path = tmp_path / "m.npz"
    model, opt = saved(path, flux.Adam())
    replaced(path, name, content)
    refused("is damaged or no tinyflux checkpoint", path, model, opt)


def test_a_name_that_stands_in_it_twice(tmp_path):
    path = tmp_path / "m.npz"
    model, opt = saved(path, flux.Adam())
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as file:
        file.writestr("model.layers[0].bias.npy", b"")
    refused("a name stands in it twice", path, model, opt)


def header(shape, dtype):
    """The beginning of an array in a file."""
    text = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def bomb(path, name, shape, size, dtype="|u1"):
    """A file in which a member unpacks to many bytes."""
    with zipfile.ZipFile(path) as file:
        members = {info.filename: file.read(info) for info in file.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for known, old in members.items():
            if known != name:
                file.writestr(known, old)
        with file.open(name, "w", force_zip64=True) as member:
            member.write(header(shape, dtype))
            for _ in range(size >> 20):
                member.write(bytes(1 << 20))


@pytest.fixture(name="read")
def _read(monkeypatch):
    """The sizes of all arrays that are read."""

    def noted(file, **options):
        array = real(file, **options)
        sizes.append(array.nbytes)
        return array

    sizes, real = [], np.lib.format.read_array
    monkeypatch.setattr(np.lib.format, "read_array", noted)
    return sizes


def test_a_large_member_that_nobody_asked_for_is_not_read(read, tmp_path):
    path = tmp_path / "m.npz"
    model, opt = saved(path, flux.Adam())
    bomb(path, "other.npy", (64 << 20,), 64 << 20)
    bomb(path, "optimiser/0/0.npy", (64 << 20,), 64 << 20)
    read.clear()
    before = everything(None, opt)
    flux.load(path, model)
    assert everything(None, opt) == before
    refused(r"optimiser/0/0 is float32\(6, 4\) in the model, uint8\(67108864,\) in the file", path, model, opt)
    assert 0 < max(read) < 10_000


@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    [
        ("model.layers[0].bias.npy", (8 << 20,), "<f4"),  # larger than the model's
        ("model.layers[0].bias.npy", (6,), "<f4"),  # larger than it says
        ("about.npy", (32 << 20,), "|u1"),
        ("about.npy", (2**62, 2**62), "|u1"),
    ],
)
def test_members_that_unpack_to_more_than_fits(name, shape, dtype, read, tmp_path):
    path = tmp_path / "m.npz"
    model, opt = saved(path, flux.Adam())
    bomb(path, name, shape, 32 << 20, dtype)
    read.clear()
    refused("damaged|another model", path, model, opt)
    assert max(read, default=0) < 10_000


# What is no file


def test_a_pipe_or_a_device_in_the_place_of_the_file(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes")
    os.mkfifo(tmp_path / "pipe")
    refused("it is a pipe, not a file", tmp_path / "pipe", chain(), error=OSError)
    refused("it is a device, not a file", "/dev/zero", chain(), error=OSError)

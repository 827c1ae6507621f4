"""examples/cifar10_optimisers: who takes part, what a run measures, and how the command goes on; on images of noise."""

import copy
import json
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from scipy.special import log_softmax

import tinyflux as flux
from examples.cifar10_optimisers import __main__ as command
from examples.cifar10_optimisers import contest, training
from examples.cifar10_optimisers.contest import PRESETS, Length
from examples.cifar10_optimisers.results import Run, planned, read
from examples.common import lock, models, photographs
from tests.support import device_standin as standin
from tests.support.cifar10_files import install, made_up, module, outcome
from tests.support.flux_mnist import NO_COMPILER, needs_compiler
from tests.support.mnist_files import digests
from tests.support.scripts import ROOT
from tinyflux import device

IMAGES = made_up(26)  # 130 to train with, two mini-batches of 64, and 26 to test with
QUICK = PRESETS["quick"]


@pytest.fixture(name="files", autouse=True)
def _files(tmp_path, monkeypatch):
    monkeypatch.setenv("CC", NO_COMPILER)
    return install(tmp_path / "data", IMAGES, monkeypatch)


def run(folder, arguments, preset="quick"):
    return command.main([preset, *arguments.split(), "--output", str(folder)])


@pytest.fixture(scope="module", name="an_epoch")
def _an_epoch(tmp_path_factory):
    """The folder of a command that has trained SGD for an epoch; to be copied."""
    folder = tmp_path_factory.mktemp("an_epoch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CC", NO_COMPILER)
        install(folder / "data", IMAGES, patch)
        assert run(folder / "trained", "--rules SGD --epochs 1") == 0
    return folder / "trained"


def saved(folder, entry, model="resnet20-narrow", seed=0):
    path = Run(model, entry, seed).folder(folder) / "run.json"
    return json.loads(path.read_text(encoding="utf-8"))


# Who takes part.


def test_the_tutorials_rules():
    """PyTorch's defaults, as its documentation gives them."""
    rules = {entry.name: entry.rule(Length(100, 50)) for entry in contest.TUTORIAL}
    assert rules == {
        "SGD": flux.Momentum(eta=0.01, rho=0.9),
        "Adam": flux.Adam(eta=0.001, beta=(0.9, 0.999), epsilon=1e-8),
        "AdaDelta": flux.AdaDelta(rho=0.9, epsilon=1e-6),
        "AdaGrad": flux.AdaGrad(eta=0.01, epsilon=1e-10, initial=0.0),
        "AdamW": flux.AdamW(eta=0.001, beta=(0.9, 0.999), lambda_=0.01, epsilon=1e-8),
        "AdaMax": flux.AdaMax(eta=0.002, beta=(0.9, 0.999), epsilon=1e-8),
        "ASGD": flux.ASGD(eta=0.01, lambda_=1e-4, alpha=0.75, t0=1e6),
    }


def parts(entry, length):
    decay, rule = entry.rule(length).rules
    return decay.lambda_, rule


def test_padams_rules():
    """Table 1 of the reproduction; and the paper's numbers, whose rate falls twice."""
    table = {entry.name: parts(entry, Length(10, 100)) for entry in contest.PADAM}
    assert table == {
        "Padam": (5e-3, flux.Padam(eta=0.1, beta=(0.9, 0.999), p=1 / 8, form="code")),
        "SGDM": (5e-3, flux.Momentum(eta=0.1, rho=0.9, form="torch")),
        "Adam": (5e-3, flux.Adam(eta=0.001, beta=(0.9, 0.999))),
        "AMSGrad": (5e-3, flux.AMSGrad(eta=0.001, beta=(0.9, 0.999), form="torch")),
    }
    original = {entry.name: parts(entry, Length(10, 100, original=True)) for entry in contest.PADAM}
    assert {name: decay for name, (decay, _) in original.items()} == {
        "Padam": 5e-4, "SGDM": 5e-4, "Adam": 1e-4, "AMSGrad": 1e-4
    }  # fmt: skip
    for name, (_, rule) in original.items():
        rate = table[name][1].eta
        found = [rule.eta(step) for step in (0, 499, 500, 749, 750, 999)]
        np.testing.assert_allclose(found, [rate, rate, rate / 10, rate / 10, rate / 100, rate / 100])


def test_padams_grid():
    named = {entry.name: parts(entry, Length(10, 100))[1] for entry in contest.GRID}
    assert len(named) == 9
    for name, rule in named.items():
        power, eta = name.removeprefix("Padam p=").split(" η=")
        assert (rule.p, rule.eta) == (1 / int(power.removeprefix("1/")), float(eta))


def test_the_power_that_falls():
    """p from 1/4 to 1/16 while the rate rises from 0.01 to 0.1, each by the same factor in every step."""
    decay, rule = parts(contest.FALLING, Length(10, 100))
    assert decay == 5e-3
    np.testing.assert_allclose([rule.p(t) for t in (0, 500, 1000)], [1 / 4, 1 / 8, 1 / 16])
    np.testing.assert_allclose([rule.eta(t) for t in (0, 500, 1000)], [0.01, np.sqrt(0.001), 0.1])


def test_the_runs_of_a_preset():
    runs = planned(PRESETS["cpu"], (0, 1))
    assert runs[:2] == [Run("resnet20", "SGD", 0), Run("resnet20", "Adam", 0)]
    assert [r.seed for r in runs] == [0] * 7 + [1] * 7
    assert planned(PRESETS["tutorial"], (3,), ("Adam",)) == [Run("resnet18", "Adam", 3)]
    padam = planned(PRESETS["padam"], (0,))
    assert [sum(r.model == model for r in padam) for model in ("wide_resnet-16-4", "vgg16", "resnet18")] == [4, 14, 4]
    for preset in PRESETS.values():
        runs = planned(preset, preset.seeds)
        assert len({r.folder(ROOT) for r in runs}) == len(set(runs)) == len(runs)
        assert {r.model for r in runs} <= {*models.CONVOLUTIONAL, "wide_resnet-16-4"}


# What a run measures.


def arrays(names):
    return (np.concatenate([IMAGES[name][i] for name in names]) for i in range(2))


def figures(scores, labels):
    losses = -log_softmax(scores, axis=1)[np.arange(len(labels)), labels]
    return float(np.mean(losses)), float(np.mean(np.argmax(scores, axis=1) == labels))


def test_what_is_measured(tmp_path):
    """The two mini-batches of an epoch, step by step."""
    assert run(tmp_path, "--rules sgd --epochs 1 --seeds 5") == 0
    (entry,) = saved(tmp_path, "SGD", seed=5)["history"]
    images, labels = arrays(module.CIFAR10.splits["train"])
    scaling = QUICK.images.scaling
    flux.seed(5)
    model = flux.models.resnet20(10, channels=8)
    velocities = [np.zeros_like(p) for p in flux.parameters(model)]
    found = []
    for x, y in photographs.loader((images, labels), 64, 5, "standard", scaling):
        same = copy.deepcopy(model)
        flux.trainmode(same)
        found.append(figures(same(x), np.argmax(y, axis=1)))
        grad = flux.gradient(lambda m, x=x, y=y: flux.logitcrossentropy(m(x), y), model)
        for p, v, g in zip(flux.parameters(model), velocities, flux.parameters(grad), strict=True):
            v[...] = 0.9 * v + 0.01 * g
            p -= v
    assert entry["train_loss"] == pytest.approx(np.mean([loss for loss, _ in found]), rel=1e-5)
    assert entry["train_accuracy"] == np.mean([accuracy for _, accuracy in found])
    images, labels = arrays(module.CIFAR10.splits["test"])
    shifted = photographs.shifted(images, np.random.default_rng(0))
    for name, x in (("test", images), ("augmented", shifted)):
        loss, accuracy = figures(model((x - np.float32(scaling.mean)) / np.float32(scaling.std)), labels)
        assert entry[f"{name}_loss"] == pytest.approx(loss, rel=1e-4)
        assert entry[f"{name}_accuracy"] == accuracy
    settings = saved(tmp_path, "SGD", seed=5)["settings"]
    count = flux.parameter_count(model)
    assert (settings["parameters"], settings["state"]) == (count, 4 * count)


def test_the_count_begins_anew_in_every_epoch():
    """Of two mini-batches of 64: 32 right, then 16."""
    model = training.Counting(lambda x: x)
    measure = training.Measure(model, 64, np.zeros((4, 8, 8, 3)), np.zeros(4, int), lambda network, x: np.eye(4, 10))
    for right, share in ((32.0, 0.25), (16.0, 0.125)):
        model.right = model.right + right
        noted = measure([1.0, 2.0])
        assert noted["train_accuracy"] == share
        assert noted["train_loss"] == 1.5
        assert noted["test_accuracy"] == noted["augmented_accuracy"] == 0.25


def test_three_epochs(tmp_path):
    assert run(tmp_path, "--rules adam --epochs 3") == 0
    (result,) = read(tmp_path, [Run("resnet20-narrow", "Adam", 0)], 3)
    assert len(result.history) == 3
    assert result.state == 2 * 4 * result.parameters
    assert not result.left


@pytest.mark.slow
def test_the_tutorial_on_a_gpu(tmp_path, monkeypatch):
    """The command for a device, on the stand-in for CuPy: two iterations of ResNet18 for each of the seven.

    Its mini-batches are smaller, as NumPy takes long for them.
    """
    monkeypatch.setitem(PRESETS, "tutorial", PRESETS["tutorial"]._replace(batchsize=8))
    install(tmp_path / "data", made_up(4), monkeypatch)
    monkeypatch.setitem(sys.modules, "cupy", standin.cupy_module())
    device._fault.cache_clear()
    try:
        assert run(tmp_path, "--minutes 12 --epochs 1", "tutorial") == 0
    finally:
        device._fault.cache_clear()
    results = read(tmp_path, planned(PRESETS["tutorial"], (0,)), 1)
    assert [result.entry for result in results] == [entry.name for entry in contest.TUTORIAL]
    assert all(len(result.history) == 1 and result.settings["device"] == "gpu" for result in results)
    assert (tmp_path / "report" / "report.html").exists()


# How it goes on.

MOMENTS = {
    "within the second epoch of the first run": """
def call(training, progress, call=epochs.Training.__call__):
    call(training, progress)
    if training.epoch == 1 and progress.losses and not progress.epoch_ended:
        os.kill(os.getpid(), signal.SIGKILL)
epochs.Training.__call__ = call
""",
    "between the files of the second run": """
def write(path, text, write=epochs.write):
    if "AdaMax" in str(path):
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, text)
epochs.write = write
""",
}
OPTIONS = "--rules SGD AdaMax --epochs 2"


def outcomes(folder):
    """All that was calculated, run by run."""
    return {path.parent.name: outcome(path.parent) for path in sorted(folder.glob("*/run.json"))}


@needs_compiler
@pytest.mark.slow
def test_a_killed_command_goes_on(tmp_path, files, monkeypatch):
    monkeypatch.delenv("CC")
    assert run(tmp_path / "whole", OPTIONS) == 0
    head = "import importlib, os, signal; from examples.cifar10_optimisers import __main__; "
    head += "from examples.common import epochs"
    known = f"importlib.import_module('tinyflux.data.cifar10').CIFAR10.sha256 = {digests(files)!r}"
    for moment, code in MOMENTS.items():
        folder = tmp_path / moment
        arguments = ["quick", *OPTIONS.split(), "--output", str(folder)]
        script = f"{head}\n{known}\n{code}\n__main__.main({arguments!r})"
        ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.DEVNULL, timeout=300)
        assert ended.returncode == -signal.SIGKILL
        assert run(folder, OPTIONS) == 0
        assert outcomes(folder) == outcomes(tmp_path / "whole")
        assert len(outcomes(folder)) == 2


def test_more_epochs_later_are_the_same_training(tmp_path, an_epoch):
    """None of the tutorial's rules depends on how many are to come."""
    shutil.copytree(an_epoch, tmp_path / "later")
    assert run(tmp_path / "later", "--rules SGD --epochs 2") == 0
    assert run(tmp_path / "once", "--rules SGD --epochs 2") == 0
    assert outcomes(tmp_path / "later") == outcomes(tmp_path / "once")


def test_minutes_are_shared(tmp_path, monkeypatch):
    """Each run gets the same share of what is left, those first that are behind; then it says how far it is."""
    clock, asked = [0.0], []

    def train(run, options, data, stop):
        while not stop():
            clock[0] += 50  # seconds that an epoch takes
            asked.append(run.entry)

    monkeypatch.setattr(command.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(command, "train", train)
    monkeypatch.setattr(command, "read", lambda output, runs, goal: begun)
    monkeypatch.setattr(command, "write", lambda results, options: None)
    begun = []
    for entry, made in (("SGD", 4), ("Adam", 2)):
        begun.append(command.Result("resnet20", entry, 0, 10, 1, 1, None, {}, [{}] * made, []))
    assert run(tmp_path, "--minutes 10 --seeds 0", "cpu") == 0
    order = list(dict.fromkeys(asked))
    assert order[-2:] == ["Adam", "SGD"]
    assert order[0] == "AdaDelta"
    assert [asked.count(entry) for entry in order] == [2, 2, 2, 2, 2, 1, 1]
    assert clock[0] == 600


def test_a_run_that_diverges(tmp_path, capsys, monkeypatch):
    """It ends there, is noted, and isn't tried again; the others go on."""
    huge = contest.Entry("SGD", lambda length: flux.Momentum(1e30))
    cells = (("resnet20-narrow", (huge, *contest.TUTORIAL[1:2])),)
    monkeypatch.setitem(PRESETS, "quick", QUICK._replace(cells=cells))
    for _ in range(2):
        assert run(tmp_path, "--epochs 1") == 0
        assert "2 of 2 runs are done" in capsys.readouterr().out
    lost, adam = read(tmp_path, planned(PRESETS["quick"], (0,)), 1)
    assert (lost.diverged, lost.history, lost.left) == (1, [], 0)
    assert (adam.diverged, len(adam.history)) == (None, 1)
    assert len(lost.events) == 1


# What is refused.


@pytest.mark.parametrize("line", ["quick --epochs 0", "quick --original", "tutorial --rules Padam", "long", ""])
def test_bad_options(line, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(line.split())
    assert stop.value.code == 2
    assert "argument" in capsys.readouterr().err


def test_two_at_a_time(tmp_path, capsys):
    with lock.hold(tmp_path, "this", lambda: False):
        assert run(tmp_path, "--rules SGD --epochs 1") == 1
    assert capsys.readouterr().err.startswith(f"cifar10_optimisers: another process trains {tmp_path}")


def test_without_the_images(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TINYFLUX_DATA", str(tmp_path))
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / "cache")
    monkeypatch.setattr(module.CIFAR10, "mirrors", ("http://127.0.0.1:1/",))
    assert run(tmp_path / "out", "") == 1
    assert capsys.readouterr().err.startswith("cifar10_optimisers: CIFAR-10 cannot be had here")


def test_a_folder_with_other_settings(tmp_path, capsys, monkeypatch, an_epoch):
    shutil.copytree(an_epoch, tmp_path, dirs_exist_ok=True)
    monkeypatch.setitem(PRESETS, "quick", QUICK._replace(batchsize=32))
    assert run(tmp_path, "--rules SGD --epochs 2") == 1
    message = capsys.readouterr().err
    assert "is of a run with batchsize 64, not batchsize 32; name another folder by --output" in message


def test_a_run_that_is_done_with_other_numbers(tmp_path, capsys, monkeypatch, an_epoch):
    """It isn't reported as if it had those that are asked for."""
    shutil.copytree(an_epoch, tmp_path, dirs_exist_ok=True)
    before = (tmp_path / "report" / "report.md").read_bytes()
    faster = contest.Entry("SGD", lambda length: flux.Momentum(0.02))
    monkeypatch.setitem(PRESETS, "quick", QUICK._replace(cells=(("resnet20-narrow", (faster,)),)))
    assert run(tmp_path, "--rules SGD --epochs 1") == 1
    assert "run.json is of a run with rule Momentum(eta=0.01" in capsys.readouterr().err
    assert (tmp_path / "report" / "report.md").read_bytes() == before


def altered(saved, **changes):
    return json.dumps(saved | changes)


def test_damaged_files(tmp_path, capsys, an_epoch):
    """Each is named, with what is wrong and what to do, before anything is trained or written."""
    shutil.copytree(an_epoch, tmp_path, dirs_exist_ok=True)
    path = Run("resnet20-narrow", "SGD", 0).folder(tmp_path) / "run.json"
    whole = path.read_text(encoding="utf-8")
    good = json.loads(whole)
    settings, (entry,) = good["settings"], good["history"]
    without_rule = {name: x for name, x in settings.items() if name != "rule"}
    huge = {**good["generator"], "state": {"state": 2**200, "inc": 1}}
    damages = {
        "settings: there is no rule": altered(good, settings=without_rule),
        "settings: state is 'x'": altered(good, settings={**settings, "state": "x"}),
        "an epoch: there is no seconds": altered(good, history=[{k: x for k, x in entry.items() if k != "seconds"}]),
        "an epoch: test_loss is None": altered(good, history=[{**entry, "test_loss": None}]),
        "an epoch is 3": altered(good, history=[3]),
        "an event: there is no at": altered(good, events=[{}]),
        "the file: diverged is True": altered(good, diverged=True),
        "its generator has no such state": altered(good, generator=huge),
        "maximum recursion depth": "[" * 100_000,
    }
    for words, text in damages.items():
        path.write_text(text, encoding="utf-8")
        assert run(tmp_path, "--rules SGD --epochs 2") == 1
        message = capsys.readouterr().err
        assert f"{path} is damaged; name another folder by --output, or remove run.json to begin anew" in message
        assert words in message
        assert path.read_text(encoding="utf-8") == text
    path.write_text(whole, encoding="utf-8")
    kept = path.with_name("epoch-1.npz")
    kept.write_bytes(kept.read_bytes()[:1000])
    assert run(tmp_path, "--rules SGD --epochs 2") == 1
    assert "run.json can't be gone on with; name another folder by --output" in capsys.readouterr().err
    kept.unlink()
    assert run(tmp_path, "--rules SGD --epochs 2") == 1
    assert f"tells of 1 epochs, but {kept} is missing; name another folder" in capsys.readouterr().err
    path.unlink()
    assert run(tmp_path, "--rules SGD --epochs 1") == 0


def test_a_report_that_cannot_be_written(tmp_path, capsys):
    """It is said before the training."""
    (tmp_path / "file").touch()
    assert run(tmp_path / "out", f"--rules SGD --epochs 1 --report {tmp_path / 'file'}") == 1
    assert f"--report {tmp_path / 'file'}: cannot be written to" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*/run.json"))


def test_a_rule_that_is_named_twice():
    assert command.parse(["quick", "--rules", "SGD", "sgd", "Adam"]).rules == ["SGD", "Adam"]

"""A run that goes on knows whose files it reads: others, and damaged ones, are refused, and nothing is cut."""

import json
import os
import shutil

import numpy as np
import pytest

from examples.common.command import Refused
from examples.common.files import replaced
from examples.common.folder import Folder
from examples.flux_mnist.table import Table
from tests.support.flux_mnist import NO_COMPILER, came_to, small, train

pytestmark = pytest.mark.usefixtures("few_images", "numpy")
CHECKPOINT = {"iteration": 500, "accuracy": 0.5, "loss": 0.1, "mean_loss": 0.1, "seconds": 1.0}


@pytest.fixture(name="numpy")
def _numpy(monkeypatch):
    """No compiler: for a few iterations NumPy is faster."""
    monkeypatch.setenv("CC", NO_COMPILER)


@pytest.fixture(scope="module", name="made")
def _made(tmp_path_factory):
    """Where runs are kept that the tests copy."""
    return tmp_path_factory.mktemp("made")


@pytest.fixture(name="trained")
def _trained(made, tmp_path):
    """Makes the folder of a run that was trained for 510 iterations."""

    def make(**run):
        one = Folder(made, small(**run))
        if not one.state.exists():
            train(one, 510)
        shutil.copytree(one.path, tmp_path / one.path.name)
        return Folder(tmp_path, one.run)

    return make


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.path.iterdir() if path.name != "lock"}


def refused(folder, message, goal=600):
    before = contents(folder)
    with pytest.raises(Refused, match=message):
        train(folder, goal)
    assert contents(folder) == before


@pytest.mark.parametrize("other", [{"seed": 1}, {"variant": "minibatch"}, {"optimiser": "Descent"}])
def test_the_state_of_another_run(other, trained):
    folder, other = trained(), trained(**other)
    shutil.copy(other.state, folder.state)
    refused(
        folder, r"state\.npz (is not the state of the run that settings\.json tells of|: the|.* is of Descent)|is of"
    )


def test_the_state_of_another_run_is_not_drawn(trained):
    folder, other = trained(), trained(seed=1)
    table = Table(folder.path.parent)
    kind = ("2LR", "stochastic", "ADAM")
    assert int(table.curve(kind, 0).count) == 510
    shutil.copy(other.state, folder.state)
    with pytest.raises(Refused, match="is not the state of the run"):
        table.curve(kind, 0)


def changed_settings(folder, **changes):
    path = folder.path / "settings.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eta": 0.5}, r"begun with the eta 0\.5, not 0\.01"),
        ({"seed": 7}, "begun with the seed 7, not 0"),
        ({"model": None}, "begun with the model None, not '2LR'"),
        ({"threads": "1"}, "damaged: it tells of '1' threads"),
        ({"threads": 0}, "damaged: it tells of 0 threads"),
        ({"step": "native code"}, "begun with native code"),
        ({"step": None}, "is not the state of the run that settings"),
        ({"parameters": 5}, "is not the state of the run that settings"),
    ],
)
def test_changed_settings(changes, message, trained):
    folder = trained()
    changed_settings(folder, **changes)
    refused(folder, message)


@pytest.mark.parametrize("text", ["", "[1, 2]", "5", "null", "{", "[" * 100_000, '{"eta": NaN}', "\0\0"])
def test_settings_that_are_none(text, trained):
    folder = trained()
    (folder.path / "settings.json").write_text(text)
    refused(folder, r"settings\.json is damaged \(.*remove .*, and the run begins anew")


@pytest.mark.parametrize("name", ["settings.json", "state.npz"])
def test_a_file_that_is_missing(name, trained):
    folder = trained()
    (folder.path / name).unlink()
    refused(folder, rf"{name} is missing\. Remove .*seed0, and the run begins anew")


def test_a_table_of_runs_with_another_eta(trained):
    folder = trained()
    Table(folder.path.parent)
    changed_settings(folder, eta=0.5)
    with pytest.raises(Refused, match="was begun with the eta"):
        Table(folder.path.parent)


# Metrics


def rewrite(folder, change):
    path = folder.path / "metrics.jsonl"
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: b"", "metrics.jsonl lacks the checkpoint of 500 iterations; state.npz is that of 510"),
        (lambda text: text.replace(b'{"iteration": 500', b'{"iteration": 499'), "lacks the checkpoint of 500"),
        (
            lambda text: text.replace(b'"iteration": 510', b'"iteration": 511'),
            "tells of 511 iterations, state.npz of 510",
        ),
        (lambda text: text.replace(b'"iteration": 510', b'"iteration": 0'), "tells of 0 iterations"),
        (
            lambda text: text.replace(b'"loss": ', b'"loss": 1'),
            "tells of the loss .* after 500 iterations, state.npz of ",
        ),
    ],
)
def test_metrics_that_tell_of_something_else(change, message, trained):
    folder = trained()
    rewrite(folder, change)
    refused(folder, message)


def test_the_metrics_of_another_seed(trained):
    folder, other = trained(), trained(seed=1)
    shutil.copy(other.path / "metrics.jsonl", folder.path)
    refused(folder, "tells of the loss .* after 500 iterations, state.npz of")


BAD = [
    b"nonsense",
    b"",
    b"5",
    b"[]",
    b"{}",
    b"\0\0\0\0",
    b"\0" + json.dumps(CHECKPOINT).encode(),
    json.dumps(CHECKPOINT).encode() + b"\r",
    json.dumps(CHECKPOINT).encode().replace(b": 0.5", b": NaN"),
    json.dumps(CHECKPOINT).encode().replace(b": 500", b': "500"'),
    json.dumps(CHECKPOINT).encode().replace(b": 500", b": -1"),
    json.dumps({name: x for name, x in CHECKPOINT.items() if name != "loss"}).encode(),
    b"\xff\xfe",
    b"[" * 100_000,
    '{"event": "be\u2028gun"}'.encode(),  # no time in it
]


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
def test_a_bad_line_is_named_and_nothing_is_cut(bad, trained):
    folder = trained()
    rewrite(folder, lambda text: text.replace(b"\n", b"\n" + bad + b"\n", 1))  # the second line
    refused(folder, r"metrics\.jsonl, line 2, is damaged \(.+\): b.*\. Remove .*seed0, and the run begins anew")
    before = contents(folder)
    with pytest.raises(Refused, match="line 2, is damaged"):
        folder.append(CHECKPOINT)
    assert contents(folder) == before
    with pytest.raises(Refused, match="line 2, is damaged"):
        Table(folder.path.parent)


def test_line_ends_of_another_system(trained):
    folder = trained()
    rewrite(folder, lambda text: text.replace(b"\n", b"\r\n"))
    refused(folder, r"metrics\.jsonl, line 1, is damaged \(a carriage return is in it\)")


@pytest.mark.parametrize("torn", [b'{"iter', b"\0\0\0\0", b"\xe2\x82", b'{"a": "\r', json.dumps(CHECKPOINT).encode()])
def test_what_a_killed_run_wrote_of_a_line_is_removed(torn, trained):
    folder = trained()
    before = folder.metrics()
    rewrite(folder, lambda text: text + torn)
    assert folder.metrics() == before
    train(folder, 520)
    assert came_to(folder, 520)
    assert folder.metrics()[: len(before)] == before


@pytest.mark.parametrize(
    "text", ["", "5", "[]", '{"iteration": "a", "loss": 1}', '{"iteration": 5}', '{"iteration": 5, "loss": NaN}']
)
def test_a_damaged_word_on_progress_is_none(text, tmp_path):
    folder = Folder(tmp_path, small())
    folder.path.mkdir()
    (folder.path / "progress.json").write_text(text)
    assert folder.told() is None
    folder.tell(7, 0.5)
    assert folder.told() == {"iteration": 7, "loss": 0.5}


def test_a_state_that_counts_wrong(trained):
    folder = trained()
    with np.load(folder.state) as file:
        arrays = dict(file)
    for name, value in (("model['curve'].count", -5), ("model['curve'].count", 10**9), ("model['seconds']", np.nan)):
        np.savez(folder.state, **{**arrays, name: np.full_like(arrays[name], value)})
        refused(folder, r"state\.npz is damaged: it tells of .* iterations in .* s")


def test_what_a_killed_process_left_of_a_report_is_removed_after_an_hour(tmp_path):

    fresh, stale, other = (tmp_path / name for name in (".0123456789abcdef.r.md", ".1123456789abcdef.r.md", ".x.r.md"))
    for path in (fresh, stale, other):
        path.write_text("half")
    os.utime(stale, (0, 0))
    os.utime(other, (0, 0))
    with replaced(tmp_path / "r.md") as temporary:
        temporary.write_text("whole")
    assert {path.name for path in tmp_path.iterdir()} == {fresh.name, other.name, "r.md"}

"""examples/optimisers_mnist: who takes part, the protocol, and what becomes of runs that were killed or diverged."""

import itertools
import json
import shutil
import sys

import numpy as np
import pytest
from scipy.special import log_softmax
from threadpoolctl import threadpool_limits

import tinyflux as flux
from examples.common import datasets, workers
from examples.common.command import Refused
from examples.common.signals import Stopped
from examples.optimisers_mnist import contest, job, timing, training
from examples.optimisers_mnist.__main__ import main
from examples.optimisers_mnist.contest import ADAM, CONTESTANTS, ENTRIES, PADAM
from tests.support.flux_mnist import NO_COMPILER, finish, kill, needs_compiler, never, start_python, wait_for

DATASET = {"dataset": "digits", "data_sha256": "of no matter here"}
ITERATIONS = 12
COMMON = ["quick", "--dataset", "digits"]


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """As in the processes; and threads that wait for each other would take most of the time."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module", name="digits")
def _digits():
    return training.split(datasets.load("digits"))


@pytest.fixture(name="numpy")
def _numpy(monkeypatch):
    """No compiler: for a few iterations NumPy is faster."""
    monkeypatch.setenv("CC", NO_COMPILER)


# Who takes part


def test_every_rule_of_the_library_takes_part():
    rules = [type(entry.rule(entry.values[0], 100)) for entry in CONTESTANTS]
    assert set(rules) == set(flux.optimise.RULES) - {flux.SOAP}  # whose steps take too long
    assert len(rules) - len(set(rules)) == len(["RMSProp centred", "Demon Momentum", "Demon Adam"])
    assert len(ENTRIES) == len(CONTESTANTS) + len(PADAM) + len(ADAM)


def test_a_value_is_the_learning_rate_and_all_else_the_default():
    for entry in [entry for entry in CONTESTANTS if " " not in entry.name and entry.name != "AdaDelta"]:
        rule = getattr(flux, entry.name)
        assert [entry.rule(eta, 100) for eta in entry.values] == [rule(eta=eta) for eta in entry.values]
    assert ENTRIES["AdaDelta"].rule(1e-5, 100) == flux.AdaDelta(epsilon=1e-5)
    assert ENTRIES["RMSProp centred"].rule(0.1, 100) == flux.RMSProp(0.1, centred=True)


def test_demon_decays_over_the_run():
    momentum, adam = (ENTRIES[f"Demon {name}"].rule(0.1, 50) for name in ("Momentum", "Adam"))
    assert type(momentum.rho) is type(adam.beta[0]) is flux.schedules.Demon
    assert [momentum.rho(0), momentum.rho(50), adam.beta[0](50)] == pytest.approx([0.9, 0.0, 0.0])


def test_padams_grid_and_adams_numbers_around_the_defaults():
    tried = {(entry.rule(value, 1).p, entry.rule(value, 1).eta) for entry in PADAM for value in entry.values}
    assert tried == set(itertools.product((1 / 4, 1 / 8, 1 / 16), (0.1, 0.01, 0.001)))
    for entry in ADAM:
        assert entry.rule(contest.DEFAULTS[entry.varied], 1) == flux.Adam()
        assert contest.DEFAULTS[entry.varied] in entry.values[1:-1]
        assert len({repr(entry.rule(value, 1)) for value in entry.values}) == len(entry.values) == 7


# The protocol


def test_validation_images_are_a_sixth_of_the_training_images_and_in_no_other_part():
    numbers = np.arange(60_000)
    data = datasets.Data("made up", "", (numbers[:, None], numbers), (-1 - numbers[:10_000, None], numbers[:10_000]))
    train, validation, test = training.split(data)
    assert len(validation.labels) == 10_000
    assert sorted([*train.labels, *validation.labels]) == list(numbers)
    for part in (train, validation):
        np.testing.assert_array_equal(part.pixels[:, 0], part.labels)
    assert (test.pixels < 0).all()
    np.testing.assert_array_equal(training.split(data).validation.labels, validation.labels)


def by_hand(seed, iterations, data, eta):
    """Losses and accuracies of gradient descent, written down without tinyflux, but for the first weights."""
    flux.seed(seed)
    first, second = training.build()
    w1, b1, w2, b2 = (x.astype(float) for x in (first.weight, first.bias, second.weight, second.bias))
    for rows in training.orders(seed, len(data.train.labels), iterations):
        x, y = data.train.pixels[rows], np.eye(10)[data.train.labels[rows]]
        hidden = np.maximum(x @ w1.T + b1, 0)
        dlogits = (np.exp(log_softmax(hidden @ w2.T + b2, axis=1)) - y) / len(x)
        dhidden = dlogits @ w2 * (hidden > 0)
        w1, b1 = w1 - eta * dhidden.T @ x, b1 - eta * dhidden.sum(axis=0)
        w2, b2 = w2 - eta * dlogits.T @ hidden, b2 - eta * dlogits.sum(axis=0)
    found = {}
    for name, (x, labels) in data._asdict().items():
        logits = np.maximum(x @ w1.T + b1, 0) @ w2.T + b2
        found[f"{name} loss"] = -log_softmax(logits, axis=1)[np.arange(len(x)), labels].mean()
        found[f"{name} accuracy"] = np.mean(logits.argmax(axis=1) == labels)
    return found


def test_a_run_is_what_it_is_said_to_be(how, digits):
    run = training.train(flux.Descent(0.5), 3, ITERATIONS, digits, never)
    assert run["step"] == how
    assert run["diverged"] is None
    assert run["curve"].pop("iteration") == training.checkpoints(ITERATIONS)
    expected = by_hand(3, ITERATIONS, digits, 0.5)
    assert {name: values[-1] for name, values in run["curve"].items()} == pytest.approx(expected, rel=1e-4, abs=0.002)


def test_each_pass_takes_every_image_once_in_an_order_of_the_seed():
    order = training.orders(0, 300, 6)  # two mini-batches of 128 a pass
    assert order.shape == (6, training.BATCHSIZE)
    for first in (0, 2, 4):
        assert len(set(order[first : first + 2].ravel())) == 2 * training.BATCHSIZE
    assert (order[:2] != order[2:4]).any()
    assert (order != training.orders(1, 300, 6)).any()


@pytest.mark.usefixtures("numpy")
def test_the_same_seed_gives_the_same_numbers_and_another_one_others(digits):
    one, again, other = (
        training.train(flux.Adam(0.01), seed, ITERATIONS, digits, never)["curve"] for seed in (0, 0, 1)
    )
    assert one == again
    assert one["train loss"][0] != other["train loss"][0]  # other weights
    assert one["test loss"][-1] != other["test loss"][-1]


@pytest.mark.usefixtures("numpy")
def test_stopping_a_run(digits):
    with pytest.raises(Stopped, match=r"Descent\(eta=0.1\) was stopped after 0 iterations; this run begins anew"):
        training.train(flux.Descent(), 0, ITERATIONS, digits, lambda: True)


def test_a_rule_that_diverges_ends_without_a_word(how, digits, capfd):
    run = training.train(flux.Descent(1e30), 0, ITERATIONS, digits, never)
    assert 0 < run["diverged"] < ITERATIONS
    assert run["curve"]["iteration"] == [n for n in training.checkpoints(ITERATIONS) if n < run["diverged"]]
    assert np.isfinite(run["curve"]["train loss"]).all()
    json.dumps(run, allow_nan=False)
    assert capfd.readouterr() == ("", "")


# The choice


def made_up(validation, diverged=None, test=0.5):
    return {"diverged": diverged, "curve": {"validation accuracy": [0.1, validation], "test accuracy": [0.1, test]}}


def test_the_value_is_chosen_by_the_mean_on_the_validation_images():
    runs = {(0.1, 1): made_up(0.9), (0.1, 2): made_up(0.7), (0.2, 1): made_up(0.85), (0.2, 2): made_up(0.85)}
    assert job.choose(runs, (0.1, 0.2), (1, 2)) == 0.2
    assert job.choose(runs, (0.1, 0.2), (1,)) == 0.1
    runs[0.1, 3], runs[0.2, 3] = made_up(0.99), made_up(0.0)  # a seed by which nothing is chosen
    assert job.choose(runs, (0.1, 0.2), (1, 2)) == 0.2
    for value, seed in list(runs):
        runs[value, seed]["curve"]["test accuracy"] = [1.0 if value == 0.1 else 0.0]
    assert job.choose(runs, (0.1, 0.2), (1, 2)) == 0.2


def test_a_run_that_diverged_counts_as_nothing():
    runs = {(0.1, 1): made_up(0.5), (0.1, 2): made_up(0.5), (0.2, 1): made_up(0.9), (0.2, 2): made_up(0.9, diverged=7)}
    assert job.choose(runs, (0.1, 0.2), (1, 2)) == 0.1
    both = {(value, 1): made_up(0.9, diverged=7) for value in (0.1, 0.2)}
    assert job.choose(both, (0.1, 0.2), (1,)) == 0.1


def a_job(results, name="Descent", iterations=ITERATIONS, choosing=(100,), reporting=(0, 1)):
    task = job.Task(name, iterations)
    goal = len(ENTRIES[name].values) * len(choosing) + len(reporting)
    return job.Job(str(results), task, goal, DATASET, 1_198, 1, choosing=choosing, reporting=reporting)


def lines(folder):
    """The runs that were noted, without the times."""
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in folder.metrics() if "curve" in entry]


@pytest.mark.usefixtures("numpy")
def test_a_job_tries_all_values_and_reports_the_best_with_other_seeds(tmp_path):
    one = a_job(tmp_path)
    job.work(one, never)
    assert one.left() == []
    runs = job.finished(one.folder)
    best = max(one.entry.values, key=lambda value: runs[value, 100]["curve"]["validation accuracy"][-1])
    assert list(runs) == [*[(value, 100) for value in one.entry.values], (best, 0), (best, 1)]
    assert one.reached() == one.goal == 7
    assert one.outcome().startswith(f"7 runs; η {best:g}, ")
    assert [run["rule"] for run in runs.values()] == [repr(flux.Descent(value)) for value, _ in runs]
    before = one.folder.metrics()
    job.work(one, never)
    assert one.folder.metrics() == before


@pytest.mark.usefixtures("numpy")
def test_more_seeds_go_on_from_what_is_there(tmp_path):
    job.work(a_job(tmp_path), never)
    before = a_job(tmp_path).folder.metrics()
    job.work(a_job(tmp_path, reporting=(0, 1, 2)), never)
    after = a_job(tmp_path).folder.metrics()
    assert after[: len(before)] == before
    event, run = after[len(before) :]
    assert (event["event"], run["seed"]) == ("gone on", 2)


@pytest.mark.usefixtures("numpy")
def test_variations_choose_nothing(tmp_path):
    one = a_job(tmp_path, "Padam p=0.25", choosing=(0, 1), reporting=())
    job.work(one, never)
    assert list(job.finished(one.folder)) == list(itertools.product((0.1, 0.01, 0.001), (0, 1)))


@needs_compiler
def test_native_code_and_numpy_give_the_same_but_for_roundings(digits, monkeypatch):
    runs = [training.train(flux.Adam(0.003), 0, ITERATIONS, digits, never)]
    monkeypatch.setenv("CC", NO_COMPILER)
    runs.append(training.train(flux.Adam(0.003), 0, ITERATIONS, digits, never))
    assert [run["step"] for run in runs] == ["native code", "NumPy"]
    for name in ("train loss", "validation loss", "test loss"):
        assert runs[0]["curve"][name] == pytest.approx(runs[1]["curve"][name], rel=1e-4)


# What is refused


@pytest.fixture(scope="module", name="made")
def _made(tmp_path_factory):
    """A job that is done."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CC", NO_COMPILER)
        one = a_job(tmp_path_factory.mktemp("made"), "Padam p=0.25", 7, choosing=(0,), reporting=())
        job.work(one, never)
    return one


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": "Padam(eta=0.2)"}, r"line 2, holds a run of Padam\(eta=0\.2\), not Padam\(eta=0\.1,"),
        ({"value": 0.3}, r"line 2, holds a run of Padam\(eta=0\.1, .*, not Padam\(eta=0\.3,"),
        ({"value": "a"}, "line 2, is damaged"),
        ({"seed": 0.5}, "line 2, is damaged"),
        ({"curve": {}}, "line 2, holds a run without all measurements"),
        ({"curve": [1]}, "line 2, holds a run without all measurements"),
        ({"diverged": "no"}, "line 2, holds a run without all measurements"),
    ],
)
def test_runs_that_are_not_those_of_the_job(change, message, made, tmp_path):
    one = a_job(tmp_path, "Padam p=0.25", 7, choosing=(0,), reporting=())
    shutil.copytree(made.folder.path, one.folder.path)
    assert one.left() == []
    path = one.folder.path / "metrics.jsonl"
    event, run, *others = path.read_text().splitlines(keepends=True)
    path.write_text("".join([event, json.dumps({**json.loads(run), **change}) + "\n", *others]))
    before = path.read_bytes()
    for use in (one.left, one.outcome, lambda: job.work(one, never)):
        with pytest.raises(Refused, match=message):
            use()
    assert path.read_bytes() == before


def test_settings_of_another_job(made, tmp_path):
    one = a_job(tmp_path, "Padam p=0.25", 7, choosing=(0,), reporting=())
    shutil.copytree(made.folder.path, one.folder.path)
    path = one.folder.path / "settings.json"
    path.write_text(path.read_text().replace('"batchsize": 128', '"batchsize": 64'))
    with pytest.raises(Refused, match="begun with the batchsize 64, not 128"):
        job.work(one, never)
    path.unlink()
    with pytest.raises(Refused, match=r"settings\.json is missing"):
        job.work(one, never)


@pytest.mark.parametrize("text", ["", "5", "[1]", '{"Adam": "a"}', '{"Adam": -1.0}', '{"Adam": NaN}', "\0"])
def test_times_that_are_damaged(text, tmp_path):
    (tmp_path / "times.json").write_text(text)
    with pytest.raises(Refused, match=r"times\.json is damaged \(.*\); remove it, and the times are measured anew"):
        timing.times(tmp_path, "digits", ["Adam"])
    (tmp_path / "times.json").write_text('{"Adam": 2.5}')
    assert timing.times(tmp_path, "digits", ["Adam"]) == {"Adam": 2.5}


# The command

LONG = 100  # iterations
PLANNED = {"Descent": 13, "Padam p=0.25": 6}  # runs of two rules, as `quick` has them


def command(tmp_path, *arguments):
    line = [sys.executable, "-m", "examples.optimisers_mnist", *COMMON, *map(str, arguments)]
    return start_python(tmp_path, line, stdout=-1, stderr=-1, encoding="utf-8")


@pytest.mark.usefixtures("numpy")
def test_a_command_that_is_killed_goes_on_without_repeating_a_run(tmp_path):
    arguments = ["--iterations", LONG, "--rules", *PLANNED, "--workers", 2, "--output", tmp_path / "out"]
    folders = {name: a_job(tmp_path / "out", name, LONG).folder for name in PLANNED}
    killed = command(tmp_path, *arguments)
    wait_for(lambda: any(len(lines(folder)) >= 3 for folder in folders.values()), killed)
    kill(killed)
    before = {name: lines(folder) for name, folder in folders.items()}
    done = sum(map(len, before.values()))
    assert 3 <= done < 19
    with open(folders["Descent"].path / "metrics.jsonl", "a") as file:
        file.write('{"value": 0.3, "se')  # as if it had been writing
    assert f"2 rules, 19 runs of which {done} are done" in finish(command(tmp_path, *arguments))
    for name, folder in folders.items():
        after = lines(folder)
        assert after[: len(before[name])] == before[name]
        assert len({(run["value"], run["seed"]) for run in after}) == len(after) == PLANNED[name]
    whole = a_job(tmp_path / "whole", "Descent", LONG, (100, 101), (0, 1, 2))
    assert workers.in_a_process(whole) == (workers.DONE, "")
    assert lines(folders["Descent"]) == lines(whole.folder)
    text = (tmp_path / "out" / "report" / "report.md").read_text()
    assert text.startswith("# All optimisers on scikit-learn's small digits, not MNIST")
    assert "| Descent | η = " in text


def test_help(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for word in ("quick ", "full ", "--rules", "--workers", "goes on with the runs that are not done", *ENTRIES):
        assert word in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", "required: preset"),
        ("fast", "invalid choice: 'fast'"),
        ("quick --rules SGD", "--rules: invalid choice: 'SGD'"),
        ("quick --iterations 0", "--iterations: expected a whole number from 1 to 10^12, got '0'"),
        ("quick --workers two", "--workers: expected a whole number from 1"),
        ("quick --dataset cifar", "--dataset: invalid choice: 'cifar'"),
    ],
)
def test_arguments_that_are_wrong(arguments, words, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments.split())
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("usage: python -m examples.optimisers_mnist")
    assert words in error


def test_runs_of_other_images_are_refused_at_once(tmp_path, capsys):
    other = a_job(tmp_path, iterations=1_000)
    other.folder.path.mkdir()
    other.folder.begin({**other.run._asdict(), "dataset": "mnist", "data_sha256": "other"})
    assert main([*COMMON, "--rules", "Descent", "--output", str(tmp_path)]) == 1
    assert (
        "Descent-1000 was begun with the dataset 'mnist', not 'digits'; name another folder" in capsys.readouterr().err
    )


def test_a_folder_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main([*COMMON, "--output", str(tmp_path / "file")]) == 1
    assert f"optimisers_mnist: --output {tmp_path / 'file'}: cannot be written to" in capsys.readouterr().err


@pytest.mark.usefixtures("numpy")
def test_a_rule_that_fails_does_not_cost_the_report_of_the_others(tmp_path, capsys):
    (a_job(tmp_path, "Adam eta").folder.path / "lock").mkdir(parents=True)  # in the way of a file
    more = ["--iterations", str(ITERATIONS), "--rules", "Adam eta", "Padam p=0.25", "--output", str(tmp_path)]
    assert main([*COMMON, *more]) == 1
    out, err = capsys.readouterr()
    assert "optimisers_mnist: 1 rules failed:\n  Adam eta: " in err
    assert "Is a directory" in err
    assert f"The report: {tmp_path / 'report' / 'report.html'}" in out
    text = (tmp_path / "report" / "report.md").read_text()
    assert "**Not done yet, and left out: Adam eta.**" in text
    assert "The best of all is p = 1/4" in text


@pytest.mark.usefixtures("numpy")
def test_where_nothing_is_done_there_is_no_report(tmp_path, capsys):
    (a_job(tmp_path).folder.path / "lock").mkdir(parents=True)
    more = ["--iterations", str(ITERATIONS), "--rules", "Descent", "--output", str(tmp_path)]
    assert main([*COMMON, *more]) == 1
    assert "no rule is done, so that there is nothing to report" in capsys.readouterr().err

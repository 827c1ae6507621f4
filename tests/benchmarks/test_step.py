"""The benchmark compares the same work, and its table says what was measured; how fast it is is not tested."""

import itertools
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

import tinyflux
from benchmarks import memory, models, step, worker
from benchmarks.models import EPSILON, MODELS, OPTIMISERS, Cell
from benchmarks.peers import COMPILERS, PEERS, Before, installed, looped

CELLS = [Cell(model, batchsize, rule) for model in MODELS for batchsize in (1, 128) for rule in OPTIMISERS]
COMPILE_FOR_SECONDS = ("torch.compile", "JAX lax.scan")  # these do a few of the cells
FEW = [Cell("4LS", 1, "ADAM"), Cell("3LS", 128, "Descent"), Cell("2LR", 128, "ADAM")]


@pytest.fixture(scope="module")
def samples():
    images, labels = models.synthetic(models.POOL)
    return images.reshape(-1, 784), np.eye(10, dtype=np.float32)[labels]


def by_hand(cell, batches, n):
    """The losses of n steps and the parameters after them, in float64, all derivatives written out."""
    params = [p.astype(float) for layer in cell.weights() for p in layer]
    m, v, losses = [0.0] * len(params), [0.0] * len(params), []
    for t, (x, y) in enumerate(batches[:n], 1):
        values = [x.astype(float)]
        for i, activation in enumerate(cell.activations):
            z = values[-1] @ params[2 * i].T + params[2 * i + 1]
            e = np.exp(z - z.max(axis=1, keepdims=True))
            values.append(
                {"sigmoid": expit(z), "relu": np.maximum(z, 0), "softmax": e / e.sum(axis=1, keepdims=True)}[activation]
            )
        p = values[-1]
        if cell.loss == "mse":
            losses.append(np.mean((p - y) ** 2))
            g = 2 * (p - y) / y.size
        else:
            losses.append(-np.sum(y * np.log(p + EPSILON)) / len(y))
            g = -y / (p + EPSILON) / len(y)
        grads = []
        for i in reversed(range(len(cell.activations))):
            a = values[i + 1]
            softmax = a * (g - (g * a).sum(axis=1, keepdims=True))
            g = {"sigmoid": g * a * (1 - a), "relu": g * (a > 0), "softmax": softmax}[cell.activations[i]]
            grads = [g.T @ values[i], g.sum(axis=0), *grads]
            g = g @ params[2 * i]
        for i, d in enumerate(grads):
            m[i], v[i] = 0.9 * m[i] + 0.1 * d, 0.999 * v[i] + 0.001 * d**2
            adam = m[i] / (1 - 0.9**t) / (np.sqrt(v[i] / (1 - 0.999**t)) + 1e-8)
            params[i] = params[i] - cell.eta * (adam if cell.optimiser == "ADAM" else d)
    return losses, params


@pytest.mark.parametrize(
    ("name", "cell"),
    [(name, cell) for name in PEERS for cell in (FEW if name in COMPILE_FOR_SECONDS else CELLS)],
    ids=lambda x: f"{x.model}-{x.batchsize}-{x.optimiser}" if isinstance(x, Cell) else x,
)
@pytest.mark.filterwarnings("default")  # the peers' own
def test_contender_does_the_work_of_a_step_by_hand(name, cell, samples):
    if not installed(name):
        pytest.skip(f"needs {PEERS[name][0]}{' and a compiler' * (name in COMPILERS)}")
    batches = cell.batches(*samples)
    run, weights = PEERS[name][1](cell, batches)
    found = [run(1) for _ in range(4)], [np.array(w) for w in weights()]
    start = [w for layer in cell.weights() for w in layer]
    assert all(w.dtype == np.float32 for w in weights())
    step.check({"by hand": by_hand(cell, batches, 4), name: found}, start)


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.filterwarnings("default")
def test_a_run_of_several_steps_is_that_many_steps(name, samples):
    if not installed(name):
        pytest.skip(f"needs {PEERS[name][0]}{' and a compiler' * (name in COMPILERS)}")
    cell = Cell("2LR", 128, "ADAM")
    batches = cell.batches(*samples)
    (once, weights), (each, expected) = PEERS[name][1](cell, batches), PEERS[name][1](cell, batches)
    losses = [each(1) for _ in range(4)]
    assert once(4) == losses[-1]
    for w, e in zip(weights(), expected(), strict=True):
        np.testing.assert_array_equal(w, e)


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.filterwarnings("default")
def test_a_long_run_takes_the_batches_in_turn(name, samples):
    """However a contender divides it: into calls of several steps, or of one."""
    if not installed(name):
        pytest.skip(f"needs {PEERS[name][0]}{' and a compiler' * (name in COMPILERS)}")
    cell = Cell("4LS", 128, "Descent")
    batches = cell.batches(*samples)[:3]
    run, weights = PEERS[name][1](cell, batches)
    first, last = run(2), run(75)
    losses, params = by_hand(cell, batches * 26, 77)
    assert [first, last] == pytest.approx([losses[1], losses[76]], rel=1e-4)
    for w, p in zip(weights(), params, strict=True):
        np.testing.assert_allclose(w, p, atol=1e-4)


@pytest.mark.parametrize(("rows", "optimiser"), [(300, "Descent"), (300, "ADAM"), (256, "ADAM")])
def test_the_step_in_c_for_several_blocks_of_rows(rows, optimiser, samples):
    if not installed("hand-written C"):
        pytest.skip("needs cc")
    cell = Cell("3LS", rows, optimiser)
    batches = cell.batches(*samples)
    run, weights = PEERS["hand-written C"][1](cell, batches)
    found = [run(1) for _ in range(4)], weights()
    step.check({"by hand": by_hand(cell, batches, 4), "C": found}, [w for layer in cell.weights() for w in layer])


def test_check_refuses_other_work():
    start = [np.zeros(3)]
    mine = ([1.0], [np.array([1.0, 2.0, 2.0])])
    step.check({"a": mine, "b": ([1.00001], [np.array([1.01, 2.0, 2.0])])}, start)
    with pytest.raises(AssertionError, match="losses of b and a"):
        step.check({"a": mine, "b": ([1.001], mine[1])}, start)
    with pytest.raises(AssertionError, match=r"b and a disagree on array 0: 0\.1 apart, 3 away"):
        step.check({"a": mine, "b": ([1.0], [np.array([1.1, 2.0, 2.0])])}, start)


@pytest.mark.parametrize(
    ("batchsize", "ours", "theirs"),
    [(128, "2.0 µs ±15%", "5.0 µs (2.50×)"), (60_000, "2.0 ms ±15%", "5.0 ms (2.50×)")],
)
def test_row_has_medians_and_ratios(batchsize, ours, theirs):
    unit = 1e-6 if batchsize == 128 else 1e-3
    times = {"tinyflux": [1.8 * unit, 3.0 * unit, 2.0 * unit], "slow": [5.0 * unit, 5.1 * unit, 4.8 * unit]}
    assert step.row(Cell("4LS", batchsize, "ADAM"), times) == ["4LS", f"{batchsize:,}", "ADAM", ours, theirs]


def test_ratios_are_to_compiled_tinyflux_where_it_takes_part():
    times = {"tinyflux": [3e-5], "tinyflux compiled": [2e-6], "slow": [5e-6]}
    entries = step.row(Cell("4LS", 1, "ADAM"), times)
    assert entries[3:] == ["30.0 µs (15.0×)", "2.0 µs", "5.0 µs (2.50×)"]


def test_batches_cover_the_pool_in_turn(samples):
    x, y = samples
    batches = Cell("4LS", 128, "ADAM").batches(x, y)
    np.testing.assert_array_equal(np.concatenate([b for b, _ in batches]), x)
    seen = []
    looped(lambda x, y: seen.append(x) or np.float32(0), batches)(len(batches) + 1)
    assert seen[-1] is seen[0] is batches[0][0]
    assert len(Cell("4LS", 60_000, "ADAM").batches(np.zeros((60_000, 1)), np.zeros(60_000))) == 1


def fake(cell, batches):
    """A contender whose work is right, but who is called Fake."""
    return PEERS["tinyflux"][1](cell, batches)


def wrong(cell, batches):
    run, weights = fake(cell, batches)
    return lambda n: run(n) + 1, weights


def cli(capsys, *arguments):
    step.main(["--models", "2LR", "--batchsizes", "1", "--rounds", "2", "--seconds", "0.01", *arguments])
    return capsys.readouterr().out


@pytest.fixture
def few(monkeypatch, samples):
    """Other contenders, and no search for MNIST."""
    monkeypatch.setattr(step, "data", lambda n: (*samples, "invented"))
    monkeypatch.setitem(PEERS, "Fake", ("numpy", fake))
    monkeypatch.setitem(PEERS, "Absent", ("tinyflux_has_no_such_peer", fake))


def test_command_prints_a_table(capsys, few):
    out = cli(capsys, "--peers", "Fake", "Absent")
    assert "data: invented" in out
    assert "not installed, left out: Absent" in out
    head, descent, adam = out.splitlines()[-3:]
    assert head.split() == ["model", "batch", "rule", "tinyflux", "Fake"]
    for text, rule in [(descent, "Descent"), (adam, "ADAM")]:
        time = r"([\d.]+ [µm]s)"
        found = re.fullmatch(rf"2LR +1 +{rule} +{time}(?: ±\d+%)? +{time} \(([\d.]+)×\)(?: ±\d+%)?", text)
        assert found, text
        *times, ratio = found.groups()
        ours, theirs = (float(t.split()[0]) * (1000 if t.endswith("ms") else 1) for t in times)
        rounding = sum(0.05 / float(t.split()[0]) for t in times)  # one decimal; the ratio has two
        assert float(ratio) == pytest.approx(theirs / ours, rel=0, abs=0.005 + rounding * theirs / ours)


def test_an_earlier_checkout_takes_part(capsys, few, tmp_path):
    (tmp_path / "tinyflux").symlink_to(Path(tinyflux.__file__).parent)
    out = cli(capsys, "--peers", "--optimisers", "ADAM", "--before", str(tmp_path))
    assert out.splitlines()[-2].split("  ")[-1].strip() == "tinyflux, before"


def test_a_folder_without_the_package_is_no_earlier_checkout(tmp_path):
    with pytest.raises(ImportError, match=f"expected a package tinyflux in {tmp_path}, got the one of"):
        Before("tinyflux", str(tmp_path))(Cell("2LR", 1, "ADAM"), [])
    sys.path.remove(str(tmp_path))


def test_command_prints_markdown(capsys, few):
    out = cli(capsys, "--peers", "Fake", "--optimisers", "ADAM", "--markdown")
    head, rule, row = out.splitlines()[-3:]
    assert (head, rule) == ("| model | batch | rule | tinyflux | Fake |", "| --- | --- | --- | --- | --- |")
    assert row.startswith("| 2LR | 1 | ADAM | ")


def test_versions_of_packages_and_programs(monkeypatch):
    monkeypatch.setitem(PEERS, "Fake", ("numpy", fake))
    monkeypatch.setitem(PEERS, "Script", ("python3", fake))
    versions = step.machine(["tinyflux", "Fake", "Fake", "Script"])[1].split(", ")
    assert f"numpy {np.__version__}" in versions
    assert len(versions) == 5
    if installed("Script"):
        assert re.fullmatch(r"python3 Python 3[\d.]+", versions[-1])


def test_command_stops_at_a_contender_that_computes_something_else(capsys, few, monkeypatch):
    monkeypatch.setitem(PEERS, "Wrong", ("numpy", wrong))
    with pytest.raises(AssertionError, match="losses of Wrong and tinyflux"):
        cli(capsys, "--peers", "Wrong")


def test_synthetic_images_are_like_mnists():
    images, labels = models.synthetic(100)
    assert images.shape == (100, 28, 28)
    assert images.dtype == np.float32
    assert 0 <= images.min() < images.max() <= 1
    assert 0.15 < np.mean(images > 0) < 0.25
    assert set(labels) <= set(range(10))


def test_a_disturbed_stretch_is_repeated_while_patience_lasts(monkeypatch):
    busy = iter([0.0, 5.0, 5.0, 5.0])  # others work during the first stretch, and not during the second
    monkeypatch.setattr(worker, "busy_elsewhere", lambda: next(busy))
    durations = iter([2.0, 1.0])
    measured = worker.Worker.__new__(worker.Worker)
    monkeypatch.setattr(measured, "_ask", lambda seconds: next(durations), raising=False)
    assert measured.measure(0.1, patience=60) == 1.0

    monkeypatch.setattr(worker, "busy_elsewhere", itertools.count().__next__)  # others work all the time
    monkeypatch.setattr(measured, "_ask", lambda seconds: 3.0)
    assert measured.measure(0.1) == 3.0


def test_a_loss_that_is_not_finite_is_refused():
    with pytest.raises(ArithmeticError, match="the loss became nan"):
        worker._timed(lambda n: float("nan"), 1)


def test_memory_trains_and_tells_the_peak(capsys, monkeypatch, samples):
    monkeypatch.setattr(models, "data", lambda n: (*samples, "invented"))
    memory.run("2LR", "ADAM", 2)
    out = capsys.readouterr().out
    assert re.search(r"2 iterations of 4,096 samples of invented: loss [\d.]+ to [\d.]+, peak \d+ MB", out), out


def test_peak_is_that_of_this_process():
    before = memory.peak()
    block = np.ones(30_000_000)
    assert memory.peak() >= max(before, block.nbytes / 1e6)


def test_memory_of_a_convolutional_network(capsys):
    memory.run_cell("LeNet-5/1", "tinyflux")
    out = capsys.readouterr().out
    assert re.search(r"LeNet-5/1, tinyflux: \d+ MB beyond \d+ with everything imported", out), out

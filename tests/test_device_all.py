"""`benchmarks.device_all`: parts that are real processes, done within their time or not; no GPU is needed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import device_all
from benchmarks.device_all import Part

ROOT = Path(__file__).parents[1]
TABLE = "print('some words\\n\\n| rule | time |\\n| --- | --- |\\n| ADAM | 1.0 µs |')"
SLEEP = "import time; time.sleep(60)"
# In the place of CuPy for processes that look for it in this folder: what the tests stand in for it with.
CUPY = "import sys\nfrom tests.support import device_standin\nsys.modules[__name__] = device_standin.cupy_module()\n"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(device_all, "GRACE", 0.2)
    monkeypatch.setattr(device_all, "gpu_there", lambda: "Some GPU")


def part(name, code, weight=1.0, least=0.3):
    return Part(name, ("-c", code), weight, least)


def outcome(folder, capsys, minutes, *parts):
    """The exit status, what is printed, and the parts of the JSON file."""
    status = device_all.main(["--minutes", str(minutes), "--folder", str(folder)], parts)
    return status, capsys.readouterr().out, json.loads((folder / "results.json").read_text())["parts"]


def test_parts_that_are_done(tmp_path, capsys):
    folder = tmp_path / "new" / "folder"
    status, shown, (words, table) = outcome(
        folder, capsys, 0.9, part("words", "print('one', 'two')"), part("table", TABLE)
    )
    assert status == 0
    assert (words["outcome"], words["output"], words["table"]) == ("done", ["one two"], [])
    assert (table["outcome"], table["table"]) == ("done", [{"rule": "ADAM", "time": "1.0 µs"}])
    assert 0 < words["seconds"] < 20
    report = (folder / "results.md").read_text()
    assert "Some GPU\n\n## words\n\n`python -c" in report
    assert "\n\n```text\none two\n```\n\n## table\n" in report
    assert report.endswith("some words\n\n| rule | time |\n| --- | --- |\n| ADAM | 1.0 µs |\n")
    assert all(text in shown for text in report.split("\n\n"))
    assert len(re.findall(r"^0 min [345]\d s left$", shown, re.MULTILINE)) == 2
    assert shown.endswith(f"all done. Written to {folder}.\n")


def test_one_that_fails_and_the_next(tmp_path, capsys):
    fails = part("fails", TABLE + "; 1 / 0")
    status, shown, (failed, after) = outcome(tmp_path, capsys, 1, fails, part("after", "print('here')"))
    assert status == 1
    assert (failed["outcome"], failed["reason"]) == ("failed", "exit status 1")
    assert failed["table"] == [{"rule": "ADAM", "time": "1.0 µs"}]
    assert failed["errors"][-1] == "ZeroDivisionError: division by zero"
    assert after["outcome"] == "done"
    assert "failed: exit status 1\n\nsome words\n\n| rule" in shown
    assert "ZeroDivisionError: division by zero\n```" in shown
    assert f"\nfails failed, exit status 1. Written to {tmp_path}.\n" in shown


def test_one_that_hangs_is_stopped_with_all_that_it_started(tmp_path, capsys):
    """It doesn't heed the first signal; what it wrote is kept, and the next part has its own share of the time."""
    deaf = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
    child = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {SLEEP!r}]).pid)"
    hangs = part("hangs", "\n".join([deaf, child, SLEEP]), weight=1)
    status, shown, (hung, after) = outcome(tmp_path, capsys, 6 / 60, hangs, part("after", TABLE, weight=2))
    assert status == 3
    assert (hung["outcome"], hung["reason"]) == ("stopped", "its 2 s were over")
    assert 1.7 < hung["seconds"] < 4
    assert after["outcome"] == "done"
    assert "hangs stopped, its 2 s were over. Written" in shown
    (pid,) = hung["output"]
    for _ in range(100):  # until it has been reaped by whoever has inherited it
        if not alive(int(pid)):
            break
        time.sleep(0.01)
    assert not alive(int(pid))


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_one_that_is_told_to_stop_can_say_what_it_has(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(device_all, "GRACE", 1.0)
    code = f"try:\n    {SLEEP}\nexcept KeyboardInterrupt:\n    print('two of three')"
    _, _, (stopped,) = outcome(tmp_path, capsys, 3 / 60, part("interrupted", code))
    assert (stopped["outcome"], stopped["output"]) == ("stopped", ["two of three"])


def test_what_there_is_no_time_for(tmp_path, capsys):
    long, short = part("long", TABLE, least=40), part("short", TABLE)
    status, shown, (left_out, done) = outcome(tmp_path, capsys, 0.5, long, short)
    assert status == 3
    assert (left_out["outcome"], left_out["seconds"]) == ("left out", 0)
    assert re.fullmatch("(29|30) s were left, and it takes at least 40 s", left_out["reason"])
    assert done["outcome"] == "done"
    assert re.search(rf"left out: {left_out['reason']}\n\n0 min (2\d|30) s left\n", shown)
    assert not (tmp_path / "long.txt").exists()


def test_shares_of_the_time(tmp_path, capsys, monkeypatch):
    """Time that a part doesn't need goes to the others; a small share is raised to what the part takes at least."""
    now, given = [0.0], []

    def run(part, seconds, folder):
        given.append(round(seconds))
        now[0] += {"a": 10, "b": 45, "c": 0}.get(part.name, seconds)
        return device_all.Result(part.name, part.command, "done")

    monkeypatch.setattr(device_all, "run", run)
    monkeypatch.setattr(device_all.time, "monotonic", lambda: now[0])
    parts = [Part("a", (), 3, 1), Part("b", (), 1, 1), Part("c", (), 1, 40), Part("d", (), 1, 1)]
    assert device_all.main(["--minutes", "2", "--folder", str(tmp_path)], parts) == 0
    assert given == [60, 37, 40, 65]  # 3/6 of 120, 1/3 of 110, 1/2 of 65 is less than 40, and all that is left
    assert capsys.readouterr().out.count("min") == 4


def test_what_is_done_outlives_a_kill(tmp_path):
    """Ended by a signal, it takes the part that runs along; ended by force, the report says what was running."""
    code = (
        f"import signal, sys; from benchmarks import device_all; device_all.gpu_there = lambda: 'Some GPU'; "
        f"signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)); "
        f"parts = [device_all.Part('first', ('-c', {TABLE!r}), 1, 6), "
        f"device_all.Part('second', ('-c', 'import os; print(os.getpid()); ' + {SLEEP!r}), 1, 6)]; "
        f"device_all.main(['--folder', {str(tmp_path)!r}], parts)"
    )
    for number in (signal.SIGTERM, signal.SIGKILL):
        process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL)
        second = tmp_path / "second.txt"
        second.unlink(missing_ok=True)
        while not (second.exists() and second.read_text().endswith("\n")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        process.wait(10)
        pid = int(second.read_text())
        assert alive(pid) == (number == signal.SIGKILL)
        first, running = json.loads((tmp_path / "results.json").read_text())["parts"]
        assert (first["outcome"], first["table"]) == ("done", [{"rule": "ADAM", "time": "1.0 µs"}])
        assert (running["outcome"], running["reason"]) == ("running", "what it writes goes to second.txt")
    os.kill(pid, signal.SIGKILL)


def test_its_parts():
    assert [part.name for part in device_all.PARTS] == ["parity", "convolution", "steps", "updates", "trainings"]
    assert sum(part.least for part in device_all.PARTS) < 8 * 60


def test_through_the_stand_in(tmp_path, capsys, monkeypatch):
    """The benchmarks themselves, with tiny sizes: of tinyflux alone, on the stand-in for CuPy."""
    (tmp_path / "cupy.py").write_text(CUPY)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    tiny = "--peers", "--rounds", "1", "--seconds", "0.001"
    cell = "--models", "4LS", "--batchsizes", "128", "--optimisers", "ADAM"
    parts = [
        Part("convolution", ("-m", "tests.support.narrow_resnet", "--batchsize", "2", *tiny), 1, 1),
        Part("steps", ("-m", "benchmarks.device", *cell, *tiny), 1, 1),
    ]
    status, shown, (convolution, steps) = outcome(tmp_path, capsys, 2, *parts)
    assert status == 0, shown
    assert [list(row) for row in convolution["table"]] == [["precision", "tinyflux"]] * 2
    assert [row["precision"] for row in convolution["table"]] == ["float32", "TF32"]
    assert all(re.fullmatch(r"[\d.]+ [mµ]s", row["tinyflux"]) for row in convolution["table"])
    assert [list(row) for row in steps["table"]] == [["model", "batch", "rule", "tinyflux"]]


def test_the_parity_suite_needs_little():
    """It is collected where there is nothing but NumPy, SciPy, pytest and xdist."""
    pytest.importorskip("xdist")
    missing = "hypothesis", "matplotlib", "torch", "jax", "sklearn", "cupy"
    code = f"""
import importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name in {missing}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""
    assert device_all.PARTS[0].arguments[:2] == ("-m", "pytest")
    command = [sys.executable, "-c", code, *device_all.PARTS[0].arguments[2:], "-n", "0", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "error" not in done.stdout.lower(), done.stdout
    assert done.stdout.count("The GPU can't be used: CuPy is not installed") == len(
        list(ROOT.glob("tests/gpu/test_*.py"))
    )

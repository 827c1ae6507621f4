"""Types: a script that people could write passes `mypy --strict`, and the types in it are what it says."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tinyflux as flux

SCRIPT = Path(__file__).parent / "typed" / "script.py"
PACKAGES = Path(flux.__file__).parents[1]


def mypy(folder, text):
    """What mypy says of a script that lies elsewhere, and sees the package as an installed one."""
    (folder / "script.py").write_text(text)
    environment = {**os.environ, "MYPYPATH": ""}
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(folder / "cache"), "--config-file="]
    options = ["--ignore-missing-imports", "--follow-imports=silent", "script.py"]
    done = subprocess.run([*command, *options], cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("mypy"), reason="needs mypy")
def test_a_users_script_is_clean_and_its_mistakes_are_found(tmp_path):
    (tmp_path / "tinyflux").symlink_to(PACKAGES / "tinyflux")
    code, said = mypy(tmp_path, SCRIPT.read_text())
    assert code == 0, said
    mistakes = {
        'flux.Dense("4", 8)': "arg-type",
        "flux.setup(5, model)": "arg-type",
        "flux.f32(model).nothing": "attr-defined",
        "norm(x, x)": "call-arg",
        "flux.DataLoader((x, y), batch=3)": "call-arg",
        "flux.train(loss, model, loader, opt, epochs=1.5)": "arg-type",
        "flux.gradient(loss, model, x, y)[3]": "misc",
    }
    _, said = mypy(tmp_path, SCRIPT.read_text() + "\n".join(mistakes) + "\n")
    found = [line for line in said.splitlines() if "error:" in line]
    lines = len(SCRIPT.read_text().splitlines())
    wanted = [f"script.py:{lines + i + 1}: " for i in range(len(mistakes))]
    assert [line.partition(" ")[0] + " " for line in found] == wanted, said
    assert [line.rpartition("[")[2].rstrip("]") for line in found] == list(mistakes.values()), said


def test_the_script_runs():
    environment = {**os.environ, "PYTHONPATH": str(PACKAGES)}
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], capture_output=True, text=True, timeout=100, cwd=PACKAGES, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert "Chain" in done.stdout

"""The name: what a hint tells to install, and another project that is imported as `tinyflux`, too."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tinyflux as flux
from tests.support.clone import CLONE, needs_clone
from tinyflux import doctor, installed
from tinyflux.installed import conflict, pip_install

ROOT = Path(flux.__file__).parents[1]


def distribution(folder, name, *files, summary="A tiny, time-series database.", version="1.2.0"):
    """What pip leaves of a distribution: its files, and its metadata."""
    about = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\nSummary: {summary}\n")
    (about / "top_level.txt").write_text("tinyflux\n")
    (about / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    for file in files:
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text('"""A database."""\n\n\nclass TinyFlux:\n    pass\n')


def python(folder, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def both(tmp_path):
    """A folder into which ours was installed: its package is a copy."""
    for file in (ROOT / "tinyflux").rglob("*"):
        if file.suffix in (".py", ".h") and file.is_file():
            copy = tmp_path / file.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.symlink_to(file)
    (tmp_path / "tinyflux" / "installed.py").unlink()  # which looks where it lies
    (tmp_path / "tinyflux" / "installed.py").write_text((ROOT / "tinyflux" / "installed.py").read_text())
    distribution(tmp_path, "tinyflux-nn", version=flux.__version__, summary="Flux's idea in Python: bricks")
    return tmp_path


def test_nothing_is_wrong_here():
    assert conflict() == ""
    assert doctor.main() == 0


def test_the_hint_in_a_clone(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    clone = ROOT if (ROOT / "setup.cfg").exists() else "a clone"  # the tests of an installed package have none
    assert pip_install("examples") == f'pip install ".[examples]" in {clone}'
    monkeypatch.setattr(installed, "FOLDER", tmp_path / "tinyflux")
    assert pip_install("a", "b") == 'pip install ".[a]" or pip install ".[b]" in a clone'


def test_the_hint_where_it_is_installed(monkeypatch, tmp_path):
    distribution(tmp_path, "tinyflux-nn", summary="Flux's idea in Python")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert pip_install("a", "b") == 'pip install "tinyflux-nn[a]" or pip install "tinyflux-nn[b]"'


def test_the_others_files_over_ours(both):
    """pip install of theirs after ours: `import tinyflux` is theirs, and ours can't say anything but by the doctor."""
    (both / "tinyflux" / "__init__.py").unlink()
    distribution(both, "tinyflux", "tinyflux/__init__.py", "tinyflux/database.py")
    code, said = python(both, "-m", "tinyflux.doctor")
    assert code == 1
    assert f"`import tinyflux` finds another package than this one: {both / 'tinyflux' / '__init__.py'}." in said
    assert "tinyflux 1.2.0 (A tiny, time-series database.)" in said
    assert "pip uninstall tinyflux, then pip install --force-reinstall --no-deps . in a clone" in said
    assert "Traceback" not in said


def test_our_files_over_the_others(both):
    """pip install of ours after theirs: all works, until theirs is removed."""
    distribution(both, "tinyflux", "tinyflux/database.py")
    code, said = python(both, "-m", "tinyflux.doctor")
    assert code == 1
    assert said.startswith(f"Another project has files in {both / 'tinyflux'}, among those of tinyflux-nn: tinyf")
    assert "\nNumPy" in said


@needs_clone  # where ours is installed as well, that one is found
def test_the_other_was_removed_and_took_files_along(both):
    (both / "tinyflux" / "__init__.py").unlink()
    code, said = python(both, "-m", "tinyflux.doctor")
    assert code == 1
    assert "finds another package than this one: a folder without an __init__.py." in said
    assert "Install this one anew: pip install --force-reinstall --no-deps . in a clone." in said


def test_the_other_in_another_folder(monkeypatch, tmp_path):
    distribution(tmp_path, "tinyflux", "tinyflux/__init__.py")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    said = "Another project is installed that is imported as tinyflux: tinyflux 1.2.0 (A tiny, time-series database.)."
    assert conflict() == f"{said} Only one can be: pip uninstall tinyflux."
    assert doctor.report().startswith(said)


def test_an_installation_under_the_name_that_we_had(monkeypatch, tmp_path):
    distribution(tmp_path, "tinyflux", summary="Flux's idea in Python: a small, fast library", version="0.1.0")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    assert conflict() == ""


def test_no_page_and_no_message_advises_to_install_another_project():
    wrong = []
    for pattern in ("*.md", "tinyflux/**/*.py", "examples/**/*.py", "benchmarks/**/*.py", "tests/**/*.py"):
        for file in CLONE.glob(pattern):
            text = file.read_text()
            wrong += [str(file) for name in ("tinyflux[", "install tinyflux ") if name in text.replace('"', "")]
    assert set(wrong) <= {__file__}


def test_the_distributions_name():
    assert f"name = {installed.NAME}\n" in (CLONE / "setup.cfg").read_text()
    names = importlib.metadata.packages_distributions().get("tinyflux", [])
    assert set(names) <= {installed.NAME, "tinyflux"}

"""CONTRIBUTING.md is true: what each of its sections says is performed in a copy of the repository."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tinyflux as flux
from tests.support.clone import needs_clone

ROOT = Path(__file__).parents[1]
PACKAGE = Path(flux.__file__).parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
HEADING = re.compile(r"^## (.*)\n", re.MULTILINE)
SECTIONS = dict(zip(HEADING.findall(TEXT), HEADING.split(TEXT)[2::2], strict=True))
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PLACE = re.compile(r"# (\S+), (at the end|in (\w+))\n")


@pytest.fixture
def copy(tmp_path):
    for folder in (PACKAGE, ROOT / "tests"):
        shutil.copytree(folder, tmp_path / folder.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def put(folder, text):
    """Put a block where its first line says: at the end of a file, or at the beginning of a list or dict in it."""
    place = PLACE.match(text)
    file, block = folder / place[1], text[place.end() :]
    code = file.read_text(encoding="utf-8")
    if place[3]:
        head = re.search(rf"^{place[3]} = [\[{{].*\n", code, re.MULTILINE)
        file.write_text(code[: head.end()] + block.rstrip(",\n") + ",\n" + code[head.end() :], encoding="utf-8")
    else:
        file.write_text(f"{code}\n\n{block}", encoding="utf-8")


def perform(folder, language, text):
    if PLACE.match(text):
        put(folder, text)
        return
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    line = [sys.executable, "-c", text] if language == "python" else ["sh", "-ec", text]
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("section", [name for name, text in SECTIONS.items() if BLOCK.search(text)])
def test_what_a_section_says(section, copy):
    for language, text in BLOCK.findall(SECTIONS[section]):
        perform(copy, language, text)


def test_each_way_to_contribute_is_performed():
    performed = [name for name, text in SECTIONS.items() if BLOCK.search(text)]
    assert performed == [name for name in SECTIONS if name.startswith("Add ")]
    assert len(performed) >= 5


@needs_clone
def test_files_and_folders_that_it_names_are_there():
    names = re.findall(r"`((?:tinyflux|tests)/[\w/.]+|\.ci/run)`", TEXT)
    assert names
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_a_wrong_block_is_noticed(copy):
    with pytest.raises(AssertionError, match=r"AssertionError: 1\.0 == 2\.0"):
        perform(copy, "python", "x = 1.0\nassert x == 2.0, f'{x} == 2.0'")


@needs_clone
def test_pre_commit_checks_with_the_versions_of_ci():
    versions = dict(re.findall(r"\b(ruff|mypy)==([\d.]+)", (ROOT / ".ci" / "run").read_text()))
    hooks = re.findall(r"\b(ruff|mypy)==([\d.]+)", (ROOT / ".pre-commit-config.yaml").read_text())
    assert set(hooks) == set(versions.items())
    assert len(versions) == 2

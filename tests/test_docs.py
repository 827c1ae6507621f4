"""The documentation is true: the code of every page runs, and prints what the page says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.pages import blocks, perform
from tinyflux.compile.backends.c.build import available

ROOT = Path(__file__).parents[1]
FILES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [path for path in FILES if any(blocks(path.read_text(encoding="utf-8")))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_code_of_a_page_runs(page, tmp_path):
    """In a process of its own: a page may declare rules, or change how an array prints."""
    code = "".join(code for _, code in blocks(page.read_text(encoding="utf-8")))
    if ("flux.compile" in code or "compile=True" in code) and not available():
        pytest.skip("there is no C compiler here")
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    warnings = ["-Werror", "-Wignore::RuntimeWarning"]  # NumPy's, of a NaN: readers see it, compiled code has none
    command = [sys.executable, *warnings, "-m", "tests.support.pages", str(page)]
    environment = {**os.environ, "MPLBACKEND": "agg", "PYTHONPATH": paths}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8", timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_answer_is_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 1\n```\n\n```python\n>>> x + 1\n3\n```\n")
    with pytest.raises(AssertionError, match=r"Got:\n +2"):
        perform(page)


def test_an_error_names_page_and_line(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("words\n\n```python\n1 / 0\n```\n")
    with pytest.raises(ZeroDivisionError) as caught:
        perform(page)
    assert caught.traceback[-1].path == page
    assert caught.traceback[-1].lineno == 3


def test_two_blocks_that_are_not_run_hide_none_between_them(tmp_path):
    unrun = "<!-- not run: needs a GPU -->\n```python\n1 / 0\n```\n\n"
    page = tmp_path / "page.md"
    page.write_text(f"{unrun}```python\nassert False, 'run'\n```\n\n{unrun}")
    with pytest.raises(AssertionError, match="run"):
        perform(page)


def test_what_changes_at_a_prompt_changes_for_earlier_functions(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 1\ndef f():\n    return x\n```\n\n```python\n>>> x = 2\n>>> f()\n2\n```\n")
    perform(page)

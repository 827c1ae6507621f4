"""The documentation is true: the code of every page runs, and prints what the page says."""

from pathlib import Path

import pytest

from tests.support.pages import blocks, perform
from tinyflux.compile.backends.c.build import available

ROOT = Path(__file__).parents[1]
FILES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [path for path in FILES if any(blocks(path.read_text(encoding="utf-8")))]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of a NaN: readers see it, compiled code has none
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    code = "".join(code for _, code in blocks(page.read_text(encoding="utf-8")))
    if ("flux.compile" in code or "compile=True" in code) and not available():
        pytest.skip("there is no C compiler here")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    perform(page)


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

"""What reports and commands show of tables and times: cards on a phone, what is promised, and the time left."""

import html.parser
from types import SimpleNamespace

import pytest

from examples.common import progress
from examples.common.markdown import table
from examples.common.page import page
from examples.flux_mnist import grid
from examples.flux_mnist.__main__ import promise


class Cells(html.parser.HTMLParser):
    """The names that the cells of a page have, and whether their table is in a box of cards."""

    def __init__(self, text):
        super().__init__()
        self.names, self.boxes = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag == "td":
            self.names.append(values.get("data-name"))
        if tag == "div":
            self.boxes.append(values["class"])


@pytest.mark.parametrize(
    ("alignment", "rows", "cards"),
    [
        ("lrl", [["a", "1", "✓ holds"]], True),  # a verdict has to be in sight
        ("lrr", [["a", "1", "2"], ["b", "3", "4"]], False),
        ("lrr", [["a", "1", ""], ["b", "", ""]], True),  # gaps
        ("lrr", [["a", "1", ""], ["b", "3", "4"]], False),  # few of them
    ],
)
def test_cards(tmp_path, alignment, rows, cards):
    cells = Cells(page("# A title\n\n" + table(["who & what", '"a"', "**b**"], alignment, rows), tmp_path))
    assert cells.boxes == ["wide cards" if cards else "wide"]
    names = ["who & what", '"a"', "b"] if cards else [None] * 3
    assert cells.names == names * len(rows)


def test_a_page_without_tables(tmp_path):
    text = page("# A <title>\n\nWords.", tmp_path)
    assert "<title>A &lt;title&gt;</title>" in text
    assert Cells(text).boxes == []


def test_the_promise_names_what_is_answered_and_what_is_not():
    goals = {run[:3]: grid.PRESETS["quick"].iterations[run.variant] for run in grid.grid()}
    lines = promise(goals).splitlines()
    assert lines[0] == "These are long enough for 3 of the articles' 6 conclusions:"
    assert lines[1] == "  - ADAM rescues the three cases in which Descent fails."
    assert lines[4] == "The others need more trainings, those of the command article:"
    assert len(lines) == 8
    article = {run[:3]: grid.PRESETS["article"].iterations[run.variant] for run in grid.grid()}
    assert promise(article).splitlines()[0].startswith("These are long enough for 6 of")
    assert "The others" not in promise(article)


def test_the_time_left_is_told_by_the_speed_so_far(monkeypatch, capsys):
    """After ten seconds a tenth is made: 90 seconds are left; the next line comes a minute later."""
    now, at = [1000.0], [0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: False, raising=False)
    folder = SimpleNamespace(told=lambda: {"iteration": at[0], "loss": 1.0})
    job = SimpleNamespace(
        run="a run", plural="runs", unit="it", goal=100, cost=lambda made: made, reached=lambda: 0, folder=folder
    )
    display = progress.Display([job], 1)
    for now[0], at[0] in [(1005, 0), (1011, 0), (1012, 12), (1030, 20), (1073, 50)]:
        display.update()
    display.close()
    assert capsys.readouterr().out.splitlines() == [
        "0 of 1 runs done, 12% of the work; about 01:28 left",
        "0 of 1 runs done, 50% of the work; about 01:13 left",
    ]

"""examples/flux_mnist/report.py: what the report says, in Markdown, in CSV, and as a page in a real browser."""

import csv
import html.parser
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from examples.flux_mnist import __main__ as command
from examples.flux_mnist import report
from examples.flux_mnist.table import Table, article
from tests.support.flux_mnist_results import AGREEING, changed, leave, table

FALLING = 1 / np.sqrt(np.arange(1, 6_001))


@pytest.fixture(scope="module")
def agreeing(tmp_path_factory):
    """The folder of a report on a whole grid, with the articles' figures and a loss curve for each run."""
    folder = tmp_path_factory.mktemp("agreeing")
    report.report(table(folder / "runs", curve=FALLING), folder)
    return folder


def section(text, title):
    """The part of a Markdown text that stands under a title."""
    level = title.split()[0]
    return re.split(rf"\n#{{2,{len(level)}}} ", text.split(f"\n{title}\n")[1])[0]


def rows(text):
    """The rows of the tables in a Markdown text, without headers and rules."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    rules = [i for i, row in enumerate(cells) if set("".join(row)) <= set(":- ")]
    return [row for i, row in enumerate(cells) if i not in rules and i + 1 not in rules]


# The Markdown


def test_every_figure_of_the_articles_stands_beside_ours(agreeing):
    text = (agreeing / "report.md").read_text()
    found = rows(section(text, "## The articles' figures and ours"))
    assert len(found) == len(article()) == 22
    assert found[0] == ["4LS", "batch", "Descent", "500", "11.35 %", "11.35 %", "1", "+0.00", ""]
    assert found[3] == ["3LS", "batch", "Descent", "500", "< 20 %", "19.00 %", "1", "", "✓ holds"]
    assert "22 of the articles' 22 figures were run. None of ours is more than one" in text


def test_where_ours_differ_is_said(tmp_path):
    percents = changed(("2LR", "stochastic", "Descent"), at_2048000=60) | {("4LS", "batch", "ADAM"): {500: 47}}
    runs = table(tmp_path / "runs", percents)
    leave(tmp_path / "runs", ("4LS", "batch", "ADAM"), {500: 81}, seed=1)
    report.report(Table(tmp_path / "runs"), tmp_path)
    text = section((tmp_path / "report.md").read_text(), "## The articles' figures and ours")
    assert runs.cells
    assert "21 of the articles' 22 figures were run. 19 of ours are within" in text
    assert "- 2LR stochastic Descent at 2,048,000: 60.00 %, the article < 20 %\n" in text
    spread = np.std([47, 81], ddof=1)
    assert f"- 4LS batch ADAM at 500: 64.00 ± {spread:.2f} %, the article 74.16 %; its figure lies among" in text
    assert ["4LS", "batch", "ADAM", "1,000", "> 91 %", "", "", "", "– not run"] in rows(text)


def test_the_table_of_a_model_and_a_variant(agreeing):
    text = (agreeing / "report.md").read_text()
    assert rows(section(text, "### Batch gradient descent: 2LR")) == [
        ["500", "91.00 %", "", "", "500 ms", "96.50 %", "> 96 %", "0", "500 ms"],
        ["1,000", "", "", "", "", "96.10 %", "", "", "1 s"],
        ["2,000", "95.50 %", "", "", "2 s", "", "", "", ""],
        ["4,000", "96.25 %", "> 96 %", "0", "4 s", "96.00 %", "", "", "4 s"],
    ]
    assert len(re.findall(r"^### .*: (4LS|3LS|2LR)$", text, re.MULTILINE)) == 9


def test_verdicts_are_summed_up_and_detailed(tmp_path):
    report.report(table(tmp_path / "runs", changed(("4LS", "batch", "Descent"), at_500=30)), tmp_path)
    text = (tmp_path / "report.md").read_text()
    summary = rows(section(text, "## The articles' conclusions"))[:6]
    assert summary[0] == ["ADAM rescues the three cases in which Descent fails.", "5 of 6 hold", "◐ in part"]
    assert [row[2] for row in summary[1:]] == ["✓ holds"] * 5
    why = "4LS batch: Descent doesn't get above 20 % in 500 iterations (Descent at most, at 500: 30.00 %)."
    assert f"\n- **{summary[0][0]}** Not so in our data: {why}\n" in text
    details = rows(section(text, f"### {summary[0][0]}"))
    assert details[0] == [
        "4LS batch: Descent doesn't get above 20 % in 500 iterations",
        "Descent at most, at 500: 30.00 %",
        "✗ doesn't hold",
    ]


def test_settings_are_known_or_inferred(agreeing):
    settings = {row[0]: row[1:] for row in rows(section((agreeing / "report.md").read_text(), "## Settings"))}
    assert settings["learning rates"] == ["Descent 0.1, ADAM 0.01", "inferred from the figures"]
    assert settings["images in a mini-batch"] == ["128", "not known; ours is a usual number"]
    assert settings["iterations in the articles"][0] == "batch 4,000, stochastic 2,048,000, minibatch 2,048,000"


def test_the_seeds_and_how_far_it_came_are_told(tmp_path):
    for seed in (0, 3):
        leave(tmp_path / "runs", ("4LS", "batch", "ADAM"), {500: 70}, seed)
    leave(tmp_path / "runs", ("2LR", "stochastic", "Descent"), {500: 70, 8_000: 80})
    leave(tmp_path / "runs", ("2LR", "stochastic", "ADAM"), {})
    report.report(Table(tmp_path / "runs"), tmp_path)
    text = (tmp_path / "report.md").read_text()
    settings = {row[0]: row[1] for row in rows(section(text, "## Settings"))}
    assert settings["seeds"] == "0, 3 (4LS batch); 0 (2LR stochastic)"
    assert settings["iterations here, at most"] == "batch 500, stochastic 8,000"
    assert settings["images in a mini-batch"] == "none were run"
    assert "2 trainings with 1 to 2 seeds each, 3 runs in all" in text  # the one without a checkpoint is no run yet
    assert "Trained 2026-11-21, 9 s of training" in text  # 2 × 500 and 8,000 iterations of a millisecond each
    assert "needs more iterations, or other trainings" in section(text, "## The articles' conclusions")


def test_it_says_what_it_was_made_with(agreeing):
    made = section((agreeing / "report.md").read_text(), "## How it was made")
    assert "Trained 2026-11-21" in made
    assert "2 cores of Some processor, 24 GiB of memory, Linux, each run as native code on 1 thread" in made
    assert "numpy 2.4.6" in made
    assert "`0123456789abcdef…`" in made


def test_digits_are_not_taken_for_mnist(tmp_path):
    report.report(table(tmp_path / "runs", dataset="digits"), tmp_path)
    assert "on **scikit-learn's small digits, not MNIST**." in (tmp_path / "report.md").read_text()


def test_runs_that_diverged_are_named(tmp_path):
    leave(tmp_path / "runs", ("2LR", "stochastic", "Descent"), {500: 12}).append({"diverged": "it is nan", "at": 700})
    report.report(Table(tmp_path / "runs"), tmp_path)
    text = section((tmp_path / "report.md").read_text(), "### Runs that ended early")
    assert "2LR stochastic Descent seed 0, after 700 iterations: it is nan" in text


# The data


def test_the_csv_holds_every_checkpoint(tmp_path):
    kind = ("4LS", "minibatch", "ADAM")
    for seed, percent in [(0, 92.0), (1, 93.0)]:
        leave(tmp_path / "runs", kind, {500: percent}, seed, seconds=0.002)
    leave(tmp_path / "runs", ("2LR", "batch", "Descent"), {500: 50.25, 1_000: 60})
    report.report(Table(tmp_path / "runs"), tmp_path)
    with open(tmp_path / "accuracies.csv", newline="") as file:
        found = list(csv.DictReader(file))
    assert [(row["model"], row["iterations"], row["seeds"]) for row in found] == [
        ("4LS", "500", "2"),
        ("2LR", "500", "1"),
        ("2LR", "1000", "1"),
    ]
    first = {name: float(value) for name, value in found[0].items() if name not in ("model", "variant", "optimiser")}
    assert first["accuracy_percent"] == pytest.approx(92.5)
    assert first["standard_deviation"] == pytest.approx(np.sqrt(0.5), abs=1e-4)
    assert (first["lowest"], first["highest"], first["seconds"]) == (92, 93, 1)
    assert found[1]["standard_deviation"] == ""


# The page


class Page(html.parser.HTMLParser):
    """What an HTML page loads, and the text of its cells."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.cells, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.loaded += [values[name] for name in ("src", "href") if name in values and tag != "a"]
        if tag in ("td", "th"):
            self.cells.append("")
        if tag not in ("meta", "img", "link", "br", "hr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data


def test_the_page_holds_all_in_itself_and_says_what_the_markdown_says(agreeing):
    text = (agreeing / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    assert all(address.startswith("data:") for address in page.loaded)
    pictures = [address for address in page.loaded if address.startswith("data:image/png")]
    assert len(pictures) == len(list((agreeing / "figures").glob("*.png"))) >= 7
    markdown = (agreeing / "report.md").read_text()
    assert [cell for cell in page.cells if cell] == [
        cell for line in markdown.splitlines() if line[:1] == "|" for cell in cells_of(line) if cell
    ]


def cells_of(line):
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    return [] if set("".join(cells)) <= set(":- ") else cells


LOOK = """
<script>
addEventListener("load", () => {
  const images = [...document.images], tables = [...document.querySelectorAll("table")];
  const seen = {
    images: images.map(x => [x.complete, x.naturalWidth, x.getBoundingClientRect().width, x.alt]),
    tables: tables.length,
    rows: tables.map(x => x.rows.length),
    wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    title: document.title,
    verdict: tables[0].rows[1].cells[2].innerText,
    verdicts: [...document.querySelectorAll("td")].filter(x => /^[✓✗–◐] /.test(x.innerText))
      .map(x => x.getBoundingClientRect()).map(x => [x.left, x.right]),
    width: innerWidth,
    requests: performance.getEntriesByType("resource").filter(x => !x.name.startsWith("data:")).length,
  };
  parent.postMessage(encodeURIComponent(JSON.stringify(seen)), "*");
});
</script>
"""
FRAME = """
<script>
addEventListener("message", message => {
  document.body.append(Object.assign(document.createElement("pre"), {id: "seen", textContent: message.data}));
});
</script>
<iframe src="page.html" style="width: WIDTHpx; height: 900px; border: 0"></iframe>
"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no chromium here")
@pytest.mark.parametrize("width", [1280, 600, 390])
def test_the_page_in_a_browser(agreeing, tmp_path, width):
    seen = look(agreeing, tmp_path, width)
    markdown = (agreeing / "report.md").read_text()
    assert seen["width"] == width
    assert seen["title"] == "Flux.jl on MNIST, repeated with tinyflux"
    assert seen["requests"] == 0
    assert seen["wide"] <= 0, "the page is wider than the window"
    assert seen["tables"] == len(re.findall(r"^\| :?-", markdown, re.MULTILINE))
    assert seen["rows"][0] == 7
    assert seen["verdict"] == "✓ holds"
    assert len(seen["verdicts"]) == len(re.findall(r"\| [✓✗–◐] ", markdown)) > 30
    assert all(0 <= left < right <= width for left, right in seen["verdicts"]), "a verdict is out of sight"
    assert len(seen["images"]) == len(re.findall(r"^!\[", markdown, re.MULTILINE))
    for complete, natural, shown, words in seen["images"]:
        assert complete
        assert natural >= 900
        assert min(500, width - 50) <= shown <= width
        assert words


def look(agreeing, tmp_path, width):
    """What a browser of a width shows of the page."""
    from urllib.parse import unquote

    frame = tmp_path / "frame.html"  # for a browser's own window is never as narrow as a phone
    frame.write_text(FRAME.replace("WIDTH", str(width)))
    (tmp_path / "page.html").write_text((agreeing / "report.html").read_text().replace("</body>", LOOK + "</body>"))
    quiet = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", *quiet, "--window-size=1400,1000"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=5000"]
    done = subprocess.run(
        ["chromium", *options, "--dump-dom", frame.as_uri()],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    return json.loads(unquote(re.search(r'<pre id="seen">(.*?)</pre>', done.stdout)[1]))


# The command


def test_the_command_draws_and_reports(tmp_path, capsys):
    for kind, percents in AGREEING.items():
        leave(tmp_path, kind, percents)
    assert command.main(["report", "--output", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("✓ holds         ADAM rescues the three cases")
    assert str(tmp_path / "report" / "report.html") in out
    assert command.main(["figures", "--output", str(tmp_path), "--report", str(tmp_path / "other")]) == 0
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["figures"]
    names = {path.name for path in (tmp_path / "report").iterdir()}
    assert names == {"report.html", "report.md", "accuracies.csv", "figures"}


def test_a_report_on_nothing_is_refused(tmp_path, capsys):
    assert command.main(["report", "--output", str(tmp_path)]) == 1
    assert "holds no run that has come to a checkpoint" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []

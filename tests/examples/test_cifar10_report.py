"""The report of examples/cifar10_optimisers: what it says of runs, finished or not, in Markdown, CSV and HTML."""

import csv
import html.parser
import re
import statistics

import pytest

from examples.cifar10_optimisers import figures
from examples.cifar10_optimisers.report import report
from examples.cifar10_optimisers.table import Comparison
from tests.support.cifar10_results import (
    PADAM,
    TUTORIAL,
    constant,
    epoch,
    grid,
    learning,
    padam,
    preset,
    result,
    tutorial,
    wide,
)


def written(folder, results, text="tutorial"):
    """The text of a report, with plain blanks, without its figures."""
    report(preset(text), results, folder, "the command")
    return (folder / "report.md").read_text().replace("\N{NO-BREAK SPACE}", " ")


@pytest.fixture(autouse=True)
def _no_figures(request, monkeypatch):
    """Nothing is drawn where a test doesn't ask for it."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(figures, "draw", lambda table, folder: {})


@pytest.fixture
def drawn(monkeypatch):
    """Figures are drawn, coarsely."""
    monkeypatch.setattr(figures, "DOTS", 20)


def section(text, title):
    """The part of a Markdown text that stands under a title."""
    level = title.split()[0]
    return re.split(rf"\n#{{2,{len(level)}}} ", text.split(f"\n{title}\n")[1])[0]


def rows(text):
    """The rows of the tables in a Markdown text, by their first cell."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {row[0]: row[1:] for row in cells}


# The runs that are compared


def test_runs_are_compared_at_the_last_epoch_that_all_have_reached():
    lengths = {"SGD": 7, "Adam": 5, "AdaMax": 9}
    results = [result("vgg16", name, learning(name, n)) for name, n in lengths.items()]
    c = Comparison("vgg16", lengths, results)
    assert (c.epoch, c.seeds, c.missing) == (5, [0], [])
    for name in lengths:
        assert c.ends(name, "test_loss") == [learning(name, 5)[-1]["test_loss"]]
    assert [c.curve(name, "test_loss").shape for name in lengths] == [(1, 7), (1, 5), (1, 9)]


def test_a_seed_that_is_behind_is_left_out():
    results = [r for seed, n in [(0, 8), (1, 8), (2, 3)] for r in constant("vgg16", n, SGD=50.0 + seed, Adam=60.0)]
    results = [r._replace(seed=i // 2) for i, r in enumerate(results)]
    c = Comparison("vgg16", ["SGD", "Adam"], results)
    assert (c.epoch, c.seeds) == (8, [0, 1])
    assert c.mean("SGD", "test_accuracy").mean == pytest.approx(50.5)


def test_runs_of_an_optimiser_without_the_others_seed_are_not_compared():
    some = [result("vgg16", name, learning(name, 4), seed) for name in ("SGD", "Adam") for seed in (0, 1)]
    other = result("vgg16", "AdaMax", learning("AdaMax", 2), seed=1)
    waiting = result("vgg16", "AdamW", [], seed=0)
    c = Comparison("vgg16", ["SGD", "Adam", "AdaMax", "AdamW"], [*some, other, waiting])
    assert (c.epoch, c.seeds, c.missing) == (2, [1], ["AdamW"])
    assert set(c.runs) == {"SGD", "Adam", "AdaMax"}


def test_a_run_that_diverged_does_not_hold_back_the_others():
    lost = result("vgg16", "SGD", learning("SGD", 2), diverged=1_600)
    c = Comparison("vgg16", ["SGD", "Adam"], [lost, result("vgg16", "Adam", learning("Adam", 6))])
    assert c.epoch == 6
    assert c.text("SGD", "test_accuracy") == "diverged"
    assert c.ranked("test_loss") == ["Adam", "SGD"]
    assert c.curve("SGD", "test_loss").shape == (1, 2)


def test_a_curve_is_that_of_the_seeds_that_did_not_diverge():
    runs = [result("vgg16", "SGD", learning("SGD", 6), seed) for seed in (0, 1, 2)]
    runs[1] = runs[1]._replace(history=runs[1].history[:2], diverged=1_600)
    assert Comparison("vgg16", ["SGD"], runs).curve("SGD", "test_loss").shape == (2, 6)


def test_another_models_runs_are_left_alone():
    results = [result("vgg16", "SGD", learning("SGD", 6)), result("resnet18", "SGD", learning("SGD", 2))]
    assert Comparison("vgg16", ["SGD"], results).epoch == 6


# What is said of the scale


def test_the_scale_is_told(tmp_path):
    few = [r._replace(settings={**r.settings, "images": 10_000}) for r in tutorial(3)]
    text = written(tmp_path, few)
    assert (
        "**Scale: 3 of the tutorial's 50 epochs, ResNet20 for ResNet18, one seed, random first weights for weights "
        "pretrained on ImageNet, 10,000 of the 50,000 training images.** One seed doesn't show"
    ) in text
    assert "**Not finished**, ResNet20: all at 3 of the 50 epochs asked for. They are compared after epoch 3," in text
    assert "Diverged" not in text
    assert "Not begun" not in text


def test_a_whole_comparison_is_told_as_such(tmp_path):
    text = written(tmp_path, tutorial(50, seeds=(0, 1, 2)))
    assert "**Scale: all 50 epochs, ResNet20 for ResNet18, three seeds, random first weights" in text
    assert "± is the standard deviation over the seeds" in text
    assert "one seed" not in text.lower()
    assert "Not finished" not in text


def test_what_is_not_there_is_named(tmp_path):
    results = [r for r in tutorial(9) if r.entry not in ("ASGD", "SGD")]
    results.append(result("resnet20", "SGD", learning("SGD", 4)))
    results.append(result("resnet20", "SGD", learning("SGD", 1), seed=1))
    results = [r._replace(history=r.history[:2], diverged=1_700) if r.entry == "Adam" else r for r in results]
    text = written(tmp_path, results)
    assert "ResNet20: AdaDelta 9, AdaGrad 9, AdamW 9, AdaMax 9, SGD 4 of the 50" not in text  # in the preset's order:
    assert "ResNet20: SGD 4, AdaDelta 9, AdaGrad 9, AdamW 9, AdaMax 9 of the 50 epochs asked for" in text
    assert "They are compared after epoch 4, the last that all have reached." in text
    assert "**Left out**, ResNet20: seed 1, with which not all have come so far." in text
    assert "**Not begun**, ResNet20: ASGD." in text
    assert "**Diverged**: ResNet20, Adam, seed 0: after 1,700 updates, in epoch 3, a loss was not finite" in text
    table = rows(section(text, "## ResNet20 after 4 epochs"))
    assert table["Adam"][:6] == ["diverged"] * 6
    assert "ASGD" not in table
    assert "not begun: ASGD" in text


def test_a_report_on_nothing_but_runs_that_diverged_at_once(tmp_path):
    results = [r._replace(history=[], diverged=1) for r in tutorial(1)]
    text = written(tmp_path, results)
    assert "**Nothing has been trained for an epoch yet.**" in text
    assert text.count("**Diverged**: ") == 7
    assert (tmp_path / "epochs.csv").read_text().strip() == ""


# The tables


def test_a_row_of_the_table(tmp_path):
    state = [r._replace(state=2_179_792) if r.entry == "Adam" else r for r in tutorial(5, seeds=(0, 1))]
    table = rows(section(written(tmp_path, state), "## ResNet20 after 5 epochs"))
    last = [learning("Adam", 5, worse)[-1] for worse in (0, 0.4)]
    expected = []
    for part in ("train", "test", "augmented"):
        for measure, times, digits in (("accuracy", 100, 2), ("loss", 1, 3)):
            values = [times * measured[f"{part}_{measure}"] for measured in last]
            expected.append(f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}")
    assert table["Adam"] == [*expected, "10 s", "2.08 MiB"]
    assert list(table)[2:4] == ["AdaMax", "SGD"]  # sorted by test accuracy
    assert table["AdaMax"][0].startswith("**")
    assert not any(cell.startswith("**") for cell in table["SGD"])


def test_time_is_that_of_the_median_epoch(tmp_path):
    history = [epoch(50, 50, 1.0, 1.0, seconds) for seconds in (60, 4, 5)]
    text = section(written(tmp_path, tutorial(3, SGD=history)), "## ResNet20 after 3 epochs")
    assert rows(text)["SGD"][6] == "5 s"


def test_times_of_a_busy_machine_are_left_out(tmp_path):
    """The epochs of a run are the same work, but for the first, in which it is compiled."""
    history = [epoch(50, 50, 1.0, 1.0, seconds) for seconds in (6, 15, 5)]
    text = written(tmp_path, tutorial(3, SGD=history))
    assert "one epoch took 3.0 times as long as another of the same run" in text
    assert "time an epoch" not in text
    assert rows(section(text, "## ResNet20 after 3 epochs"))["SGD"][6] == "1.04 MiB"


def test_a_run_that_diverged_at_once_has_a_row(tmp_path):
    results = [r._replace(history=[], diverged=1) if r.entry == "SGD" else r for r in tutorial(3)]
    text = section(written(tmp_path, results), "## ResNet20 after 3 epochs")
    assert rows(text)["SGD"] == [*["diverged"] * 6, "–", "1.04 MiB"]


def test_published_figures_stand_beside_ours(tmp_path):
    results = [r for r in padam(50) if r.entry != "AMSGrad"]
    text = written(tmp_path, [*results, *[r for r in wide(50, AMSGrad={25: 80.0}) if r.entry == "AMSGrad"]], "padam")
    table = rows(section(text, "### Wide ResNet 16-4: the reproduction: 100 epochs, the rate constant"))
    assert table["Padam"] == ["88.07 / 88.07 (+0.00)", "87.66 / 87.66 (+0.00)", "87.68 / –", "88.43 / –"]
    assert table["AMSGrad"][0] == "86.83 / 80.00 (−6.83)"
    table = rows(section(text, "### ResNet18: another comparison: 200 epochs (it gives errors)"))
    assert table["Padam"] == ["94.88 / –"]
    assert table["AdamW"] == ["94.92 / –"]
    table = rows(section(text, "### VGG16: Padam's own implementation: 200 epochs, the rate falls in steps"))
    assert table["Padam"] == ["67.90 / 80.00 (+12.10)", "90.90 / –", "93.10 / –", "93.10 / –"]


def test_the_tutorials_report_has_no_published_figures(tmp_path):
    assert "Published" not in written(tmp_path, tutorial(3))


def test_the_grid(tmp_path):
    found = [r for r in grid(30) if r.entry != "Padam p=1/8 η=0.001"]
    text = section(written(tmp_path, found, "padam"), "## Padam's power and learning rate, VGG16 after 30 epochs")
    table = rows(text)
    assert table["p = 1/16"] == ["70.00", "83.00", "**88.00**"]
    assert table["p = 1/8"] == ["–", "87.00", "84.00"]
    assert table["p = 1/4"] == ["86.00", "85.00", "70.00"]
    assert "The best pair is p=1/16 η=0.1, with 88.00 % of the test images." in text
    assert "The best rate of each power: p = 1/16: 0.1, p = 1/8: 0.01, p = 1/4: 0.001." in text
    assert "rate beyond may be better: p = 1/16, p = 1/4." in text
    assert "rate rising over the run: 89.00 %" in text


# The verdicts


def test_verdicts_are_counted_in_words_with_the_figures_that_decide(tmp_path):
    better = learning("SGD", 12)
    better[2]["test_accuracy"] = 0.05
    text = written(tmp_path, tutorial(12, SGD=better))
    answers = section(text, "## What the tutorial concludes, and what our data say").splitlines()
    refuted = "after 3 epochs AdaMax and SGD have the highest test accuracies"
    expected = "- **AdaMax and SGD gain most in the first epochs.** 1 of 2 checks holds, 1 doesn't. Refuted: "
    (found,) = [line for line in answers if line.startswith(f"{expected}{refuted} (")]
    assert found.endswith("SGD 5.00 %).")
    assert "- **On unseen data AdaMax, SGD, Adam and AdamW are alike in the end.** Neither check is run." in answers
    found = section(text, "### AdaMax and SGD gain most in the first epochs.")
    assert "- **✓ holds**: after 3 epochs AdaMax and SGD have the highest training accuracies: *AdaMax " in found
    assert f"- **✗ doesn't hold**: {refuted}: *AdaMax " in found
    assert "SGD 5.00 %.*" in found
    found = section(text, "### On unseen data AdaMax, SGD, Adam and AdamW are alike in the end.")
    assert found.count(": *needs 50 epochs, 12 were run; so far: ") == 2


@pytest.mark.parametrize(("epochs", "left"), [(3, "9 of the 14 checks are"), (49, "7 of the 14 checks are")])
def test_what_is_not_run_is_told_with_what_helps(tmp_path, epochs, left):
    text = written(tmp_path, tutorial(epochs))
    assert f"\n{left} not run: they need a longer training, of up to 50 epochs." in text
    assert "The same command with `--epochs 50` goes on from here." in text


def test_nothing_is_to_be_done_where_all_is_run(tmp_path):
    assert "--epochs" not in written(tmp_path, tutorial(50))


def test_the_conclusions_are_returned(tmp_path):
    found = report(preset(), tutorial(50), tmp_path, "the command")
    assert [c.in_words for c in found] == [
        "All 3 checks hold.",
        "Both checks hold.",
        "Both checks hold.",
        "All 4 checks hold.",
        "All 3 checks hold.",
    ]


# The rest


def test_it_says_how_it_was_made(tmp_path):
    text = written(tmp_path, tutorial(3))
    made = section(text, "## How it was made")
    assert "Trained 2026-01-02: 7 runs, 3 min 30 s of training in all without the tests, on the CPU of 2 cores" in made
    assert made.endswith("```sh\nthe command\n```\n")
    protocol = section(text, "## Protocol")
    assert "mini-batches of 64 images" in protocol
    assert "which is what the tutorial did" in protocol
    assert rows(protocol)["AdaMax"] == ["`AdaMax(…)`"]


def test_whose_numbers_they_are(tmp_path):
    found = written(tmp_path, padam(2), "padam")
    assert "numbers are those of the reproduction of Padam where" in found
    falling = [r._replace(settings={**r.settings, "rule": "Adam(eta=MultiStep(0.1, …))"}) for r in padam(2)]
    assert "numbers are those of Padam's paper, with a rate that falls" in written(tmp_path, falling, "padam")


def test_every_epoch_stands_in_the_csv(tmp_path):
    written(tmp_path, padam(3), "padam")
    with open(tmp_path / "epochs.csv", newline="") as file:
        found = list(csv.DictReader(file))
    assert len(found) == 3 * (3 * len(PADAM) + 10)
    row = next(row for row in found if (row["model"], row["optimiser"], row["epoch"]) == ("vgg16", "SGDM", "2"))
    assert (row["seed"], row["test_accuracy"], row["seconds"], row["total_seconds"]) == ("0", "0.8", "10", "20")
    assert {row["optimiser"] for row in found} >= {"Padam p=1/4 η=0.1", "Padam falling"}


class Page(html.parser.HTMLParser):
    """What an HTML page loads, and its text."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.open, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.loaded += [value for name, value in attributes if name in ("src", "href") and tag != "a"]
        if tag not in ("meta", "img", "link", "br", "hr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.mark.parametrize(("text", "results"), [("tutorial", tutorial(3)), ("padam", padam(30))])
def test_the_page_needs_no_other_file(tmp_path, drawn, text, results):
    markdown = written(tmp_path, results, text)
    page = Page((tmp_path / "report.html").read_text())
    assert page.open == []
    assert all(address.startswith("data:") for address in page.loaded)
    pictures = re.findall(r"!\[(.*)\]\(figures/(.*)\.png\)", markdown)
    assert len(pictures) == (5 if text == "tutorial" else 16)
    assert sum(address.startswith("data:image/png") for address in page.loaded) == len(pictures)
    for _, name in pictures:
        assert (tmp_path / "figures" / f"{name}.png").exists()
        assert (tmp_path / "figures" / f"{name}.svg").exists()
    words = "".join(page.words).replace("\N{NO-BREAK SPACE}", " ")
    names = TUTORIAL if text == "tutorial" else PADAM
    assert all(name in words for name in names)
    assert all(check in words for check in re.findall(r"^- .*?: (.*?): \*", markdown, re.MULTILINE))

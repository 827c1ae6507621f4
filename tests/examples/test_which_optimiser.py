"""examples/which_optimiser.py: the page is what the results say now, and follows them."""

from examples import which_optimiser
from examples.which_optimiser import PAGE, Results, page, read


def test_the_page_is_up_to_date():
    """After new results: python -m examples.which_optimiser."""
    assert PAGE.read_text(encoding="utf-8") == page(read())


def changed(rows, column, values, **where):
    """The rows, with the values in a column of those that are meant."""
    found = [dict(row) for row in rows]
    meant = [row for row in found if all(row[key] == value for key, value in where.items())]
    for row in meant:
        row[column] = values
    assert meant
    return found


def part(results, title):
    return page(results).split(f"## {title}\n\n")[1].split("\n\n## ")[0]


def test_the_first_of_the_untuned():
    results = read()
    better = results._replace(cifar=changed(results.cifar, "test_accuracy", "0.9999", optimiser="ASGD"))
    text = part(better, "If you have no time to tune")
    assert "ASGD 99.99, " in text
    assert "**Take ASGD or " in text


def test_the_first_of_the_tuned():
    results = read()
    better = results._replace(contest=changed(results.contest, "test_percent", "98.5", rule="Lion"))
    text = part(better, "If you tune the learning rate")
    assert "Lion is ahead, 98.50 ± 0.22" in text
    assert "lie within 2.71 percentage points" in text  # AdaGrad's 95.787


def test_who_ends_higher():
    results = read()
    where = {"optimiser": "ADAM", "iterations": "2048000", "model": "3LS", "variant": "minibatch"}
    better = results._replace(articles=changed(results.articles, "accuracy_percent", "99", **where))
    assert "Descent ends above ADAM in 4 of 6 trainings" in part(better, "If you train for very long")
    assert "| 3LS | minibatch | 97.37 | 99.00 |" in part(better, "If you train for very long")


def test_the_two_trainings():
    results = read()
    history = [{"seconds": 50.0}] * 3
    changed_run = {**results.fast, "test_accuracy": 0.5, "history": history}
    text = part(results._replace(fast=changed_run), "If you train convolutions, and time is dear")
    assert "| the recipe's | muon, η = 0.24, linear | 8 | 2 min 30 s | 50.00 |" in text
    assert "| ResNet20 | nesterov, η = 0.1, onecycle | 16 | " in text


def test_memory_and_time():
    results = read()
    contest = changed(results.contest, "state_bytes_per_parameter", "16", rule="Lion")
    assert "| 16 | Lion |" in part(results._replace(contest=contest), "If memory is short")
    contest = changed(results.contest, "step_microseconds", "500", rule="Lion")
    text = part(results._replace(contest=contest), "If time is short")
    assert text.endswith("Padam 294 µs, Lion 500 µs.")
    assert "21 of the 24 rules" in text


def test_all_is_read():
    assert isinstance(read(), Results)
    assert all(read())
    assert which_optimiser.main.__module__ == "examples.which_optimiser"

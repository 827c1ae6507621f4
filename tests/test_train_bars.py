"""Bars: their clock, how they end, and that the lines of a verbose training don't land inside of one."""

import io
import re
import sys

import numpy as np
import pytest

import tinyflux as flux
from tests.test_train_verbose import LINES, Terminal, X, Y, always_drawn, kept, train
from tinyflux.training import report

tqdm = pytest.importorskip("tqdm")


class Clock:
    """The time that bars see: the first update takes 100 seconds, as compiling may, and each other one takes one."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(tqdm.std, "time", lambda: self.now)

    def advance(self, progress):
        self.now += 1

    def data(self, updates):
        self.now += 99
        for _ in range(updates):
            self.now += 1
            yield X, Y


def run(monkeypatch, callbacks, data, epochs=1, stream=Terminal, **options):
    """What appears on stderr; callbacks are made when that is a stream."""
    screen = stream()
    monkeypatch.setattr(sys, "stderr", screen)
    model = {"w": np.array([1.0])}
    opt = flux.setup(flux.Descent(0.25), model)
    f = lambda m, x, y: np.sum((m["w"] - y[0]) ** 2)  # noqa: E731
    flux.train(f, model, data, opt, epochs, [make() for make in callbacks], compile=False, **options)
    return screen.getvalue()


def test_the_clock_of_a_bar_leaves_out_the_first_update(monkeypatch):
    always_drawn(monkeypatch)
    clock = Clock(monkeypatch)
    text = run(monkeypatch, [lambda: flux.progress_bar(5)], clock.data(5))
    assert "3/5 [00:02<00:02,  1.00it/s" in text
    assert text.endswith("| 5/5 [00:04<00:00,  1.00it/s, epoch=1, loss=0.0039]\n")


def test_the_clock_of_an_epochs_bar_leaves_it_out(monkeypatch):
    always_drawn(monkeypatch)
    clock = Clock(monkeypatch)
    text = run(monkeypatch, [], clock.data(5), verbose=True)
    assert "1it [00:00, ?it/s, loss 1]" in text
    assert "3it [00:02,  1.00it/s, loss 0.4375]" in text


def test_frames_are_counted_from_the_first_update_on(monkeypatch):
    """Otherwise a bar would ask for a frame after every update, long after the program was made."""
    now = [0.0]
    monkeypatch.setattr("tinyflux.training.callbacks.time.perf_counter", lambda: now[0])
    monkeypatch.setattr(sys, "stderr", Terminal())
    progress = flux.Progress(None, None, iteration=1, losses=[1.0])
    for make in (flux.progress_bar, lambda: flux.training.callbacks.EpochLines(1, 9)):
        bar = make()
        now[0] += 100
        bar(progress)
        assert bar.due(1000) == 1000 + 1000  # 1000 updates in no time: so many in a frame
        bar.close()


def test_a_bar_that_stops_early_says_so(monkeypatch):
    stop = lambda: lambda p: p.iteration == 3  # noqa: E731
    text = run(monkeypatch, [flux.progress_bar, stop], flux.DataLoader((X, Y), 4), epochs=1000)
    assert text.endswith("\n")
    end = text.rpartition("\r")[2]
    assert end.startswith("100%|")
    assert "3/3 [" in end
    assert end.endswith(", epoch=1, loss=0.0625, stopped before 3,000]\n")


@pytest.mark.parametrize("total", [None, 2, 6, 9])
def test_a_bar_of_a_whole_training_does_not(monkeypatch, total):
    text = run(monkeypatch, [lambda: flux.progress_bar(total)], flux.DataLoader((X, Y), 4), epochs=2)
    assert "stopped" not in text
    assert f"6/{total or 6}" in text or total == 2  # where tqdm leaves out a total that was passed


def test_a_bar_that_ends_in_an_error(monkeypatch):
    with pytest.raises(flux.NonFiniteLoss):
        run(monkeypatch, [flux.progress_bar], [(X, Y), (X, Y * np.nan), (X, Y)])
    assert sys.stderr.getvalue().endswith(", epoch=1, loss=1.0000, stopped before 3]\n")
    with pytest.raises(flux.NonFiniteLoss):
        run(monkeypatch, [flux.progress_bar], [(X, Y * np.nan)])  # before anything was drawn
    assert "stopped" not in sys.stderr.getvalue()


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_lines_do_not_land_inside_a_bar(monkeypatch, stream):
    always_drawn(monkeypatch)
    text = run(monkeypatch, [flux.progress_bar], flux.DataLoader((X, Y), 4), epochs=2, verbose=True, stream=stream)
    found = re.findall(r"(?:^|[\r\n])([^\r\n]*)(epoch \d/2: loss [^\r\n]*\d)\.\d s\n", text)
    assert [before.replace("\x1b[A", "") for before, _ in found] == ["", ""]  # but where the terminal is told to write
    assert [line.partition(";")[0] for _, line in found] == [line.partition(";")[0] for line in LINES]
    assert "6/6 [" in text


def test_what_is_reported_does_not_either(monkeypatch):
    """The path that is taken becomes known when the bar was drawn already."""
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    bar = flux.progress_bar(5)
    report.report_once("tinyflux: said beside a bar")
    bar.close()
    assert "\rtinyflux: said beside a bar\n" in screen.getvalue()


def test_lines_without_a_bar_that_was_ever_drawn(monkeypatch):
    monkeypatch.delitem(sys.modules, "tqdm.std")
    assert kept(train(monkeypatch, io.StringIO())) == LINES

"""Programs that take long to compile: it is reported, and what takes too long is left to plain NumPy."""

import shlex

import numpy as np
import pytest

import tinyflux as flux
from tests.support.train_option import DATA, OFF, ON, X, Y, assert_equal, trained
from tinyflux.compile.backends.c import compiler
from tinyflux.compile.backends.c.build import available, build, find_compiler
from tinyflux.training import native, report

pytestmark = pytest.mark.skipif(not available(), reason="needs a C compiler")


@pytest.mark.parametrize(("patience", "sleep", "reports"), [(60.0, 0, 0), (0.2, 0.6, 1)])
def test_compiling_is_reported_once_and_only_if_it_takes_long(patience, sleep, reports, tmp_path, monkeypatch, capfd):
    real = shlex.join(find_compiler().command)
    script = tmp_path / "slow"
    script.write_text(f'#!/bin/sh\n[ "$1" = --version ] || sleep {sleep}\nexec {real} "$@"\n')
    script.chmod(0o700)
    monkeypatch.setenv("CC", str(script))
    monkeypatch.setenv("TINYFLUX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(compiler, "UNNOTICED", patience)
    compiler._report_compiling.cache_clear()
    for k in (1, 2):
        assert build(f"int number(void) {{ return {k}; }}").number() == k
    assert capfd.readouterr().err.count("is compiling") == reports
    compiler._report_compiling.cache_clear()


def unrolled(m, x, y, steps=range(12)):
    """A Python loop; each of its steps needs some nodes of its own."""
    h = np.tanh(x @ m.weight.T)
    for t in steps:
        h = np.tanh(h / 2 + m.bias * (t / 100))
    return flux.mse(h, y)


def make():
    flux.seed(0)
    return flux.f64(flux.Dense(6, 3))


def train(option, loss=unrolled):
    return trained(option, DATA["a partial batch"], loss=loss, make=make, epochs=43)  # 301 updates


def test_a_program_that_grows_too_large_runs_as_plain_numpy(monkeypatch, capsys, tmp_path, request):
    log = open(tmp_path / "steps", "w")  # noqa: SIM115  # not a list, which would be put back after a recording
    request.addfinalizer(log.close)

    def loss(m, x, y):
        return unrolled(m, x, y, (log.write(".") and t for t in range(30)))

    def counted(option):
        before = log.tell()
        return train(option, loss), log.tell() - before

    plain, count = counted(False)
    monkeypatch.setattr(native, "MAX_NODES", 100)
    for _ in range(2):
        result, more = counted("auto")
        assert_equal(result, plain)
        assert 0 < more - count < 30  # recording has stopped in the middle
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith(f"tinyflux: {OFF}: the program has more than 100 operations")
    assert "flux.scan" in err
    assert "compile=True" in err


def test_a_smaller_one_is_compiled(capsys):
    assert_equal(train("auto"), train(False))
    assert ON in capsys.readouterr().err


def test_what_is_asked_for_is_compiled_at_any_size(monkeypatch, capsys):
    monkeypatch.setattr(native, "MAX_NODES", 1)
    assert_equal(train(True), train(False))
    assert ON in capsys.readouterr().err
    model = make()
    step = flux.compile_training(unrolled, model, flux.setup(flux.Adam(), model), batchsize=8)
    step((X, Y), np.arange(8))
    np.testing.assert_allclose(flux.compile(unrolled)(model, X, Y), unrolled(model, X, Y), rtol=1e-12)


def test_a_short_training_compiles_less_until_many_have_come(monkeypatch, capsys):
    """What is asked again and again with one optimiser is one long training."""
    monkeypatch.setattr(native, "MAX_NODES", 8 * 100)
    monkeypatch.setattr(native, "PAYS_FROM", 20)
    model = make()
    opt = flux.setup(flux.Descent(0.01), model)
    for expected in (OFF, OFF, ON, ON):
        report.report_once.cache_clear()
        flux.train(unrolled, model, DATA["a list"](), opt)  # seven updates
        assert expected in capsys.readouterr().err


def test_data_without_a_length_may_be_long(monkeypatch, capsys):
    monkeypatch.setattr(native, "MAX_NODES", 8 * 100)
    model = make()
    flux.train(unrolled, model, iter(DATA["a list"]()), flux.setup(flux.Descent(0.01), model))
    assert ON in capsys.readouterr().err


def test_a_loop_over_thousands_of_steps_is_not_compiled_in_vain(capsys):
    model = make()
    loss = lambda m, x, y: unrolled(m, x, y, range(10_000))  # noqa: E731
    flux.train(loss, model, iter(DATA["a list"]()[:1]), flux.setup(flux.Descent(0.01), model))
    assert "the program has more than 16,000 operations" in capsys.readouterr().err

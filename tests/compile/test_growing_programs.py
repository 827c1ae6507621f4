"""Programs that take long to compile: it is reported, but only once it takes long."""

import shlex

import pytest

from tinyflux.compile.backends.c import compiler
from tinyflux.compile.backends.c.build import available, build, find_compiler

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

"""What was kept is loaded only if it is whole and nobody else could have changed it."""

import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.building import (
    OTHER,
    SOURCE,
    answer,
    assert_clean,
    libraries,
    needs_compiler,
    start,
    twice,
    world_writable,
)
from tests.support.building import _cache as _cache  # a fixture
from tests.support.building import _fresh as _fresh  # a fixture
from tests.support.building import _wrap as _wrap  # a fixture
from tinyflux.compile.backends.c import build as module
from tinyflux.compile.backends.c import compiler as compilers
from tinyflux.compile.backends.c.build import build, find_compiler
from tinyflux.errors import CompilationFailed

ROOT = os.geteuid() == 0 if hasattr(os, "geteuid") else False
STRANGER = 65534

needs_root = pytest.mark.skipif(not ROOT, reason="only root can give files to others")

# Kept files that must not be loaded


def content_of(source, tmp_path):
    """A good library with another source."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return compilers.compile_library(find_compiler(), source, folder).read_bytes()


def replaced(path, content):
    """Other bytes under the same name, and with the same mode."""
    path.write_bytes(content)


def linked(path, tmp_path):
    path.rename(tmp_path / "target")
    path.symlink_to(tmp_path / "target")


def as_fifo(path):
    path.unlink()
    os.mkfifo(path, 0o600)


DAMAGES = {
    "truncated": lambda path, tmp_path: os.truncate(path, path.stat().st_size // 2),
    "emptied": lambda path, tmp_path: os.truncate(path, 0),
    "another library": lambda path, tmp_path: replaced(path, content_of(OTHER, tmp_path)),
    "one byte more": lambda path, tmp_path: replaced(path, path.read_bytes() + b"\0"),
    "writable by the group": lambda path, tmp_path: path.chmod(0o720),
    "writable by all": lambda path, tmp_path: path.chmod(0o702),
    "a link": linked,
    "a pipe": lambda path, tmp_path: as_fifo(path),
    "somebody else's": lambda path, tmp_path: os.chown(path, STRANGER, STRANGER),
}


@needs_compiler
@pytest.mark.parametrize("damage", [pytest.param(d, marks=needs_root if "else" in d else ()) for d in DAMAGES])
def test_a_file_that_cannot_be_trusted_is_built_again_in_its_place(damage, cache, wrap, tmp_path):
    calls = wrap()
    assert answer(start()) == "3.0"
    (path,) = libraries(cache)
    DAMAGES[damage](path, tmp_path)
    before = len(calls())
    assert answer(start()) == "3.0"
    assert len(calls()) == before + 1
    (path,) = libraries(cache)
    about = path.lstat()
    assert stat.S_ISREG(about.st_mode)
    assert stat.S_IMODE(about.st_mode) == 0o700
    assert about.st_uid == os.geteuid()
    assert_clean(cache)
    assert answer(start()) == "3.0"
    assert len(calls()) == before + 1


@needs_compiler
def test_a_damaged_file_under_another_name_does_not_stay(cache):
    cache.mkdir(mode=0o700)
    damaged = cache / f"{module._key(SOURCE, find_compiler())}.{'0' * 64}.so"
    damaged.write_bytes(b"damaged")
    assert twice(build(SOURCE)) == 3.0
    assert not damaged.exists()
    assert_clean(cache)


# Folders that must not be used


def group_writable(cache):
    cache.mkdir()
    cache.chmod(0o770)


def sticky(cache):
    cache.mkdir()
    cache.chmod(0o1777)


def link_to_world_writable(cache):
    target = cache.with_name("target")
    world_writable(target)
    cache.symlink_to(target)


def in_world_writable(cache):
    cache.with_name("open").mkdir()
    cache.with_name("open").chmod(0o777)
    (cache.with_name("open") / "cache").mkdir(mode=0o700)
    cache.symlink_to(cache.with_name("open") / "cache")


def of_a_stranger(cache):
    cache.mkdir(mode=0o755)
    os.chown(cache, STRANGER, STRANGER)


def in_a_strangers(cache):
    in_world_writable(cache)
    cache.with_name("open").chmod(0o755)
    os.chown(cache.with_name("open"), STRANGER, STRANGER)


def a_file(cache):
    cache.write_text("")


UNSAFE = [
    (world_writable, "cache can be written to by others; chmod go-w"),
    (group_writable, "cache can be written to by others; chmod go-w"),
    (sticky, "cache can be written to by others"),
    (link_to_world_writable, "target can be written to by others"),
    (in_world_writable, "open can be written to by others"),
    pytest.param(of_a_stranger, f"cache belongs to another user, number {STRANGER}", marks=needs_root),
    pytest.param(in_a_strangers, f"open belongs to another user, number {STRANGER}", marks=needs_root),
    (a_file, "cache is no folder"),
]


@needs_compiler
@pytest.mark.parametrize(("spoil", "reason"), UNSAFE)
def test_an_unsafe_folder_is_not_used_and_nothing_is_left_of_the_temporary_one(spoil, reason, cache, tmp_path):
    spoil(cache)
    with pytest.warns(UserWarning, match=rf"\$TINYFLUX_CACHE[^$]*{reason}") as caught:
        library = build(SOURCE)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert twice(library) == 3.0
    assert build(SOURCE) is library
    assert twice(build(OTHER)) == 666.0  # without a second warning, which would be an error
    assert not cache.is_dir() or not list(cache.iterdir())
    assert not list((tmp_path / "tmp").iterdir())


@needs_compiler
def test_a_library_planted_in_an_unsafe_folder_is_not_loaded(cache, tmp_path):
    assert answer(start()) == "3.0"
    (path,) = libraries(cache)
    key = path.name.split(".")[0]
    path.unlink()
    content = content_of(OTHER, tmp_path)
    planted = cache / f"{key}.{hashlib.sha256(content).hexdigest()}.so"
    planted.write_bytes(content)
    assert answer(start()) == "666.0"  # such a file would do
    cache.chmod(0o777)
    with pytest.warns(UserWarning, match="written to by others"):
        assert twice(build(SOURCE)) == 3.0


@needs_compiler
def test_folders_are_made_private_whatever_the_umask(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYFLUX_CACHE", str(tmp_path / "a" / "b" / "c"))
    before = os.umask(0)
    try:
        assert twice(build(SOURCE)) == 3.0
    finally:
        os.umask(before)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "a/b", "a/b/c")] == [0o700] * 3
    assert stat.S_IMODE(libraries(tmp_path / "a" / "b" / "c")[0].stat().st_mode) == 0o700


@needs_compiler
def test_a_link_to_a_private_folder_may_be_used(cache, tmp_path):
    (tmp_path / "private").mkdir(mode=0o700)
    cache.symlink_to(tmp_path / "private")
    assert twice(build(SOURCE)) == 3.0
    assert len(libraries(tmp_path / "private")) == 1


def test_by_default_libraries_lie_in_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("TINYFLUX_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    usual = tmp_path / ("Library/Caches" if sys.platform == "darwin" else ".cache")
    assert module._cache_folder() == usual / "tinyflux" / "compiled"
    if sys.platform != "darwin":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        assert module._cache_folder() == tmp_path / "xdg" / "tinyflux" / "compiled"
    pooch = pytest.importorskip("pooch")
    assert module._cache_folder().parent == Path(pooch.os_cache("tinyflux"))


@needs_compiler
def test_a_user_without_a_home_is_served_too(monkeypatch):
    monkeypatch.setenv("TINYFLUX_CACHE", "~nobody-of-this-name/cache")
    with pytest.warns(UserWarning, match="home directory"):
        assert twice(build(SOURCE)) == 3.0


@needs_compiler
@pytest.mark.skipif(not (ROOT and sys.platform == "linux"), reason="only root on Linux can mount a file system")
@pytest.mark.parametrize(
    ("options", "reason"), [("ro", "Read-only"), ("size=64k", "No space left"), ("noexec", "cannot|failed to map")]
)
def test_a_cache_on_a_disk_that_is_full_read_only_or_without_execution(options, reason, cache):
    cache.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=700,{options}", "none", cache], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"mounting fails here: {mounted.stderr.decode()}")
    try:
        source = f"{SOURCE}char large[200000] = {{1}};\n"
        with pytest.warns(UserWarning, match=reason):
            assert twice(build(source)) == 3.0
        assert "size" not in options or not libraries(cache)
        assert not list(cache.glob("building-*"))
    finally:
        subprocess.run(["umount", "-l", cache], check=True)


@needs_compiler
def test_without_any_folder_it_is_a_failure_that_says_so(cache, tmp_path, monkeypatch):
    a_file(cache)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(
        CompilationFailed, match=r"stored or loaded .*nowhere.*set \$TINYFLUX_CACHE.*cache is no folder"
    ):
        build(SOURCE)

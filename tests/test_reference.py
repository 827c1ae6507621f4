"""The reference is complete: every public name stands in it once, and every name in it exists."""

import re
from operator import attrgetter
from pathlib import Path
from types import ModuleType

import tinyflux as flux

PAGES = sorted((Path(__file__).parents[1] / "docs" / "reference").glob("*.md"))
NAMES = re.compile(r"^```\{names\}\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def names_of_the_reference():
    for page in PAGES:
        for block in NAMES.findall(page.read_text(encoding="utf-8")):
            yield from (line.partition(":")[0] for line in block.splitlines())


def public_names():
    """All of flux, and what its modules have besides: flux.data.mnist, but not flux.data.DataLoader."""
    for name in set(flux.__all__):
        thing = getattr(flux, name)
        if not isinstance(thing, ModuleType) or name == "compile":
            yield name
            continue
        for inner in thing.__all__:
            if getattr(flux, inner, None) is not getattr(thing, inner):
                yield f"{name}.{inner}"


def test_every_public_name_stands_in_the_reference_once():
    named = [name for name in names_of_the_reference() if name.count(".") < 2]
    assert sorted(named) == sorted(public_names())


def test_what_the_reference_names_exists():
    for name in names_of_the_reference():
        assert attrgetter(name)(flux).__doc__, name


def test_every_page_stands_in_the_index():
    index = next(page for page in PAGES if page.stem == "index").read_text(encoding="utf-8")
    for page in PAGES:
        assert page.stem == "index" or re.search(rf"^{page.stem}$", index, re.MULTILINE), page.stem

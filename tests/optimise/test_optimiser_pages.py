"""The pages on the optimisers have a section for every rule, modifier, average and schedule, with its defaults."""

import re

import pytest

import tinyflux as flux
from tests.support.clone import CLONE
from tinyflux.optimise.rule import Rule

PAGES = sorted((CLONE / "docs/understand/optimisers").glob("*.md"))
TEXT = "".join(page.read_text(encoding="utf-8") for page in PAGES)
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |^# |\Z)", TEXT, re.MULTILINE | re.DOTALL))
RULES = {thing.__name__: thing for thing in vars(flux).values() if isinstance(thing, type) and issubclass(thing, Rule)}
SCHEDULES = set(flux.schedules.__all__) - {"Schedule"}


def test_each_has_a_section():
    count = len(flux.optimise.RULES)
    said = {
        "docs/understand/optimisers.md": "tinyflux has {} rules",
        "README.md": "{} rules",
        "docs/index.md": "{} optimisers",
    }
    for page, words in said.items():
        assert words.format(count) in (CLONE / page).read_text(encoding="utf-8")
    assert {"Adam", "ClipNorm", "EMA", "OptimiserChain"} <= set(RULES)
    assert set(SECTIONS) == set(RULES) | SCHEDULES


@pytest.mark.parametrize("name", sorted(SECTIONS))
def test_a_section(name):
    """It has a formula, a link to the reference, and the defaults as they are."""
    text = SECTIONS[name]
    owner = "tinyflux.schedules" if name in SCHEDULES else "tinyflux"
    assert f"<{owner}.{name}>`" in text
    assert "$$" in text or name == "Sequence"
    if name in RULES and name != "OptimiserChain":
        assert f"**Defaults:** `{RULES[name]()!r}`\n" in text

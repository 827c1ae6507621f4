"""tinyflux' docstrings, plain text with sections, as the reStructuredText that Sphinx reads."""

import re
from typing import Any

import tinyflux as flux

SECTION = re.compile(r"(Arguments|Attributes|Returns|Errors|Warnings)\b([^:`]*):(?: |$)(.*)")
ITEM = re.compile(r"(\*{0,2}\w+(?:, \*{0,2}\w+)*): (.*)")
SPECIAL = re.compile(r"([\\*|_])")
NAMES = set(flux.__all__)


def setup(app: Any) -> dict[str, bool]:
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", _process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _process(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    lines[:] = to_rst(lines)


def to_rst(lines: list[str]) -> list[str]:
    """Paragraphs, formulas, sections with items, and examples, each a block between empty lines."""
    made: list[str] = []
    for block in _blocks(lines):
        made += [*_block(block), ""]
    return made


def _blocks(lines: list[str]) -> list[list[str]]:
    blocks: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            blocks[-1].append(line)
        elif blocks[-1]:
            blocks.append([])
    return [block for block in blocks if block]


def _block(lines: list[str]) -> list[str]:
    if lines[0].lstrip().startswith(">>>"):
        return lines
    section = SECTION.match(lines[0])
    if section:
        return _section(f"{section[1]}{section[2]}", section[3], lines[1:])
    if lines[0].startswith("    "):  # a formula
        return [".. code-block:: text", "", *("    " + line for line in lines)]
    return [_inline(line) for line in lines]


def _section(head: str, first: str, lines: list[str]) -> list[str]:
    """A head in bold with the text after it, and a list of the indented items."""
    text = [f"**{head}:** {_inline(first)}".rstrip()]
    items: list[str] = []
    for line in lines:
        item = ITEM.match(line.strip())
        if item and line.startswith("    ") and not line.startswith("     "):
            items.append(f"* **{_escape(item[1])}**: {_inline(item[2])}")
        elif items:
            items.append(f"  {_inline(line.strip())}")
        else:
            text.append(_inline(line.strip()))
    return [*text, "", *items]


def _inline(text: str) -> str:
    """Code between backticks as code, and as a link where it names something public."""
    parts = text.split("`")
    return "".join(_code(part) if number % 2 else _escape(part) for number, part in enumerate(parts))


def _code(text: str) -> str:
    name = text.removeprefix("flux.")
    return f":py:obj:`{text} <tinyflux.{name}>`" if name in NAMES else f"``{text}``"


def _escape(text: str) -> str:
    return SPECIAL.sub(r"\\\1", text)

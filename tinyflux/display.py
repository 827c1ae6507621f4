"""What an object shows at the prompt and in a notebook, whatever it holds: printing something never fails."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


def careful(show: Callable[[Any], str]) -> Callable[[Any], str]:
    """A decorator of __repr__: the name of the class, with dots, stands in the place of an error."""
    return _without_errors(show, lambda self: f"{type(self).__name__}(...)")


def careful_html(show: Callable[[Any], str]) -> Callable[[Any], str | None]:
    """A decorator of _repr_html_: None, for which a notebook takes the text, in the place of an error."""
    return _without_errors(show, lambda self: None)


def _without_errors(show: Callable[[Any], str], otherwise: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(show)
    def text(self: Any) -> Any:
        try:
            return show(self)
        except Exception:  # half-built objects, and what users' classes raise
            return otherwise(self)

    return text


class Line(NamedTuple):
    """A row of a table.

    Attributes:
        cells: a text for each column; where there are fewer, the last one is spread over the rest.
        share: how long the bar is, from 0 to 1; None for a row without one.
        strong: whether it is set in bold, as a sum is.
    """

    cells: Sequence[str]
    share: float | None = None
    strong: bool = False


def shares(amounts: Sequence[float | None]) -> list[float | None]:
    """How long the bar of each amount is, by the largest finite one; None where there is nothing to draw."""
    finite = [amount if amount is not None and math.isfinite(amount) else None for amount in amounts]
    largest = max([amount for amount in finite if amount is not None], default=0)
    return [None if amount is None or not largest else amount / largest for amount in finite]


_FRAME = "max-height: 32em; overflow: auto"
_TABLE = "border-collapse: collapse; color: inherit; background: transparent"
_CELL = "padding: 0.15em 0.8em; white-space: pre; border-bottom: 1px solid rgba(128, 128, 128, 0.3)"
_BAR = "height: 0.7em; min-width: 1px; background: #5b93d9; border-radius: 2px"  # seen on white and on black


def html_table(titles: Sequence[str], sides: str, lines: Sequence[Line], caption: str = "") -> str:
    """A table in HTML that needs nothing else, and takes its colours from the page, light or dark.

    Arguments:
        sides: for each column whether its text stands to the left (<) or to the right (>).
        caption: a text above the table.
    """
    bars = any(line.share is not None for line in lines)
    head = [_cell("th", title, side, "font-weight: bold; font-size: 0.95em") for title, side in zip(titles, sides)]
    rows = ["".join([*head, _cell("th", "", "<")] if bars else head)]
    for line in lines:
        weight = "font-weight: bold" if line.strong else "font-weight: normal"
        style = f"font-family: monospace; {weight}"
        cells = [_cell("td", text, side, style) for text, side in zip(line.cells, sides)]
        if len(line.cells) < len(titles):
            *cells, last = cells
            cells.append(last.replace("<td", f'<td colspan="{len(titles) - len(cells)}"', 1))
        rows.append("".join([*cells, _bar(line.share)] if bars else cells))
    above = f'<div style="padding: 0.3em 0.8em; font-weight: bold">{_escaped(caption)}</div>' if caption else ""
    body = "\n".join(f'<tr style="background: transparent">{row}</tr>' for row in rows)
    return f'{above}<div style="{_FRAME}"><table style="{_TABLE}">\n{body}\n</table></div>'


def _cell(tag: str, text: str, side: str, style: str = "") -> str:
    align = "right" if side == ">" else "left"
    return f'<{tag} style="{_CELL}; text-align: {align}; {style}">{_escaped(text)}</{tag}>'


def _bar(share: float | None) -> str:
    bar = "" if not share else f'<div style="{_BAR}; width: {100 * share:.1f}%"></div>'
    return f'<td style="{_CELL}; width: 8em; min-width: 8em">{bar}</td>'


def _escaped(text: str) -> str:
    from html import escape  # only notebooks need it

    return escape(text)

"""Formulas as MathML, which browsers set by themselves: no script and no network."""

import re
from html import escape
from typing import Any

from latex2mathml.converter import convert

PRIMED = re.compile(r"<msup>(<mi>[^<]*</mi>)<mi>(&#x02032;)</mi></msup>")


def setup(app: Any) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _inline(page: Any, node: Any) -> None:
    page.body.append(_mathml(node.astext()))
    _skip()


def _block(page: Any, node: Any) -> None:
    page.body.append(f'<div class="formula" role="math" aria-label="{escape(node.astext())}">')
    page.body.append(_mathml(node.astext(), display="block") + "</div>")
    _skip()


def _mathml(formula: str, **options: str) -> str:
    """The prime stands beside its letter: the sign is small and high already."""
    made = PRIMED.sub(r'\1<mo lspace="0" rspace="0">\2</mo>', convert(formula, **options))
    return made.replace("<mo>&#x02016;", '<mo stretchy="false">&#x02016;')  # a norm's bars, all of one height


def _skip() -> None:
    from docutils.nodes import SkipNode

    raise SkipNode

"""Formulas as MathML, which browsers set by themselves: no script and no network."""

from html import escape
from typing import Any

from latex2mathml.converter import convert


def setup(app: Any) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _inline(page: Any, node: Any) -> None:
    page.body.append(convert(node.astext()))
    _skip()


def _block(page: Any, node: Any) -> None:
    page.body.append(f'<div class="formula" role="math" aria-label="{escape(node.astext())}">')
    page.body.append(convert(node.astext(), display="block") + "</div>")
    _skip()


def _skip() -> None:
    from docutils.nodes import SkipNode

    raise SkipNode

"""Pages on a narrow screen: where code may break, remarks below a row of a table, figures that open by themselves."""

import re
from typing import Any

CELL = re.compile(r"<td.*?</td>", re.DOTALL)
WORD = re.compile(r'(?<=<span class="pre">)[^<]+')
PLACE = re.compile(r"(?<=[.,(=_])(?=[^.,)=_\s\d])")
OPTION = re.compile(r"(?<![\w-])--?\w[\w=-]*")
REMARKS = re.compile(
    r'<table class="([^"]*)">(?=\s*<thead>(?:(?!</thead>).)*<th class="head"><p></p></th>\s*</tr>)', re.DOTALL
)  # a table whose last column has no name
CODE = re.compile(r"<code.*?</code>", re.DOTALL)
AFTER_FORMULA = re.compile(r"(<math(?:(?!</math>).)*</math>)([.,;:)]+)", re.DOTALL)
FIGURE = re.compile(r'<img [^>]*src="([^"]+)"[^>]*/?>')


def setup(app: Any) -> dict[str, bool]:
    app.connect("html-page-context", _narrow)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _narrow(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    body = context.get("body", "")
    body = CELL.sub(lambda cell: WORD.sub(lambda word: PLACE.sub("<wbr>", word[0]), cell[0]), body)
    body = CODE.sub(lambda code: WORD.sub(lambda word: OPTION.sub(_whole, word[0]), code[0]), body)
    body = REMARKS.sub(r'<table class="\1 beside">', body)
    body = AFTER_FORMULA.sub(_whole, body)
    if page.startswith("experiments/"):
        body = FIGURE.sub(r'<a href="\1">\g<0></a>', body)
    context["body"] = body


def _whole(found: re.Match[str]) -> str:
    return f'<span class="whole">{found[0]}</span>'

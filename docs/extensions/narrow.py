"""Pages on a narrow screen: where code in a table may break, and figures of reports that open by themselves."""

import re
from typing import Any

CELL = re.compile(r"<td.*?</td>", re.DOTALL)
WORD = re.compile(r'(?<=<span class="pre">)[^<]+')
PLACE = re.compile(r"(?<=[.,(=_])(?=[^.,)=_\s\d])")
FIGURE = re.compile(r'<img [^>]*src="([^"]+)"[^>]*/?>')


def setup(app: Any) -> dict[str, bool]:
    app.connect("html-page-context", _narrow)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _narrow(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    body = context.get("body", "")
    body = CELL.sub(lambda cell: WORD.sub(lambda word: PLACE.sub("<wbr>", word[0]), cell[0]), body)
    if page.startswith("experiments/"):
        body = FIGURE.sub(r'<a href="\1">\g<0></a>', body)
    context["body"] = body

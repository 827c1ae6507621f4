"""A report in Markdown as a page of HTML that needs no other file."""

import base64
import html
import itertools
import re
from pathlib import Path


def page(text: str, folder: Path) -> str:
    """The page.

    Arguments:
        text: in Markdown; its first heading is the page's title.
        folder: that of the report, in which its pictures lie, as figures/NAME.png.
    """
    import markdown

    body = markdown.markdown(text, extensions=["tables", "toc", "fenced_code"], output_format="html")
    body = re.sub(r"<table>.*?</table>", _table, body, flags=re.DOTALL)
    body = re.sub(r'src="(figures/[^"]+)"', lambda match: f'src="{_embedded(folder / match[1])}"', body)
    title = html.escape(text.partition("\n")[0].removeprefix("# "))
    frame = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
    return frame.replace("<!-- title -->", title).replace("<!-- body -->", body)


def _table(match: re.Match[str]) -> str:
    """A table in a box that scrolls; one that a phone shows as cards has its columns' names at each cell.

    These are the tables that end in text, such as a verdict, which has to be in sight, and those with many gaps.
    """
    cells = re.findall(r'<td style="text-align: (\w+);">(.*?)</td>', match[0])
    heads = re.findall(r"<th\b.*?>(.*?)</th>", match[0])
    names = [html.escape(html.unescape(re.sub("<.*?>", "", head))) for head in heads]
    gaps = sum(not text for _, text in cells)
    if not cells or not (cells[-1][0] == "left" or gaps > len(cells) / 4):
        return f'<div class="wide">{match[0]}</div>'
    labels = itertools.cycle(names)
    named = re.sub("<td ", lambda _: f'<td data-name="{next(labels)}" ', match[0])
    return f'<div class="wide cards">{named}</div>'


def _embedded(picture: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()

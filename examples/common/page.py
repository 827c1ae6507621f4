"""A report in Markdown as a page of HTML that needs no other file."""

import base64
import html
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
    body = re.sub(r"<table>(.*?)</table>", r'<div class="wide"><table>\1</table></div>', body, flags=re.DOTALL)
    body = re.sub(r'src="(figures/[^"]+)"', lambda match: f'src="{_embedded(folder / match[1])}"', body)
    title = html.escape(text.partition("\n")[0].removeprefix("# "))
    frame = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
    return frame.replace("<!-- title -->", title).replace("<!-- body -->", body)


def _embedded(picture: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()

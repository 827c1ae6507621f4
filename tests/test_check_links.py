"""Links of the built site that lead nowhere are found."""

import runpy
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "docs" / "check_links.py"
broken_links = runpy.run_path(str(SCRIPT))["broken_links"]


def site(folder, **pages):
    for name, text in pages.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return folder


def test_what_is_there_is_no_broken_link(tmp_path):
    folder = site(
        tmp_path,
        index='<a href="other.html#here">x</a> <a href="#top">x</a> <a href="https://elsewhere.org/none">x</a>',
        other='<p id="here"><a href="index.html">x</a> <img src="picture%201.png"></p>',
    )
    (folder / "picture 1.png").touch()
    assert list(broken_links(folder)) == []


def test_a_page_that_is_missing(tmp_path):
    assert list(broken_links(site(tmp_path, index='<a href="gone.html">x</a>'))) == [
        "index.html: no file for gone.html"
    ]


def test_an_anchor_that_is_missing(tmp_path):
    folder = site(tmp_path, index='<a href="other.html#gone">x</a> <a href="#none">x</a>', other="")
    assert list(broken_links(folder)) == [
        "index.html: no anchor for #none",
        "index.html: no anchor for other.html#gone",
    ]


def test_a_picture_that_is_missing(tmp_path):
    assert list(broken_links(site(tmp_path, index='<img src="a/b.png">'))) == ["index.html: no file for a/b.png"]

"""The pages of the reference: a table of names, and below it what the docstring of each says.

    ```{names}
    gradient
    data.DataLoader: order
    ```

A name is looked for in tinyflux, where users find it as flux.gradient; names after a colon are members to be shown.
"""

import re
from importlib import import_module
from operator import attrgetter
from typing import Any

from docstrings import first_sentence
from docutils import nodes
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective

BACK = re.compile(r'<a class="viewcode-back".*?</a>')


def setup(app: Any) -> dict[str, bool]:
    app.add_directive("names", Names)
    app.connect("html-page-context", without_links_back)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Names(SphinxDirective):
    """A table of names with their first sentences, and the documentation of each."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        entries = [line.partition(":") for line in self.content if line.strip()]
        lines = [*table([name for name, _, _ in entries])]
        for name, _, members in entries:
            lines += directive(name, members.strip())
        made = self.parse_text_to_nodes("\n".join(["````{eval-rst}", *lines, "````"]))
        for node in made:
            for prefix in node.findall(addnodes.desc_addname):
                as_imported(prefix)
        return made


def table(names: list[str]) -> list[str]:
    lines = [".. list-table::", "   :class: names", ""]
    for name in names:
        lines.append(f"   * - :py:obj:`{shown(name)} <tinyflux.{name}>`")
        lines.append(f"     - {first_sentence(name, find(name))}")
    return [*lines, ""]


def directive(name: str, members: str) -> list[str]:
    thing = find(name)
    kind = "autoclass" if isinstance(thing, type) else "autofunction" if callable(thing) else "autodata"
    if isinstance(thing, type) and issubclass(thing, Exception):
        kind = "autoexception"
    lines = [f".. {kind}:: tinyflux.{name}"]
    if members:
        lines.append(f"   :members: {members}")
    if kind == "autodata":
        lines.append("   :no-value:")
    return [*lines, ""]


def find(name: str) -> Any:
    """The thing that users have under this name."""
    return attrgetter(name)(import_module("tinyflux"))


def shown(name: str) -> str:
    """A name as users write it; one that is no part of the public modules by its last word."""
    module, _, last = name.rpartition(".")
    return last if "." in module else f"flux.{name}"


def as_imported(prefix: nodes.Element) -> None:
    """Have a signature begin as users write it: flux.Dense, not tinyflux.Dense."""
    module = prefix.astext().removeprefix("tinyflux.")
    if "." in module.rstrip("."):
        prefix.parent.remove(prefix)
    else:
        prefix.children = [addnodes.desc_sig_name("", f"flux.{module}")]


def without_links_back(app: Any, page: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """Pages of source code have no links back: Sphinx gives all of a file one prefix, ours are flux and flux.data."""
    if page.startswith("_modules/"):
        context["body"] = BACK.sub("", context["body"])

"""tinyflux' docstrings, plain text with sections, as the reStructuredText that Sphinx reads."""

import inspect
import re
from types import ModuleType
from typing import Any

import tinyflux as flux

CLASSES = [name for name in flux.__all__ if isinstance(getattr(flux, name), type)]
OURS = [name for name in CLASSES if issubclass(getattr(flux, name), Exception)]
ERROR = rf"(?:[A-Z]\w*Error|{'|'.join(OURS)})"
SECTION = re.compile(r"(Arguments|Attributes|Returns|Errors|Warnings)\b([^:`]*):(?: |$)(.*)")
ITEM = re.compile(r" {4}(\*{0,2}\w+(?:, \*{0,2}\w+)*): (.*)")
BULLET = re.compile(r"\* {3}(.*)")
BOLD = re.compile(r"\*\*(\S[^*]*\S)\*\*")
SPECIAL = re.compile(r"([\\*|_])")
SPLIT = {  # sections that are lists in a sentence: how they begin, and where each next item does
    "Attributes": (re.compile("`"), re.compile(r"; (?:and )?(?=(?:the buffers )?`)")),
    "Errors": (re.compile(ERROR), re.compile(rf"[;.] (?={ERROR}\b)")),
}
OWNER = re.compile(r", (?:\*, )?owner=['\"]\w+['\"](?=\))")

RETURNED = {  # not to be called by name, and yet documented
    "Compiled": "compile.traced.Compiled",
    "Leaf": "optimise.plan.Leaf",
    "OptimiserState": "optimise.state.OptimiserState",
    "TrainingStep": "training.compiled.TrainingStep",
    "TrainingStep.__call__": "training.compiled.TrainingStep.__call__",
}

# What has no docstring of ours.
WRITTEN_HERE = {
    "ADAM": "The same as `Adam`, under the name that it had in Flux.",
    "sigmoid": """\
        1 / (1 + e⁻ˣ), elementwise: from 0 to 1. It is SciPy's `expit`.

        >>> import numpy as np, tinyflux as flux
        >>> flux.sigmoid(np.array([-2.0, 0.0, 2.0])).round(4)
        array([0.1192, 0.5   , 0.8808])
    """,
    "tanh": """\
        (eˣ − e⁻ˣ) / (eˣ + e⁻ˣ), elementwise: from −1 to 1. It is NumPy's `tanh`.

        >>> import numpy as np, tinyflux as flux
        >>> flux.tanh(np.array([-2.0, 0.0, 2.0])).round(4)
        array([-0.964,  0.   ,  0.964])
    """,
    "data.CIFAR10_CLASSES": "What the labels 0 to 9 of `cifar10` stand for: a tuple of ten words.",
    "data.FASHION_MNIST_CLASSES": "What the labels 0 to 9 of `fashion_mnist` stand for: a tuple of ten words.",
}


def setup(app: Any) -> dict[str, bool]:
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", _documentation)
    app.connect("autodoc-process-signature", _signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def documentation(name: str, thing: Any) -> str:
    """The docstring of the thing that tinyflux has under a name."""
    text = WRITTEN_HERE.get(name) or getattr(thing, "compile", thing).__doc__ or ""
    return inspect.cleandoc(text)


def first_sentence(name: str, thing: Any) -> str:
    paragraph = documentation(name, thing).partition("\n\n")[0].replace("\n", " ")
    return _inline(re.split(r"(?<=\.) (?=[A-Z`])", paragraph)[0], _links(name, thing))


def _documentation(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    name = name.removeprefix("tinyflux.")
    lines[:] = to_rst(documentation(name, thing).splitlines(), _links(name, thing))


def _signature(app: Any, what: str, name: str, thing: Any, options: Any, given: str, returned: str) -> Any:
    """A signature as readers need it: without what one layer tells another, and none for what nobody calls."""
    if given is None:
        return None
    if what == "exception" or (what == "class" and name.count(".") > 2):
        return "", ""
    if name.removeprefix("tinyflux.") in WRITTEN_HERE:
        return "(x)", ""
    if given.endswith("**hyperparameters)") and what == "class":  # a rule: it has a __new__ that looks at their names
        numbers = inspect.signature(thing).parameters.values()
        return f"({', '.join(str(number.replace(annotation=number.empty)) for number in numbers)})", ""
    return OWNER.sub("", given).replace("<factory>", "…"), ""


def _links(name: str, thing: Any) -> dict[str, str]:
    """What is public, by each name that a docstring may have for it; its own name and arguments are no links."""
    module = name.rpartition(".")[0]
    links = dict(RETURNED)
    for owner in ("schedules", "data", "metrics", "models", "interop", "tree"):
        for word in getattr(flux, owner).__all__:
            also = getattr(flux, word, None) is getattr(getattr(flux, owner), word)  # flux.data.onehot is flux.onehot
            target = word if also else f"{owner}.{word}"
            links[f"{owner}.{word}"] = links[f"flux.{owner}.{word}"] = target
            if owner == module:
                links[word] = target
    for word in flux.__all__:
        links[f"flux.{word}"] = word
        if not isinstance(getattr(flux, word), ModuleType) or word == "compile":
            links.setdefault(word, word)
    try:
        own = list(inspect.signature(thing).parameters)
    except (TypeError, ValueError):
        own = []
    for word in (*own, name.rpartition(".")[2]):
        links.pop(word, None)
    return links


def to_rst(lines: list[str], links: dict[str, str]) -> list[str]:
    """Paragraphs, formulas, sections with items, and examples, each a block between empty lines."""
    made: list[str] = []
    for block in _blocks(lines):
        made += [*_block(block, links), ""]
    return made


def _blocks(lines: list[str]) -> list[list[str]]:
    blocks: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            blocks[-1].append(line)
        elif blocks[-1]:
            blocks.append([])
    whole: list[list[str]] = []
    for block in filter(None, blocks):
        if whole and SECTION.match(whole[-1][0]) and block[0].startswith(" " * 8):  # an argument's list goes on
            whole[-1] += block
        else:
            whole.append(block)
    return whole


def _block(lines: list[str], links: dict[str, str]) -> list[str]:
    if lines[0].startswith(">>>"):
        return lines
    if lines[0].startswith("    ") and any(line.strip().startswith(("def ", "flux.")) for line in lines):
        return [".. code-block:: python", "", *[line[1:] for line in lines]]
    if lines[0].startswith("    "):  # a formula
        return [".. code-block:: text", "   :class: formula", "", *[line[1:] for line in lines]]
    section = SECTION.match(lines[0])
    if section:
        return _section(section[1], section[2], [section[3], *lines[1:]], links)
    if BULLET.match(lines[0]):
        return _bullets(lines, links)
    return [_inline(line, links) for line in lines]


def _section(kind: str, rest: str, lines: list[str], links: dict[str, str]) -> list[str]:
    """A field with the text that follows its head, and a list of the indented items."""
    text: list[str] = []
    items: list[str] = []
    inner = False
    for line in lines:
        item, bullet = ITEM.fullmatch(line), BULLET.match(line.strip())
        if item:
            items += [""] * inner + [f"* **{_escape(item[1])}** – {_inline(item[2], links)}"]
            inner = False
        elif items and bullet:
            items += [""] * (not inner) + [f"  * {_inline(bullet[1], links)}"]
            inner = True
        elif items:
            items.append(f"  {'  ' * inner}{_inline(line.strip(), links)}")
        elif line.strip():
            text.append(line.strip())
    if kind in SPLIT and SPLIT[kind][0].match(" ".join(text)):
        body = [f"* {_inline(part.rstrip('.;'), links)}" for part in SPLIT[kind][1].split(" ".join(text))]
    else:
        body = [_inline(line, links) for line in text]
    return [f":{kind}{_escape(rest)}:", *(f"    {line}".rstrip() for line in [*body, "", *items])]


def _bullets(lines: list[str], links: dict[str, str]) -> list[str]:
    made = []
    for line in lines:
        bullet = BULLET.match(line)
        made.append(f"* {_inline(bullet[1], links)}" if bullet else f"  {_inline(line.strip(), links)}")
    return made


def _inline(text: str, links: dict[str, str]) -> str:
    """Code between backticks as code, and as a link where it names something public."""
    parts = text.split("`")
    return "".join(_code(part, links) if number % 2 else _words(part, links) for number, part in enumerate(parts))


def _words(text: str, links: dict[str, str]) -> str:
    """Plain text, in which an error of ours is a link, and bold what stands between two stars each."""
    parts = BOLD.split(text)
    if len(parts) > 1:
        return "".join(
            f"**{_escape(part)}**" if number % 2 else _words(part, links) for number, part in enumerate(parts)
        )
    return re.sub(rf"\b({'|'.join(OURS)})\b", lambda error: _code(error[1], links), _escape(text))


def _code(text: str, links: dict[str, str]) -> str:
    return f":py:obj:`{text} <tinyflux.{links[text]}>`" if text in links else f"``{text}``"


def _escape(text: str) -> str:
    return SPECIAL.sub(r"\\\1", text)

"""Tables of text."""

from collections.abc import Iterable, Sequence


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, aligned so that it reads well as it is."""
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines)]
    padded = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in lines]
    padded.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(padded)


def point(xy: Iterable[float], form: str = "g") -> str:
    """Coordinates, in a format that f-strings know: (-2, 1.5)."""
    return "(" + ", ".join(f"{c:{form}}" for c in xy) + ")"

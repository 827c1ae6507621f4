"""Text of reports: tables in Markdown and as CSV, and times in words."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def table(header: Sequence[str], alignment: str, rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; the alignment of each column is l or r.

    >>> print(table(["rule", "accuracy"], "lr", [["Adam", "97 %"]]))
    | rule | accuracy |
    | :-- | --: |
    | Adam | 97 % |
    """
    rule = [{"l": ":--", "r": "--:"}[letter] for letter in alignment]
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, rule, *rows])


def csv_text(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV: a column for each name that one of them has, and nothing where a row lacks it.

    >>> csv_text([{"rule": "Adam", "seed": 0}, {"rule": "SGD", "loss": 0.5}])
    'rule,seed,loss\\nAdam,0,\\nSGD,,0.5\\n'
    """
    rows = list(rows)
    file = io.StringIO()
    writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def duration(seconds: float) -> str:
    """A time in words, with three figures.

    >>> duration(0.0123), duration(4.56), duration(125), duration(4000)
    ('12.3 ms', '4.56 s', '2 min 5 s', '1 h 7 min')
    """
    if seconds < 0.9995:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 59.95:
        return f"{seconds:.3g} s"
    if seconds < 3599.5:
        return f"{round(seconds) // 60} min {round(seconds) % 60} s"
    return f"{round(seconds / 60) // 60} h {round(seconds / 60) % 60} min"

"""The table of faults: what was typed, what is expected, what comes out; it ends with 1 where one disagrees.

    python -m tests.faults [words]

With words, only entries with one of them in their names are run. It needs what the tests need.
"""

import sys
import textwrap

from tests.faults.entries import ENTRIES

WIDTHS = 64, 36, 48


def main(words):
    chosen = [entry for entry in ENTRIES if not words or any(word in entry.name for word in words)]
    wrong = 0
    print(row("input", "expected", "got"), "agrees")
    for entry in chosen:
        agrees, got = entry.run()
        wrong += not agrees
        print("-" * (sum(WIDTHS) + 12), f"\n# {entry.name}", sep="")
        print(row(textwrap.dedent(entry.code).strip(), entry.expected.text, got), "yes" if agrees else "NO", flush=True)
    print(f"{len(chosen)} entries, {wrong} of them disagree")
    return min(wrong, 1)


def row(*cells):
    """Cells beside each other, each wrapped to its width."""
    columns = [
        [part for line in cell.splitlines() for part in textwrap.wrap(line, width, subsequent_indent="    ") or [""]]
        for cell, width in zip(cells, WIDTHS, strict=True)
    ]
    height = max(map(len, columns))
    columns = [column + [""] * (height - len(column)) for column in columns]
    return "\n".join(" ".join(f"{part:{w}}" for part, w in zip(line, WIDTHS)) for line in zip(*columns))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

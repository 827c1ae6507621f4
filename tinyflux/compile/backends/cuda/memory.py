"""Where the arrays in between lie: memory that one is done with serves another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def assign_memory(used: Sequence[Sequence[str]], sizes: Mapping[str, int]) -> tuple[dict[str, int], list[int]]:
    """Which piece of memory each array lies in, from the step that first uses it to the one that last does.

    Arguments:
        used: for every step the names of the arrays that it uses; the steps run one after another.
        sizes: of the arrays that need a place, by their names; others are passed over.

    Returns: for each name the number of its piece, and the sizes of the pieces.

    >>> assign_memory([["a", "b"], ["b", "c"], ["c", "d"]], {"a": 3, "b": 1, "c": 2, "d": 1})
    ({'a': 0, 'b': 1, 'c': 0, 'd': 1}, [3, 1])
    """
    last = {name: i for i, names in enumerate(used) for name in names}
    pieces: dict[str, int] = {}
    lengths: list[int] = []
    free: list[int] = []
    for i, names in enumerate(used):
        for name in names:
            if name in pieces or name not in sizes:
                continue
            fitting = [k for k in free if lengths[k] >= sizes[name]]
            if fitting:
                piece = min(fitting, key=lengths.__getitem__)
            elif free:
                piece = max(free, key=lengths.__getitem__)  # it grows
            else:
                piece = len(lengths)
                lengths.append(0)
            if piece in free:
                free.remove(piece)
            lengths[piece] = max(lengths[piece], sizes[name])
            pieces[name] = piece
        free += [pieces[name] for name in dict.fromkeys(names) if name in sizes and last[name] == i]
    return pieces, lengths

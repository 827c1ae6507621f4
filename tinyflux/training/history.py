"""What a training has come to, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from ..display import Line, careful, careful_html, html_table

HEAD, TAIL = 4, 8  # epochs that are shown of a long training


class History(list[float]):
    """What `train` returns: a list of the epochs' mean losses, which also holds what validation gave.

    Where a training goes on, `history += flux.train(…)` adds its epochs.

    Arguments:
        losses: the mean loss of each epoch.
        validation: for each name a list with a number for each epoch.

    Attributes:
        validation: a dict of lists by name: "loss", and those of the metrics; empty where nothing was validated.
        engine: what made the last update: `"native code, by cc"`, `"plain NumPy"`, or that and the reason, or
            `"native code for the gradient, and plain NumPy for the update"` and the reason; on the GPU `"CUDA kernels"`
            for native code, `"CuPy"` for plain NumPy.

    >>> import tinyflux as flux
    >>> history = flux.History([0.5, 0.25], {"loss": [0.6, 0.4], "accuracy": [0.8, 0.9]})
    >>> history
    epoch   loss   validation loss   validation accuracy
        1    0.5               0.6                   0.8
        2   0.25               0.4                   0.9
    >>> min(history), history.validation["accuracy"][-1]
    (0.25, 0.9)
    """

    def __init__(self, losses: Iterable[float] = (), validation: Mapping[str, Iterable[float]] | None = None) -> None:
        super().__init__(losses)
        self.validation: dict[str, list[float]] = {name: list(xs) for name, xs in (validation or {}).items()}
        self.engine = ""

    def add(self, loss: float, validation: Mapping[str, float]) -> None:
        """Append an epoch."""
        self.append(loss)
        for name, value in validation.items():
            self.validation.setdefault(name, []).append(value)

    def __add__(self, other: Any) -> Any:
        """The epochs of two trainings, one after the other; NaN where one of them wasn't validated. A list for a list.

        >>> import tinyflux as flux
        >>> flux.History([0.5], {"loss": [0.6]}) + flux.History([0.25], {"loss": [0.4]})
        epoch   loss   validation loss
            1    0.5               0.6
            2   0.25               0.4
        """
        if not isinstance(other, History):
            return super().__add__(other)
        both = History([*self, *other])
        for name in {**self.validation, **other.validation}:
            both.validation[name] = [x for part in (self, other) for x in part._validated(name)]
        both.engine = other.engine or self.engine
        return both

    def __iadd__(self, other: Any) -> Any:
        if not isinstance(other, History):
            return super().__iadd__(other)
        both = self + other
        self[:], self.validation, self.engine = both, both.validation, both.engine
        return self

    def _validated(self, name: str) -> list[float]:
        """The values of that name, one for each epoch."""
        values = self.validation.get(name, [])[: len(self)]
        return values + [math.nan] * (len(self) - len(values))

    def _rows(self) -> list[list[str]]:
        """The table as words: a header, and a row for each epoch; in a long one some are left out."""
        rows = [["epoch", "loss", *[f"validation {name}" for name in self.validation]]]
        for i in range(len(self)):
            if len(self) > HEAD + TAIL and i == HEAD:
                rows.append(["…"] * len(rows[0]))
            if i < HEAD or i >= len(self) - TAIL:
                values = [number(x[i]) if i < len(x) else "" for x in (self, *self.validation.values())]
                rows.append([str(i + 1), *values])
        return rows

    @careful
    def __repr__(self) -> str:
        rows = self._rows()
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = ["   ".join([text.rjust(width) for text, width in zip(row, widths)]) for row in rows]
        return "\n".join(lines) if len(self) else "History of no epoch"

    @careful_html
    def _repr_html_(self) -> str:
        head, *rows = self._rows()
        return html_table(head, ">" * len(head), list(map(Line, rows)))


def number(x: float) -> str:
    """A loss or a metric, as people read it.

    >>> from tinyflux.training.history import number
    >>> number(0.123456), number(12345.678), number(1.2e-7)
    ('0.1235', '12346', '1.2e-07')
    """
    return f"{x:.0f}" if 1e4 <= abs(x) < 1e7 else f"{x:.4g}"

"""What the runs have come to."""

from typing import Any, NamedTuple


class Result(NamedTuple):
    """A run, as far as it is: `history` has an entry an epoch, of losses, accuracies from 0 to 1, and seconds."""

    model: str
    entry: str
    seed: int
    epochs: int
    parameters: int
    state: int
    diverged: int | None
    settings: dict[str, Any]
    history: list[dict[str, float]]
    events: list[dict[str, Any]]

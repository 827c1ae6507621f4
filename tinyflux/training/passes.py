"""A pass over data, for engines that compile: which batches have programs in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..compile.signature import signature
from ..data import DataLoader
from ..types import Array, Tree


def kind_of_item(item: Tree) -> Any:
    """What a program depends on in an item."""
    others: list[Any] = []
    return signature(item, [], others, True), list(map(id, others))


def stretches(loader: DataLoader[Any]) -> Iterator[Array]:
    """The numbers of the samples of a pass, of shape (batches, size): the whole batches, then the last, smaller one."""
    order = loader.order()
    whole = len(order) - len(order) % loader.batchsize
    for part in (order[:whole].reshape(-1, loader.batchsize), order[None, whole:]):
        if part.size:
            yield part

"""The modes into which a training puts the layers of a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .. import tree
from ..nn import trainmode
from ..nn.layers.modes import switch
from ..nodes import branches
from ..optimise.state import OptimiserState
from ..types import Tree


def set_modes(model: Tree, opt: OptimiserState) -> None:
    """Put layers into the automatic mode; frozen ones that are in inference stay in it."""
    kept = list(_frozen_in_inference(model, opt))
    trainmode(model, "auto")
    for attributes in kept:
        attributes["active"] = False


def _frozen_in_inference(model: Tree, opt: OptimiserState) -> Iterator[Any]:
    """The attributes of layers in inference whose parameters are all frozen.

    One without parameters, such as Dropout, goes with the last parameter before it in the model.
    """
    frozen = {id(leaf.view): leaf.frozen for leaf in opt._leaves}
    before = False
    for _, node in branches(model):
        before = frozen.get(id(node), before)
        attributes = switch(node)
        if attributes is not None and attributes["active"] is False:
            own = [frozen[id(x)] for x in tree.parameters(node)]
            if all(own) if own else before:
                yield attributes

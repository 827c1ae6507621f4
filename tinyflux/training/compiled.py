"""flux.compile_training: whole iterations of training as native code."""

from __future__ import annotations

import numpy as np

from .. import tree
from ..arrays import to_numpy
from ..compile.trace.programs import Inspectable
from ..display import careful
from ..errors import NonFiniteLoss
from ..nn.layers.show import as_code
from ..optimise.checks import check_state
from ..optimise.rule import kind_of
from ..optimise.scheduled import Scheduled
from ..optimise.state import OptimiserState
from ..types import Array, Loss, Tree
from .iteration import Iterations
from .not_finite import what_to_do


class TrainingStep(Inspectable):
    """What `compile_training` returns: `step(data, order)` makes an iteration for each batch of the order."""

    def __init__(self, loss: Loss, model: Tree, opt: OptimiserState, batchsize: int) -> None:
        check_state("compile_training", opt)
        if isinstance(batchsize, bool) or not isinstance(batchsize, (int, np.integer)) or batchsize < 1:
            raise ValueError(f"compile_training: expected batchsize to be at least 1, got {batchsize!r}.")
        self._loss = loss
        self._model = model
        self._opt = opt
        self._batchsize = int(batchsize)
        self._programs: Iterations = Iterations()

    @careful
    def __repr__(self) -> str:
        rules = [leaf.rule.rule if isinstance(leaf.rule, Scheduled) else leaf.rule for leaf in self._opt._leaves]
        made = self.count
        return (
            f"flux.compile_training({as_code(self._loss)}, {type(self._model).__name__}, "
            f"{', '.join(dict.fromkeys(map(kind_of, rules)))}, "
            f"batchsize={self._batchsize}), {made or 'no'} program{'s' * (made != 1)} compiled"
        )

    def __call__(self, data: Tree, order: Array) -> Array:
        """Make an iteration for each batch of the order.

        Arguments:
            data: an array, or a tuple or dict of arrays, whose first axis is that of samples; as for DataLoader.
            order: the numbers of samples, integers of shape (iterations, batchsize), or in one line. An empty one makes
                the program ready, and nothing else.

        Returns: the loss of each iteration, from before its update, float64 of shape (iterations,).

        Errors: NonFiniteLoss for a loss that is NaN or infinite: the iterations before it stand, its own update is not
        applied. IndexError for a number that is no sample's; ValueError for an order that isn't whole batches.
        """
        order = self._checked(order, min((len(x) for x in tree.leaves(data)), default=0))
        losses = self.iterate(data, order)
        if len(losses) and not np.isfinite(losses[-1]):
            batch = tree.map(lambda x: x[order[len(losses) - 1]], data)
            raise NonFiniteLoss(
                f"compile_training: the loss is {losses[-1]} at iteration {len(losses) - 1}. That update was not "
                f"applied. (Iterations count from 0.) {what_to_do(self._model, 'batch', batch)}"
            )
        return losses

    def iterate(self, data: Tree, order: Array) -> Array:
        """The same for an order that is known to be right, int64 of shape (iterations, batchsize).

        Returns: the losses; the last one is NaN or infinite where that has stopped it.
        """
        return self._programs.iteration(self._loss, self._model, self._opt, data, self._batchsize).run(data, order)

    def _checked(self, order: Array, samples: int) -> Array:
        order = np.asarray(to_numpy(order))
        if order.dtype.kind not in "iu" or order.size % self._batchsize:
            raise ValueError(
                f"compile_training: expected the order to hold integers, whole batches of {self._batchsize}, got "
                f"{order.dtype} of shape {order.shape}."
            )
        if order.size and not (order.min() >= 0 and order.max() < samples):
            raise IndexError(
                f"compile_training: the order has numbers from {order.min()} to {order.max()}, the data {samples:,} "
                "samples, numbered from 0 on."
            )
        return np.ascontiguousarray(order.reshape(-1, self._batchsize), np.int64)

    @property
    def count(self) -> int:
        """How many programs were compiled."""
        return self._programs.made


def compile_training(loss: Loss, model: Tree, opt: OptimiserState, batchsize: int = 1) -> TrainingStep:
    """Whole iterations of training as native code: gradient and update, recorded once, run without Python.

    Arguments:
        loss: called as `loss(model, *batch)` for data that is a tuple, else as `loss(model, batch)`; returns a scalar.
        model: its arrays are changed in place, so that compiled and other steps can alternate.
        opt: what `setup(rule, model)` returned. Its numbers (η, the powers of β …) are read in every call.
        batchsize: how many samples an iteration takes.

    Returns: a function, called as `step(data, order)`: see `TrainingStep.__call__`. `print(step.program)` and
    `print(step.source)` show what was recorded, and the C source made of it.

    Errors: NotCompilable, in a call, with the name of an operation that can't be compiled; CompilerNotFound where there
    is no C compiler.

    >>> import numpy as np, tinyflux as flux
    >>> flux.seed(0)
    >>> x = np.linspace(-1, 1, 64, dtype=np.float32).reshape(-1, 1); y = 3 * x + 1
    >>> model = flux.Dense(1, 1); opt = flux.setup(flux.Descent(0.1), model)
    >>> step = flux.compile_training(lambda m, x, y: flux.mse(m(x), y), model, opt, batchsize=16)
    >>> losses = step((x, y), np.random.default_rng(0).integers(64, size=(500, 16)))
    >>> model.weight.round(2).item(), model.bias.round(2).item()
    (3.0, 1.0)
    """
    return TrainingStep(loss, model, opt, batchsize)

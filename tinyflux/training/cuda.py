"""The loss of a batch and its gradient on the GPU, as a list of launches."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import tree
from ..arrays import on_gpu
from ..autodiff.gradient import evaluated
from ..checks import check_loss
from ..compile.backends.cuda.kernels import THREADS, Launch, Translation
from ..compile.backends.cuda.memory import assign_memory
from ..compile.guards.guards import Snapshot
from ..compile.ir import program
from ..compile.ir.program import Node, format_program, reachable
from ..compile.schedule.fuse import Result, make_schedule
from ..compile.trace.programs import Inspectable, Program, Programs
from ..compile.trace.record import Trace
from ..compile.trace.symbolic import Symbolic, node_of, symbolic_input
from ..compile.traced import signature
from ..data.loader import is_plain_loader
from ..errors import NotCompilable
from ..types import Loss, Tree
from .report import reason, report_once
from .traced_loss import arguments, refuse_model, trace_loss

STARTED = "tinyflux: training runs as CUDA kernels made for it; compile=False is the plain path, by CuPy."


class Gradient(Inspectable):
    """What `withgradient` gives for the batches of a training, by kernels as far as that can be compiled.

    Arguments:
        loss, model: as `train` takes them; the model lies on the GPU.
        required: raise where something can't be compiled; otherwise leave it to CuPy, and say in `why_not` why.
        kept: where the programs are found again.
    """

    def __init__(self, loss: Loss, model: Tree, required: bool, kept: dict[str, Any] | None = None) -> None:
        self._loss, self._model = loss, model
        self._required = required
        self._given_up = False
        self.why_not = ""
        self._programs: Programs = ({} if kept is None else kept).setdefault("cuda", Programs())
        self._since = None if required else self._programs.made
        self._kind: Any = None  # of the latest item
        self._last: Any = None

    def __call__(self, item: Any, same: bool, undo: list[Any]) -> tuple[Any, Any]:
        """The loss of an item of the data, and its gradient; both are overwritten by the next ones.

        Arguments:
            same: whether nobody has had a chance to change the model, or what the loss takes from its surroundings,
                since the call before.
            undo: takes what puts the state of layers back: see `evaluated`.
        """
        program = None if self._given_up else self._program(item, same)
        if program is not None:
            return program(tree.leaves(item))
        batch = arguments(item.gather() if isinstance(item, Rows) else item)
        found = evaluated(lambda m: self._loss(m, *batch), (self._model,), undo)
        check_loss(found[0])
        return found

    def items(self, data: Iterable[Any]) -> Iterator[Any]:
        """One pass over the data. The batches of a shuffled DataLoader on the GPU are left to a kernel to take."""
        if not is_plain_loader(data) or not data.shuffle or not all(map(_takeable, tree.leaves(data.data))):
            return iter(data)
        order = data.order()
        return (Rows(data.data, order[i : i + data.batchsize]) for i in range(0, len(order), data.batchsize))

    def _program(self, item: Any, same: bool) -> Kernels | None:
        """The program for items of this kind, or None: then it is left to CuPy for good."""
        others: list[Any] = []
        kind = signature(item, [], others, True)
        seen = kind, list(map(id, others))
        if same and self._kind == seen:
            return self._last
        try:
            arrays: list[Any] = []
            form = (kind, signature(self._model, arrays, others, True), tuple(map(id, arrays)))
            look = lambda: self._programs.guards(self._loss, *others)  # noqa: E731
            make = lambda before: Kernels(self._loss, look, self._model, item)  # noqa: E731
            program: Kernels = self._programs.find(form, look(), make, since=self._since)
        except Exception as error:
            if self._required:
                raise
            self._given_up = True
            self._programs.clear()
            self.why_not = f"tinyflux: training runs by CuPy: {reason(error)}"
            return None
        report_once(STARTED)
        self._kind, self._last = seen, program
        return self._last

    def release(self) -> None:
        """Let go of the data, and of all programs but the last ones."""
        self._programs.trim()
        for kernels in self._programs:
            kernels.release()
        self._kind = None


def _takeable(x: Any) -> bool:
    """Whether kernels can take rows of an array where it lies: a copy would not see what becomes of the array."""
    return on_gpu(x) and bool(x.flags.c_contiguous)


class Rows(NamedTuple):
    """A batch that was not taken yet: the data, and the numbers of the batch's samples, on the GPU."""

    data: Any
    numbers: Any

    def gather(self) -> Any:
        """The batch itself."""
        return tree.map(lambda x: x[self.numbers], self.data)


class Kernels(Program):
    """The loss and its gradient for one kind of item, and for the arrays that a model holds."""

    def __init__(self, loss: Loss, look: Callable[[], Snapshot], model: Tree, item: Any) -> None:
        own = list({id(x): x for x in tree.leaves(model)}.values())
        given = tree.leaves(item)
        if not all(map(on_gpu, [*own, *given])):
            raise NotCompilable("a batch in NumPy, or a part of the model: move all of it by flux.gpu.")
        trace = Trace(lambda: _record(loss, model, item), look, gpu=True)
        super().__init__(trace.surroundings, trace.contents)
        refuse_model(trace, model)
        grads, found, recording = trace.value, trace.ends, trace.recording
        self.program = "\n".join(format_program(reachable(found), found[: 1 + len(tree.leaves(grads))]))
        results = [Result(node, len(recording.inputs) + i) for i, node in enumerate(found)]
        translation = Translation(make_schedule(results), recording.trusted)
        self.source = translation
        with own[0].device:
            fixed = {f"p{i}": x for i, x in enumerate(own)} | {f"p{n.params}": x for n, x in recording.captured}
            there = _memory(translation, results) | {name: x for name, x in fixed.items() if x.flags.c_contiguous}
            copied_each_time = [name for name in fixed if name not in there]
            self._others = [fixed[name] for name in copied_each_time]
            self._memory = there  # products know no more of it than addresses
            self._device = own[0].device
            names = [*(f"p{len(own) + i}" for i in range(len(given))), *copied_each_time]
            self._data = {name: i for i, name in enumerate(names)}
            self._patches: list[tuple[list[Any], int, int, bool]] = []  # where the arrays of an item go
            self._bind(translation, there)
        self._loss, *gradients = (there[f"p{r.pointer}"] for r in results)
        rest = iter(gradients)
        self._grads = tree.map(lambda _: next(rest), grads)

    def _bind(self, translation: Translation, there: dict[str, Any]) -> None:
        """Compile, and make of every step a function with its arguments."""
        import cupy

        module = cupy.RawModule(code=translation.text, options=("-std=c++17",))
        handle = cupy.cuda.device.get_cublas_handle()
        gemm = {"float32": cupy.cuda.cublas.sgemm, "float64": cupy.cuda.cublas.dgemm}
        self._numbers = {name: (np.ones(1, name), np.zeros(1, name)) for name in gemm}
        self._steps: list[tuple[Any, list[Any]]] = []
        for step in translation.steps:
            if isinstance(step, Launch):
                arguments = [there.get(name) for name in step.arrays]
                self._patch(arguments, step.arrays, False)
                self._steps.append((module.get_function(step.kernel), [(step.blocks,), (THREADS,), arguments]))
                continue
            # cuBLAS takes a matrix for its transposed: outᵀ = rightᵀ leftᵀ
            (m, k), (_, n) = step.left.shape, step.right.shape
            one, zero = (x.ctypes.data for x in self._numbers[step.dtype.name])
            left, right, out = (there.get(x.array) for x in (step.left, step.right, step.out))
            a, b, c = (0 if x is None else x.data.ptr for x in (left, right, out))
            turns = int(step.right.transposed), int(step.left.transposed)
            ldb, lda = (k if step.right.transposed else n), (m if step.left.transposed else k)
            arguments = [handle, *turns, n, m, k, one, b, ldb, a, lda, zero, c, n]
            self._patch(arguments, [*[""] * 7, step.right.array, "", step.left.array], True)
            self._steps.append((gemm[step.dtype.name], arguments))

    def _patch(self, arguments: list[Any], names: Sequence[str], address: bool) -> None:
        self._patches += [
            (arguments, i, self._data[name], address) for i, name in enumerate(names) if name in self._data
        ]

    def release(self) -> None:
        """Let go of the arrays of the last item."""
        for places, i, _, address in self._patches:
            places[i] = 0 if address else None

    def __call__(self, given: Sequence[Any]) -> tuple[Any, Any]:
        """Launch all steps for the arrays of an item, in the current stream; nothing is waited for."""
        arrays = list(map(contiguous, (*given, *self._others)))
        for places, i, k, address in self._patches:
            places[i] = arrays[k].data.ptr if address else arrays[k]
        with self._device:
            for function, places in self._steps:
                function(*places)
        return self._loss, self._grads


def contiguous(x: Any) -> Any:
    """The array itself where a kernel can read it, or a copy."""
    return x if x.flags.c_contiguous else x.copy()


def _memory(translation: Translation, results: Sequence[Result]) -> dict[str, Any]:
    """Arrays on the current device for what is calculated, by their names."""
    import cupy

    used = [step.arrays for step in translation.steps]
    sizes = {name: n * dtype.itemsize for name, (n, dtype) in translation.arrays.items()}
    places, lengths = assign_memory(used, sizes)
    pieces = [cupy.empty(length, np.uint8) for length in lengths]
    arrays = {name: pieces[k][: sizes[name]].view(translation.arrays[name][1]) for name, k in places.items()}
    return arrays | {f"p{r.pointer}": cupy.empty(r.node.shape, r.node.dtype) for r in results}


def _record(loss: Loss, model: Tree, item: Any) -> tuple[Any, list[Node]]:
    """Record the loss of an item and its gradient.

    Returns: the tree of the gradient; and the nodes of the loss, of the gradient, and of a batch taken from data.
    """
    taken: list[Node] = []

    def make_batch() -> Any:
        if not isinstance(item, Rows):
            return tree.map(symbolic_input, item)
        data = tree.map(symbolic_input, item.data)
        order = symbolic_input(item.numbers)
        program.recording().trusted.add(order.node)
        return tree.map(lambda x: _copy_rows(x[order].node, taken), data)

    traced = trace_loss("train", loss, model, make_batch)
    before = [traced.symbols[id(a)] for a in tree.leaves(model)]
    if traced.after is None or not all(map(operator.is_, traced.after, before)):
        raise NotCompilable("the model changes itself, as layers with a state do, which can't be compiled for the GPU.")
    return traced.grads, [traced.value, *[node_of(g) for g in tree.leaves(traced.grads)], *taken]


def _copy_rows(rows: Node, taken: list[Node]) -> Symbolic:
    """Rows of the data, which are copied once, wherever they are read."""
    taken.append(program.elementwise("positive", [rows], rows.dtype))
    return Symbolic(taken[-1])

"""The loss of a batch and its gradient on the GPU, as a list of launches."""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import tree
from ..arrays import on_gpu
from ..autodiff.gradient import evaluated
from ..checks import check_loss
from ..compile.backends.cuda.kernels import THREADS, Translation
from ..compile.backends.cuda.launches import Launch, Place
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
        self._programs.release()
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
            self._patches: dict[Place, list[tuple[list[Any], int, bool]]] = {}  # where the arrays of an item go
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
        self._launches: list[tuple[Any, list[Any]]] = []
        positions: Sequence[int]
        at = functools.cache(lambda place: _from(there[place.array], place.start) if place.array in there else None)
        for launch in translation.launches:
            arrays = list(map(at, launch.arrays))
            if isinstance(launch, Launch):
                arguments, positions = arrays, range(len(arrays))
                self._launches.append((module.get_function(launch.kernel), [(launch.blocks,), (THREADS,), arguments]))
            else:
                # cuBLAS takes a matrix for its transposed: outᵀ = rightᵀ leftᵀ
                m, n, k = launch.size
                one, zero = (x.ctypes.data for x in self._numbers[launch.dtype.name])
                a, b, c = (0 if x is None else x.data.ptr for x in arrays)
                left, right = launch.transposed
                arguments = [handle, int(right), int(left), n, m, k, one, b, k if right else n, a, m if left else k]
                arguments += [zero, c, n]
                positions = (9, 7, 12)
                self._launches.append((gemm[launch.dtype.name], arguments))
            for place, i in zip(launch.arrays, positions):
                if place.array in self._data:
                    self._patches.setdefault(place, []).append((arguments, i, arguments is not arrays))

    def release(self) -> None:
        """Let go of the arrays of the last item."""
        for given, i, address in itertools.chain(*self._patches.values()):
            given[i] = 0 if address else None

    def __call__(self, given: Sequence[Any]) -> tuple[Any, Any]:
        """Launch all steps for the arrays of an item, in the current stream; nothing is waited for."""
        arrays = list(map(contiguous, (*given, *self._others)))
        with self._device:
            for place, patches in self._patches.items():
                x = _from(arrays[self._data[place.array]], place.start)
                for called_with, i, address in patches:
                    called_with[i] = x.data.ptr if address else x
            for function, called_with in self._launches:
                function(*called_with)
        return self._loss, self._grads


def _from(x: Any, start: int) -> Any:
    """The elements of an array from one on."""
    return x.reshape(-1)[start:] if start else x


def contiguous(x: Any) -> Any:
    """The array itself where a kernel can read it, or a copy."""
    return x if x.flags.c_contiguous else x.copy()


def _memory(translation: Translation, results: Sequence[Result]) -> dict[str, Any]:
    """Arrays on the current device for what is calculated, by their names."""
    import cupy

    used = [[place.array for place in launch.arrays] for launch in translation.launches]
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

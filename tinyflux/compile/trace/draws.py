"""Random numbers can't be compiled: a recording that draws some is refused, and the generators are set back."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ...arrays import default_rng
from ...errors import NotCompilable


@contextlib.contextmanager
def no_draws(generators: Sequence[tuple[str, Any]]) -> Iterator[None]:
    """NotCompilable where a generator is drawn from, which is then set back to where it was.

    Other threads that draw wait as long.

    Arguments:
        generators: those that a function could draw from, by name, besides tinyflux' own and NumPy's.
    """
    numpys = np.random.get_bit_generator()  # type: ignore[attr-defined]
    found = [("flux.default_rng()", default_rng()), *generators]
    sources = {"np.random": numpys} | {name: x.bit_generator for name, x in found}
    drawn = ""
    with contextlib.ExitStack() as stack:
        for source in sorted(sources.values(), key=id):  # in one order, lest threads wait for each other
            stack.enter_context(source.lock)
        before = [source.state for source in sources.values()]
        gauss = np.random.get_state(legacy=False)
        try:
            yield
        finally:
            for (name, source), state in zip(sources.items(), before):
                if pickle.dumps(source.state) != pickle.dumps(state):
                    source.state = state
                    drawn = drawn or name
            if drawn == "np.random":
                np.random.set_state(gauss)
    if drawn:
        raise NotCompilable(
            f"the function draws random numbers from {drawn}, which can't be compiled. Draw them beforehand and give "
            "them as arguments or data; an active Dropout belongs into the model that flux.compile_training is given."
        )

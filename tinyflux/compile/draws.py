"""Random numbers can't be compiled: a recording that draws some is refused, and the generators are set back."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterator

import numpy as np

from ..arrays import default_rng
from .symbolic import NotCompilable


@contextlib.contextmanager
def no_draws() -> Iterator[None]:
    """NotCompilable where tinyflux' or NumPy's global generator is drawn from; then it is set back to where it was.

    Other threads wait for the generators as long.
    """
    numpys = np.random.get_bit_generator()  # type: ignore[attr-defined]
    sources = {"flux.default_rng()": default_rng().bit_generator, "np.random": numpys}
    drawn = ""
    with contextlib.ExitStack() as stack:
        for source in sources.values():
            stack.enter_context(source.lock)
        before = [source.state for source in sources.values()]
        gauss = np.random.get_state(legacy=False)
        try:
            yield
        finally:
            for (name, source), state in zip(sources.items(), before):
                if pickle.dumps(source.state) != pickle.dumps(state):
                    source.state = state
                    drawn = name
            if drawn == "np.random":
                np.random.set_state(gauss)
    if drawn:
        raise NotCompilable(
            f"the function draws random numbers from {drawn}, which can't be compiled. Draw them beforehand and give "
            "them as arguments or data; an active Dropout belongs into the model that flux.compile_training is given."
        )

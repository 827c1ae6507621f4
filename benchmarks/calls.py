"""What happens in Python before the first native instruction of a training: python -m benchmarks.calls

Counts the functions of Python entered between the call of `flux.train` and the first call of compiled code, and the
files that they are in: for a first call, whose library lies on the disk already, and for a second one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import tinyflux as flux


class Count(NamedTuple):
    """Functions entered, and the files of tinyflux that they are in."""

    functions: int
    files: int


def counted(work: Callable[[], Any]) -> Count:
    """The functions entered until a compiled iteration begins to run."""
    calls, files, done = 0, set(), False

    def profile(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls, done
        code = frame.f_code
        if event == "call" and not done:
            calls += 1
            if "tinyflux" in code.co_filename:
                files.add(code.co_filename)
            done = code.co_name == "_iterate"

    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
    return Count(calls, len(files))


def main() -> None:
    flux.seed(0)
    x, y = np.ones((64, 6), np.float32), np.ones((64, 3), np.float32)
    data = [(x[:32], y[:32]), (x[32:], y[32:])]
    loss = lambda m, x, y: flux.mse(m(x), y)  # noqa: E731

    def prepared() -> tuple[Any, Any]:
        model = flux.Chain(flux.Dense(6, 16, flux.tanh), flux.Dense(16, 3))
        return model, flux.setup(flux.Adam(0.01), model)

    model, opt = prepared()
    flux.train(loss, model, data, opt, compile=True)  # imports, and the library on the disk
    model, opt = prepared()
    for name in ("first call", "second call"):
        print(f"{name}: {counted(lambda: flux.train(loss, model, data, opt, compile=True))}")


if __name__ == "__main__":
    main()

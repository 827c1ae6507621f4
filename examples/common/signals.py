"""How a training is asked to stop: Ctrl-C, or a request to end, raises a flag that it looks at now and then."""

import signal
from collections.abc import Callable


class Stopped(Exception):
    """A training was asked to stop before its goal."""


def stop_on_signals() -> Callable[[], bool]:
    """Have Ctrl-C and a request to end raise a flag, unless they are ignored; returns the function that reads it."""
    raised: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as a shell has it for what runs in the background
            signal.signal(number, lambda number, frame: raised.append(number))
    return lambda: bool(raised)

"""What the commands of the examples share: values on the line, refusals, and how a command ends."""

import argparse
import importlib
import math
import sys
from collections.abc import Callable

import tinyflux as flux
from tinyflux.installed import pip_install

MOVES = {"cpu": flux.cpu, "gpu": flux.gpu}


class Refused(Exception):
    """Something the user can set right; the message says what."""


def exit_code(program: str, stopped: str, work: Callable[[], int | None]) -> int:
    """Do the work of a command; returns the code to end with. What the user can set right is said without a traceback.

    Arguments:
        program: its name, with which each message begins.
        stopped: what to say after Ctrl-C, where the KeyboardInterrupt has no words of its own.
        work: returns the code, or None for 0.
    """
    try:
        return work() or 0
    except KeyboardInterrupt as stop:
        print(f"{program}: {str(stop) or stopped}", file=sys.stderr)
        return 130
    except (
        Refused,
        OSError,
        ImportError,
        flux.CheckpointError,
        flux.data.DataError,
        flux.NonFiniteLoss,
    ) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1


def require(*packages: str) -> None:
    """See before the training, not after it, whether everything is installed."""
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise Refused(f"{package} cannot be imported ({error}); {pip_install('examples')}") from error


def natural(text: str) -> int:
    """A whole number from 0 on: a `type` for argparse, as those below."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 on, got {text!r}")
    return int(text)


def count(text: str) -> int:
    """A whole number from 1 to 10^12."""
    if not text.isdecimal() or not 1 <= int(text) <= 10**12:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to 10^12, got {text!r}")
    return int(text)


def rate(text: str) -> float:
    """A number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def device(wanted: str) -> str:
    """cpu or gpu, for --device cpu, gpu or auto; Refused where the GPU that is wanted can't be used."""
    if wanted == "cpu":
        return wanted
    status = flux.gpu_status()
    usable = status.startswith("The GPU can be used")
    if wanted == "gpu" and not usable:
        raise Refused(f"--device gpu: {status}")
    if wanted == "auto":
        print(f"--device auto: {'gpu' if usable else 'cpu'}. {status}")
    return "gpu" if usable else "cpu"

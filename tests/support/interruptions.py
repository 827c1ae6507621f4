"""Interrupts for tests: at every line of the library in turn, and by a signal at any moment."""

import _thread
import contextlib
import gc
import os
import signal
import sys
import time

import numpy as np

import tinyflux as flux

LIBRARY = os.path.dirname(flux.__file__)
STEPPING = [  # the files whose lines an update goes through, but for the rules'
    *("interrupts", "cores", "optimise/step", "optimise/flat", "optimise/plan", "optimise/state", "optimise/subnormal"),
    *("optimise/kernels/launch", "optimise/kernels/loss_guard", "training/loop", "training/engines", "training/gpu"),
    *("training/native", "training/compiled", "training/iteration", "training/recorded_update"),
    *("training/compiled_gradient",),
    *("training/cuda_engine", "training/cuda_iteration", "training/launching", "training/layer_state", "nn/cudnn"),
]
FILES = {os.path.join(LIBRARY, *f"{name}.py".split("/")) for name in STEPPING}
assert all(map(os.path.exists, FILES))


def interrupted(call, at, opcodes=False):
    """Call a function, with a KeyboardInterrupt before its `at`th line in these files; whether it got so far."""
    count = 0

    def trace(frame, event, _):
        nonlocal count
        if frame.f_code.co_filename not in FILES:
            return None
        frame.f_trace_opcodes = opcodes
        if event == ("opcode" if opcodes else "line"):
            count += 1
            if count == at:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


@contextlib.contextmanager
def no_collections():
    """No garbage is collected meanwhile.

    What a collection calls, such as a destructor or the callback that Hypothesis leaves in `gc.callbacks`, has nobody
    to raise an error to: Python prints an interrupt that comes there, and drops it.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def shot(call, delay, shots=1):
    """Call a function over and over until Ctrl-C comes after a delay; or twice in a row.

    One that Python drops (see `no_collections`) ends it, too.
    """
    fired = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background job lacks

    def shoot():
        time.sleep(delay)
        for _ in range(shots):
            _thread.interrupt_main()
            time.sleep(1e-5)
        fired.append(True)

    with no_collections(), contextlib.suppress(KeyboardInterrupt):
        try:
            _thread.start_new_thread(shoot, ())
            while not fired:
                call()
        finally:
            time.sleep(1e-5)  # here comes the one that is on its way
            while not fired:
                time.sleep(1e-5)
    while not fired:
        time.sleep(1e-5)
    signal.signal(signal.SIGINT, before)


def state_of(model, opt):
    """All that an iteration changes: the model's arrays, averages, the numbers of the state."""
    arrays = [np.array(flux.cpu(x)) for x in [*flux.leaves(model), *(a for leaf in opt._leaves for a in leaf.state)]]
    return [x.tobytes() for x in arrays]

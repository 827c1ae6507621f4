"""CUDA's streams and graphs on the CPU: what is launched while a stream is captured runs when the graph is launched.

Other work of the device is refused meanwhile, as the GPU refuses some of it, and would do the rest at once, or later.
"""

from tests.support import device_standin

launched = []  # graphs, each as often as it was launched
_streams = []  # entered, the innermost last


class Graph:
    def __init__(self, work):
        self.work = work

    def launch(self, stream=None):
        assert not capturing()
        launched.append(self)
        for run in self.work:
            run()


class Stream:
    """`cupy.cuda.Stream`, as far as it is used."""

    def __init__(self, null=False, non_blocking=False):
        self.ptr = id(self)
        self.work = None
        self.waited = []  # for these streams, as far as they had come then

    def __enter__(self):
        _streams.append(self)
        return self

    def __exit__(self, *error):
        assert _streams.pop() is self

    def record(self):
        return self  # in the place of an event

    def wait_event(self, event):
        self.waited.append(event)

    def begin_capture(self, mode=None):
        assert self.work is None
        self.work = []

    def is_capturing(self):
        return self.work is not None

    def end_capture(self):
        work, self.work = self.work, None
        return Graph(work)


def forget():
    """Let go of what an interrupted test has left."""
    launched.clear()
    _streams.clear()


DEFAULT = Stream(null=True)
DEFAULT.ptr = 0


def current_stream():
    return _streams[-1] if _streams else DEFAULT


def capturing():
    return current_stream().work is not None


def now_or_later(run):
    """Run it, or keep it for the graph that is being captured."""
    if capturing():
        current_stream().work.append(run)
    else:
        run()


device_standin.busy = lambda: "a stream is being captured" if capturing() else ""

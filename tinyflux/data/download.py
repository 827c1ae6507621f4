"""Files from the network, through pooch, without waiting for ever."""

from __future__ import annotations

import io
import threading
from typing import Any

PATIENCE = 3.0  # seconds without a byte before a download is given up


def fetch(url: str, limit: int) -> bytes:
    """The bytes at `url`; an OSError if they cannot be had, if none comes for a while, or if more than `limit` come."""
    import pooch
    import requests  # noqa: F401  (pooch would import it in the thread, where this time would count as waiting)

    received = _Received(limit)
    failures: list[Exception] = []

    def work() -> None:
        try:
            pooch.HTTPDownloader(timeout=PATIENCE)(url, received, None)
        except Exception as error:
            failures.append(error)

    # In a thread that can be left behind: no timeout covers looking up a name and trying its addresses one by one.
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        size = received.tell()
        thread.join(PATIENCE)
        if thread.is_alive() and received.tell() == size:
            raise TimeoutError(f"no data came for {PATIENCE:g} s")
    if failures:
        raise failures[0]
    return received.getvalue()


def root_cause(error: BaseException) -> str:
    """What went wrong at the bottom: the layers of an HTTP library repeat it at length."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error) or type(error).__name__


class _Received(io.BytesIO):
    """What came from the network: no more than `limit` bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def write(self, piece: Any) -> int:
        if self.tell() + len(piece) > self._limit:
            raise OSError(f"more than {self._limit:,} bytes came")
        return super().write(piece)

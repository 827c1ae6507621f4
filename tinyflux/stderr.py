"""Lines on stderr that nothing depends on."""

import sys


def write_line(text: str) -> None:
    """Write a line on stderr, and leave nothing in its buffer.

    What can't be written, as to a full disk, would stay there, and Python's exit status become 120.
    """
    stream = sys.stderr
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    if raw is None:
        print(text, file=stream, flush=True)
    else:
        stream.flush()
        raw.write(f"{text}\n".encode(stream.encoding, stream.errors or "strict"))

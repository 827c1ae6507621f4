"""Lines on stderr that nothing depends on."""

import sys


def write_line(text: str) -> None:
    """Write a line on stderr, and leave nothing in its buffer.

    Text that can't be written, because the disk is full, say, would stay there, and Python would exit with status 120.
    """
    stream = sys.stderr
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    if raw is None:
        print(text, file=stream, flush=True)
    else:
        stream.flush()
        raw.write(f"{text}\n".encode(stream.encoding, stream.errors or "strict"))

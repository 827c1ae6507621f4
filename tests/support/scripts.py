"""examples/mnist.py in a process of its own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "examples" / "mnist.py"
NOWHERE = "http://127.0.0.1:1"  # a proxy that nobody serves: no network, at once


def environment(tmp_path, **more):
    """One thread, this checkout's tinyflux, an empty home, and no network."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    env = {k: v for k, v in os.environ.items() if k not in ("TINYFLUX_DATA", "XDG_CACHE_HOME")}
    env |= {"HOME": str(home), "HTTP_PROXY": NOWHERE, "HTTPS_PROXY": NOWHERE, "https_proxy": NOWHERE, "NO_PROXY": ""}
    return env | {"PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8", **more}


def after(preparation):
    """The arguments of a Python that runs the script after a statement: without a fork, which some libraries resent."""
    run = "import runpy; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    return ["-c", f"import resource, signal, sys; {preparation}; {run}", str(SCRIPT)]


def script(tmp_path, *arguments, command=(str(SCRIPT),), **options):
    """Run the script in a process of its own."""
    options = {"env": environment(tmp_path), "cwd": tmp_path, **options}
    done = subprocess.run(
        [sys.executable, *command, *map(str, arguments)], capture_output=True, encoding="utf-8", timeout=100, **options
    )
    assert "Traceback" not in done.stderr
    return done


def result(folder):
    return json.loads((folder / "results.json").read_text())


def refused(done, code, *words):
    assert done.returncode == code
    for word in words:
        assert word in done.stderr
    assert len(done.stderr) < 1500


def without_the_word_on_compiling(stderr):
    """What a run wrote to stderr, but for two lines: on whether its training was compiled, and that this takes a while.

    The second appears only where the compiler takes more than a second, as it does on a busy machine.
    """
    for line in ("training runs as .*", ".* is compiling; a large program can take a while."):
        stderr = re.sub(rf"^tinyflux: {line}\n", "", stderr, count=1, flags=re.MULTILINE)
    return stderr

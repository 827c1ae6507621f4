"""All that is measured and tested on a GPU, within so many minutes: `python -m benchmarks.device_all --minutes 8`.

The parity suite comes first, on all cores, then the tables: convolution, steps, updates, whole trainings. Each part is
a process of its own and has a share of the time that is left; what it doesn't need goes to those that follow. One that
fails, or is stopped because its time is over, is reported with what it wrote until then, and the next one begins.

The folder gets `results.md` and `results.json`, which are written anew after each part, and what each part writes, as
it writes it. The exit status is 0 when all was done, 1 when something failed, 3 when only time was lacking.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinyflux.files import replacing

from .device import gpu_there

ROOT = Path(__file__).parents[1]
GRACE = 5.0  # seconds in which a part that is told to stop can say what it has found
SHOWN = 20  # last lines of what is no table
DONE, RUNNING, FAILED, STOPPED, LEFT_OUT = "done", "running", "failed", "stopped", "left out"


@dataclasses.dataclass(frozen=True)
class Part:
    """What Python runs with these arguments.

    Its share of the time that is left is `weight` among the weights of all parts that remain, but at least `least`
    seconds; when less is left, it isn't begun.
    """

    name: str
    arguments: tuple[str, ...]
    weight: float
    least: float

    @property
    def command(self) -> str:
        return shlex.join(["python", *self.arguments])


QUICK = "--rounds", "3", "--seconds", "0.1"
TRAINING = "--models", "4LS", "--iterations", "4000", "--rounds", "1"
PARTS = (
    Part("parity", ("-m", "pytest", "-m", "gpu", "tests/gpu", "-n", "auto", "-v", "--tb=short"), 4, 40),
    Part("convolution", ("-m", "benchmarks.device_convolution"), 2.5, 40),
    Part("steps", ("-m", "benchmarks.device", "--optimisers", "ADAM", *QUICK), 2.5, 30),
    Part("updates", ("-m", "benchmarks.device_update", *QUICK), 1, 20),
    Part("trainings", ("-m", "benchmarks.device_training", *TRAINING), 1, 30),
)


@dataclasses.dataclass
class Result:
    """What became of a part."""

    name: str
    command: str
    outcome: str  # one of the five above
    reason: str = ""  # unless it is done
    seconds: float = 0.0
    output: str = ""
    errors: str = ""

    def table(self) -> list[dict[str, str]]:
        """The rows of its table, by the names of the columns."""
        lines = [text.strip("| ").split(" | ") for text in self.output.splitlines() if text.startswith("| ")]
        return [dict(zip(lines[0], row)) for row in lines[2:]]

    def record(self) -> dict[str, Any]:
        output, errors = self.output.splitlines()[-SHOWN:], self.errors.splitlines()[-SHOWN:]
        return {**dataclasses.asdict(self), "table": self.table(), "output": output, "errors": errors}

    def markdown(self) -> str:
        said = f"{self.outcome} in {self.seconds:.0f} s" if self.outcome == DONE else f"{self.outcome}: {self.reason}"
        sections = [f"## {self.name}", f"`{self.command}`", said]
        if self.output:
            sections.append(self.output.strip() if self.table() else fenced(self.output))
        if self.errors and self.outcome != DONE:
            sections.append(fenced(self.errors))
        return "\n\n".join(sections)


def fenced(text: str) -> str:
    return "\n".join(["```text", *text.strip().splitlines()[-SHOWN:], "```"])


def main(arguments: Sequence[str] | None = None, parts: Sequence[Part] = PARTS) -> int:
    start = time.monotonic()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device_all", description=__doc__.split(":")[0])
    parser.add_argument("--minutes", type=float, default=8.0, help="(default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=Path("results", "device"), help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    heading = f"{datetime.date.today()}, {gpu_there()}"
    print(heading, flush=True)
    options.folder.mkdir(parents=True, exist_ok=True)
    end = start + 60 * options.minutes
    results: list[Result] = []
    for i, part in enumerate(parts):
        left = max(0.0, end - time.monotonic())
        share = max(part.least, left * part.weight / sum(p.weight for p in parts[i:]))
        if left < part.least:
            reason = f"{left:.0f} s were left, and it takes at least {part.least:.0f} s"
            results.append(Result(part.name, part.command, LEFT_OUT, reason))
        else:
            begun = Result(part.name, part.command, RUNNING, f"what it writes goes to {part.name}.txt")
            store(options.folder, heading, [*results, begun])
            results.append(run(part, share, options.folder))
        store(options.folder, heading, results)
        minutes, seconds = divmod(max(0, round(end - time.monotonic())), 60)
        print(f"\n{results[-1].markdown()}\n\n{minutes} min {seconds} s left", flush=True)
    missing = [f"{r.name} {r.outcome}, {r.reason}" for r in results if r.outcome != DONE]
    print(f"{'; '.join(missing) or 'all done'}. Written to {options.folder}.")
    outcomes = {result.outcome for result in results}
    return 1 if FAILED in outcomes else 0 if outcomes == {DONE} else 3


def run(part: Part, seconds: float, folder: Path) -> Result:
    """Run a part for so many seconds at most. Neither it nor a process that it started lives on."""
    start = time.monotonic()
    paths = folder / f"{part.name}.txt", folder / f"{part.name}.errors.txt"
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    outcome, reason = DONE, ""
    with open(paths[0], "wb") as output, open(paths[1], "wb") as errors:
        process = subprocess.Popen(
            [sys.executable, *part.arguments],
            cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, start_new_session=True,
        )  # fmt: skip
        try:
            process.wait(seconds - GRACE)
        except subprocess.TimeoutExpired:
            outcome, reason = STOPPED, f"its {seconds:.0f} s were over"
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):  # the driver may hold a process back
                process.wait(GRACE)
    if outcome == DONE and process.returncode:
        outcome, reason = FAILED, f"exit status {process.returncode}"
    written = (path.read_text(errors="replace") for path in paths)
    return Result(part.name, part.command, outcome, reason, time.monotonic() - start, *written)


def store(folder: Path, heading: str, results: Sequence[Result]) -> None:
    """Both files, each the old one or the new one whatever happens."""
    texts = {
        "results.md": "\n\n".join([heading, *(result.markdown() for result in results)]),
        "results.json": json.dumps(
            {"heading": heading, "parts": [result.record() for result in results]}, ensure_ascii=False, indent=1
        ),
    }
    for name, text in texts.items():
        with replacing(folder / name) as file:
            file.write(f"{text}\n".encode())


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # which takes the part that runs along
    sys.exit(main())

"""What a result was made with: time, versions and machine, for whoever reads it later."""

import datetime
import os
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import tinyflux as flux

Surroundings = dict[str, Any]  # time, versions and machine


def versions(*packages: str) -> dict[str, str]:
    """The versions of Python and of packages, a word in the place of one that isn't installed."""
    return {"python": platform.python_version(), **{package: _version(package) for package in packages}}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed, run from its source"


def processor() -> str:
    """The processor's name, as the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.exists() else []
    names = [text.split(":", 1)[1].strip() for text in lines if text.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> int | None:
    """The machine's memory in bytes, where the system tells it."""
    names = getattr(os, "sysconf_names", {})
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if "SC_PHYS_PAGES" in names else None


def surroundings() -> Surroundings:
    """When, where and with what a training is run."""
    size = memory()
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {"tinyflux": flux.__version__, **versions("numpy", "scipy")},
        "machine": {
            "processor": processor(),
            "cores": cores(),
            "memory_gib": size and round(size / 2**30),
            "system": platform.system(),
        },
    }


def days(trainings: Iterable[Surroundings]) -> str:
    """The day on which trainings were begun, or the first and the last.

    >>> days([{"time": "2026-03-02T23:58:00+00:00"}, {"time": "2026-03-01T10:00:00+00:00"}])
    '2026-03-01 to 2026-03-02'
    """
    begun = sorted(training["time"][:10] for training in trainings)
    return begun[0] if begun[0] == begun[-1] else f"{begun[0]} to {begun[-1]}"


def software(trainings: Iterable[Surroundings]) -> str:
    """The versions that trainings were made with, each set of them once."""
    return "; ".join(
        dict.fromkeys(", ".join(f"{k} {v}" for k, v in training["versions"].items()) for training in trainings)
    )


def hardware(training: Surroundings) -> str:
    """The machine of a training."""
    machine = training["machine"]
    memory = f", {machine['memory_gib']} GiB of memory" if machine["memory_gib"] else ""
    return f"{machine['cores']} cores of {machine['processor']}{memory}, {machine['system']}"

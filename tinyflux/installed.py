"""This package as pip sees it: how to install an extra, and whether another project has the same import name.

The distribution is called tinyflux-nn. On the package index "tinyflux" is another project, a time-series database,
whose files go into a folder `tinyflux`, too. This module imports nothing else of the package: it works even then.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import Distribution

NAME = "tinyflux-nn"
FOLDER = Path(__file__).resolve().parent


def pip_install(*extras: str) -> str:
    """The command that installs an extra of this package, or one of several, as a message gives it.

    >>> from tinyflux.installed import pip_install
    >>> pip_install("examples").startswith('pip install "')
    True
    """
    from importlib import metadata  # which takes as long to import as much of the package

    try:
        metadata.distribution(NAME)
        name, where = NAME, ""  # pip takes what is installed, and looks for the extra's packages only
    except metadata.PackageNotFoundError:
        name, where = ".", f" in {FOLDER.parent if (FOLDER.parent / 'setup.cfg').exists() else 'a clone'}"
    return " or ".join(f'pip install "{name}[{extra}]"' for extra in extras) + where


def conflict() -> str:
    """What is wrong where another distribution has a package `tinyflux`, too, and what to do; "" where none has."""
    from importlib import metadata

    names = set(metadata.packages_distributions().get("tinyflux", ())) - {NAME}
    others = [package for package in map(metadata.distribution, sorted(names)) if not _is_ours(package)]
    if not others:
        return ""
    shown = ", ".join(f"{package.name} {package.version} ({package.metadata['Summary']})" for package in others)
    remove = f"pip uninstall {' '.join([package.name for package in others])}"
    if not any(_lies_here(package) for package in others):
        return f"Another project is installed that is imported as tinyflux: {shown}. Only one can be: {remove}."
    return (
        f"Another project has files in {FOLDER}, among those of {NAME}: {shown}. Removing it removes "
        f"some of ours, so install {NAME} again: {remove}, then pip install --force-reinstall --no-deps . in a clone."
    )


def _is_ours(package: Distribution) -> bool:
    """Whether it is this project, as it was called before it had a name of its own."""
    return str(package.metadata["Summary"]).startswith("Flux's idea in Python")


def _lies_here(package: Distribution) -> bool:
    return any(Path(str(package.locate_file(file))).resolve().parent == FOLDER for file in package.files or ())

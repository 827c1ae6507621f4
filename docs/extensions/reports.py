"""Reports of `examples/` in pages of `docs/experiments/`: their links lead where they do in the repository."""

import re
from os.path import relpath
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[2] / "examples"
PAGES = {
    EXAMPLES / "flux_mnist" / "results" / "report.md": "flux_mnist.md",
    EXAMPLES / "optimisers_mnist" / "results" / "report.md": "optimisers_mnist.md",
    EXAMPLES / "cifar10_optimisers" / "results" / "report.md": "cifar10_optimisers.md",
    EXAMPLES / "results" / "which-optimiser.md": "which_optimiser.md",
}
LINK = re.compile(r"(?<!!)(\[[^\]]*\]\()([^):#]+)\)")


def setup(app: Any) -> dict[str, bool]:
    app.connect("include-read", _mend_links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _mend_links(app: Any, path: Path, page: str, content: list[str]) -> None:
    report = (Path(app.srcdir) / path).resolve()
    if report in PAGES:
        content[0] = LINK.sub(lambda link: link[1] + _seen_from_the_page(report.parent / link[2]) + ")", content[0])


def _seen_from_the_page(target: Path) -> str:
    """Another report's page; any other file as it is, to be downloaded."""
    target = target.resolve()
    return PAGES.get(target) or relpath(target, EXAMPLES.parent / "docs" / "experiments")

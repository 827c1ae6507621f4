"""Where the tests lie: in a clone, or beside a package that was installed, as `.ci/installed` has it."""

from pathlib import Path

import pytest

CLONE = Path(__file__).resolve().parents[2]
needs_clone = pytest.mark.skipif(not (CLONE / ".ci").exists(), reason="looks at what only a clone has")

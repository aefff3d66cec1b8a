"""Pages of the documentation, and the environment in which their commands run."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.support.project import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a user with two cores, without progress on the screen."""
    left = ("GROKPACK_", "COLUMNS")  # pytest-xdist sets the width of its workers' terminals
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(left)}
    return inherited | {
        "PATH": os.pathsep.join(
            (str(folder), str(Path(sys.executable).parent), os.environ["PATH"])
        ),
        "PYTHONPATH": str(ROOT),
        "GROKPACK_PROGRESS": "none",
        "GROKPACK_WORKERS": "2",
        "NO_COLOR": "1",
        "XDG_CACHE_HOME": str(folder / "cache"),
    }

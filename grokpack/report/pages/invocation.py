"""Invocation of a command, as its page shows it: what was typed, when, by which versions."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from grokpack.core.version import __version__

if TYPE_CHECKING:
    from datetime import datetime

_COMPUTE = ("numpy", "numba", "ml_dtypes")  # what figures may depend on


@dataclass(frozen=True, slots=True)
class Invocation:
    """Invocation of a command.

    Attributes:
        command_line: Its words, as a shell takes them.
        started: When it began, in UTC.
    """

    command_line: str
    started: datetime

    def when(self) -> str:
        """Format the time to the second."""
        return f"{self.started:%Y-%m-%d %H:%M:%S} UTC"


def versions() -> str:
    """List the versions that took part: of grokpack, Python and what computes."""
    found = {"grokpack": __version__, "Python": platform.python_version()}
    for package in _COMPUTE:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return ", ".join(f"{name} {number}" for name, number in found.items())

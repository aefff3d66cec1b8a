"""One row of the table of codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grokpack.core.exit_status import ExitStatus


@dataclass(frozen=True, slots=True)
class Code:
    """Row of the table that `grokpack explain` prints and docs/reference/codes.md lists."""

    id: str
    title: str
    exit_status: ExitStatus
    meaning: str
    remedy: str

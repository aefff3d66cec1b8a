"""Command line that runs now, for the reports that name it."""

from __future__ import annotations

import os
import re
import shlex
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grokpack.report.pages.invocation import Invocation

_SECONDS = "[0-9]{1,11}"  # up to the year 5138: calendars here end with 9999
_now: ContextVar[tuple[str, float]] = ContextVar("command line and seconds since 1970")


def begin(words: Sequence[str]) -> None:
    """Remember what was typed, and when."""
    _now.set((shlex.join(["grokpack", *words]), time.time()))


def current() -> Invocation:
    """Return what was typed, and when.

    SOURCE_DATE_EPOCH sets the time, for pages that are to be made again identically.
    """
    from datetime import UTC, datetime

    from grokpack.report.pages.invocation import Invocation

    line, began = _now.get()
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    seconds = int(given) if re.fullmatch(_SECONDS, given) else began
    return Invocation(line, datetime.fromtimestamp(seconds, UTC))

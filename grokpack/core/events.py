"""The library's only output: events that a caller may listen to.

The library never prints. Whoever calls it passes a listener; the command line's draws a progress
bar, writes log lines or JSON lines from the same events.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Started:
    """Work begins.

    Attributes:
        what: The command or the phase, for example `reshard`.
        total_bytes: Bytes to be worked through, those already done included.
        done_bytes: Bytes that an earlier run has done.
    """

    what: str
    total_bytes: int
    done_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Advanced:
    """Some bytes more are done."""

    nbytes: int


@dataclass(frozen=True, slots=True)
class Warned:
    """Something worth telling that does not stop the work."""

    message: str


@dataclass(frozen=True, slots=True)
class Finished:
    """Work ends; `seconds` of wall time were spent in this run."""

    what: str
    seconds: float


Event = Started | Advanced | Warned | Finished
Listener = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """Listen to nothing."""

"""Events, the library's only output, which a caller may listen to.

The library never prints. Its caller passes a listener; the command line's listener draws a progress
bar, or writes log lines or JSON lines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Started:
    """Work begins.

    Attributes:
        what: The command or the phase, for example `reshard`.
        total_bytes: Bytes to process, including those already done.
        done_bytes: Bytes that an earlier run has processed.
    """

    what: str
    total_bytes: int
    done_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Advanced:
    """More bytes have been processed."""

    nbytes: int


@dataclass(frozen=True, slots=True)
class Warned:
    """A message that does not stop the work."""

    message: str


@dataclass(frozen=True, slots=True)
class Compiling:
    """Kernels are compiled, as happens once for a machine; work waits for them."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """Kernels have been compiled, in `seconds` of wall time."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Publishing:
    """Files are on their way to where the output is published, before all of it is made.

    Attributes:
        files: Files that are sent together.
        nbytes: Their bytes.
    """

    files: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Sending:
    """Files are waited for that are on their way; told again and again until they have arrived.

    Attributes:
        sent_bytes: Bytes that have gone out.
        nbytes: Bytes of the files.
    """

    sent_bytes: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Published:
    """Files have got to where the output is published, before all of it is there.

    Attributes:
        files: Files that are there, those of earlier runs included.
        nbytes: Their bytes.
    """

    files: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Finished:
    """Work ends, after `seconds` of wall time in this run."""

    what: str
    seconds: float


Event = (
    Started | Advanced | Warned | Compiling | Compiled | Publishing | Sending | Published | Finished
)
Listener = Callable[[Event], None]


def ignore_event(_event: Event) -> None:
    """Ignore an event."""

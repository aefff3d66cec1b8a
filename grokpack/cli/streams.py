"""Standard streams that may be full or closed without ending the work.

What could not be written is noted, and reported by the exit status once the command has ended. So a
command does its work even if nothing reads its output, and no lost result passes for success.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from grokpack.core.errors import GrokpackError
from grokpack.core.exit_status import ExitStatus

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_READER_IS_GONE = (errno.EPIPE, errno.ECONNRESET)
_ANSWERS = (ExitStatus.OK, ExitStatus.ANSWER_IS_NO)
_STDIN, _STDOUT, _STDERR = range(3)


class _Lenient(io.FileIO):
    """Raw stream that takes everything; what the system refuses is lost and noted.

    Attributes:
        failure: The first error.
    """

    def __init__(self, handle: int) -> None:
        super().__init__(handle, "w", closefd=False)
        self.failure: OSError | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        """Write what can be written; wait if the other end is not ready."""
        nbytes = memoryview(data).nbytes
        if self.failure is not None:
            return nbytes
        try:
            while (written := super().write(data)) is None:
                select.select([], [self], [])
        except OSError as error:
            self.failure = error
            return nbytes
        return written


@dataclass(frozen=True, slots=True)
class Streams:
    """Standard output and standard error of this process.

    Attributes:
        out: Stream of the result.
        err: Stream of messages and progress; it is never waited for, and may be lost.
    """

    out: _Lenient
    err: _Lenient

    def status(self, status: int) -> int:
        """Return the exit status of a command that ended, and a message if its result was lost.

        An error keeps its own status, since standard error has its message.
        """
        with contextlib.suppress(OSError, ValueError):  # another's stream in place of ours
            sys.stdout.flush()
        failure = self.out.failure
        if failure is None or status not in _ANSWERS:
            return status
        if failure.errno in _READER_IS_GONE:
            return int(ExitStatus.READER_IS_GONE)
        _tell(failure)
        return int(ExitStatus.TARGET)


def guard() -> Streams:
    """Make the standard streams safe to write to, and keep files off their descriptors."""
    _occupy()
    out, err = _Lenient(_STDOUT), _Lenient(_STDERR)
    sys.stdout, sys.stderr = _text(out, sys.stdout), _text(err, sys.stderr)
    return Streams(out, err)


def _occupy() -> None:
    """Open closed standard descriptors, so that no file opened later gets their numbers.

    All are opened to read, so that writing to them is an error.
    """
    for number in (_STDIN, _STDOUT, _STDERR):
        try:
            os.fstat(number)
        except OSError:
            handle = os.open(os.devnull, os.O_RDONLY)  # the lowest number that is free
            os.set_inheritable(handle, True)


def _text(raw: _Lenient, before: TextIO | None) -> TextIO:
    """Make a text stream on a descriptor, with the encoding and buffering of the old one."""
    if not isinstance(before, io.TextIOWrapper):
        return io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", "backslashreplace")
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        before.encoding,
        before.errors,
        line_buffering=before.line_buffering,
        write_through=before.write_through,
    )


def _tell(failure: OSError) -> None:
    from grokpack.report.text import error_text

    what = f"the answer could not be written: {failure.strerror}"
    hint = "the work is done; run the same command again for its answer"
    print(error_text.render(GrokpackError("GP411", what, hint=hint)), file=sys.stderr, flush=True)

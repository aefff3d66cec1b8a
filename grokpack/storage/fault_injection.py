"""Fault injection: a hook before every operation that changes files, and system errors mapped."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from grokpack.core.errors import GrokpackError, Place, SourceUnreadable, WriteFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ANNEX = ".git/annex/objects"
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Faults:
    """Hook that is called before each operation that changes files, where a test may stop."""

    def __init__(self) -> None:
        self.hook: Callable[[str, str], None] | None = None

    def point(self, operation: str, path: str) -> None:
        """Announce an operation that is about to happen."""
        if self.hook is not None:
            self.hook(operation, path)


faults = Faults()


@contextlib.contextmanager
def reading(path: str) -> Iterator[None]:
    """Map the system's errors of a block that reads a source to GP214."""
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError for a name that no file can have
        reason, hint = getattr(error, "strerror", None) or str(error), None
        if isinstance(error, FileNotFoundError) and os.path.islink(path):
            reason = "it is a link to a file that is not there"
            hint = "`git annex get` fetches it" if _ANNEX in os.readlink(path) else None
        if isinstance(error, PermissionError):
            path = _closed_folder(path) or path
            hint = "see who may read it: `ls -ld`"
        what = f"cannot read the source: {reason}"
        raise SourceUnreadable(what, Place(path), hint=hint) from error


def _closed_folder(path: str) -> str | None:
    """Return the uppermost folder above a path that may not be entered."""
    folder, closed = os.path.dirname(path), None
    while folder:
        if os.path.isdir(folder) and not os.access(folder, os.X_OK):
            closed = folder
        above = os.path.dirname(folder)
        folder = "" if above == folder else above
    return closed


@contextlib.contextmanager
def writing(operation: str, path: str) -> Iterator[None]:
    """Announce a block that changes files; map a full disk to GP401, other errors to GP324."""
    try:
        faults.point(operation, path)
        yield
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if getattr(error, "errno", None) in _FULL:
            hint = "free some space and run the same command again; it continues"
            raise GrokpackError(
                "GP401", f"disk is full: {reason}", Place(path), hint=hint
            ) from error
        seen = "what is mounted there"
        if getattr(error, "errno", None) in _FORBIDDEN:
            seen = "who may write there: `ls -ld`"
        hint = f"see {seen}; or name another place"
        raise WriteFailed(f"cannot write: {reason}", Place(path), hint=hint) from error

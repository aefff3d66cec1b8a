"""Storage backend of the file system: positional reads into buffers of the caller.

Nothing is memory-mapped, because touched pages of a mapping count as resident memory.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from grokpack.core.errors import GrokpackError, InputTooLarge, Place, SourceChanged
from grokpack.kernels.dispatch import twin
from grokpack.kernels.strided_reads import pread_rows
from grokpack.storage.backend import ReadOverhead
from grokpack.storage.fault_injection import reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np

    from grokpack.kernels.dispatch import Implementation

S = TypeVar("S")
T = TypeVar("T")
MOST_ENTRIES = 1 << 20
"""Largest number of entries below a folder; the release in chunks of one mebibyte has 300,000."""
_HIDING = (errno.EACCES, errno.EIO, errno.ESTALE)
"""Errors that leave unknown what is at a path."""
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def read_overhead(path: str) -> ReadOverhead:  # noqa: ARG001  # the same for all
    """Return no resources beside the caller's."""
    return ReadOverhead()


def read_into(path: str, offset: int, buffer: memoryview) -> None:
    """Fill `buffer` from byte `offset` of a file, which is opened for each read."""
    with reading(path), _opened(path) as handle:
        _fill(handle, path, offset, buffer)


def whole(path: str, most: int) -> bytes:
    """Return the contents of a file of at most `most` bytes, opened once.

    Raises:
        GrokpackError: GP235 if it is larger.
    """
    with reading(path), _opened(path) as handle:
        nbytes = os.fstat(handle).st_size
        if nbytes > most:
            raise too_large(path, nbytes, most)
        data = bytearray(nbytes)
        _fill(handle, path, 0, memoryview(data))
        return bytes(data)


def too_large(path: str, nbytes: int, most: int) -> GrokpackError:
    """Return the error for a file larger than its kind may be."""
    facts = (("found", f"{nbytes:,} bytes"), ("limit", f"{most:,} bytes"))
    return InputTooLarge("the file is too large for its kind", Place(path), facts)


def read_rows(
    path: str, offset: int, stride: int, rows: np.ndarray, implementation: Implementation = "numpy"
) -> None:
    """Fill equally spaced rows from a file."""
    with reading(path), _opened(path) as handle:
        count, nbytes = rows.shape
        read = twin(pread_rows, implementation)
        done = read(handle, rows.ctypes.data, nbytes, count, nbytes, offset, stride)
        for row in range(done, len(rows)):
            _fill(handle, path, offset + row * stride, rows[row].data)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    """Open a regular file for reading.

    Anything else is refused before a byte is waited for: a pipe without a writer, or a terminal,
    would block the program forever. `O_NONBLOCK` keeps the opening of a pipe from blocking, and has
    no effect on files.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket, or a device that does not exist
            raise _irregular(path, os.stat(path).st_mode) from error
        raise
    try:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            raise _irregular(path, mode)
        yield handle
    finally:
        os.close(handle)


def _irregular(path: str, mode: int) -> GrokpackError:
    """Return the error for a path that is no regular file."""
    kind = next((word for is_kind, word in _KINDS if is_kind(mode)), "no regular file")
    pipe = "write what it gives to a file first, and name that" if stat.S_ISFIFO(mode) else None
    return GrokpackError("GP237", f"{kind} lies where a file should", Place(path), hint=pipe)


def _fill(handle: int, path: str, offset: int, buffer: memoryview) -> None:
    filled = 0
    while filled < len(buffer):
        got = os.preadv(handle, [buffer[filled:]], offset + filled)
        if got == 0:
            facts = (
                ("needed", f"{offset + len(buffer):,} bytes"),
                ("found", f"{offset + filled:,} bytes"),
            )
            raise SourceChanged("source file became shorter", Place(path), facts)
        filled += got


def size(path: str) -> int:
    """Return the size of a file in bytes."""
    return stamp(path, fresh=True)[0]


def stamp(path: str, *, fresh: bool) -> tuple[int, int]:  # noqa: ARG001  # nothing is remembered
    """Return the size and the modification time of a file."""
    with reading(path):
        state = os.stat(path)
        if not stat.S_ISREG(state.st_mode):
            raise _irregular(path, state.st_mode)
        return state.st_size, state.st_mtime_ns


def exists(path: str) -> bool:
    """Return whether anything is at the path; a folder that may not be entered hides it."""
    try:
        os.lstat(path)
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) not in _HIDING:
            return False
        with reading(path):
            raise
    return True


def is_file(path: str) -> bool:
    """Return whether a regular file is at the path."""
    with reading(path):
        if Path(path).is_file():
            return True
        if os.path.exists(path) and not os.path.isdir(path):
            raise _irregular(path, os.stat(path).st_mode)
        return False


def is_folder(path: str) -> bool:
    """Return whether the path is a folder."""
    with reading(path):
        return Path(path).is_dir()


def names(folder: str) -> list[str]:
    """Return the sorted names in a folder."""
    with reading(folder):
        return sorted(entry.name for entry in _entries(folder, folder, 0))


def tree(folder: str) -> list[str]:
    """Return every file below a folder; links to folders are not followed and not listed."""
    found: list[str] = []
    folders = [""]
    with reading(folder):
        while folders:
            below = folders.pop()
            for entry in _entries(os.path.join(folder, below), folder, len(found) + len(folders)):
                if entry.is_dir(follow_symlinks=False):
                    folders.append(f"{below}{entry.name}/")
                elif not (entry.is_symlink() and os.path.isdir(entry.path)):
                    found.append(below + entry.name)
    return sorted(found)


def _entries(folder: str, root: str, known: int) -> Iterator[os.DirEntry[str]]:
    """Yield the entries of a folder, up to a limit shared by all folders below its root."""
    with os.scandir(folder) as entries:
        for number, entry in enumerate(entries, known):
            if number >= MOST_ENTRIES:
                what = f"more than {MOST_ENTRIES:,} files and folders are not looked through"
                raise InputTooLarge(what, Place(root))
            yield entry


@cache
def utf8(folder: str) -> str:
    """Return a UTF-8 path to a local folder, for libraries that accept no other.

    Linux has one for every folder that a process holds open; this one stays open.

    Raises:
        GrokpackError: GP214 if the folder cannot be opened, GP306 if there is no such path.
    """
    try:
        folder.encode()
    except UnicodeEncodeError:
        pass
    else:
        return folder
    with reading(folder):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    path = f"/proc/self/fd/{handle}"
    if not os.path.isdir(path):
        os.close(handle)
        what = "TensorStore opens no folder whose name is not UTF-8"
        hint = "rename it, or reach it through a symbolic link"
        raise GrokpackError("GP306", what, Place(folder), hint=hint)
    return path


def map_all(near: str, work: Callable[[S], T], items: Sequence[S]) -> list[T]:  # noqa: ARG001  # see `backend`
    """Apply a function to items one after another, because a disk responds at once."""
    return [work(item) for item in items]


def forget(folder: str) -> None:
    """Do nothing: nothing is cached about local files."""

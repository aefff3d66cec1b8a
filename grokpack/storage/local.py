"""The file system as a medium: positional reading into buffers that the caller owns.

Nothing is mapped, because touched pages of a mapping count as resident memory.
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
from grokpack.kernels.rows import pread_rows
from grokpack.storage.backend import ReadOverhead
from grokpack.storage.fault_injection import reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np

    from grokpack.kernels.dispatch import Engine

S = TypeVar("S")
T = TypeVar("T")
BURDEN = ReadOverhead()
MOST_ENTRIES = 1 << 20
"""Of a folder and those below it: a store of the release has 300,000 chunks of a mebibyte."""
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def read_into(path: str, offset: int, buffer: memoryview) -> None:
    """See `sources.read_into`; the file is opened anew for each read."""
    with reading(path), _opened(path) as handle:
        _fill(handle, path, offset, buffer)


def whole(path: str, most: int) -> bytes:
    """All of a file that is no larger than `most` bytes, from one look at it.

    Raises:
        GrokpackError: GP235 where it is larger.
    """
    with reading(path), _opened(path) as handle:
        nbytes = os.fstat(handle).st_size
        if nbytes > most:
            raise too_large(path, nbytes, most)
        data = bytearray(nbytes)
        _fill(handle, path, 0, memoryview(data))
        return bytes(data)


def too_large(path: str, nbytes: int, most: int) -> GrokpackError:
    """The error for a file of more bytes than its kind may have."""
    facts = (("found", f"{nbytes:,} bytes"), ("limit", f"{most:,} bytes"))
    return InputTooLarge("the file is too large for its kind", Place(path), facts)


def read_rows(
    path: str, offset: int, stride: int, rows: np.ndarray, engine: Engine = "numpy"
) -> None:
    """See `sources.read_rows`."""
    with reading(path), _opened(path) as handle:
        count, nbytes = rows.shape
        read = twin(pread_rows, engine)
        done = read(handle, rows.ctypes.data, nbytes, count, nbytes, offset, stride)
        for row in range(done, len(rows)):
            _fill(handle, path, offset + row * stride, rows[row].data)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    """A regular file, opened to be read.

    Anything else is refused before a byte is waited for: a pipe without a writer, or a terminal,
    would keep the program for ever. Opening a pipe does not wait with `O_NONBLOCK`, which means
    nothing for files.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket, or a device that is not there
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
    """The error for what is no regular file."""
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
    """See `sources.FileBytes.size`."""
    return stamp(path, fresh=True)[0]


def stamp(path: str, *, fresh: bool) -> tuple[int, int]:  # noqa: ARG001  # nothing is remembered
    """See `sources.stamp`."""
    with reading(path):
        state = os.stat(path)
        if not stat.S_ISREG(state.st_mode):
            raise _irregular(path, state.st_mode)
        return state.st_size, state.st_mtime_ns


def exists(path: str) -> bool:
    """See `sources.exists`."""
    return os.path.lexists(path)


def is_file(path: str) -> bool:
    """See `sources.is_file`."""
    with reading(path):
        if Path(path).is_file():
            return True
        if os.path.exists(path) and not os.path.isdir(path):
            raise _irregular(path, os.stat(path).st_mode)
        return False


def is_folder(path: str) -> bool:
    """See `sources.is_folder`."""
    with reading(path):
        return Path(path).is_dir()


def names(folder: str) -> list[str]:
    """See `sources.names`."""
    with reading(folder):
        return sorted(entry.name for entry in _entries(folder, folder, 0))


def tree(folder: str) -> list[str]:
    """See `sources.tree`: links to folders are not followed, and are no files."""
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
    """What is in a folder, as long as that and what is known below its root is not too much."""
    with os.scandir(folder) as entries:
        for number, entry in enumerate(entries, known):
            if number >= MOST_ENTRIES:
                what = f"more than {MOST_ENTRIES:,} files and folders are not looked through"
                raise InputTooLarge(what, Place(root))
            yield entry


@cache
def utf8(folder: str) -> str:
    """A path of UTF-8 to a local folder, for libraries that take no other.

    Linux has one for every folder that a process holds open, which this one does from now on.

    Raises:
        GrokpackError: GP214 where the folder cannot be opened, GP306 where there is no such path.
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


def map_all(work: Callable[[S], T], items: Sequence[S]) -> list[T]:
    """See `sources.each`: a disk answers at once, one after another."""
    return [work(item) for item in items]


def forget(folder: str) -> None:
    """See `sources.forget`: nothing is remembered of local files."""

"""Small files and single outputs, written without opening or replacing anyone else's files.

An incomplete file has a random name in the target's folder and is created exclusively. The
program's own files (logs, locks, parts) are regular files, and links at their names are not
followed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from typing import TYPE_CHECKING

from grokpack.core.errors import GrokpackError, Place
from grokpack.storage.fault_injection import faults, writing
from grokpack.storage.reading import is_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

_BEGIN, _END = ".grokpack-", ".tmp"  # of the name of an incomplete file
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SPECIAL = (errno.ELOOP, errno.ENXIO)  # a link; a FIFO without a reader, or a socket


def make_folder(path: str) -> None:
    """Create a folder and its parents."""
    if not is_folder(path):
        with writing("make_folder", path):
            os.makedirs(path, exist_ok=True)


def sync_folder(path: str) -> None:
    """Make the names in a folder durable."""
    with writing("sync_folder", path):
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove(path: str) -> None:
    """Remove a file, if it exists."""
    with writing("remove", path), contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def create(path: str) -> int:
    """Create a file that does not exist yet.

    Returns:
        Its descriptor, for writing.

    Raises:
        OSError: An error of the system; FileExistsError if the name is taken.
    """
    return os.open(path, _CREATE, 0o666)


def open_own(path: str, flags: int) -> int:
    """Open one of the program's own files, without following links or waiting.

    Args:
        path: The file.
        flags: Flags of `os.open`; with `O_CREAT` it is created if missing.

    Returns:
        Its descriptor.

    Raises:
        GrokpackError: GP330 if a link or anything but a regular file has the name.
        OSError: An error of the system.
    """
    try:
        handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno in _SPECIAL:
            raise not_own(path) from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise not_own(path)
    return handle


def not_own(path: str) -> GrokpackError:
    """Return the error for a link, a FIFO or a device in place of a file of the program's own."""
    what = "a link or a special file stands where grokpack writes a file of its own"
    return GrokpackError("GP330", what, Place(path), hint="remove it, or write elsewhere")


def refuse_special(path: str) -> None:
    """Refuse to put a file in place of a pipe, a socket or a device.

    Raises:
        GrokpackError: GP330.
    """
    with contextlib.suppress(OSError):  # writing will tell
        mode = os.lstat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
            what = "a pipe or a device has this name, and a file would replace it"
            raise GrokpackError("GP330", what, Place(path), hint="name a file")


def is_temporary(name: str) -> bool:
    """Return whether a name is one that `temporary_file` makes."""
    return name.startswith(_BEGIN) and name.endswith(_END)


def temporary_file(folder: str) -> tuple[int, str]:
    """Create a file with a random name.

    Returns:
        Its descriptor and its path.

    Raises:
        OSError: An error of the system.
    """
    while True:
        path = os.path.join(folder, f"{_BEGIN}{secrets.token_hex(8)}{_END}")
        with contextlib.suppress(FileExistsError):
            return create(path), path


def write_whole(path: str, data: bytes, aside: str | None = None, *, replace: bool = True) -> None:
    """Write a small file atomically: it is absent, the old one, or complete.

    Args:
        path: The file.
        data: Its contents.
        aside: Folder, on the same file system, for the incomplete file; by default the file's own.
        replace: True if it may replace another.

    Raises:
        GrokpackError: GP323 if it exists and may not be replaced, GP330 if it is a pipe or a
            device, GP401 on a full disk, GP324 if it cannot be written.
    """
    refuse_special(path)
    folder = os.path.dirname(path)
    make_folder(folder)
    with writing("write_whole", path):
        handle, temporary = temporary_file(aside or folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            faults.point("publish", path)
            _rename(temporary, path, replace=replace)
        except BaseException:
            _drop(temporary)
            raise
    sync_folder(folder)


def _drop(temporary: str) -> None:
    """Remove a temporary file after an error, which takes precedence over errors of the removal."""
    with contextlib.suppress(GrokpackError):
        remove(temporary)


def _rename(temporary: str, path: str, *, replace: bool) -> None:
    """Give a file its name.

    Raises:
        GrokpackError: GP323 if the name is taken and may not be replaced.
    """
    if replace:
        os.rename(temporary, path)
        return
    try:
        os.link(temporary, path, follow_symlinks=False)
    except FileExistsError:
        refuse_existing(path)
    except OSError:  # a file system without links
        refuse_existing(path)
        os.rename(temporary, path)
    else:
        os.unlink(temporary)


def refuse_existing(path: str) -> None:
    """Refuse a name that is taken.

    Raises:
        GrokpackError: GP323.
    """
    if os.path.lexists(path):
        raise GrokpackError("GP323", "the file exists", Place(path), hint="name a new file")


def append_line(path: str, line: str) -> None:
    """Append one line to a log, durably.

    Raises:
        GrokpackError: GP330 if the name is not a regular file's, GP401 on a full disk, GP324 if it
            cannot be written.
    """
    with writing("append", path):
        handle = open_own(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        with os.fdopen(handle, "ab") as log:
            log.write(line.encode() + b"\n")
            log.flush()
            os.fsync(log.fileno())


class PartWriter:
    """Positional writer of one file.

    Args:
        path: The file, which exists already.
        handle: An open descriptor of it, if there is one.
    """

    def __init__(self, path: str, handle: int | None = None) -> None:
        self.path = path
        self._handle = self._opened() if handle is None else handle

    def _opened(self) -> int:
        with writing("open", self.path):
            try:
                return open_own(self.path, os.O_WRONLY)
            except FileNotFoundError as error:
                what = "a file that the run writes to is gone"
                hint = "run the same command again; what was lost is written anew"
                raise GrokpackError("GP329", what, Place(self.path), hint=hint) from error

    def write(self, offset: int, data: memoryview) -> None:
        """Write all of `data` at `offset`."""
        with writing("write", self.path):
            written = 0
            while written < len(data):
                written += os.pwrite(self._handle, data[written:], offset + written)

    def sync(self) -> None:
        """Make the written bytes durable."""
        with writing("sync", self.path):
            os.fsync(self._handle)

    def mark(self) -> tuple[int, int] | None:
        """Return inode number and modification time (ns) of the file, once it is durable."""
        state = os.fstat(self._handle)
        return state.st_ino, state.st_mtime_ns

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._handle)


@contextlib.contextmanager
def new_file(path: str, nbytes: int) -> Iterator[PartWriter]:
    """Create a file of a given size that the block fills.

    It gets its name if the block succeeds, and is removed otherwise.

    Raises:
        GrokpackError: GP323 if the name is taken, GP401 on a full disk, GP324 if it cannot be
            written.
    """
    folder = os.path.dirname(os.path.abspath(path))
    make_folder(folder)
    refuse_existing(path)
    with writing("create", path):
        handle, temporary = temporary_file(folder)
    try:
        with contextlib.closing(PartWriter(temporary, handle)) as writer:
            with writing("size", path):
                os.truncate(handle, nbytes)
            yield writer
            writer.sync()
        with writing("publish", path):
            _rename(temporary, path, replace=False)
    except BaseException:
        _drop(temporary)
        raise
    sync_folder(folder)

"""Writing: `NAME.part` files that tasks fill at disjoint offsets and that only publishing renames.

One step creates and sizes them. Every operation that changes something first passes
`faults.point`, so that a test can stop the program at each of them.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from grokpack.errors import GrokpackError, Place
from grokpack.storage.faults import writing
from grokpack.storage.new_files import PartWriter, make_folder, open_own

if TYPE_CHECKING:
    from collections.abc import Iterator

PART = ".part"  # what an unfinished file's name ends with
_LOCK_POLL_S = 0.05


def free_bytes(path: str) -> int:
    """Bytes free on the file system that will hold `path`, which need not exist yet."""
    return shutil.disk_usage(nearest_folder(path)).free


def nearest_folder(path: str) -> str:
    """The closest existing folder at or above `path`."""
    place = Path(path).absolute()
    while not place.is_dir():
        place = place.parent
    return str(place)


def in_the_way(path: str) -> str | None:
    """What stands where a folder is to be, at `path` or above it; None where nothing does."""
    place = Path(path).absolute()
    while not os.path.lexists(place):
        place = place.parent
    return None if place.is_dir() else str(place)


def is_writable(path: str) -> bool:
    """Whether a file can be written at a path: one that is there, or a new one in its folder."""
    place = path if os.path.lexists(path) else nearest_folder(os.path.dirname(path))
    return os.access(place, os.W_OK) and os.access(nearest_folder(os.path.dirname(path)), os.W_OK)


def is_link(path: str) -> bool:
    """Whether a path is a symbolic link."""
    return os.path.islink(path)


def cache_folder() -> str:
    """The user's own folder for what grokpack may lose."""
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(caches, "grokpack")


def allocated_bytes(path: str) -> int:
    """Bytes that a file occupies on disk already; 0 where there is none."""
    try:
        return os.stat(path).st_blocks * 512
    except FileNotFoundError:
        return 0


def create_part(path: str, nbytes: int) -> None:
    """Create and size `NAME.part`, sparse; nothing changes where it has that size already."""
    path += PART
    make_folder(os.path.dirname(path))
    with writing("create", path), open(path, "ab") as handle:
        if os.fstat(handle.fileno()).st_size != nbytes:
            os.truncate(handle.fileno(), nbytes)


def publish(path: str) -> None:
    """Rename `NAME.part` to `NAME`; the caller makes the folder durable afterwards."""
    with writing("publish", path):
        os.rename(path + PART, path)


def clear_folder(path: str, names: list[str]) -> None:
    """Remove files of a folder in this order, and the folder where nothing else is in it."""
    with writing("remove_folder", path):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(path, name))
        with contextlib.suppress(OSError):
            os.rmdir(path)


def remove_empty_folders(root: str, paths: list[str]) -> None:
    """Remove the folders of these relative paths where nothing is left in them."""
    for folder in sorted({os.path.dirname(path) for path in paths if "/" in path}, reverse=True):
        with contextlib.suppress(OSError):
            os.rmdir(os.path.join(root, folder))


@contextlib.contextmanager
def locked(path: str, *, shared: bool = False, wait_s: float = 0.0) -> Iterator[bool]:
    """Hold a lock for as long as the block runs: alone, or with others that share it.

    The block is told whether the lock's file is still there: whoever held it before may have
    removed it when all was done, and then the lock keeps nobody out.

    Args:
        path: The lock's file; made where it is not there.
        shared: Whether others may share it.
        wait_s: How long to wait for it.

    Raises:
        GrokpackError: GP322 where others hold it so that it cannot be had.
    """
    with writing("lock", path):
        handle = open_own(path, os.O_RDWR | os.O_CREAT)
    try:
        kind = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
        _take(handle, kind, path, time.monotonic() + wait_s)
        yield _is_at(handle, path)
    finally:
        os.close(handle)


def _take(handle: int, kind: int, path: str, deadline: float) -> None:
    """Take a lock as soon as it can be had."""
    while True:
        try:
            fcntl.flock(handle, kind)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                what = "another process is writing this output"
                hint = "wait for it, or use another `--out`"
                raise GrokpackError("GP322", what, Place(path), hint=hint) from error
            time.sleep(_LOCK_POLL_S)
        except OSError as error:
            what = f"the file system has no locks: {error.strerror}"
            hint = "mount it with locks (NFS 4, Lustre with `-o flock`), or write elsewhere"
            raise GrokpackError("GP324", what, Place(path), hint=hint) from error
        else:
            return


def _is_at(handle: int, path: str) -> bool:
    """Whether a path leads to an open file."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def scratch_memory(nbytes: int) -> mmap.mmap:
    """Memory whose pages the system may write to a nameless file where it has others' use for them.

    The file lies in the folder for temporary files, and is gone with the memory.

    Raises:
        GrokpackError: GP401 where that has no room, GP324 where it cannot be written.
    """
    folder = tempfile.gettempdir()
    with writing("scratch", folder), tempfile.TemporaryFile(dir=folder) as handle:
        os.posix_fallocate(handle.fileno(), 0, max(1, nbytes))
        return mmap.mmap(handle.fileno(), max(1, nbytes))


@contextlib.contextmanager
def scratch_file(folder: str, nbytes: int) -> Iterator[PartWriter | None]:
    """A nameless file to measure writing with, gone when the block ends; None if impossible."""
    flag = getattr(os, "O_TMPFILE", None)
    if flag is None or shutil.disk_usage(folder).free < 2 * nbytes:
        yield None
        return
    try:
        writer = PartWriter(folder, os.open(folder, os.O_WRONLY | os.O_CLOEXEC | flag))
    except OSError:
        yield None
        return
    with contextlib.closing(writer):
        yield writer

"""Writing of `NAME.part` files, filled by tasks at disjoint offsets and renamed on publishing.

One step creates and sizes them. Every operation that changes something first passes `faults.point`,
so that a test can stop the program at each of them.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from grokpack.core.errors import GrokpackError, Place
from grokpack.storage import change_detection
from grokpack.storage.fault_injection import writing
from grokpack.storage.new_files import PartWriter, create, make_folder, not_own, open_own

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PART = ".part"  # ending of an unfinished file's name
_SHOWN = 5  # files that an error names


def free_bytes(path: str) -> int | None:
    """Return the free bytes of the file system of `path`, which need not exist yet.

    None if it tells none, as some of a network do, and those that take no files at all.
    """
    usage = shutil.disk_usage(nearest_folder(path))
    return usage.free if usage.total else None


def nearest_folder(path: str) -> str:
    """Return the closest existing folder at or above `path`."""
    place = Path(path).absolute()
    while not place.is_dir():
        place = place.parent
    return str(place)


def in_the_way(path: str) -> str | None:
    """Return what is in the place of a folder, at `path` or above it; None if nothing is."""
    place = Path(path).absolute()
    while not os.path.lexists(place):
        place = place.parent
    return None if place.is_dir() else str(place)


def is_writable(path: str) -> bool:
    """Return whether a file can be written at a path: an existing one, or a new one."""
    folder = nearest_folder(os.path.dirname(path))
    return takes_files(folder) and (not os.path.lexists(path) or os.access(path, os.W_OK))


def takes_files(folder: str) -> bool:
    """Return whether new files may be made in a folder."""
    return os.access(folder, os.W_OK | os.X_OK)


def is_link(path: str) -> bool:
    """Return whether a path is a symbolic link."""
    return os.path.islink(path)


def allocated_bytes(path: str) -> int:
    """Return the bytes that a file occupies on disk; 0 if there is none."""
    try:
        return os.stat(path).st_blocks * 512
    except FileNotFoundError:
        return 0


def begin_part(path: str, nbytes: int, known: int | None) -> int:
    """Create and size a sparse `NAME.part`, or continue one that this run has made.

    A file that someone else has put in its place is removed: what was written is lost already.

    Args:
        path: The file, without `.part`.
        nbytes: Its size; 0 if not known yet, which truncates an existing part.
        known: Inode number of the part that the run has made; None if none is recorded.

    Returns:
        Inode number of the part.

    Raises:
        GrokpackError: GP330 if a folder has its name.
    """
    path += PART
    make_folder(os.path.dirname(path))
    with writing("create", path):
        handle = _made_part(path, nbytes, known)
        try:
            if os.fstat(handle).st_size != nbytes:
                os.truncate(handle, nbytes)
            return os.fstat(handle).st_ino
        finally:
            os.close(handle)


def _made_part(path: str, nbytes: int, known: int | None) -> int:
    """Return a descriptor of a part: the run's own, else a new one."""
    state = change_detection.regular(path)
    if state is not None and state.st_nlink == 1:
        unrecorded = known is None and state.st_size in (0, nbytes)
        if unrecorded or state.st_ino == known:
            return open_own(path, os.O_WRONLY)
    drop_part(path)
    try:
        return create(path)
    except FileExistsError:  # another process that writes this output was faster
        return open_own(path, os.O_WRONLY)


def drop_part(path: str) -> None:
    """Remove whatever has the name of a part.

    Raises:
        GrokpackError: GP330 if that is a folder.
    """
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            raise not_own(path)
        with writing("remove", path):
            os.unlink(path)


def publish(path: str) -> None:
    """Rename `NAME.part` to `NAME`, unless it has that name already.

    The caller makes the folder durable afterwards.

    Raises:
        GrokpackError: GP323 if the name is taken, GP329 if the part is gone.
    """
    with writing("publish", path):
        if os.path.lexists(path):
            if not os.path.lexists(path + PART):
                return
            refuse_taken(path)
        try:
            os.rename(path + PART, path)
        except FileNotFoundError as error:
            raise files_lost([path]) from error


def unpublish(path: str) -> None:
    """Rename `NAME` back to `NAME.part`."""
    with writing("unpublish", path):
        os.rename(path, path + PART)


def refuse_taken(path: str) -> None:
    """Refuse a name of the output that someone else has taken.

    Raises:
        GrokpackError: GP323.
    """
    if os.path.lexists(path):
        what = "a file that this run has not written has the name of one of the output"
        hint = "move it away and run the same command again; it continues"
        raise GrokpackError("GP323", what, Place(path), hint=hint)


def files_lost(paths: Sequence[str]) -> GrokpackError:
    """Return the error for files of an output that are not as the run wrote them."""
    facts = tuple(("also", path) for path in paths[1:_SHOWN])
    facts += (("and", f"{len(paths) - _SHOWN} more"),) * (len(paths) > _SHOWN)
    what = "a file that this run wrote is gone, or was changed since"
    hint = "nothing looks finished; run the same command again: it writes anew what was lost"
    return GrokpackError("GP329", what, Place(paths[0]), facts, hint)


def clear_folder(path: str, names: list[str]) -> None:
    """Remove files of a folder in this order, and the folder if it is then empty."""
    with writing("remove_folder", path):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(path, name))
        with contextlib.suppress(OSError):
            os.rmdir(path)


def remove_empty_folders(root: str, paths: list[str]) -> None:
    """Remove the folders of these relative paths that are empty."""
    folders: set[str] = set()
    for path in paths:
        while (path := os.path.dirname(path)) and path not in folders:  # upwards
            folders.add(path)
    for folder in sorted(folders, reverse=True):
        with contextlib.suppress(OSError):
            os.rmdir(os.path.join(root, folder))


def scratch_memory(nbytes: int) -> mmap.mmap:
    """Allocate memory that the system may swap to an unnamed temporary file.

    The file lies in the folder for temporary files, and is gone with the memory.

    Raises:
        GrokpackError: GP401 if there is no room, GP324 if it cannot be written.
    """
    folder = tempfile.gettempdir()
    with writing("scratch", folder), tempfile.TemporaryFile(dir=folder) as handle:
        os.posix_fallocate(handle.fileno(), 0, max(1, nbytes))
        return mmap.mmap(handle.fileno(), max(1, nbytes))


@contextlib.contextmanager
def scratch_file(folder: str, nbytes: int) -> Iterator[PartWriter | None]:
    """Create an unnamed file for a write benchmark; None if that is impossible."""
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

"""The only module that opens, reads, writes, renames or removes files.

Reading is positional (`preadv`) into buffers that the caller owns: nothing is mapped, because
touched pages of a mapping count as resident memory. Writing goes to `NAME.part` files that one
step creates and sizes, that tasks fill at disjoint offsets, and that only publishing renames.
Every operation that changes something first passes `faults.point`, so that a test can stop the
program at each of them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grokpack.errors import GrokpackError, Place
from grokpack.kernels.dispatch import twin
from grokpack.kernels.rows import pread_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

    from grokpack.kernels.dispatch import Engine

PART = ".part"  # what an unfinished file's name ends with
JSON_LIMIT_BYTES = 256 << 20  # larger than any manifest; a bound on what a hostile one may cost
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Faults:
    """Counts the operations that change files, and may stop the program at one of them."""

    def __init__(self) -> None:
        self.hook: Callable[[str, str], None] | None = None

    def point(self, operation: str, path: str) -> None:
        """Announce an operation that is about to happen."""
        if self.hook is not None:
            self.hook(operation, path)


faults = Faults()


@contextlib.contextmanager
def _reading(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise GrokpackError("GP214", f"cannot read the source: {reason}", Place(path)) from error


@contextlib.contextmanager
def _writing(operation: str, path: str) -> Iterator[None]:
    try:
        faults.point(operation, path)
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _FULL:
            hint = "free some space and run the same command again; it continues"
            raise GrokpackError(
                "GP401", f"disk is full: {reason}", Place(path), hint=hint
            ) from error
        raise GrokpackError("GP324", f"cannot write: {reason}", Place(path)) from error


@dataclass(frozen=True, slots=True)
class FileBytes:
    """Random access to the bytes of one local file; opened anew for each read."""

    path: str

    def size(self) -> int:
        """Size in bytes."""
        with _reading(self.path):
            return os.stat(self.path).st_size

    def read(self, offset: int, nbytes: int) -> bytes:
        """Exactly `nbytes` bytes from `offset`."""
        buffer = bytearray(nbytes)
        read_into(self.path, offset, memoryview(buffer))
        return bytes(buffer)


def read_into(path: str, offset: int, buffer: memoryview) -> None:
    """Fill `buffer` from byte `offset` of a file.

    Raises:
        GrokpackError: GP214 where the file cannot be read, GP213 where it ends too early.
    """
    with _reading(path), _opened(path) as handle:
        _fill(handle, path, offset, buffer)


def read_rows(
    path: str, offset: int, stride: int, rows: np.ndarray, engine: Engine = "numpy"
) -> None:
    """Fill row `i` of `rows`, `u8[row, byte]`, from byte `offset + i * stride` of a file.

    Args:
        path: The file.
        offset: Where the first row lies.
        stride: Bytes from one row to the next.
        rows: Dense array to be filled.
        engine: Which twin of the loop reads.

    Raises:
        GrokpackError: GP214 where the file cannot be read, GP213 where it ends too early.
    """
    with _reading(path), _opened(path) as handle:
        count, nbytes = rows.shape
        read = twin(pread_rows, engine)
        done = read(handle, rows.ctypes.data, nbytes, count, nbytes, offset, stride)
        for row in range(done, len(rows)):
            _fill(handle, path, offset + row * stride, rows[row].data)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


def _fill(handle: int, path: str, offset: int, buffer: memoryview) -> None:
    filled = 0
    while filled < len(buffer):
        got = os.preadv(handle, [buffer[filled:]], offset + filled)
        if got == 0:
            facts = (
                ("needed", f"{offset + len(buffer):,} bytes"),
                ("found", f"{offset + filled:,} bytes"),
            )
            raise GrokpackError("GP213", "source file became shorter", Place(path), facts)
        filled += got


def stamp(path: str) -> tuple[int, int]:
    """Size and modification time (ns): what tells, cheaply, that a file was changed."""
    with _reading(path):
        state = os.stat(path)
        return state.st_size, state.st_mtime_ns


def exists(path: str) -> bool:
    """Whether anything is at the path."""
    return os.path.lexists(path)


def size_of(path: str) -> int | None:
    """Size of a file in bytes; None where there is none."""
    return stamp(path)[0] if exists(path) else None


def is_folder(path: str) -> bool:
    """Whether the path is a folder."""
    return Path(path).is_dir()


def names(folder: str) -> list[str]:
    """Names in a folder, sorted; empty where there is no such folder."""
    if not is_folder(folder):
        return []
    with _reading(folder):
        return sorted(os.listdir(folder))


def tree(folder: str) -> list[str]:
    """Every file below a folder, as sorted paths relative to it."""
    root = Path(folder)
    with _reading(folder):
        return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if not p.is_dir())


def read_json(path: str) -> Any:  # noqa: ANN401  # JSON is what it is; callers check the shape
    """Parse a JSON file of bounded size.

    Raises:
        GrokpackError: GP209 where it is not JSON, or too large to be one of ours.
    """
    size = FileBytes(path).size()
    if size > JSON_LIMIT_BYTES:
        raise GrokpackError("GP209", f"{size:,} bytes are too many for this file", Place(path))
    try:
        return json.loads(FileBytes(path).read(0, size))
    except (ValueError, RecursionError) as error:
        raise GrokpackError("GP209", f"not JSON: {error}", Place(path)) from error


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


def allocated_bytes(path: str) -> int:
    """Bytes that a file occupies on disk already; 0 where there is none."""
    try:
        return os.stat(path).st_blocks * 512
    except FileNotFoundError:
        return 0


def make_folder(path: str) -> None:
    """Create a folder and those above it."""
    if not is_folder(path):
        with _writing("make_folder", path):
            os.makedirs(path, exist_ok=True)


def create_part(path: str, nbytes: int) -> None:
    """Create and size `NAME.part`, sparse; nothing changes where it has that size already."""
    path += PART
    make_folder(os.path.dirname(path))
    with _writing("create", path), open(path, "ab") as handle:
        if os.fstat(handle.fileno()).st_size != nbytes:
            os.truncate(handle.fileno(), nbytes)


class PartWriter:
    """Positional writes into one `.part` file that exists already."""

    def __init__(self, path: str) -> None:
        self.path = path
        with _writing("open", path):
            self._handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)

    def write(self, offset: int, data: memoryview) -> None:
        """Write all of `data` at `offset`."""
        with _writing("write", self.path):
            written = 0
            while written < len(data):
                written += os.pwrite(self._handle, data[written:], offset + written)

    def sync(self) -> None:
        """Make what was written durable."""
        with _writing("sync", self.path):
            os.fsync(self._handle)

    def close(self) -> None:
        """Give the handle back."""
        os.close(self._handle)


def sync_folder(path: str) -> None:
    """Make the names in a folder durable."""
    with _writing("sync_folder", path):
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def publish(path: str) -> None:
    """Rename `NAME.part` to `NAME`; the caller makes the folder durable afterwards."""
    with _writing("publish", path):
        os.rename(path + PART, path)


def write_whole(path: str, data: bytes) -> None:
    """Write a small file so that it is either absent, or the old one, or complete."""
    make_folder(os.path.dirname(path))
    temporary = f"{path}.tmp"
    with _writing("write_whole", path):
        with open(temporary, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        faults.point("publish", path)
        os.rename(temporary, path)
    sync_folder(os.path.dirname(path))


def append_line(path: str, line: str) -> None:
    """Append one line to a log, durably."""
    with _writing("append", path), open(path, "ab") as handle:
        handle.write(line.encode() + b"\n")
        handle.flush()
        os.fsync(handle.fileno())


def lines(path: str) -> list[str]:
    """Complete lines of a log; a torn last line is left out."""
    if not exists(path):
        return []
    text = FileBytes(path).read(0, FileBytes(path).size()).decode("utf-8", "replace")
    return text.split("\n")[:-1]


def remove(path: str) -> None:
    """Remove a file, if it is there."""
    with _writing("remove", path), contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def remove_folder(path: str) -> None:
    """Remove a folder of grokpack's own and everything in it."""
    with _writing("remove_folder", path), contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)


def remove_empty_folders(root: str, paths: list[str]) -> None:
    """Remove the folders of these relative paths where nothing is left in them."""
    for folder in sorted({os.path.dirname(path) for path in paths if "/" in path}, reverse=True):
        with contextlib.suppress(OSError):
            os.rmdir(os.path.join(root, folder))


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """Hold an exclusive lock for as long as the block runs.

    Raises:
        GrokpackError: GP322 where another process holds it.
    """
    with _writing("lock", path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            what = "another process is writing this output"
            hint = "wait for it, or use another `--out`"
            raise GrokpackError("GP322", what, Place(path), hint=hint) from error
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def scratch_file(folder: str, nbytes: int) -> Iterator[PartWriter | None]:
    """A nameless file to measure writing with, gone when the block ends; None if impossible."""
    flag = getattr(os, "O_TMPFILE", None)
    if flag is None or shutil.disk_usage(folder).free < 2 * nbytes:
        yield None
        return
    writer = PartWriter.__new__(PartWriter)
    writer.path = folder
    try:
        writer._handle = os.open(folder, os.O_WRONLY | flag)  # noqa: SLF001
    except OSError:
        yield None
        return
    try:
        yield writer
    finally:
        writer.close()

"""Reading from any storage: each function calls the backend that a path belongs to.

A path is a local one or a URL; `os.path.join` joins both, and `parent` splits both. On every
backend NAME.zst is read as NAME if there is no NAME (see `decompression`).
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from grokpack.core.errors import InputTooLarge, Place
from grokpack.formats import bounded_json
from grokpack.storage import io_context, local_backend, urls
from grokpack.storage.decompression import DecompressingBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from grokpack.kernels.dispatch import Implementation
    from grokpack.storage.backend import ReadOverhead, S, Stamp, T

_LOG_BYTES = 64 << 20  # of a log; a run over the release writes 10 MB
_MOST_LINES = 1 << 20


_LOCAL = DecompressingBackend(local_backend)


def _backend(path: str) -> DecompressingBackend:
    return _remote() if urls.is_url(path) else _LOCAL


@cache
def _remote() -> DecompressingBackend:
    from grokpack.storage.http import http_backend

    return DecompressingBackend(http_backend)


@dataclass(frozen=True, slots=True)
class FileBytes:
    """Random access to the bytes of one file."""

    path: str

    def size(self) -> int:
        """Return the size in bytes."""
        return _backend(self.path).size(self.path)

    def read(self, offset: int, nbytes: int) -> bytes:
        """Return exactly `nbytes` bytes from `offset`."""
        buffer = bytearray(nbytes)
        read_into(self.path, offset, memoryview(buffer))
        return bytes(buffer)


def read_into(path: str, offset: int, buffer: memoryview) -> None:
    """Fill `buffer` from byte `offset` of a file.

    Raises:
        GrokpackError: GP214 if the file cannot be read, GP213 if it ends too early.
    """
    _backend(path).read_into(path, offset, buffer)


def read_rows(
    path: str, offset: int, stride: int, rows: np.ndarray, implementation: Implementation = "numpy"
) -> None:
    """Fill row `i` of `rows`, `u8[row, byte]`, from byte `offset + i * stride` of a file.

    Args:
        path: The file.
        offset: Byte of the first row.
        stride: Bytes from one row to the next.
        rows: Dense array to fill.
        implementation: The implementation of the loop, numpy or compiled.

    Raises:
        GrokpackError: GP214 if the file cannot be read, GP213 if it ends too early.
    """
    _backend(path).read_rows(path, offset, stride, rows, implementation)


def stamp(path: str, *, fresh: bool = True) -> Stamp:
    """Return a cheap value that changes when the file does.

    Args:
        path: The file.
        fresh: True to look at it now; otherwise a cached first look will do.
    """
    return _backend(path).stamp(path, fresh=fresh)


def exists(path: str) -> bool:
    """Return whether anything is at the path."""
    return _backend(path).exists(path)


def size_of(path: str) -> int | None:
    """Return the size of a file in bytes; None if there is none."""
    return FileBytes(path).size() if is_file(path) or exists(path) else None


def stored(path: str) -> str:
    """Return the file that a path is read from: itself, or its compressed form."""
    return _backend(path).stored(path)


def is_file(path: str) -> bool:
    """Return whether a file of exactly this name is at the path, by one request at most.

    Raises:
        GrokpackError: GP237 for a pipe, a socket or a device.
    """
    return _backend(path).plain.is_file(path)


def is_folder(path: str) -> bool:
    """Return whether the path is a folder."""
    return _backend(path).plain.is_folder(path)


def names(folder: str) -> list[str]:
    """Return the sorted names in a folder; empty if there is no such folder."""
    return _backend(folder).names(folder) if is_folder(folder) else []


def tree(folder: str) -> list[str]:
    """Return every file below a folder, as sorted paths relative to it."""
    return _backend(folder).tree(folder)


def map_all(near: str, work: Callable[[S], T], items: Sequence[S]) -> list[T]:
    """Apply a function to many items, in parallel where each waits for a response.

    Args:
        near: A path that selects the backend.
        work: The function.
        items: Its arguments; the results are in their order.
    """
    tell, done = io_context.current().counted, itertools.count(1)

    def counting(item: S) -> T:
        result = work(item)
        tell(next(done), len(items))
        return result

    return _backend(near).plain.map_all(near, counting, items)


def forget(folder: str) -> None:
    """Discard what is cached about the files below a folder."""
    _backend(folder).forget(folder)


def read_overhead(path: str) -> ReadOverhead:
    """Return the resources that reading below a path takes, beside the caller's buffers."""
    return _backend(path).plain.read_overhead(path)


def tidy(scratch: str) -> None:
    """Remove the cached bytes in a scratch folder, if there are any."""
    import sys

    cache = sys.modules.get("grokpack.storage.http.block_cache")
    if cache is not None:
        cache.clear(scratch)


def parent(path: str) -> str:
    """Return the folder above a path."""
    return urls.parent(path) if urls.is_url(path) else os.path.dirname(os.path.abspath(path))


def absolute(path: str) -> str:
    """Return the absolute path; for a URL its usual form.

    Raises:
        GrokpackError: GP224 for a URL that cannot be used.
    """
    return str(urls.parse(path)) if urls.is_url(path) else os.path.abspath(path)


def explain_absence(folder: str) -> tuple[str, ...]:
    """Return the names that were probed in an empty folder; none if it could be listed.

    Raises:
        GrokpackError: GP222 if access is refused.
    """
    if not urls.is_url(folder):
        return ()
    from grokpack.storage.http import http_backend

    return http_backend.sought(folder)


def utf8(folder: str) -> str:
    """Return a UTF-8 path to a local folder, for libraries that accept no other.

    Raises:
        GrokpackError: GP214 if it cannot be opened, GP306 if the system has no such path.
    """
    return local_backend.utf8(os.path.abspath(folder))


def read_json(path: str) -> Any:  # noqa: ANN401  # JSON is what it is; callers check the shape
    """Parse a JSON file of bounded size and cost.

    Raises:
        GrokpackError: GP209 if it is not JSON, GP235 if it is larger than any of a checkpoint.
    """
    return bounded_json.parse(read_whole(path, bounded_json.MOST_BYTES), Place(path))


def read_whole(path: str, most: int) -> bytes:
    """Return all bytes of a small file.

    A local file is opened once, so that its contents are consistent even if it is replaced
    meanwhile.

    Raises:
        GrokpackError: GP235 if it has more than `most` bytes.
    """
    if not urls.is_url(path) and stored(path) == path:
        return local_backend.whole(path, most)
    size = FileBytes(path).size()
    if size > most:
        raise local_backend.too_large(path, size, most)
    return FileBytes(path).read(0, size)


def lines(path: str) -> list[str]:
    """Return the complete lines of a log; a torn last line is left out.

    Raises:
        GrokpackError: GP235 if it has more bytes or lines than any log of grokpack.
    """
    if not exists(path):
        return []
    data = read_whole(path, _LOG_BYTES)
    if data.count(b"\n") > _MOST_LINES:
        raise InputTooLarge(f"a log of more than {_MOST_LINES:,} lines", Place(path))
    return data.decode("utf-8", "replace").split("\n")[:-1]

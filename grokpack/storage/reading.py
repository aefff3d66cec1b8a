"""Reading, wherever a source lies: each function asks the medium that a path belongs to.

A path is a local one or a URL; `os.path.join` puts both together, and `parent` takes both apart.
On every medium NAME.zst is read as NAME, where NAME is not there (`sealed`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from grokpack.core.errors import InputTooLarge, Place
from grokpack.formats import bounded_json
from grokpack.storage import local, urls
from grokpack.storage.decompression import DecompressingBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from grokpack.kernels.dispatch import Engine
    from grokpack.storage.backend import ReadOverhead, S, Stamp, StorageBackend, T

_LOG_BYTES = 64 << 20  # of a log: a run over the release writes 10 MB
_MOST_LINES = 1 << 20


_LOCAL = DecompressingBackend(cast("StorageBackend", local))


def _medium(path: str) -> DecompressingBackend:
    return _remote() if urls.is_url(path) else _LOCAL


@cache
def _remote() -> DecompressingBackend:
    from grokpack.storage.http import http_backend

    return DecompressingBackend(cast("StorageBackend", http_backend))


@dataclass(frozen=True, slots=True)
class FileBytes:
    """Random access to the bytes of one file."""

    path: str

    def size(self) -> int:
        """Size in bytes."""
        return _medium(self.path).size(self.path)

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
    _medium(path).read_into(path, offset, buffer)


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
    _medium(path).read_rows(path, offset, stride, rows, engine)


def stamp(path: str, *, fresh: bool = True) -> Stamp:
    """What tells, cheaply, that a file was changed.

    Args:
        path: The file.
        fresh: Look at it as it is now; else what is remembered of a first look will do.
    """
    return _medium(path).stamp(path, fresh=fresh)


def exists(path: str) -> bool:
    """Whether anything is at the path."""
    return _medium(path).exists(path)


def size_of(path: str) -> int | None:
    """Size of a file in bytes; None where there is none."""
    return FileBytes(path).size() if is_file(path) or exists(path) else None


def stored(path: str) -> str:
    """The file that a path was read from: itself, or the compressed one that stands for it."""
    return _medium(path).stored(path)


def is_file(path: str) -> bool:
    """Whether a file of exactly this name is at the path: one question where others may be many.

    Raises:
        GrokpackError: GP237 where a pipe, a socket or a device is.
    """
    return _medium(path).is_file(path)


def is_folder(path: str) -> bool:
    """Whether the path is a folder."""
    return _medium(path).is_folder(path)


def names(folder: str) -> list[str]:
    """Names in a folder, sorted; empty where there is no such folder."""
    return _medium(folder).names(folder) if is_folder(folder) else []


def tree(folder: str) -> list[str]:
    """Every file below a folder, as sorted paths relative to it."""
    return _medium(folder).tree(folder)


def map_all(near: str, work: Callable[[S], T], items: Sequence[S]) -> list[T]:
    """Do the same for many files, at the same time where each waits for an answer.

    Args:
        near: A path by which the medium is told.
        work: What is done with each item.
        items: What it is done with; results are in their order.
    """
    return _medium(near).map_all(work, items)


def forget(folder: str) -> None:
    """Look at the files below a folder anew, where something is remembered of them."""
    _medium(folder).forget(folder)


def burden(path: str) -> ReadOverhead:
    """What reading below a path costs beside the buffers of whoever reads."""
    return _medium(path).burden


def tidy(scratch: str) -> None:
    """Take away what was put aside in a folder, if anything was."""
    import sys

    shelf = sys.modules.get("grokpack.storage.http.block_cache")
    if shelf is not None:
        shelf.clear(scratch)


def parent(path: str) -> str:
    """The folder above a path."""
    return urls.parent(path) if urls.is_url(path) else os.path.dirname(os.path.abspath(path))


def absolute(path: str) -> str:
    """The path from the root; of a URL its usual form.

    Raises:
        GrokpackError: GP224 for a URL that cannot be used.
    """
    return str(urls.parse(path)) if urls.is_url(path) else os.path.abspath(path)


def explain_absence(folder: str) -> tuple[str, ...]:
    """Names that were tried in a folder where nothing was found; none where it could be listed.

    Raises:
        GrokpackError: GP222 where access is refused.
    """
    if not urls.is_url(folder):
        return ()
    from grokpack.storage.http import http_backend

    return http_backend.sought(folder)


def utf8(folder: str) -> str:
    """A path of UTF-8 to a local folder, for libraries that take no other.

    Raises:
        GrokpackError: GP214 where it cannot be opened, GP306 where the system has no such path.
    """
    return local.utf8(os.path.abspath(folder))


def kvstore(folder: str, below: str) -> dict[str, Any]:
    """TensorStore's spec of what lies below a URL, by the keys and endpoints that reading takes.

    Args:
        folder: A URL.
        below: A path below it; of a folder it ends in a slash.
    """
    from grokpack.storage.http import services

    return services.kvstore(folder, below)


def read_json(path: str) -> Any:  # noqa: ANN401  # JSON is what it is; callers check the shape
    """Parse a JSON file of bounded size and cost.

    Raises:
        GrokpackError: GP209 where it is not JSON, GP235 where it is beyond any of ours.
    """
    return bounded_json.parse(read_whole(path, bounded_json.MOST_BYTES), Place(path))


def read_whole(path: str, most: int) -> bytes:
    """All bytes of a small file.

    A file that lies here is read as it was at some moment, whoever replaces it meanwhile.

    Raises:
        GrokpackError: GP235 where it has more than `most` bytes.
    """
    if not urls.is_url(path) and stored(path) == path:
        return local.whole(path, most)
    size = FileBytes(path).size()
    if size > most:
        raise local.too_large(path, size, most)
    return FileBytes(path).read(0, size)


def lines(path: str) -> list[str]:
    """Complete lines of a log; a torn last line is left out.

    Raises:
        GrokpackError: GP235 where it has more bytes or lines than any of ours.
    """
    if not exists(path):
        return []
    data = read_whole(path, _LOG_BYTES)
    if data.count(b"\n") > _MOST_LINES:
        raise InputTooLarge(f"a log of more than {_MOST_LINES:,} lines", Place(path))
    return data.decode("utf-8", "replace").split("\n")[:-1]

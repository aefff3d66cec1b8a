"""Compressed files read as their contents: NAME, where only NAME.zst exists.

NAME.zst is in zstd's seekable format, so that reading a range of NAME decompresses only the frames
that it meets.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from grokpack.core.errors import GrokpackError, InputTooLarge, Place, SourceChanged, revised
from grokpack.formats import zstd_seekable
from grokpack.formats.zstd_seekable import LARGEST_FRAME_BYTES, SUFFIX, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import numpy as np

    from grokpack.kernels.dispatch import Implementation
    from grokpack.storage.backend import Stamp, StorageBackend

    T = TypeVar("T")

STORED_BYTES = zstd_seekable.bound(LARGEST_FRAME_BYTES)  # read at once by each thread
HELD_BYTES = 2 * LARGEST_FRAME_BYTES + STORED_BYTES
"""Memory that a reading thread takes: the last two frames, and some in compressed form."""
_NEVER = (".json", ".jsonl", ".model", ".part", SUFFIX)
"""Endings of names that are never looked for in compressed form: small files, often absent."""
TAIL_BYTES = 16 << 10  # read first: the table of a file of 2 GB, and the end of a smaller one
_NO_TABLE = (
    "no table of frames at the end of the compressed file: it was cut short, or compressed by a "
    "program that writes none; `zstd -d` it, `convert --to archive` makes one that is read in place"
)


@dataclass(slots=True)
class CompressedFile:
    """An open compressed file.

    Attributes:
        path: Its path, with the suffix.
        stamp: Its size and modification time when its table was read.
        table: Positions of its frames.
        left: Bytes of frames that may still be decompressed.
    """

    path: str
    stamp: Stamp
    table: Table
    left: float

    def spend(self, nbytes: int) -> None:
        """Count bytes that are about to be decompressed.

        Raises:
            GrokpackError: GP235 if the file claims more than weights can compress to, and as much
                was decompressed as a file of its size could hold.
        """
        self.left -= nbytes
        if self.left < 0:
            size = self.stamp[0]
            what = f"{self.table.nbytes:,} bytes of weights do not become {size:,} when compressed"
            raise InputTooLarge(what, Place(self.path))


@dataclass(slots=True)
class _Slot:
    """Reused memory: fresh pages for each frame would cost as much as the frame.

    Attributes:
        key: Identity of its contents; None while they are incomplete.
        span: First and last byte + 1 in the file, for frames in compressed form.
        memory: Its bytes, as many as were ever needed.
    """

    key: tuple[object, ...] | None = None
    span: tuple[int, int] = (0, 0)
    memory: bytearray = field(default_factory=bytearray)

    def sized(self, nbytes: int) -> memoryview:
        """Return its first `nbytes` bytes, growing it if needed."""
        if len(self.memory) < nbytes:
            self.memory = bytearray(nbytes)
        return memoryview(self.memory)[:nbytes]


class _Held(threading.local):
    """Buffers of a thread: two frames, some in compressed form, and a decompressor."""

    def __init__(self) -> None:
        self.slots = [_Slot(), _Slot()]
        self.stored = _Slot()

    @cached_property
    def decompress(self) -> Callable[[memoryview, memoryview], None]:
        """Decompressor, created on first use."""
        return zstd_seekable.decompressor()


class DecompressingBackend:
    """Backend that reads NAME.zst as NAME where there is no NAME.

    Files that exist uncompressed cost nothing more than in the backend below.

    Attributes:
        plain: The backend below, for what compression does not change.
    """

    def __init__(self, plain: StorageBackend) -> None:
        self.plain = plain
        self._compressed: dict[str, CompressedFile] = {}  # by the path that they are read as
        self._held = _Held()

    def read_into(self, path: str, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from byte `offset` of a file or of its decompressed contents."""
        self._dispatch(
            path,
            lambda: self.plain.read_into(path, offset, buffer),
            lambda compressed: self._fill(compressed, offset, buffer),
        )

    def read_rows(
        self,
        path: str,
        offset: int,
        stride: int,
        rows: np.ndarray,
        implementation: Implementation = "numpy",
    ) -> None:
        """Fill equally spaced rows from a file or from its decompressed contents."""
        self._dispatch(
            path,
            lambda: self.plain.read_rows(path, offset, stride, rows, implementation),
            lambda compressed: self._fill_rows(compressed, offset, stride, rows),
        )

    def size(self, path: str) -> int:
        """Return the size of a file, or of its decompressed contents."""
        return self._dispatch(
            path, lambda: self.plain.size(path), lambda compressed: compressed.table.nbytes
        )

    def _dispatch(
        self, path: str, plain: Callable[[], T], compressed: Callable[[CompressedFile], T]
    ) -> T:
        """Apply `plain` to an uncompressed file, else `compressed` to the compressed one."""
        found = self._compressed.get(path)
        if found is None:
            try:
                return plain()
            except GrokpackError:
                found = self._find(path, fresh=False)
                if found is None:
                    raise
        return compressed(found)

    def stamp(self, path: str, *, fresh: bool) -> Stamp:
        """Return the stamp of a file; for a compressed one, with its decompressed size."""
        try:
            found = self.plain.stamp(path, fresh=fresh)
        except GrokpackError:
            compressed = self._find(path, fresh=fresh)
            if compressed is None:
                raise
            return compressed.table.nbytes, compressed.stamp[1]
        self._compressed.pop(path, None)
        return found

    def exists(self, path: str) -> bool:
        """Return whether anything is at the path, compressed or not."""
        return self.plain.exists(path) or self._is_compressed(path)

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, without the suffix of compressed files."""
        return _without_suffix(self.plain.names(folder))

    def tree(self, folder: str) -> list[str]:
        """Return every file below a folder, without the suffix of compressed files."""
        return _without_suffix(self.plain.tree(folder))

    def forget(self, folder: str) -> None:
        """Discard what is cached about compressed files and by the backend below."""
        self._compressed.clear()
        self.plain.forget(folder)

    def stored(self, path: str) -> str:
        """Return the path of the file that `path` was read from."""
        compressed = self._compressed.get(path)
        return path if compressed is None else compressed.path

    def _is_compressed(self, path: str) -> bool:
        return not path.endswith(_NEVER) and self.plain.exists(path + SUFFIX)

    def _find(self, path: str, *, fresh: bool) -> CompressedFile | None:
        """Find the compressed file for a path at which there is no uncompressed one."""
        if self.plain.exists(path) or not self._is_compressed(path):
            self._compressed.pop(path, None)
            return None
        stamp = self.plain.stamp(path + SUFFIX, fresh=fresh)
        known = self._compressed.get(path)
        if known is None or known.stamp != stamp:
            table = self._read_table(path + SUFFIX, stamp[0])
            left = zstd_seekable.decodable_bytes(table, stamp[0])
            known = self._compressed[path] = CompressedFile(path + SUFFIX, stamp, table, left)
        return known

    def _read_table(self, path: str, nbytes: int) -> Table:
        with _placed(path):
            tail = self._read(path, max(0, nbytes - TAIL_BYTES), nbytes)
            footer = zstd_seekable.read_footer(tail[-zstd_seekable.FOOTER_BYTES :], nbytes)
            if footer is None:
                raise GrokpackError("GP228", _NO_TABLE)
            if footer.table_bytes > len(tail):
                tail = self._read(path, nbytes - footer.table_bytes, nbytes)
            return zstd_seekable.read_table(tail[-footer.table_bytes :], footer, nbytes)

    def _read(self, path: str, start: int, stop: int) -> bytearray:
        buffer = bytearray(stop - start)
        self.plain.read_into(path, start, memoryview(buffer))
        return buffer

    def _fill(self, compressed: CompressedFile, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from byte `offset` of the decompressed contents."""
        _refuse_beyond(compressed, offset + len(buffer))
        last = compressed.table.frame_at(offset + len(buffer) - 1)
        filled = 0
        while filled < len(buffer):
            frame = compressed.table.frame_at(offset + filled)
            start, stop = compressed.table.span(frame)
            skip = offset + filled - start
            take = min(stop - start - skip, len(buffer) - filled)
            data = self._frame(compressed, frame, last)
            buffer[filled : filled + take] = data[skip : skip + take]
            filled += take

    def _fill_rows(
        self, compressed: CompressedFile, offset: int, stride: int, rows: np.ndarray
    ) -> None:
        """Fill the rows of an array frame by frame: all rows within one at a time."""
        count, nbytes = rows.shape
        end = offset + (count - 1) * stride + nbytes
        _refuse_beyond(compressed, end)
        last = compressed.table.frame_at(end - 1)
        row = 0
        while row < count:
            at = offset + row * stride
            frame = compressed.table.frame_at(at)
            start, stop = compressed.table.span(frame)
            within = max(0, (stop - at - nbytes) // stride + 1)
            if within == 0:  # the row goes on in the next frame
                self._fill(compressed, at, rows[row].data)
                row += 1
                continue
            within = min(within, count - row)
            data = self._frame(compressed, frame, last)
            _spread(data, at - start, stride, rows[row : row + within])
            row += within

    def _frame(self, compressed: CompressedFile, frame: int, last: int) -> memoryview:
        """Return a decompressed frame, which is valid until the thread asks for two others."""
        held, key = self._held, (compressed.path, compressed.stamp, frame)
        if held.slots[0].key != key:
            held.slots.reverse()
        slot = held.slots[0]
        start, stop = compressed.table.span(frame)
        if slot.key != key:
            slot.key = None
            compressed.spend(stop - start)
            data = slot.sized(stop - start)
            stored = self._stored(compressed, frame, last)
            with _placed(compressed.path, f"frame {frame:,}"):
                held.decompress(stored, data)
            slot.key = key
        return slot.sized(stop - start)

    def _stored(self, compressed: CompressedFile, frame: int, last: int) -> memoryview:
        """Return a compressed frame; those up to `last` are read along with it."""
        stored = self._held.stored
        start, stop = compressed.table.extent(frame)
        begins, ends = stored.span if stored.key == (compressed.path, compressed.stamp) else (0, 0)
        if not begins <= start < ends:
            stored.key = None
            begins, ends = start, compressed.table.fitting(frame, last, STORED_BYTES)
            self.plain.read_into(compressed.path, begins, stored.sized(ends - begins))
            stored.key, stored.span = (compressed.path, compressed.stamp), (begins, ends)
        return stored.sized(ends - begins)[start - begins : stop - begins]


def _spread(data: memoryview, first: int, stride: int, rows: np.ndarray) -> None:
    """Fill rows with equally spaced runs of a frame."""
    import numpy as np

    count, nbytes = rows.shape
    flat = np.frombuffer(data, np.uint8)
    whole = (count - 1) * stride + nbytes
    held = flat[first : first + whole]
    rows[...] = np.lib.stride_tricks.as_strided(held, (count, nbytes), (stride, 1))


def _refuse_beyond(compressed: CompressedFile, needed: int) -> None:
    if needed > compressed.table.nbytes:
        facts = (
            ("needed", f"{needed:,} bytes"),
            ("found", f"{compressed.table.nbytes:,} bytes"),
        )
        raise SourceChanged("source file became shorter", Place(compressed.path), facts)


@contextmanager
def _placed(path: str, at: str | None = None) -> Iterator[None]:
    """Attach the path of a file to errors of the block."""
    try:
        yield
    except GrokpackError as error:
        if error.where is not None:
            raise
        what = f"{error.what}, in {at}" if at else error.what
        raise revised(error, what=what, where=Place(path)) from error


def _without_suffix(names: Iterable[str]) -> list[str]:
    """Strip the suffix of compressed files from names."""
    there = set(names)
    stems = {n.removesuffix(SUFFIX) for n in there if n.endswith(SUFFIX)} - there
    stems = {stem for stem in stems if not stem.endswith(_NEVER)}
    return sorted(stems | {n for n in there if n.removesuffix(SUFFIX) not in stems})

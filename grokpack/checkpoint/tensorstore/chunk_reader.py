"""Reader of arrays in stores that TensorStore decodes.

A store's arrays share a small cache of decoded chunks, so that bands of rows that meet the same
chunk decode it once. TensorStore reads files itself; chunks on a server are fetched for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from grokpack import storage
from grokpack.checkpoint.chunk_locations import INDEX_BYTES, StoreValues, unreadable
from grokpack.checkpoint.reading_memory import WINDOW_BYTES
from grokpack.checkpoint.tensorstore.interruptible_wait import wait_for
from grokpack.core.errors import GrokpackError, Place, SourceUnreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager

    import numpy as np
    import tensorstore

    from grokpack.checkpoint.tensorstore.chunk_cache import ChunkCache
    from grokpack.core.layout import Box

CACHE_BYTES = 32 << 20
"""Bands of rows of two threads meet 16 chunks of a mebibyte; as much again for the next ones."""
_ENTRIES_BYTES = 64 << 10
"""More than what the cache counts beside the bytes of two chunks, without which only one fits."""
_LIBRARY_BYTES = 80 << 20
"""TensorStore itself, and memory that its threads freed but malloc keeps: 60 to 75 MB measured."""
_CONCURRENT = 2  # chunks in flight: more are no faster, and each takes its bytes twice
_HANDLES = 256  # arrays that stay open; a layer has 19
_FILE = re.compile(r'(?:local file|stored at|Error reading|Failed to open:) "([^"]+)"')
"""How TensorStore names a file, or the key of a chunk in memory."""
_SYSTEM = "[os_error_code="  # in messages of what the system refused, whatever the chunk is


def _nothing_to_hold(_: Box) -> AbstractContextManager[None]:
    return contextlib.nullcontext()


def _itself(file: str) -> str:
    return file


@dataclass(frozen=True, slots=True)
class _Array:
    """An array that is open.

    Attributes:
        array: TensorStore's handle.
        holding: Makes the block in which the chunks that a box meets can be read.
        file_of: Returns the file that holds what TensorStore names in an error.
    """

    array: tensorstore.TensorStore
    holding: Callable[[Box], AbstractContextManager[None]] = _nothing_to_hold
    file_of: Callable[[str], str] = _itself


class ChunkReader:
    """Thread-safe reader of the arrays of one store, opened on first use.

    Args:
        folder: The store's folder.
        largest_bytes: Decoded size of its largest chunk.
    """

    def __init__(self, folder: str, largest_bytes: int = 0) -> None:
        self.folder = folder
        self.largest_bytes = largest_bytes
        self._guard, self._alone = threading.Lock(), threading.Lock()
        self._open: dict[str, _Array] = {}

    def __reduce__(self) -> tuple[type[ChunkReader], tuple[str, int]]:
        return ChunkReader, (self.folder, self.largest_bytes)

    @property
    def cache_bytes(self) -> int:
        """Size of the cache of decoded chunks: at least two, for two threads."""
        return max(CACHE_BYTES, 2 * self.largest_bytes)

    @property
    def memory_bytes(self) -> int:
        """Memory that the store takes, without `HELD_BYTES` of each thread."""
        large = 2 * self.largest_bytes if self.largest_bytes > WINDOW_BYTES else 0
        fetched = CACHE_BYTES + INDEX_BYTES + large if storage.is_url(self.folder) else 0
        return _LIBRARY_BYTES + self.cache_bytes + large + fetched

    def read(self, spec: Mapping[str, Any], box: Box) -> np.ndarray:
        """Return the values in a box, which should meet at most `WINDOW_BYTES` of chunks.

        If a single chunk is larger, chunks are decoded one at a time.

        Args:
            spec: TensorStore's spec, with paths below the folder.
            box: The region to read.

        Raises:
            GrokpackError: GP225 for a chunk that is missing or cannot be decoded; if the store is
                on a server, what requests raise.
        """
        region = tuple(slice(a, b) for a, b in zip(box.start, box.stop, strict=True))
        large = self.largest_bytes > WINDOW_BYTES
        with self._alone if large else contextlib.nullcontext():
            found = self._array(spec)
            with found.holding(box), decoding(self.folder, found.file_of):
                values: np.ndarray = wait_for(found.array[region].read())
        return values

    def _array(self, spec: Mapping[str, Any]) -> _Array:
        key = json.dumps(spec)
        with self._guard:
            if key not in self._open:
                if len(self._open) >= _HANDLES:
                    self._open.clear()
                self._open[key] = self._opened(spec)
            return self._open[key]

    def _opened(self, spec: Mapping[str, Any]) -> _Array:
        from grokpack.checkpoint.tensorstore.open_arrays import begin_opening

        if not storage.is_url(self.folder):
            whole = {**spec, "kvstore": rooted(self.folder, spec["kvstore"])}
            with decoding(self.folder):
                return _Array(wait_for(begin_opening(whole, self._context)))
        chunks, own = self._fetched.locate(spec)
        with decoding(self.folder):
            array = wait_for(begin_opening(own, self._context))
        return _Array(array, lambda box: self._fetched.holding(chunks, box), chunks.file_of)

    @cached_property
    def _context(self) -> tensorstore.Context:
        import tensorstore as ts

        limits = {"limit": _CONCURRENT}
        return ts.Context(
            {
                "cache_pool": {"total_bytes_limit": self.cache_bytes + _ENTRIES_BYTES},
                "data_copy_concurrency": limits,
                "file_io_concurrency": limits,
            }
        )

    @cached_property
    def _fetched(self) -> ChunkCache:
        from grokpack.checkpoint.tensorstore.chunk_cache import ChunkCache

        return ChunkCache(self.folder, self._context, CACHE_BYTES)


class decoding:  # noqa: N801  # it is used as a function, as contextlib's are
    """Context manager that maps TensorStore's errors to GP225 with the file.

    Args:
        folder: The store's folder or URL.
        file_of: Returns the file that holds what TensorStore names.
    """

    def __init__(self, folder: str, file_of: Callable[[str], str] = _itself) -> None:
        self.folder, self.file_of = folder, file_of

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (ValueError, OSError, NotImplementedError)):
            # Without its cause: TensorStore's message quotes the whole spec.
            raise self._undecoded(str(error)) from None

    def _undecoded(self, text: str) -> GrokpackError:
        url = storage.is_url(self.folder)
        text = text if url else text.replace(storage.utf8(self.folder), self.folder)
        found = _FILE.search(text)
        file = os.path.join(self.folder, self.file_of(found[1])) if found else self.folder
        reason = text.replace(f"{self.folder}/", "")
        if text.startswith("NOT_FOUND"):
            return unreadable("a chunk is missing", file, reason)
        if _SYSTEM in text:
            return SourceUnreadable("cannot read a chunk", Place(file), (("reason", reason),))
        return unreadable("a chunk cannot be decoded", file, reason)


def rooted(folder: str, kvstore: Mapping[str, Any]) -> Any:  # noqa: ANN401  # JSON
    """Return a key-value store's spec, with paths below a local folder, as one that opens."""
    if kvstore["driver"] == "ocdbt":
        return {**kvstore, "base": rooted(folder, {"driver": "file", "path": ""})}
    return {**kvstore, "path": os.path.join(storage.utf8(folder), kvstore["path"])}


def read_keys(folder: str, kvstore: Mapping[str, Any], keys: Iterable[str]) -> dict[str, bytes]:
    """Read the values of small keys that exist.

    Raises:
        GrokpackError: GP225 if the store cannot be read.
    """
    if storage.is_url(folder):
        values = StoreValues(folder, kvstore)
        places = {key: place for key in keys if (place := values.find(key)) is not None}
        return {key: values.read(place) for key, place in places.items()}
    import tensorstore as ts

    with decoding(folder):
        store = wait_for(ts.KvStore.open(rooted(folder, kvstore)))
        futures = {key: store.read(key) for key in keys}
        found = {key: wait_for(future) for key, future in futures.items()}
    return {key: bytes(r.value) for key, r in found.items() if r.state == "value"}

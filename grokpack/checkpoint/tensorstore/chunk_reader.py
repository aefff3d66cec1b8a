"""Reader of arrays in stores that TensorStore decodes.

A store's arrays share a small cache of decoded chunks, so that bands of rows that meet the same
chunk decode it once.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
from typing import TYPE_CHECKING, Any

from grokpack import storage
from grokpack.checkpoint.reading_memory import WINDOW_BYTES
from grokpack.checkpoint.tensorstore.wait import wait_for
from grokpack.core.errors import ChunkUnreadable, GrokpackError, Place

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    import tensorstore

    from grokpack.core.layout import Box

CACHE_BYTES = 32 << 20
"""Bands of rows of two threads meet 16 chunks of a mebibyte; as much again for the next ones."""
_ENTRIES_BYTES = 64 << 10
"""More than what the cache counts beside the bytes of two chunks, without which only one fits."""
_LIBRARY_BYTES = 80 << 20
"""TensorStore itself, and memory that its threads freed but malloc keeps: 60 to 75 MB measured."""
_CONCURRENT = 2  # chunks in flight: more are no faster, and each takes its bytes twice
_HANDLES = 256  # arrays that stay open; a layer has 19
_FILE = re.compile(r'local file "([^"]+)"')


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
        self._context: tensorstore.Context | None = None
        self._open: dict[str, tensorstore.TensorStore] = {}

    def __reduce__(self) -> tuple[type[ChunkReader], tuple[str, int]]:
        return ChunkReader, (self.folder, self.largest_bytes)

    @property
    def cache_bytes(self) -> int:
        """Size of the cache of decoded chunks: at least two, for two threads."""
        return max(CACHE_BYTES, 2 * self.largest_bytes)

    @property
    def memory_bytes(self) -> int:
        """Memory that the store takes, without `HELD_BYTES` of each thread."""
        large = self.largest_bytes > WINDOW_BYTES
        return _LIBRARY_BYTES + self.cache_bytes + (2 * self.largest_bytes if large else 0)

    def read(self, spec: Mapping[str, Any], box: Box) -> np.ndarray:
        """Return the values in a box, which should meet at most `WINDOW_BYTES` of chunks.

        If a single chunk is larger, chunks are decoded one at a time.

        Args:
            spec: TensorStore's spec, with paths below the folder.
            box: The region to read.

        Raises:
            GrokpackError: GP225 for a chunk that is missing or cannot be decoded.
        """
        region = tuple(slice(a, b) for a, b in zip(box.start, box.stop, strict=True))
        alone = self.largest_bytes > WINDOW_BYTES
        with self._alone if alone else contextlib.nullcontext(), decoding(self.folder):
            values: np.ndarray = wait_for(self._array(spec)[region].read(), self.folder)
        return values

    def _array(self, spec: Mapping[str, Any]) -> tensorstore.TensorStore:
        whole = {**spec, "kvstore": rooted(self.folder, spec["kvstore"])}
        key = json.dumps(whole)  # with the credentials as they are now: they are renewed
        with self._guard:
            if key not in self._open:
                if len(self._open) >= _HANDLES:
                    self._open.clear()
                self._open[key] = self._opened(whole)
            return self._open[key]

    def _opened(self, spec: dict[str, Any]) -> tensorstore.TensorStore:
        import tensorstore as ts

        from grokpack.checkpoint.tensorstore.open_arrays import opening

        if self._context is None:
            limits = {"limit": _CONCURRENT}
            self._context = ts.Context(
                {
                    "cache_pool": {"total_bytes_limit": self.cache_bytes + _ENTRIES_BYTES},
                    "data_copy_concurrency": limits,
                    "file_io_concurrency": limits,
                }
            )
        opened: tensorstore.TensorStore = wait_for(opening(spec, self._context), self.folder)
        return opened


class decoding:  # noqa: N801  # it is used as a function, as contextlib's are
    """Context manager that maps TensorStore's errors to GP225 with the file."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (ValueError, OSError, NotImplementedError)):
            # Without its cause: TensorStore's message quotes the whole spec, with keys and tokens.
            raise _undecoded(self.folder, _by_name(self.folder, str(error))) from None


def _by_name(folder: str, text: str) -> str:
    """Replace the path that TensorStore was given by the folder's own name."""
    return text if storage.is_url(folder) else text.replace(storage.utf8(folder), folder)


def _undecoded(folder: str, text: str) -> GrokpackError:
    found = _FILE.search(text)
    path = found[1] if found else folder
    missing = text.startswith("NOT_FOUND")
    what = "a chunk is missing" if missing else "a chunk cannot be decoded"
    reason = _FILE.sub(lambda m: os.path.relpath(m[1], folder), text)
    hint = "`grokpack verify --values` finds all that are wrong; fetch or write these files again"
    return ChunkUnreadable(what, Place(path), (("reason", reason),), hint)


def rooted(folder: str, kvstore: Mapping[str, Any]) -> Any:  # noqa: ANN401  # JSON
    """Return a key-value store's spec, with paths below a folder or URL, as one that opens."""
    if kvstore["driver"] == "ocdbt":
        return {**kvstore, "base": rooted(folder, {"driver": "file", "path": ""})}
    if storage.is_url(folder):
        return storage.kvstore(folder, kvstore["path"])
    return {**kvstore, "path": os.path.join(storage.utf8(folder), kvstore["path"])}


def read_keys(folder: str, kvstore: Mapping[str, Any], keys: Iterable[str]) -> dict[str, bytes]:
    """Read the values of small keys that exist.

    Raises:
        GrokpackError: GP225 if the store cannot be read.
    """
    import tensorstore as ts

    with decoding(folder):
        store = wait_for(ts.KvStore.open(rooted(folder, kvstore)), folder)
        futures = {key: store.read(key) for key in keys}
        found = {key: wait_for(future, folder) for key, future in futures.items()}
    return {key: bytes(r.value) for key, r in found.items() if r.state == "value"}

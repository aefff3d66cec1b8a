"""Encoded chunks that were fetched from a server, in memory, where TensorStore decodes them.

TensorStore's own drivers for servers follow no redirects and know nothing of grokpack's
credentials, proxies, checks and stops. So TensorStore decodes what grokpack's requests brought.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import tensorstore as ts

from grokpack import storage
from grokpack.checkpoint.chunk_locations import ChunkLocations, StoreValues, nbytes_of
from grokpack.checkpoint.tensorstore.interruptible_wait import wait_until
from grokpack.core.layout import Extent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from grokpack.checkpoint.chunk_locations import Encoded
    from grokpack.core.layout import Box


@dataclass(slots=True)
class _Chunk:
    """A chunk in memory, or on its way there.

    Attributes:
        nbytes: Its encoded size.
        users: Reads that need it; while there are any, it stays.
        settled: Set when it is in memory, or could not be brought there.
        error: Why it could not.
    """

    nbytes: int
    users: int = 0
    settled: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None


@dataclass(slots=True)
class _Run:
    """Chunks that lie side by side in a file, so that one request brings them.

    Attributes:
        place: Location of all of them.
        keys: Their keys in order.
    """

    place: Encoded
    keys: list[str]


class ChunkCache:
    """Thread-safe cache of a store's encoded chunks, bounded in bytes but for those in use.

    Args:
        folder: URL of the store.
        context: Context in whose memory TensorStore finds the chunks.
        limit_bytes: Bytes of chunks that no reader needs any more.
    """

    def __init__(self, folder: str, context: ts.Context, limit_bytes: int) -> None:
        self._folder, self._limit = folder, limit_bytes
        self._memory = ts.KvStore.open("memory://", context=context).result()
        self._guard = threading.Lock()
        self._chunks: dict[str, _Chunk] = {}  # those that were used longest ago come first
        self._nbytes = 0
        self._values: StoreValues | None = None

    def locate(self, spec: Mapping[str, Any]) -> tuple[ChunkLocations, dict[str, Any]]:
        """Read an array's metadata; return its chunks, and the spec that opens it in memory.

        Args:
            spec: TensorStore's spec of the array, with paths below the folder.
        """
        kvstore, path = spec["kvstore"], spec["kvstore"]["path"]
        self._values = self._values or StoreValues(self._folder, kvstore)
        found = ChunkLocations(self._values, spec)
        self._memory[path + found.metadata_key] = found.metadata
        return found, {**spec, "kvstore": {"driver": "memory", "path": path}}

    @contextlib.contextmanager
    def holding(self, chunks: ChunkLocations, box: Box) -> Iterator[None]:
        """Hold the chunks that a box meets in memory as long as the block runs.

        Raises:
            GrokpackError: GP225 if one is missing, and what requests to the server raise.
        """
        wanted = chunks.within(box)
        absent = self._take(wanted)
        try:
            self._fetch(absent)
            for key in wanted:
                chunk = self._chunks[key]
                wait_until(chunk.settled)
                if chunk.error is not None:
                    raise chunk.error
            yield
        finally:
            self._release(wanted)

    def _take(self, wanted: Mapping[str, Encoded]) -> dict[str, Encoded]:
        """Count a use of each chunk; return those that no thread fetches yet."""
        absent = {}
        with self._guard:
            for key, place in wanted.items():
                chunk = self._chunks.pop(key, None)
                if chunk is None:
                    chunk, absent[key] = _Chunk(nbytes_of(place)), place
                    self._nbytes += chunk.nbytes
                chunk.users += 1
                self._chunks[key] = chunk
        return absent

    def _release(self, keys: Iterable[str]) -> None:
        """End a use of each chunk; drop those that failed, and the oldest beyond the limit."""
        with self._guard:
            for key in keys:
                self._chunks[key].users -= 1
            for key in [key for key, chunk in self._chunks.items() if not chunk.users]:
                if self._nbytes > self._limit or self._chunks[key].error is not None:
                    self._nbytes -= self._chunks.pop(key).nbytes
                    del self._memory[key]

    def _fetch(self, absent: Mapping[str, Encoded]) -> None:
        """Bring chunks into memory."""
        try:
            storage.map_all(self._folder, self._fetch_run, _runs(absent))
        except BaseException as error:
            for chunk in (self._chunks[key] for key in absent):
                if not chunk.settled.is_set():
                    chunk.error = error
                    chunk.settled.set()
            raise

    def _fetch_run(self, run: _Run) -> None:
        assert self._values is not None  # noqa: S101  # set before chunks are located
        data, at = self._values.read_view(run.place), 0
        for key in run.keys:
            chunk = self._chunks[key]
            self._memory[key] = bytes(data[at : at + chunk.nbytes])
            at += chunk.nbytes
            chunk.settled.set()


def _runs(places: Mapping[str, Encoded]) -> list[_Run]:
    """Group locations that lie side by side in a file."""
    runs = [_Run(place, [key]) for key, place in places.items() if isinstance(place, bytes)]
    extents = [(place, key) for key, place in places.items() if isinstance(place, Extent)]
    before: Extent | None = None
    for place, key in sorted(extents, key=lambda row: (row[0].path, row[0].offset)):
        if before and (before.path, before.offset + before.nbytes) == (place.path, place.offset):
            before = Extent(before.path, before.offset, before.nbytes + place.nbytes)
            runs[-1].place = before
            runs[-1].keys.append(key)
        else:
            before = place
            runs.append(_Run(place, [key]))
    return runs

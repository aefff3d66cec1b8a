"""Disk cache of blocks of remote files that are read in strips.

Transposing a matrix takes a short run out of each of its rows, many times over. A request for
each run would take hours, and the matrix does not fit in memory. Blocks of the file are therefore
cached in an unnamed file on the output's disk, and the strips are read from there.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from grokpack.core.errors import GrokpackError, Interrupted
from grokpack.kernels.dispatch import twin
from grokpack.kernels.strided_reads import pread_rows
from grokpack.storage import io_context
from grokpack.storage.http import range_requests
from grokpack.storage.http.redirects import is_near
from grokpack.storage.http.request_threads import run_requests
from grokpack.storage.http.response_bodies import InFile
from grokpack.storage.http.scratch_file import ScratchFile
from grokpack.storage.http.services import is_at_hand, resource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

    from grokpack.kernels.dispatch import Implementation
    from grokpack.storage.http.redirects import Resource
    from grokpack.storage.http.request_threads import Request
    from grokpack.storage.http.responses import FileFacts

BLOCK_BYTES = 4 << 20
CACHE_BYTES = 2 << 30
"""A matrix of one expert of Grok-1 has 201 MB, and each thread works on one or two."""
IN_FLIGHT = 4
"""Blocks that a thread fetches at a time: each by a request of its own from a distant server, all
by one from a near server."""
_WARM = 32
"""Number of blocks from which on blocks that were read to the end are reused before new slots are
taken: 128 MiB of memory that was touched before. Fresh pages cost four times as much as the block,
and once more when the file is removed; a block that is needed again stays that long."""
_EDGE_BYTES = 64 << 10  # of a block: framing, and bytes that are read otherwise
_HELD = 8  # blocks that a thread holds at a time, so that a few threads cannot hold all
_POLL_S = 0.1

_Key = tuple[str, str, int]  # path, tag, number of the block


@dataclass(slots=True)
class _Slot:
    """Slot of a block in the cache file.

    While `holders` is not 0 it is not reused; `left` of its bytes were not read yet.
    """

    at: int
    left: int
    holders: int = 0
    ready: threading.Event = field(default_factory=threading.Event)
    failed: bool = False


class BlockCache:
    """Thread-safe file of blocks of other files, which evicts the least recently used."""

    def __init__(self, folder: str) -> None:
        self._file = ScratchFile(folder)
        self.handle = self._file.handle
        self._slots: OrderedDict[_Key, _Slot] = OrderedDict()
        self._free = list(range(CACHE_BYTES - BLOCK_BYTES, -1, -BLOCK_BYTES))
        self._changed = threading.Condition()

    def close(self) -> None:
        """Free the disk space."""
        self._file.close()

    @contextlib.contextmanager
    def holding(
        self, path: str, facts: FileFacts, numbers: list[int]
    ) -> Iterator[dict[int, _Slot]]:
        """Hold blocks of a file for the length of a `with` block, fetching missing ones."""
        held = self._taken(path, facts, numbers)
        try:
            yield held
        finally:
            self._let_go(held)

    def _taken(self, path: str, facts: FileFacts, numbers: list[int]) -> dict[int, _Slot]:
        """Hold blocks until all are ready, trying again if another thread failed to fetch one."""
        while True:
            held, mine = self._hold(path, facts, numbers)
            try:
                self._load(path, facts, mine, held)
                whole = self._settled(held)
            except BaseException:
                self._let_go(held)
                raise
            if whole:
                return held
            self._let_go(held)

    def _hold(
        self, path: str, facts: FileFacts, numbers: list[int]
    ) -> tuple[dict[int, _Slot], list[int]]:
        """Hold blocks, all at once: holding some while waiting for others could deadlock.

        Returns:
            The blocks by number, and the numbers of those that this thread has to fetch.
        """
        stopping = io_context.current().stopping
        keys: dict[int, _Key] = {number: (path, facts.tag, number) for number in numbers}
        with self._changed:
            while not self._make_room(keys):
                self._changed.wait(_POLL_S)
                if stopping():
                    raise Interrupted("stopped while waiting for room")
            held, mine = {}, []
            for number, key in keys.items():
                slot = self._slots.get(key)
                if slot is None:
                    slot = _Slot(self._free.pop(), _block_bytes(facts, number))
                    self._slots[key] = slot
                    mine.append(number)
                self._slots.move_to_end(key)
                slot.holders += 1
                held[number] = slot
        return held, mine

    def _make_room(self, keys: dict[int, _Key]) -> bool:
        """Evict the least recently used blocks for missing ones; return whether there is room."""
        wanted = set(keys.values())
        count = len(wanted - self._slots.keys())
        self._recycle(wanted, min(count, len(self._slots) + count - _WARM))
        missing = count - len(self._free)
        idle = [k for k, slot in self._slots.items() if not slot.holders and k not in wanted]
        if len(idle) < missing:
            return False
        for key in idle[: max(missing, 0)]:
            self._free.append(self._slots.pop(key).at)
        return True

    def _recycle(self, wanted: set[_Key], most: int) -> None:
        """Free the slots of blocks that were read to the end; they are taken next."""
        if most <= 0:
            return
        done = [
            key
            for key, slot in self._slots.items()
            if slot.left <= _EDGE_BYTES and not slot.holders and key not in wanted
        ]
        for key in done[:most]:
            self._free.append(self._slots.pop(key).at)

    def _load(self, path: str, facts: FileFacts, mine: list[int], held: dict[int, _Slot]) -> None:
        """Fetch blocks, a few at a time."""
        source = resource(path)
        together, at_once = (IN_FLIGHT, 1) if is_near(source) else (1, IN_FLIGHT)
        runs = [*_runs(mine, together)]
        try:
            for first in range(0, len(runs), at_once):
                batch = runs[first : first + at_once]
                works = [self._fetching(source, facts, run, held) for run in batch]
                run_requests(works, in_place=at_once == 1 and is_at_hand(source))
                for number in itertools.chain(*batch):
                    held[number].ready.set()
        except BaseException:
            with self._changed:
                for number in mine:
                    slot = held[number]
                    if not slot.ready.is_set():
                        slot.failed = True
                        del self._slots[path, facts.tag, number]
                        slot.ready.set()
            raise

    def _fetching(
        self, source: Resource, facts: FileFacts, run: list[int], held: dict[int, _Slot]
    ) -> Callable[[Request[Any]], None]:
        """Return the function that fetches blocks that lie side by side.

        It holds them itself: a cancelled request may still write for a moment, and until it has
        ended no other thread may get their slots.
        """
        offset = run[0] * BLOCK_BYTES
        slots = {number: held[number] for number in run}
        places = [(slot.at, _block_bytes(facts, number)) for number, slot in slots.items()]
        body = InFile(self._file, places)
        with self._changed:
            for slot in slots.values():
                slot.holders += 1

        def fetch(request: Request[Any]) -> None:
            try:
                range_requests.read(request, source, offset, body, facts)
            finally:
                self._let_go(slots)

        return fetch

    def _settled(self, held: dict[int, _Slot]) -> bool:
        """Wait for blocks that other threads fetch; return whether all of them came."""
        stopping = io_context.current().stopping
        for slot in held.values():
            while not slot.ready.wait(_POLL_S):
                if stopping():
                    raise Interrupted("stopped while waiting for another thread")
        return not any(slot.failed for slot in held.values())

    def _let_go(self, held: dict[int, _Slot]) -> None:
        """Release blocks; the slot of one that could not be fetched is then free."""
        with self._changed:
            for slot in held.values():
                slot.holders -= 1
                if slot.failed and not slot.holders:
                    self._free.append(slot.at)
            self._changed.notify_all()


def _block_bytes(facts: FileFacts, number: int) -> int:
    """Return the size of a block of a file, of which the last may be shorter."""
    return min(BLOCK_BYTES, facts.size - number * BLOCK_BYTES)


def _runs(numbers: list[int], most: int) -> Iterator[list[int]]:
    """Yield runs of blocks that lie side by side, each of so many at most."""
    run: list[int] = []
    for number in numbers:
        if run and (number != run[-1] + 1 or len(run) == most):
            yield run
            run = []
        run.append(number)
    if run:
        yield run


_caches: dict[str, BlockCache] = {}
_guard = threading.Lock()


def _cache() -> BlockCache:
    """Return the cache in the scratch folder of this thread's context."""
    folder = io_context.current().scratch_folder
    with _guard:
        if folder not in _caches:
            _caches[folder] = BlockCache(folder)
        return _caches[folder]


def clear(folder: str) -> None:
    """Delete the cache in a folder, if there is one."""
    with _guard:
        cache = _caches.pop(folder, None)
    if cache is not None:
        cache.close()


def read_rows(
    path: str,
    facts: FileFacts,
    offset: int,
    stride: int,
    rows: np.ndarray,
    implementation: Implementation,
) -> None:
    """Fill equally spaced rows from cached blocks."""
    count, nbytes = rows.shape
    strips = _Strips(offset, stride, count, nbytes)
    numbers = strips.blocks()
    for first in range(0, len(numbers), _HELD):
        some = numbers[first : first + _HELD]
        cache = _cache()
        with cache.holding(path, facts, some) as held:
            for number, slot in held.items():
                # Two threads may read one block at the same time; a count that is slightly too high
                # only keeps it longer than needed.
                slot.left -= strips.copy(cache.handle, number, slot.at, rows, implementation)


@dataclass(frozen=True, slots=True)
class _Strips:
    """Runs of bytes at equal distances: run `i` begins at `offset + i * stride`."""

    offset: int
    stride: int
    count: int
    nbytes: int

    def blocks(self) -> list[int]:
        """Return the numbers of the blocks that hold parts of the runs."""
        found: dict[int, None] = {}
        row = 0
        while row < self.count:
            begins = self.offset + row * self.stride
            last = (begins + self.nbytes - 1) // BLOCK_BYTES
            found.update(dict.fromkeys(range(begins // BLOCK_BYTES, last + 1)))
            inside = ((last + 1) * BLOCK_BYTES - self.nbytes - self.offset) // self.stride
            row = max(row + 1, inside + 1)
        return list(found)

    def copy(
        self, handle: int, number: int, at: int, rows: np.ndarray, implementation: Implementation
    ) -> int:
        """Copy a block's part of the runs; the block lies at byte `at` of the cache file.

        Returns:
            The number of bytes copied.
        """
        low, high = number * BLOCK_BYTES, (number + 1) * BLOCK_BYTES
        first = max(0, -(-(low - self.offset) // self.stride))  # first run that begins in the block
        after = min(self.count, (high - self.nbytes - self.offset) // self.stride + 1)
        whole = max(0, after - first)
        if whole:
            place = at + self.offset + first * self.stride - low
            read = twin(pread_rows, implementation)
            address = rows.ctypes.data + first * self.nbytes
            done = read(handle, address, self.nbytes, whole, self.nbytes, place, self.stride)
            if done < whole:
                raise GrokpackError("GP901", "a block that was put aside is gone")
        ends = [row for row in (first - 1, first + whole) if 0 <= row < self.count]
        parts = (self._copy_part(handle, (low, high), at, row, rows) for row in ends)
        return whole * self.nbytes + sum(parts)

    def _copy_part(
        self, handle: int, block: tuple[int, int], at: int, row: int, rows: np.ndarray
    ) -> int:
        """Copy a block's part of a run that begins before it or ends behind it."""
        begins = self.offset + row * self.stride
        start, stop = max(begins, block[0]), min(begins + self.nbytes, block[1])
        if start >= stop:
            return 0
        target = rows[row].data[start - begins : stop - begins]
        return os.preadv(handle, [target], at + start - block[0])

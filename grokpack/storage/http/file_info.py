"""Size, tag and first kilobytes of each file, cached.

Size and tag of a file are those of its first response. Every later read must match them, so that
all bytes come from one version of the file. `forget` clears them.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from grokpack.storage.http import range_requests, responses
from grokpack.storage.http.request_threads import run_request
from grokpack.storage.http.response_bodies import InMemory
from grokpack.storage.http.services import is_at_hand, resource

if TYPE_CHECKING:
    from grokpack.storage.http.request_threads import Request
    from grokpack.storage.http.responses import FileFacts

HEAD_BYTES = 8 << 10
"""Read with the first look: a pickle's header and the sample that detects copies, or a small
JSON."""
WINDOW_BYTES = 4 << 10
"""Smallest read outside of cached windows; a pickle's framing takes less."""
TAIL_BYTES = 256 << 10
"""Rest of a file that is read at once where values are read and no framing, which takes less than a
window: scales of a small model, which are read expert by expert."""
SMALL_BYTES = 64 << 10  # larger reads are not headers, and are not cached
KEPT_BYTES = 16 << 20  # twice what the 770 files of the release take


class _Windows:
    """Thread-safe cache of small runs of bytes by file, which evicts the least recently used."""

    def __init__(self) -> None:
        self._runs: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._of: dict[str, list[int]] = {}
        self._nbytes = 0
        self._guard = threading.Lock()

    def put(self, path: str, offset: int, data: bytes) -> None:
        """Store a run."""
        with self._guard:
            self._drop(path, offset)
            self._runs[path, offset] = data
            self._of.setdefault(path, []).append(offset)
            self._nbytes += len(data)
            while self._nbytes > KEPT_BYTES:
                self._drop(*next(iter(self._runs)))

    def get(self, path: str, offset: int, nbytes: int) -> memoryview | None:
        """Return a cached run, or part of one."""
        with self._guard:
            for begins in self._of.get(path, ()):
                data = self._runs[path, begins]
                if begins <= offset and offset + nbytes <= begins + len(data):
                    self._runs.move_to_end((path, begins))
                    return memoryview(data)[offset - begins : offset - begins + nbytes]
        return None

    def forget(self, paths: list[str]) -> None:
        """Drop the runs of files."""
        with self._guard:
            for path in paths:
                for offset in list(self._of.get(path, ())):
                    self._drop(path, offset)

    def _drop(self, path: str, offset: int) -> None:
        data = self._runs.pop((path, offset), None)
        if data is not None:
            self._nbytes -= len(data)
            self._of[path].remove(offset)


_windows = _Windows()
_facts: dict[str, FileFacts | None] = {}
_refused: dict[str, str] = {}


def look(path: str) -> FileFacts | None:
    """Return the size and tag of a file from its first response; None if there is no file.

    A refusal also gives None: without the right to list, a bucket refuses what does not exist.
    `refused` tells the two apart.
    """
    if path not in _facts:
        _facts[path] = _first_look(path)
    return _facts[path]


def _first_look(path: str) -> FileFacts | None:
    source = resource(path)

    def ask(request: Request[Any]) -> tuple[FileFacts, bytes]:
        return range_requests.head(request, source, HEAD_BYTES)

    try:
        facts, data = run_request(ask, in_place=is_at_hand(source))
    except responses.FileGone:
        return None
    except responses.RefusedRequest as error:
        _refused[path] = str(error)
        return None
    _windows.put(path, 0, data)
    return facts


def look_again(path: str) -> FileFacts | None:
    """Return the size and tag of a file as they are now."""
    source = resource(path)

    def ask(request: Request[Any]) -> tuple[FileFacts, bytes]:
        return range_requests.head(request, source, 1)

    try:
        return run_request(ask, in_place=is_at_hand(source))[0]
    except (responses.FileGone, responses.RefusedRequest):
        return None


def refused(path: str) -> str | None:
    """Return the reason for which access to a file was refused, if it was."""
    return _refused.get(path)


def small(path: str, offset: int, nbytes: int, facts: FileFacts) -> memoryview:
    """Return a few bytes of a file; the bytes around them are read and cached as well."""
    kept = _windows.get(path, offset, nbytes)
    if kept is not None:
        return kept
    begins = min(offset, max(0, facts.size - WINDOW_BYTES))  # the last window begins earlier
    left = facts.size - begins
    ahead = TAIL_BYTES if nbytes >= WINDOW_BYTES else WINDOW_BYTES
    data = bytearray(left if left <= ahead else max(nbytes, WINDOW_BYTES))
    source, body = resource(path), InMemory(memoryview(data))
    run_request(
        lambda request: range_requests.read(request, source, begins, body, facts),
        in_place=is_at_hand(source),
    )
    _windows.put(path, begins, bytes(data))
    return memoryview(data)[offset - begins : offset - begins + nbytes]


def forget(folder: str) -> None:
    """Forget the files below a folder, and the small ones beside it."""
    base = folder.rstrip("/")
    above = base.rpartition("/")[0]
    known = [
        path
        for path in list(_facts)
        if path == base or path.startswith(f"{base}/") or _is_small_in(path, above)
    ]
    for path in known:
        _facts.pop(path, None)
        _refused.pop(path, None)
    _windows.forget(known)


def _is_small_in(path: str, folder: str) -> bool:
    """Return whether a path is a small JSON or model file of the folder, or nothing at all."""
    small = path.endswith((".json", ".model")) or _facts.get(path) is None
    return small and path.rpartition("/")[0] == folder

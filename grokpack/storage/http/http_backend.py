"""Storage backend of URLs; it implements `storage.backend.StorageBackend`."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from grokpack.core.errors import Place, SourceChanged, SourceUnreadable
from grokpack.formats import ckpt0
from grokpack.formats.zstd_seekable import SUFFIX
from grokpack.storage.backend import ReadOverhead
from grokpack.storage.http import (
    block_cache,
    file_info,
    parallel_requests,
    range_requests,
    responses,
    services,
)
from grokpack.storage.http.listing import Listing, listed
from grokpack.storage.http.name_probing import probed
from grokpack.storage.http.redirects import is_near
from grokpack.storage.http.request_threads import run_requests
from grokpack.storage.http.response_bodies import InMemory
from grokpack.storage.urls import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np

    from grokpack.kernels.dispatch import Implementation
    from grokpack.storage.backend import S, T
    from grokpack.storage.http.responses import FileFacts

__all__ = [
    "exists",
    "forget",
    "is_file",
    "is_folder",
    "map_all",
    "names",
    "read_into",
    "read_overhead",
    "read_rows",
    "size",
    "sought",
    "stamp",
    "tree",
]

_LIBRARIES_BYTES = 32 << 20
"""http and ssl, certificates, the threads of requests; botocore takes 8 MB more, google-auth 16."""
_MOST_THREADS = 8  # that wait for responses
_RANGE_BYTES = 1 << 20  # smaller requests cost more than they gain
_IN_FLIGHT = 4  # ranges of one read
_FILES = (".gguf", ".json", ".md", ".model", ".part", ".safetensors")
"""Endings of names that are no folders, on servers that cannot be asked."""

_names: dict[tuple[str, bool], Listing] = {}


def read_overhead(path: str) -> ReadOverhead:
    """Return the resources that reading below a path takes.

    For a near server one thread more than there are cores is enough: others would only take
    turns with its own.
    """
    cores = os.cpu_count() or 1
    return ReadOverhead(
        _LIBRARIES_BYTES + file_info.KEPT_BYTES,
        block_cache.IN_FLIGHT * block_cache.BLOCK_BYTES,
        block_cache.CACHE_BYTES,
        min(cores + 1, _MOST_THREADS) if is_near(services.resource(path)) else _MOST_THREADS,
    )


def map_all(near: str, work: Callable[[S], T], items: Sequence[S]) -> list[T]:
    """Apply a function to many items, in parallel: each waits for the server of a path."""
    return parallel_requests.map_all(work, items, near=is_near(services.resource(near)))


def read_into(path: str, offset: int, buffer: memoryview) -> None:
    """Fill `buffer` from byte `offset` of a file, in parallel ranges if it is long and far away."""
    facts = _facts(path)
    _check_end(path, facts, offset + len(buffer))
    if len(buffer) <= file_info.SMALL_BYTES:
        buffer[:] = file_info.small(path, offset, len(buffer), facts) if len(buffer) else b""
        return
    source = services.resource(path)
    count = 1 if is_near(source) else min(_IN_FLIGHT, -(-len(buffer) // _RANGE_BYTES))
    step = -(-len(buffer) // count)
    run_requests(
        [
            partial(
                range_requests.read,
                resource=source,
                offset=offset + at,
                body=InMemory(buffer[at : at + step]),
                seen=facts,
            )
            for at in range(0, len(buffer), step)
        ],
        in_place=count == 1 and services.is_at_hand(source),
    )


def read_rows(
    path: str, offset: int, stride: int, rows: np.ndarray, implementation: Implementation = "numpy"
) -> None:
    """Fill equally spaced rows; the bytes between them are fetched too, once."""
    facts = _facts(path)
    count, nbytes = rows.shape
    span = (count - 1) * stride + nbytes
    _check_end(path, facts, offset + span)
    if span <= file_info.SMALL_BYTES:
        data = file_info.small(path, offset, span, facts)
        for row in range(count):
            rows[row].data[:] = data[row * stride : row * stride + nbytes]
    elif stride == nbytes:
        read_into(path, offset, rows.reshape(-1).data)
    else:
        block_cache.read_rows(path, facts, offset, stride, rows, implementation)


def _facts(path: str) -> FileFacts:
    facts = file_info.look(path)
    if facts is None:
        reason = file_info.refused(path)
        if reason is not None:
            raise range_requests.refused(services.resource(path), reason)
        raise SourceUnreadable("cannot read the source: no such file", Place(path))
    return facts


def _check_end(path: str, facts: FileFacts, end: int) -> None:
    if end > facts.size:
        shown = ("needed", f"{end:,} bytes"), ("found", f"{facts.size:,} bytes")
        raise SourceChanged("source file became shorter", Place(path), shown)


def size(path: str) -> int:
    """Return the size of a file in bytes."""
    return _facts(path).size


def stamp(path: str, *, fresh: bool) -> tuple[int, str]:
    """Return the size and the tag of a file.

    Raises:
        GrokpackError: GP213 if the file is not the one that was opened.
    """
    seen = _facts(path)
    now = file_info.look_again(path) if fresh else seen
    if now is None:
        raise range_requests.changed(path, "it is gone")
    if now != seen:
        raise range_requests.changed(path, range_requests.difference(seen, now))
    return now.size, now.tag


def exists(path: str) -> bool:
    """Return whether anything is at the path."""
    above, name = os.path.split(path)
    known = _names.get((above, False))
    if known is not None and not known.sought:
        return name in known.files or name in known.folders
    if not parse(path).path:
        return is_folder(path)
    return (_may_be_file(path) and is_file(path)) or is_folder(path)


def is_file(path: str) -> bool:
    """Return whether a file of exactly this name is at the path.

    Raises:
        GrokpackError: GP222 if there seems to be one that may not be read.
    """
    found = file_info.look(path) is not None
    if not found and _is_withheld(path, file_info.refused(path)):
        _facts(path)
    return found


def is_folder(path: str) -> bool:
    """Return whether the path is a folder."""
    return not _must_be_file(path) and not _listing(path).empty


def names(folder: str) -> list[str]:
    """Return the sorted names in a folder."""
    found = _listing(folder)
    return sorted({*found.folders, *(path.split("/")[0] for path in found.files)})


def tree(folder: str) -> list[str]:
    """Return every file below a folder, as sorted relative paths."""
    return sorted(_listing(folder, deep=True).files)


def _must_be_file(path: str) -> bool:
    """Return whether a path is that of a file, there or missing, compressed or not."""
    path = path.removesuffix(SUFFIX)
    pickled = ckpt0.parse_name(os.path.basename(path)) is not None
    return pickled or path.endswith(_FILES) or _is_indexed(path)


def _may_be_file(path: str) -> bool:
    """Return whether a path may be a file rather than a folder's page.

    On a web server only names tell: a file has a dot in its name, or an index of a folder above
    names it.
    """
    dotted = "." in os.path.basename(path)
    return dotted or parse(path).scheme not in ("http", "https") or _is_indexed(path)


def _is_indexed(path: str) -> bool:
    """Return whether a file is among those that were named or probed from a folder above."""
    return any(known.sought and below in known.files for known, below in _listings_above(path))


def _listings_above(path: str) -> Iterator[tuple[Listing, str]]:
    """Yield what is known of the folders above a path, and its path below each."""
    at = path
    while (at := at.rpartition("/")[0]) and not at.endswith("/"):
        for deep in (True, False):
            known = _names.get((at, deep))
            if known is not None:
                yield known, path[len(at) + 1 :]


def _is_withheld(path: str, reason: str | None) -> bool:
    """Return whether a refused file exists: some servers refuse what they do not have.

    It does if a listing or an index names it, or if the server asks for a login here and not for
    other files.
    """
    folder, name = os.path.split(path)
    known = _names.get((folder, False))
    if reason is None or known is None:
        return False
    return name in known.files or (bool(known.files) and reason.startswith("401"))


def _listing(folder: str, *, deep: bool = False) -> Listing:
    """Return the names in a folder: known from one above, listed by the site, or probed."""
    key = folder, deep
    if key not in _names:
        _names[key] = _known_from_above(folder) or _asked(folder, deep=deep)
    return _names[key]


def _known_from_above(folder: str) -> Listing | None:
    """Return the names in a folder that files of one above are listed below; None without any."""
    for known, place in _listings_above(folder):
        files = known.below(place)
        if files:
            return Listing(files, {f.split("/")[0] for f in files if "/" in f}, known.sought)
    return None


def _asked(folder: str, *, deep: bool) -> Listing:
    """Return the names in a folder that the site lists, or that probing finds."""
    site = services.of(parse(folder))
    if isinstance(site, services.WebServer):
        return probed(folder, read_into)
    try:
        return listed(folder, site, deep=deep)
    except responses.RefusedRequest:
        return probed(folder, read_into)


def sought(folder: str) -> tuple[str, ...]:
    """Return the names that were probed in a folder where nothing was found; none if listed.

    Raises:
        GrokpackError: GP222 if access to them is refused.
    """
    tried = _listing(folder).sought
    for name in tried:
        path = os.path.join(folder, name)
        reason = file_info.refused(path)
        if reason is not None:
            raise range_requests.refused(services.resource(path), reason)
    return tried


def forget(folder: str) -> None:
    """Forget the files below a folder, and the names that lead to it."""
    base = folder.rstrip("/")
    for key in list(_names):
        at = key[0]
        if at == base or at.startswith(f"{base}/") or base.startswith(f"{at}/"):
            del _names[key]
    file_info.forget(base)

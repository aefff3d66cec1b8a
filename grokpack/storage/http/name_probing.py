"""Names of a folder on a server without listings: named by an index, or found by probing.

Files of the release are called `tensor00000_000` and so on. They are requested many at a time,
until a whole batch is missing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from grokpack.core.errors import GrokpackError, InputTooLarge, Place
from grokpack.formats import bounded_json
from grokpack.formats.zstd_seekable import SUFFIX
from grokpack.storage.http import file_info
from grokpack.storage.http.listing import Listing, is_plain
from grokpack.storage.http.parallel_requests import map_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    ReadRange = Callable[[str, int, memoryview], None]

_INDEXES = ("grokpack.json", "grokpack.index.json", "model.safetensors.index.json")
_SMALL = ("config.json", "model.safetensors")
_BATCH = 64  # consecutive files that must be missing at the end
_MOST_TENSORS = 1 << 12  # three hundred layers
_MOST_HOSTS = 16  # as many as the release can be cut for
_MOST_FILES = 1 << 14
"""Of all hosts; a server with more claims to have whatever it is asked for."""


def probed(folder: str, read: ReadRange) -> Listing:
    """Find names in a folder.

    Args:
        folder: Its URL.
        read: Reads a range of bytes of a file into a buffer.

    Raises:
        GrokpackError: GP221 and GP223 as `range_requests.head`.
    """
    found = Listing(sought=(*_INDEXES, *_SMALL, _tensor(0, 0)))
    fixed = (*_INDEXES, *_SMALL)
    present = map_all(lambda name: file_info.look(os.path.join(folder, name)) is not None, fixed)
    found.files = {name for name, there in zip(fixed, present, strict=True) if there}
    for index in _INDEXES:
        if index in found.files:
            found.files.update(_named(folder, index, read))
    if not any(name.startswith("tensor") for name in found.files):
        found.files.update(_pickles(folder, "") or _pickles(folder, SUFFIX))
    return found


def _named(folder: str, index: str, read: ReadRange) -> set[str]:
    """Return the files that an index names; missing ones are detected later."""
    path = os.path.join(folder, index)
    facts = file_info.look(path)
    if facts is None or facts.size > bounded_json.MOST_BYTES:
        return set()
    data = bytearray(facts.size)
    read(path, 0, memoryview(data))
    try:
        names = set(_paths(bounded_json.parse(bytes(data))))
    except (GrokpackError, TypeError, AttributeError, KeyError):
        return set()  # the index's own reader reports what is wrong with it
    return {name for name in names if isinstance(name, str) and is_plain(name)}


def _paths(document: Any) -> Iterator[object]:  # noqa: ANN401  # JSON is what it is
    yield from document.get("files", ())
    yield from document.get("finals", ())
    yield from document.get("weight_map", {}).values()
    for array in document.get("arrays", {}).values():
        yield from (part["file"] for part in array["parts"])


def _pickles(folder: str, suffix: str) -> set[str]:
    hosts = 0
    while hosts < _MOST_HOSTS and _is_there(folder, _tensor(0, hosts) + suffix):
        hosts += 1
    found: set[str] = set()
    withheld: set[str] = set()
    for first in range(0, _MOST_TENSORS, _BATCH):
        batch = [
            _tensor(index, host) + suffix
            for index in range(first, first + _BATCH)
            for host in range(max(hosts, 1))
        ]
        if first == 0 and not hosts:
            batch = batch[:4]  # a folder that lacks the first few has none
        present = map_all(lambda name: _is_there(folder, name), batch)
        there = {name for name, is_there in zip(batch, present, strict=True) if is_there}
        found |= there
        refused = {
            name for name in batch if file_info.refused(os.path.join(folder, name)) is not None
        }
        if refused | there < set(batch):  # the server tells refused files from missing ones
            withheld |= refused
        if len(found) > _MOST_FILES:
            what = f"the server claims more than {_MOST_FILES:,} tensor files"
            raise InputTooLarge(what, Place(folder))
        if not there:
            break
    return found | withheld if found else found


def _is_there(folder: str, name: str) -> bool:
    return file_info.look(os.path.join(folder, name)) is not None


def _tensor(index: int, host: int) -> str:
    return f"tensor{index:05d}_{host:03d}"

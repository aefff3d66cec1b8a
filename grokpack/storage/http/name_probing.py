"""Names of a folder on a server without listings: named by an index, or found by probing.

Files of pickled releases are called `tensor00000_000` and so on, those of releases that are cut for
ranks `pytorch_model-00000-TP-common.safetensors`. The first few names of each kind are requested
together; of a kind that is there, names are then requested in batches until a whole one is missing.
"""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any

from grokpack.core.errors import GrokpackError, InputTooLarge, Place
from grokpack.formats import bounded_json, ckpt0, safetensors
from grokpack.formats.zstd_seekable import SUFFIX
from grokpack.storage.http import file_info
from grokpack.storage.http.listing import Listing, is_plain
from grokpack.storage.http.parallel_requests import map_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    ReadRange = Callable[[str, int, memoryview], None]

_INDEXES = ("grokpack.json", "grokpack.index.json", "model.safetensors.index.json")
_CONFIG = "config.json"
_SMALL = (_CONFIG, "model.safetensors")
_FEW = 4  # files of a kind that are missing at the beginning if there are none
_BATCH = 64  # consecutive files that must be missing at the end
_MOST_TENSORS = 1 << 12  # three hundred layers
_MOST_HOSTS = 16  # as many as the release can be cut for
_MOST_FILES = 1 << 14
"""Of all hosts; a server with more claims to have whatever it is asked for."""
_STEMS = ("pytorch_model", "model")
_MOST_KINDS = 32  # of tensors, with a file for each
_RANKS = 8  # consecutive ranks whose files must be missing at the end
_MOST_RANKS = 1 << 7


def probed(folder: str, read: ReadRange) -> Listing:
    """Find names in a folder.

    Args:
        folder: Its URL.
        read: Reads a range of bytes of a file into a buffer.

    Raises:
        GrokpackError: GP221 and GP223 as `range_requests.head`.
    """
    fixed = (*_INDEXES, *_SMALL)
    found = Listing(sought=(*fixed, ckpt0.file_name(0, 0), _shared_file(_STEMS[0], 0)))
    found.files, _ = _ask(folder, fixed)
    for index in _INDEXES:
        if index in found.files:
            found.files.update(_named(folder, index, read))
    if found.files <= {_CONFIG, *_INDEXES}:
        found.files |= _unnamed(folder)
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


def _unnamed(folder: str) -> set[str]:
    """Find weights that no index names. No name is asked for twice: responses are cached."""
    pickles = [ckpt0.file_name(index, 0) for index in range(_FEW)]
    compressed = [name + SUFFIX for name in pickles]
    shared = [[_shared_file(stem, kind) for kind in range(_FEW)] for stem in _STEMS]
    there, _ = _ask(folder, [*pickles, *compressed, *itertools.chain(*shared)])
    for suffix, names in (("", pickles), (SUFFIX, compressed)):
        if not there.isdisjoint(names):
            return _pickles(folder, suffix)
    stems = [stem for stem, names in zip(_STEMS, shared, strict=True) if there & {*names}]
    return set[str]().union(*(_rank_files(folder, stem) for stem in stems))


def _pickles(folder: str, suffix: str) -> set[str]:
    hosts = 0
    while hosts < _MOST_HOSTS and _is_there(folder, ckpt0.file_name(0, hosts) + suffix):
        hosts += 1
    found: set[str] = set()
    withheld: set[str] = set()
    for first in range(0, _MOST_TENSORS, _BATCH):
        batch = [
            ckpt0.file_name(index, host) + suffix
            for index in range(first, first + _BATCH)
            for host in range(max(hosts, 1))
        ]
        there, refused = _ask(folder, batch)
        found |= there
        withheld |= refused
        if len(found) > _MOST_FILES:
            what = f"the server claims more than {_MOST_FILES:,} tensor files"
            raise InputTooLarge(what, Place(folder))
        if not there:
            break
    return found | withheld


def _rank_files(folder: str, stem: str) -> set[str]:
    """Find a file for each kind of tensor, or one for each rank that shares it."""
    shared = {_shared_file(stem, kind): kind for kind in range(_MOST_KINDS)}
    found, withheld = _ask(folder, shared)
    kinds = {*shared.values()} - {shared[name] for name in found | withheld}
    for first in range(0, _MOST_RANKS, _RANKS):
        own = {
            safetensors.file_name(stem, kind, safetensors.of_rank(rank)): kind
            for kind in kinds
            for rank in range(first, first + _RANKS)
        }
        there, refused = _ask(folder, own)
        found |= there | refused
        kinds = {own[name] for name in there | refused}
    return found | withheld


def _ask(folder: str, names: Iterable[str]) -> tuple[set[str], set[str]]:
    """Return the files that are there, and those that the server refuses and knows.

    The second are none where it refuses whatever it does not have.
    """
    asked = list(names)
    present = map_all(lambda name: _is_there(folder, name), asked)
    there = {name for name, is_there in zip(asked, present, strict=True) if is_there}
    refused = {n for n in asked if file_info.refused(os.path.join(folder, n)) is not None}
    return there, refused if refused | there < set(asked) else set()


def _is_there(folder: str, name: str) -> bool:
    return file_info.look(os.path.join(folder, name)) is not None


def _shared_file(stem: str, kind: int) -> str:
    return safetensors.file_name(stem, kind, safetensors.COMMON)

"""Agreement of a release's files on layers and experts, of which each has all of its kind.

One digit of a header can claim a layer that no other file has. Taken at its word, all the other
files would lack it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeVar

from grokpack.checkpoint.readers.packed_arrays import weight_of
from grokpack.core.finding import Finding
from grokpack.models.tensor_names import parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from grokpack.formats.safetensors import SafetensorsHeader
    from grokpack.models.architecture import TensorRule
    from grokpack.models.tensor_names import Convention

    Slot = tuple[int, int | None]

T = TypeVar("T")


def strangers(
    headers: Mapping[str, SafetensorsHeader],
    kinds: Mapping[str, TensorRule],
    convention: Convention,
) -> Iterator[Finding]:
    """Yield a finding for each file with a layer or an expert that most others lack.

    A file that only lacks some is left to the search for missing tensors.

    Args:
        headers: Headers of the readable files.
        kinds: The kind of tensor of each file to compare, by the file's name.
        convention: The naming convention.
    """
    named = {path: _slots(headers[path], kind, convention) for path, kind in kinds.items()}
    layers = {path: frozenset(at for at, _ in own) for path, own in named.items() if own}
    stacked = {path: frozenset(named[path]) for path in layers if kinds[path].stacked}
    whole, shared = _usual(layers), _usual(stacked)
    for path in layers:
        wanted = shared if path in stacked else whole and {(at, None) for at in whole}
        strange = [slot for slot in named[path] if wanted and slot not in wanted]
        if wanted and strange:
            lacking = any(slot not in named[path] for slot in wanted)
            yield _finding(path, named[path][strange[0]], lacking=lacking)


def _slots(header: SafetensorsHeader, kind: TensorRule, convention: Convention) -> dict[Slot, str]:
    """Return the names of a file's own kind of tensor, by layer and expert."""
    found: dict[Slot, str] = {}
    for name in header.arrays:
        parsed = parse(convention, weight_of(name))
        if parsed is not None and parsed.part == kind.part and parsed.layer is not None:
            found[parsed.layer, parsed.expert] = name
    return found


def _usual(found: Mapping[str, T]) -> T | None:
    """Return what more than half of the files have; None without such a majority."""
    counted = Counter(found.values()).most_common(1)
    return next((usual for usual, votes in counted if 2 * votes > len(found)), None)


def _finding(path: str, name: str, *, lacking: bool) -> Finding:
    what = "file names a tensor of a layer or an expert that the other files do not have"
    if lacking:
        what += ", and lacks one that they have: its header is damaged"
    return Finding("GP102", what, path, name)

"""SGLang's rank files: slices of the experts, joined, and the number of ranks.

The existing files do not show how many there were. A config, an index, a manifest or the release's
dimensions do; without any of them a model with missing ranks would look like a narrower one.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from grokpack.checkpoint.readers import packed_arrays
from grokpack.checkpoint.readers.expected_counts import UNKNOWN_RANKS
from grokpack.checkpoint.readers.release_ranks import RankCount, is_release
from grokpack.core.counts import counted
from grokpack.core.finding import Finding
from grokpack.core.layout import Box, whole_box
from grokpack.core.tensors import ArraySpec
from grokpack.models import config_json, tensor_names

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from grokpack.core.tensors import Shape
    from grokpack.formats.safetensors import SafetensorsHeader
    from grokpack.models.architecture import Geometry
    from grokpack.models.family import Family
    from grokpack.models.tensor_names import Convention

_RANK = re.compile(r"(.*-TP-)(\d{3})(\.safetensors)")
_COMMON = "common"


@dataclass(slots=True)
class JoinedArrays:
    """Whole arrays, joined from the parts in the files.

    Attributes:
        arrays: Shape and dtype of each.
        boxes: The part of it in each file, by file and array.
        ranks: Number of ranks that share the experts; 1 if files hold them whole.
        ranks_known: True if that number is known from more than the existing files.
        missing: Files that should exist, by the names of others.
        findings: What is wrong.
    """

    arrays: dict[str, ArraySpec] = field(default_factory=dict)
    boxes: dict[tuple[str, str], Box] = field(default_factory=dict)
    ranks: int = 1
    ranks_known: bool = True
    missing: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def join(
    headers: Mapping[str, SafetensorsHeader],
    family: Family,
    convention: Convention,
    listed: Collection[str],
    settings: Mapping[str, Any],
    ranks: RankCount | None = None,
) -> JoinedArrays:
    """Join the slices of ranks; files without a rank hold whole arrays.

    Args:
        headers: Headers of the readable files.
        family: The family of the model.
        convention: The naming convention.
        listed: Files that an index or a manifest names.
        settings: The config, or nothing.
        ranks: Number of ranks of a release's files; None to find it.
    """
    joined = JoinedArrays()
    held = {rank for path in headers if (rank := _rank(path)) is not None}
    if held:
        if ranks is None:
            stated = _stated_ranks(headers, family, convention, listed, settings)
            ranks = RankCount(stated, known=stated > 0)
        joined.ranks, joined.ranks_known = max(ranks.total, 1 + max(held)), ranks.known
    holders: dict[str, dict[int, str]] = {}
    usual = _usual_slices(headers, convention)
    for path, header in headers.items():
        rank = _rank(path)
        for name, stored in header.arrays.items():
            axis = None if rank is None else _axis(convention, name)
            box, shape = _slice(stored.spec.shape, axis, rank or 0, joined.ranks)
            spec = ArraySpec(shape, stored.spec.dtype)
            if axis is None and name in joined.arrays:
                joined.findings.append(Finding("GP109", "tensor stands in two files", path, name))
            elif axis is not None and stored.spec != usual[name]:
                joined.findings.append(Finding("GP105", "ranks hold unequal slices", path, name))
            else:
                joined.arrays[name], joined.boxes[path, name] = spec, box
            if axis is not None:
                holders.setdefault(name, {})[rank or 0] = path
    _miss(joined, headers, holders)
    return joined


def _usual_slices(
    headers: Mapping[str, SafetensorsHeader], convention: Convention
) -> dict[str, ArraySpec]:
    """Return shape and dtype of the slices that most ranks have, for each array that they share."""
    votes: dict[str, Counter[ArraySpec]] = defaultdict(Counter)
    for path, header in headers.items():
        if _rank(path) is not None:
            for name, stored in header.arrays.items():
                if _axis(convention, name) is not None:
                    votes[name][stored.spec] += 1
    return {name: specs.most_common(1)[0][0] for name, specs in votes.items()}


def _stated_ranks(
    headers: Mapping[str, SafetensorsHeader],
    family: Family,
    convention: Convention,
    listed: Collection[str],
    settings: Mapping[str, Any],
) -> int:
    """Return the number of ranks by a list, a config or the release; 0 if none gives it."""
    named = [1 + rank for path in listed if (rank := _rank(path)) is not None]
    shares = {
        stored.spec.shape[-2]
        for path, header in headers.items()
        if _rank(path) is not None
        for name, stored in header.arrays.items()
        if len(stored.spec.shape) > 1 and _axis(convention, name) == -2  # noqa: PLR2004  # a matrix
    }
    ffn = config_json.value(settings, family, "ffn") or (
        family.release.ffn if is_release(headers, family, convention) else 0
    )
    counted = [ffn // share for share in shares if share and ffn % share == 0]
    return max([*named, *(counted if len(shares) == 1 else [])], default=0)


def _miss(
    joined: JoinedArrays,
    headers: Mapping[str, SafetensorsHeader],
    holders: Mapping[str, Mapping[int, str]],
) -> None:
    """Report arrays that some ranks lack, and the common file if it is missing."""
    for name, held in holders.items():
        for rank in sorted(set(range(joined.ranks)) - held.keys()):
            path = _sibling(next(iter(held.values())), f"{rank:03d}")
            if path in headers:
                what = "tensor is missing; other ranks hold it"
                joined.findings.append(Finding("GP101", what, path, name))
            elif path not in joined.missing:
                joined.missing.append(path)
    ranked = [path for path in headers if _rank(path) is not None]
    if ranked and not any(f"-{_COMMON}" in path for path in headers):
        joined.missing.append(_sibling(ranked[0], _COMMON))
    joined.findings += [Finding("GP101", "file is missing", path) for path in joined.missing]


def doubts(
    joined: JoinedArrays, headers: Mapping[str, SafetensorsHeader], geometry: Geometry
) -> list[Finding]:
    """Return doubts about a number of ranks that only the files show.

    A width that the ranks cannot share proves that files are missing. Otherwise nothing is known:
    that is a warning, which keeps a conversion from starting, because it would write a narrower
    model.
    """
    if joined.ranks_known:
        return []
    last = [path for path in headers if _rank(path) == joined.ranks - 1]
    if geometry.q_width % joined.ranks:
        what = f"file is missing: {joined.ranks} ranks cannot share {geometry.q_width} of attention"
        return [Finding("GP101", what, _sibling(path, f"{joined.ranks:03d}")) for path in last]
    ranks = counted(joined.ranks, "rank")
    what = f"files of {ranks} are here, and nothing says that there were no more"
    return [Finding(UNKNOWN_RANKS, what, path, severity="warning") for path in last[:1]]


def _sibling(path: str, rank: str) -> str:
    """Return the file of another rank."""
    return _RANK.sub(lambda match: f"{match[1]}{rank}{match[3]}", path)


def _slice(shape: Shape, axis: int | None, rank: int, ranks: int) -> tuple[Box, Shape]:
    """Return the position of a rank's slice in the whole array, and the whole array's shape."""
    if axis is None or len(shape) < -axis:
        return whole_box(shape), shape
    full, start = list(shape), [0] * len(shape)
    full[axis], start[axis] = ranks * shape[axis], rank * shape[axis]
    return Box(tuple(start), shape), tuple(full)


def _rank(path: str) -> int | None:
    match = _RANK.fullmatch(path)
    return int(match[2]) if match else None


def _axis(convention: Convention, name: str) -> int | None:
    """Return the axis of a matrix that ranks share; None if they hold it whole."""
    return tensor_names.rank_axis(convention, packed_arrays.weight_of(name))

"""Layout of a release with a file for each kind of tensor, or one for each rank that shares it.

`pytorch_model-00003-TP-common.safetensors` holds a kind that every rank has whole, of all layers,
and `pytorch_model-00006-TP-005.safetensors` rank 5's slices of another kind.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from grokpack.core.layout import FileLayout, Layout, slice_box, whole_box
from grokpack.formats import safetensors
from grokpack.models.tensor_names import parse, rank_axis

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.core.layout import Box
    from grokpack.core.tensors import ArraySpec
    from grokpack.models.architecture import NetworkPart, TensorRule
    from grokpack.models.family import Family
    from grokpack.models.tensor_names import Convention

_NAME = re.compile(r"(.+)-(\d{5})-TP-(?:(\d{3})|common)\.safetensors")


def lay_out(
    family: Family, convention: Convention, arrays: Mapping[str, ArraySpec], ranks: int
) -> Layout:
    """Lay out the files of all ranks.

    Args:
        family: The family, whose table numbers the kinds, and whose release names the files.
        convention: The convention of the names of the arrays.
        arrays: Whole arrays, a matrix for each expert.
        ranks: Number of ranks.
    """
    kinds: dict[NetworkPart, list[str]] = defaultdict(list)
    for name in sorted(arrays):  # the safetensors library writes them so
        parsed = parse(convention, name)
        assert parsed is not None  # noqa: S101  # the names were made by the convention
        kinds[parsed.part].append(name)
    files: list[FileLayout] = []
    first: dict[
        NetworkPart, FileLayout
    ] = {}  # of the ranks that share a kind; the others have its header
    for path, rule in paths(family, ranks).items():
        boxes = _boxes(path, kinds[rule.part], convention, arrays, ranks)
        like = first.get(rule.part)
        files.append(
            safetensors.lay_out_like(like, path, boxes)
            if like
            else safetensors.lay_out(path, boxes, arrays)
        )
        first.setdefault(rule.part, files[-1])
    return Layout(arrays, tuple((file,) for file in files))


def paths(family: Family, ranks: int) -> dict[str, TensorRule]:
    """Return the kind of tensor of each file, by its name, in the order of their numbers."""
    found: dict[str, TensorRule] = {}
    for number, rule in enumerate(family.rules):
        holders = map(safetensors.of_rank, range(ranks)) if rule.stacked else [safetensors.COMMON]
        stem = family.release_layout.stem
        found |= {safetensors.file_name(stem, number, holder): rule for holder in holders}
    return found


def numbers(family: Family, path: str) -> tuple[int, int | None] | None:
    """Return the numbers of kind and rank in a file's name; None for a name of another form."""
    stem = family.release_layout.stem
    match = _NAME.fullmatch(path)
    if not stem or match is None or match[1] != stem:
        return None
    return int(match[2]), None if match[3] is None else int(match[3])


def _boxes(
    path: str, names: list[str], convention: Convention, arrays: Mapping[str, ArraySpec], ranks: int
) -> dict[str, Box]:
    """Return the regions that a file holds: whole arrays, or one rank's slices of them."""
    axis, match = rank_axis(convention, names[0]), _NAME.fullmatch(path)
    held = {
        shape: whole_box(shape)
        if axis is None or match is None
        else slice_box(shape, axis, int(match[3]), ranks)
        for shape in {arrays[name].shape for name in names}
    }
    return {name: held[arrays[name].shape] for name in names}

"""Layout of a release with a file for each kind of tensor, or one for each rank that shares it.

`pytorch_model-00003-TP-common.safetensors` holds a kind that every rank has whole, of all layers,
and `pytorch_model-00006-TP-005.safetensors` rank 5's slices of another kind.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from grokpack.core.layout import FileLayout, Layout, slice_box, whole_box
from grokpack.formats import safetensors
from grokpack.models.tensor_names import parse, rank_axis

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from grokpack.core.tensors import ArraySpec
    from grokpack.models.architecture import Part
    from grokpack.models.family import Family
    from grokpack.models.tensor_names import Convention


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
    kinds: dict[Part, list[str]] = defaultdict(list)
    for name in sorted(arrays):  # the safetensors library writes them so
        parsed = parse(convention, name)
        assert parsed is not None  # noqa: S101  # the names were made by the convention
        kinds[parsed.part].append(name)
    files: list[FileLayout] = []
    for number, rule in enumerate(family.rules):
        stem = f"{family.release_layout.stem}-{number:05d}"
        files += _kind(stem, kinds[rule.part], convention, arrays, ranks)
    return Layout(arrays, tuple((file,) for file in files))


def _kind(
    stem: str, names: list[str], convention: Convention, arrays: Mapping[str, ArraySpec], ranks: int
) -> Iterator[FileLayout]:
    """Yield the files of one kind of tensor."""
    axis = rank_axis(convention, names[0])
    if axis is None:
        path = f"{stem}-TP-common{safetensors.SUFFIX}"
        yield safetensors.lay_out(path, {n: whole_box(arrays[n].shape) for n in names}, arrays)
        return
    for rank in range(ranks):
        slices = {name: slice_box(arrays[name].shape, axis, rank, ranks) for name in names}
        yield safetensors.lay_out(f"{stem}-TP-{rank:03d}{safetensors.SUFFIX}", slices, arrays)

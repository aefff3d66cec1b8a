"""Checks on a few values, before a run, that a target's types hold them exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grokpack import storage
from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.checkpoint.reading_memory import is_readable_within
from grokpack.core.errors import GrokpackError, Place
from grokpack.core.layout import Box, whole_box
from grokpack.core.tensors import DType, scales_name
from grokpack.transforms.dequantize import (
    Cast,
    EngineMatrix,
    as_matrix,
    read_scales,
    rows_per_group,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.core.tensors import TensorSpec
    from grokpack.transforms.ggml_blocks import PackQ8
    from grokpack.transforms.protocols import Op

_LIMIT_BYTES = 1 << 30  # the release's scales have 125 MB; expanded ones as many bytes as the codes
_LARGEST = 65504.0  # of float16
_OVERFLOWS = 65520.0  # what rounds to infinity
_LARGEST_CODE = 128
_BELOW_BF16 = np.uint32(0xFFFF)  # bits of a float32 that bfloat16 has not
_MOST_RUNS = 64  # runs of a weight's codes that are read to find products that are too large


def refuse_inexact(source: Checkpoint, packs: Sequence[PackQ8]) -> None:
    """Refuse scales that float16 cannot hold, before the run, if they are few enough to read.

    Expanded scales and those in a GGUF's blocks are many. Each of those is checked while its blocks
    are packed.

    Raises:
        GrokpackError: GP406.
    """
    if not _few_scales(source, [pack.tensor for pack in packs]):
        return
    reader = ArrayReader(source)
    storage.map_all(source.folder, lambda pack: pack.check(reader), packs)


def exact_in_q8(source: Checkpoint, packs: Sequence[PackQ8]) -> frozenset[str]:
    """Find the weights whose int8 codes Q8_0 takes as they are; none if scales are many."""
    if not _few_scales(source, [pack.tensor for pack in packs]):
        return frozenset()
    reader = ArrayReader(source)
    fitting = storage.map_all(source.folder, lambda pack: pack.fits(reader), packs)
    return frozenset(one.tensor.name for one, fits in zip(packs, fitting, strict=True) if fits)


def exact_in_bf16(source: Checkpoint, names: Sequence[str]) -> frozenset[str]:
    """Find the tensors of a few whose float32 values all are bfloat16's, as where they came from.

    Args:
        source: The checkpoint to convert.
        names: Tensors in float32, routers and norms.

    Returns:
        Those that bfloat16 holds exactly; none if they are too many to read before a run.
    """
    specs = {name: source.tensors[name].values for name in names}
    nbytes = sum(spec.nbytes for spec in specs.values())
    if not names or nbytes > _LIMIT_BYTES or not is_readable_within(source):
        return frozenset()
    reader = ArrayReader(source)

    def exact(name: str) -> bool:
        values = reader.read(name, whole_box(specs[name].shape))
        return not (values & _BELOW_BF16).any()

    found = storage.map_all(source.folder, exact, names)
    return frozenset(name for name, fits in zip(names, found, strict=True) if fits)


def _few_scales(source: Checkpoint, tensors: Sequence[TensorSpec]) -> bool:
    """Return whether the scales of some weights are few enough to read before a run."""
    nbytes = sum(tensor.scales.nbytes for tensor in tensors if tensor.scales)
    views = [source.views.get(scales_name(tensor.name)) for tensor in tensors]
    viewed = any(view is not None and not view.decodes for view in views)
    return not viewed and nbytes <= _LIMIT_BYTES and is_readable_within(source)


def float16_notes(source: Checkpoint, made: Mapping[str, Op]) -> tuple[str, ...]:
    """Check that float16 holds the values to be written in it, as far as scales tell.

    The magnitude of a code is at most 128. If 128 times the largest scale is within float16, all
    products are. Otherwise the codes of the largest scales are read.

    Args:
        source: The checkpoint to convert.
        made: The ops of the target's arrays.

    Returns:
        Notes for the plan; none if nothing is written in float16.

    Raises:
        GrokpackError: GP405 where a product does not fit.
    """
    coded: dict[str, _Coded] = {}
    others: set[str] = set()
    for op in made.values():
        if isinstance(op, EngineMatrix) and op.dtype is DType.F16:
            if op.tensor.scales is not None and op.tensor.values.dtype is DType.I8:
                coded[op.tensor.name] = _Coded(op.tensor, op.groups)
            elif op.tensor.values.dtype is not DType.F16:
                others.add(op.tensor.name)
        elif isinstance(op, Cast) and op.dtype is DType.F16 and op.source is not DType.F16:
            others.add(op.array)
    if not _few_scales(source, [one.tensor for one in coded.values()]):
        others |= coded.keys()
        coded = {}
    reader = ArrayReader(source if coded else None)
    fit = storage.map_all(source.folder, lambda name: coded[name].fits(reader), list(coded))
    doubtful = {name for name, fits in zip(coded, fit, strict=True) if not fits}
    return tuple(_in_words(len(coded) - len(doubtful), sorted(others | doubtful)))


def _in_words(settled: int, open_: list[str]) -> Iterator[str]:
    if settled:
        yield f"by their scales, all products of {settled} weights fit float16"
    if open_:
        more = f" and {len(open_) - 1} more" if len(open_) > 1 else ""
        found = f"a value beyond {_LARGEST:.0f} is found only when it is reached, and ends the run"
        yield f"{open_[0]}{more}: {found} (GP405)"


@dataclass(frozen=True, slots=True)
class _Coded:
    """Codes and scales whose products are to be stored as float16.

    Attributes:
        tensor: The weight.
        groups: Scale groups that expanded rows form; None if rows are not expanded.
    """

    tensor: TensorSpec
    groups: int | None

    def fits(self, reader: ArrayReader) -> bool:
        """Return whether all products are known to fit.

        Raises:
            GrokpackError: GP405 where one does not.
        """
        shape, runs = self.tensor.values.shape, 0
        for lead in np.ndindex(*shape[:-2]):
            box = Box((*lead, 0, 0), (*(1 for _ in lead), *shape[-2:]))
            scales = np.abs(as_matrix(read_scales(self.tensor, box, reader, self.groups)))
            large = np.isfinite(scales) & (scales * _LARGEST_CODE > _LARGEST)
            for group, column in np.argwhere(large)[: _MOST_RUNS - runs]:
                self._check(lead, int(group), int(column), float(scales[group, column]), reader)
            runs += int(np.count_nonzero(large))
        return runs <= _MOST_RUNS

    def _check(
        self, lead: tuple[int, ...], group: int, column: int, scale: float, reader: ArrayReader
    ) -> None:
        """Check that the products of one scale fit."""
        rows = rows_per_group(self.tensor, self.groups)
        box = Box((*lead, group * rows, column), (*(1 for _ in lead), rows, 1))
        codes = reader.read(self.tensor.name, box).view(np.int8).astype(np.int64)
        largest = int(np.abs(codes).max()) * scale
        if largest >= _OVERFLOWS:
            place = f"{f'expert {lead[0]}, ' if lead else ''}group {group}, output {column}"
            facts = (("value", f"{largest:.6g}"), ("at", place), ("float16 holds", "65504"))
            what = "a product is too large for float16"
            hint = "`--dtype bf16` or `--type bf16` holds it"
            raise GrokpackError("GP405", what, Place(self.tensor.name), facts, hint)

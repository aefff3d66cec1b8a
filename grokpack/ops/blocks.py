"""Ops that pack weights in GGUF's blocks, and unpack them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grokpack.errors import GrokpackError, Place
from grokpack.kernels import weights
from grokpack.kernels.dispatch import twin
from grokpack.kernels.weights import Q8_BLOCK, Q8_BYTES
from grokpack.layout import Box
from grokpack.ops.weights import (
    column_blocks,
    engine_for,
    matrix,
    read_scales,
    rows_per_group,
)
from grokpack.tensor import DType, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.budget import Pace
    from grokpack.ops.array_source import ArraySource


@dataclass(frozen=True, slots=True)
class PackQ8:
    """A weight in blocks of Q8_0, `u8[..., out, in / 32 * 34]`: the released codes, re-packed.

    The scale of a group becomes the scale of each of its blocks; nothing is requantised.

    Attributes:
        tensor: The weight, `int8[..., in, out]` with scales whose groups are multiples of 32.
        groups: Scale groups that expanded rows fall into; None for the rows as they are.
    """

    tensor: TensorSpec
    groups: int | None = None

    def stream(self, box: Box, reader: ArraySource, pace: Pace) -> Iterator[np.ndarray]:
        """Rows of the box, in order.

        Raises:
            GrokpackError: GP406 where float16 cannot hold a scale.
        """
        per_group = rows_per_group(self.tensor, self.groups)
        whole = Box((*box.start[:-1], 0), (*box.shape[:-1], self.tensor.values.shape[-2]))
        for block, height in column_blocks(self.tensor, None, whole, pace, DType.I8):
            codes = matrix(reader.read(self.tensor.name, block)).view(np.int8)
            pack = twin(weights.q8_0, engine_for(codes, pace))
            scales = self.scales(block, reader)
            inputs, columns = codes.shape
            for column in range(0, columns, height):
                count = min(height, columns - column)
                out = np.empty((count, inputs // Q8_BLOCK * Q8_BYTES), np.uint8)
                pack(codes, scales, column, 0, per_group, out)
                yield out

    def check(self, reader: ArraySource) -> None:
        """See that float16 holds every scale, before anything is written.

        Raises:
            GrokpackError: GP406 where it does not.
        """
        shape = self.tensor.values.shape
        for lead in np.ndindex(*shape[:-2]):
            self.scales(Box((*lead, 0, 0), (*(1 for _ in lead), *shape[-2:])), reader)

    def scales(self, block: Box, reader: ArraySource) -> np.ndarray:
        """Scales of a block of the weight as bits of float16, after seeing that each is exact."""
        scales = matrix(read_scales(self.tensor, block, reader, self.groups))
        with np.errstate(over="ignore", invalid="ignore"):
            narrow = scales.astype(np.float16)
        wrong = np.argwhere(narrow.astype(np.float32) != scales)
        if len(wrong):
            raise self._inexact(scales, wrong, block)
        return narrow.view(np.uint16)

    def _inexact(self, scales: np.ndarray, wrong: np.ndarray, block: Box) -> GrokpackError:
        group, column = (int(n) for n in wrong[0])
        expert = f"expert {block.start[0]}, " if len(block.start) > 2 else ""  # noqa: PLR2004
        facts = (
            ("scale", f"{float(scales[group, column])!r}"),
            ("at", f"{expert}group {group}, output {block.start[-1] + column}"),
            ("in this block", f"{len(wrong):,} of {scales.size:,} scales"),
        )
        what = "float16 cannot hold a scale exactly, and Q8_0 keeps scales in float16"
        hint = (
            "`grokpack quantize --to gguf --type q8_0` requantises, with a scale of its own for "
            "each block; `--type bf16` and `--type f32` hold every product"
        )
        return GrokpackError("GP406", what, Place(self.tensor.name), facts, hint)

    def describe(self) -> list[object]:
        """`["q8_0", tensor]`."""
        return ["q8_0", self.tensor.name]

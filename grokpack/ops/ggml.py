"""Ops that quantise weights to GGUF's block types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grokpack.errors import GrokpackError, Place
from grokpack.formats.gguf import BLOCKS, GGMLType
from grokpack.kernels import ggml
from grokpack.kernels.dispatch import twin
from grokpack.layout import Box
from grokpack.ops.fitting import edges, whole_chunks
from grokpack.ops.measured import Measured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from grokpack.budget import Pace
    from grokpack.ops.array_source import ArraySource
    from grokpack.ops.source_weight import SourceWeight

_MEASURED = 32  # weights in a group whose error is measured; a sub-block of Q4_K
_KERNELS: dict[tuple[str, bool], Callable[..., None]] = {
    ("q8_0", False): ggml.quantise_q8_0,
    ("q4_0", False): ggml.quantise_q4_0,
    ("q4_1", False): ggml.quantise_q4_1,
    ("q4_k", False): ggml.quantise_q4_k,
    ("q4_0", True): ggml.search_q4_0,
    ("q4_1", True): ggml.search_q4_1,
}


def searches(kind: str) -> bool:
    """Whether a type leaves the choice of scale free, and a searched variant is there."""
    return (kind, True) in _KERNELS


@dataclass(frozen=True, slots=True)
class QuantiseBlocks:
    """A weight in blocks, `u8[..., out, in / block * bytes]`, quantised as ggml does or better.

    Attributes:
        weight: The source's weight, `[..., in, out]`.
        kind: Type of the blocks.
        searched: Whether scales are searched for; otherwise they are those of ggml's reference.
    """

    weight: SourceWeight
    kind: str
    searched: bool

    def stream(self, box: Box, reader: ArraySource, pace: Pace) -> Iterator[Measured]:
        """Rows of the box, in order.

        Raises:
            GrokpackError: GP407 where a value is not finite, GP405 where float16 cannot hold a
                scale.
        """
        inputs = self.weight.shape[0]
        weights, nbytes = BLOCKS[GGMLType[self.kind.upper()]]
        width = whole_chunks(pace.block_bytes // (inputs * self.weight.value_bytes))
        height = whole_chunks(pace.step_bytes // (inputs // weights * nbytes))
        for left, right in edges(box.start[-2], box.stop[-2], width):
            part = Box((0, left), (inputs, right - left))
            values, scales = self.weight.read(box.start[:-2], part, reader)
            for begin, end in edges(left, right, height):
                out = np.empty((end - begin, inputs // weights * nbytes), np.uint8)
                groups = inputs // _MEASURED
                sums = np.empty((3, groups, end - begin), np.float32)
                counts = np.empty((2, groups, end - begin), np.int32)
                kernel = twin(_KERNELS[self.kind, self.searched], pace.engine)
                own = self._importance(box)
                kernel(values, scales, begin - left, inputs // len(scales), out, sums, counts, *own)
                self._check(sums)
                yield Measured(out, self.weight.name, sums, counts, _MEASURED)

    def _importance(self, box: Box) -> tuple[np.ndarray, ...]:
        """How much errors at each input matter, where scales are searched for and it is known."""
        if self.weight.importance is None or not self.searched:
            return ()
        lead = box.start[:-2]
        return (self.weight.importance.of(lead[0] if lead else None),)

    def _check(self, sums: np.ndarray) -> None:
        self.weight.refuse_not_finite(sums[0])
        if not np.isfinite(sums[1]).all():
            what = "a scale does not fit float16, in which GGUF keeps scales"
            raise GrokpackError("GP405", what, Place(self.weight.name), hint="convert --type bf16")

    def describe(self) -> list[object]:
        """`["blocks", tensor, type, searched]`."""
        return ["blocks", self.weight.name, self.kind, self.searched]

"""Lazy arrays of weights in GGUF's blocks: products of any type; codes and scales of Q8_0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from grokpack.core.errors import GrokpackError, Place
from grokpack.core.ggml_types import GGMLType
from grokpack.core.layout import Box
from grokpack.core.tensors import DType
from grokpack.formats import gguf
from grokpack.kernels.block_kernels import PRODUCTS
from grokpack.kernels.float_casts import to_f32
from grokpack.kernels.transposed_weights import Q8_BLOCK, Q8_BYTES
from grokpack.transforms.transform import Transform

if TYPE_CHECKING:
    from grokpack.transforms.array_source import ArraySource


@dataclass(frozen=True, slots=True)
class BlockValues(Transform):
    """Products of blocks `u8[..., out, in / block * bytes]`.

    Attributes:
        array: The blocks.
        kind: Their type.
        transposed: True if the tensor is `[..., in, out]`; else it lies as the blocks do.
    """

    operation: ClassVar[str] = "block values"
    array: str
    kind: str
    transposed: bool = True

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Read the blocks that the box meets, and multiply."""
        *lead, rows, columns = range(len(box.start))
        if self.transposed:
            rows, columns = columns, rows
        own = GGMLType[self.kind.upper()]
        weights, nbytes = own.weights, own.nbytes
        first, last = box.start[columns], box.stop[columns]
        low, high = first // weights, -(-last // weights)
        start = (*(box.start[a] for a in lead), box.start[rows], low * nbytes)
        shape = (*(box.shape[a] for a in lead), box.shape[rows], (high - low) * nbytes)
        octets = np.ascontiguousarray(reader.read_ahead(self.array, Box(start, shape)))
        values = _products(own, octets.reshape(-1, shape[-1]))
        skip = first - low * weights
        kept = values[:, skip : skip + last - first]
        made = kept.reshape(*shape[:-1], last - first).view(np.uint32)
        return made.swapaxes(-1, -2) if self.transposed else made


def _products(kind: GGMLType, blocks: np.ndarray) -> np.ndarray:
    """Decode rows of blocks, `u8[row, bytes]` to `f32[row, weight]`.

    Raises:
        GrokpackError: GP307 for a type that the `gguf` package decodes, where it is missing.
    """
    if kind.word not in PRODUCTS:
        return gguf.products(blocks, kind)
    values = np.empty((len(blocks), blocks.shape[1] // kind.nbytes * kind.weights), np.float32)
    PRODUCTS[kind.word](blocks, values)
    return values


_BAND_BYTES = 4 << 20  # of blocks whose scales are compared at a time


@dataclass(frozen=True, slots=True)
class BlockCodes(Transform):
    """int8 codes `[..., in, out]` of blocks of Q8_0, `u8[..., out, in / 32 * 34]`."""

    operation: ClassVar[str] = "block codes"
    array: str

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Read the blocks that the box meets, without their scales."""
        first, blocks = read_blocks(self.array, box, reader)
        codes = blocks[..., 2:].reshape(*blocks.shape[:-2], -1)
        skip = box.start[-2] - first * Q8_BLOCK
        return codes[..., skip : skip + box.shape[-2]].swapaxes(-1, -2)


@dataclass(frozen=True, slots=True)
class BlockScales(Transform):
    """Scales `bf16[..., group, out]` of blocks of Q8_0 whose scales are equal within a group.

    Attributes:
        array: The blocks.
        per_group: Inputs in a group; a multiple of 32.
    """

    operation: ClassVar[str] = "block scales"
    array: str
    per_group: int

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Read all blocks of the groups, check that they agree, and keep one scale of each.

        Raises:
            GrokpackError: GP215 if blocks of a group differ, or bfloat16 cannot hold a scale.
        """
        out = np.empty(box.shape, np.uint16)
        inputs = box.shape[-2] * self.per_group
        step = max(1, _BAND_BYTES // (inputs // Q8_BLOCK * Q8_BYTES))
        for lead in np.ndindex(*box.shape[:-2]):
            first = tuple(a + b for a, b in zip(box.start, lead, strict=False))
            for column in range(0, box.shape[-1], step):
                count = min(step, box.shape[-1] - column)
                start = (*first, box.start[-2] * self.per_group, box.start[-1] + column)
                band = Box(start, (*(1 for _ in lead), inputs, count))
                out[(*lead, slice(None), slice(column, column + count))] = self._band(band, reader)
        return out

    def _band(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Return the scales `bf16[group, out]` of the blocks in a box of one matrix."""
        _, blocks = read_blocks(self.array, box, reader)
        d = np.ascontiguousarray(blocks[..., :2]).view("<u2")
        grouped = d.reshape(box.shape[-1], box.shape[-2] // self.per_group, -1)
        if (grouped != grouped[..., :1]).any():
            raise self._refusal("blocks of a group have different scales")
        values = to_f32(grouped[..., 0], DType.F16)
        bits: np.ndarray = values.view(np.uint32)
        if (bits & 0xFFFF).any():
            raise self._refusal("bfloat16 cannot hold a scale of its blocks")
        kept: np.ndarray = (bits >> 16).astype(np.uint16)
        return kept.T

    def _refusal(self, what: str) -> GrokpackError:
        hint = "it was not re-packaged from released int8; `--to hf` or `--type bf16` reads it"
        return GrokpackError("GP215", what, Place(self.array), hint=hint)


def read_blocks(array: str, box: Box, reader: ArraySource) -> tuple[int, np.ndarray]:
    """Read the blocks that a box `[..., in, out]` meets: the first's number, and their bytes."""
    low, high = box.start[-2] // Q8_BLOCK, -(-box.stop[-2] // Q8_BLOCK)
    start = (*box.start[:-2], box.start[-1], low * Q8_BYTES)
    shape = (*box.shape[:-2], box.shape[-1], (high - low) * Q8_BYTES)
    octets = reader.read_ahead(array, Box(start, shape))
    return low, octets.reshape(*shape[:-1], high - low, Q8_BYTES)

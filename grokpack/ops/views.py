"""Views: a tensor as xAI stores it, made of what other formats hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from grokpack.errors import GrokpackError, Place
from grokpack.kernels.weights import Q8_BLOCK, Q8_BYTES
from grokpack.layout import Box
from grokpack.ops.weights import to_f32
from grokpack.tensor import DType

if TYPE_CHECKING:
    from grokpack.ops.array_source import ArraySource
    from grokpack.tensor import Shape


_BAND_BYTES = 4 << 20  # of blocks that are looked through at a time for their scales


class View(Protocol):
    """Makes boxes of a tensor's array from arrays that the files hold."""

    @property
    def stored(self) -> tuple[str, ...]:
        """Arrays that it is made of."""

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """The box's values as raw unsigned integers; they need not be contiguous."""

    def describe(self) -> list[object]:
        """The view as JSON."""


@runtime_checkable
class DecodedView(View, Protocol):
    """A view of an array whose files hold it in an encoded form, in chunks of their own."""

    def holder(self, index: Shape) -> str | None:
        """The file that holds an element; None where it cannot be told."""


@dataclass(frozen=True, slots=True)
class Renamed:
    """An array under another name."""

    array: str

    @property
    def stored(self) -> tuple[str, ...]:
        """The one array."""
        return (self.array,)

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Read the box."""
        return reader.read(self.array, box)

    def describe(self) -> list[object]:
        """`["renamed", array]`."""
        return ["renamed", self.array]


@dataclass(frozen=True, slots=True)
class Turned:
    """`[..., in, out]` from an array stored `[..., out, in]`."""

    array: str

    @property
    def stored(self) -> tuple[str, ...]:
        """The one array."""
        return (self.array,)

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Read the box the other way round; the result is not contiguous."""
        return reader.read_ahead(self.array, _turned(box)).swapaxes(-1, -2)

    def describe(self) -> list[object]:
        """`["turned", array]`."""
        return ["turned", self.array]


@dataclass(frozen=True, slots=True)
class Stacked:
    """`[expert, in, out]` from one array `[out, in]` for each expert."""

    arrays: tuple[str, ...]

    @property
    def stored(self) -> tuple[str, ...]:
        """One array for each expert."""
        return self.arrays

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Read each expert's part of the box."""
        one = _turned(Box(box.start[1:], box.shape[1:]))
        experts = range(box.start[0], box.stop[0])
        if len(experts) == 1:
            return reader.read_ahead(self.arrays[experts[0]], one).T[None]
        return np.stack([reader.read(self.arrays[e], one).T for e in experts])

    def describe(self) -> list[object]:
        """`["stacked", arrays...]`."""
        return ["stacked", *self.arrays]


@dataclass(frozen=True, slots=True)
class BlockCodes:
    """The int8 codes `[..., in, out]` of blocks of Q8_0, `u8[..., out, in / 32 * 34]`."""

    array: str

    @property
    def stored(self) -> tuple[str, ...]:
        """The one array."""
        return (self.array,)

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Read the blocks that the box meets, and leave their scales out."""
        first, blocks = read_blocks(self.array, box, reader)
        codes = blocks[..., 2:].reshape(*blocks.shape[:-2], -1)
        skip = box.start[-2] - first * Q8_BLOCK
        return codes[..., skip : skip + box.shape[-2]].swapaxes(-1, -2)

    def describe(self) -> list[object]:
        """`["q8_0 codes", array]`."""
        return ["q8_0 codes", self.array]


@dataclass(frozen=True, slots=True)
class BlockScales:
    """Scales `bf16[..., group, out]` of blocks of Q8_0 whose scales are equal within a group.

    Attributes:
        array: The blocks.
        per_group: Inputs in a group; a multiple of 32.
    """

    array: str
    per_group: int

    @property
    def stored(self) -> tuple[str, ...]:
        """The one array."""
        return (self.array,)

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Read all blocks of the groups, see that they agree, and keep one scale of each.

        Raises:
            GrokpackError: GP215 where blocks of a group differ, or bfloat16 cannot hold a scale.
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
        """The scales `bf16[group, out]` of the blocks in a box `[..., in, out]` of one matrix."""
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

    def describe(self) -> list[object]:
        """`["q8_0 scales", array, inputs in a group]`."""
        return ["q8_0 scales", self.array, self.per_group]


@dataclass(frozen=True, slots=True)
class BlockProducts:
    """Products `f32[..., in, out]` of blocks of Q8_0, exact."""

    array: str
    turned: bool = True

    @property
    def stored(self) -> tuple[str, ...]:
        """The one array."""
        return (self.array,)

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:
        """Codes times the scale of their block."""
        wanted = box if self.turned else _turned(box)
        first, blocks = read_blocks(self.array, wanted, reader)
        d = np.ascontiguousarray(blocks[..., :2]).view("<u2")
        codes = blocks[..., 2:].view(np.int8).astype(np.float32)
        with np.errstate(invalid="ignore"):  # zero times an infinite scale is no number
            products = (codes * to_f32(d, DType.F16)).reshape(*blocks.shape[:-2], -1)
        skip = wanted.start[-2] - first * Q8_BLOCK
        made: np.ndarray = products[..., skip : skip + wanted.shape[-2]].view(np.uint32)
        return made.swapaxes(-1, -2) if self.turned else made

    def describe(self) -> list[object]:
        """`["q8_0 products", array, turned]`."""
        return ["q8_0 products", self.array, self.turned]


def read_blocks(array: str, box: Box, reader: ArraySource) -> tuple[int, np.ndarray]:
    """The blocks that a box `[..., in, out]` meets, `u8[..., out, block, 34]`, and the first."""
    low, high = box.start[-2] // Q8_BLOCK, -(-box.stop[-2] // Q8_BLOCK)
    start = (*box.start[:-2], box.start[-1], low * Q8_BYTES)
    shape = (*box.shape[:-2], box.shape[-1], (high - low) * Q8_BYTES)
    octets = reader.read_ahead(array, Box(start, shape))
    return low, octets.reshape(*shape[:-1], high - low, Q8_BYTES)


def _turned(box: Box) -> Box:
    def swap(row: tuple[int, ...]) -> tuple[int, ...]:
        return (*row[:-2], row[-1], row[-2])

    return Box(swap(box.start), swap(box.shape))

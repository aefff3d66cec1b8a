"""Synthetic values: any part of a tensor of any size, computed from the seed alone.

Values are drawn block by block from SFC64. Each block is seeded with (seed, array, block number),
so that a tile is made without those before it, and always the same. Only the generator's raw bits
are used: NumPy keeps those stable between versions, but not its distributions.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from grokpack.transforms.transform import Transform

if TYPE_CHECKING:
    from grokpack.core.layout import Box
    from grokpack.core.tensors import Shape
    from grokpack.transforms.array_source import ArraySource

BLOCK_ELEMENTS = 1 << 18  # seeding a block takes some 15 us, filling one 250 us
CODE_RMS = 34.0
"""Root mean square of the release's int8 codes, estimated in docs/explanation."""
_PLANTED = (-128, 127)  # extremes that begin every block, because the table below leaves them out


@cache
def _gauss_table() -> bytes:
    """Return an int8 code for each random byte: the quantiles of a normal distribution."""
    normal = NormalDist(0.0, CODE_RMS)
    codes = [round(normal.inv_cdf((i + 0.5) / 256)) for i in range(256)]
    return np.array(codes, np.int8).tobytes()


@dataclass(frozen=True, slots=True)
class _Block:
    seed: int
    array: str
    number: int

    def raw(self, nbytes: int) -> np.ndarray:
        """Return `nbytes` random bytes, as uint8."""
        seeds = np.random.SeedSequence([self.seed, zlib.crc32(self.array.encode()), self.number])
        return np.random.SFC64(seeds).random_raw(-(-nbytes // 8)).view(np.uint8)[:nbytes]

    def normal(self, count: int) -> np.ndarray:
        """Return `count` nearly standard normal values: sums of four uniform ones."""
        first, *others = self.raw(8 * count).view(np.uint16).reshape(count, 4).T
        total = sum(others, first.astype(np.float32))  # exact; `sum(axis=1)` takes 40 times as long
        return (total / np.float32(65535) - np.float32(2)) * np.float32(math.sqrt(3))


def _span(shape: Shape, box: Box) -> tuple[int, int]:
    """Return the first flat element of a box of whole rows, and one past its last."""
    strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    first = sum(a * s for a, s in zip(box.start, strides, strict=True))
    return first, first + box.elements


@dataclass(frozen=True, slots=True)
class RandomCodes(Transform):
    """int8 codes, normal with an rms of 34, with the extremes at the start of each block."""

    name: str
    shape: Shape
    seed: int

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:  # noqa: ARG002
        """Return the codes of whole rows, as uint8."""
        return _joined(self, box)

    def block(self, number: int, count: int) -> np.ndarray:
        """Return the first codes of a block."""
        raw = _Block(self.seed, self.name, number).raw(count)
        codes = np.frombuffer(bytearray(raw.tobytes().translate(_gauss_table())), np.int8)
        codes[: len(_PLANTED)] = _PLANTED[:count]
        return codes.view(np.uint8)

    def describe(self) -> list[object]:
        """Return `["codes", name, seed]`."""
        return ["codes", self.name, self.seed]


@dataclass(frozen=True, slots=True)
class RandomFloats(Transform):
    """Floats `mean + spread * normal`, in float32, or in bfloat16 for scales."""

    name: str
    shape: Shape
    seed: int
    mean: float
    spread: float
    bf16: bool = False

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:  # noqa: ARG002
        """Return the values of whole rows, as unsigned integers."""
        return _joined(self, box)

    def block(self, number: int, count: int) -> np.ndarray:
        """Return the first values of a block."""
        values = _Block(self.seed, self.name, number).normal(count)
        values = np.float32(self.mean) + np.float32(self.spread) * values
        if not self.bf16:
            return values.view(np.uint32)
        import ml_dtypes

        return values.astype(ml_dtypes.bfloat16).view(np.uint16)

    def describe(self) -> list[object]:
        """Return `["floats", name, seed, mean, spread]`."""
        return ["floats", self.name, self.seed, self.mean, self.spread]


def _joined(op: RandomCodes | RandomFloats, box: Box) -> np.ndarray:
    """Return the elements of a box, from the blocks that hold them."""
    first, last = _span(op.shape, box)
    starts = range(first - first % BLOCK_ELEMENTS, last, BLOCK_ELEMENTS)
    values = np.concatenate(
        [op.block(at // BLOCK_ELEMENTS, min(last - at, BLOCK_ELEMENTS)) for at in starts]
    )
    begin = first - starts[0]
    return values[begin : begin + box.elements].reshape(box.shape)

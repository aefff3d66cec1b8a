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
def _code_table(tail: float) -> bytes:
    """Return an int8 code for each random byte: quantiles of a distribution.

    Args:
        tail: 0 for the normal one; larger for more values far from the rest.
    """
    normal = NormalDist()
    quantiles = [normal.inv_cdf((i + 0.5) / 256) for i in range(256)]
    stretched = [q * (1 + tail * q * q) for q in quantiles]
    unit = CODE_RMS * quantiles[-1] / stretched[-1]  # so that the largest code stays the same
    return np.array([round(unit * q) for q in stretched], np.int8).tobytes()


@cache
def code_rms(tail: float) -> float:
    """Return the root mean square of the codes of `RandomCodes`."""
    if not tail:
        return CODE_RMS
    codes = np.frombuffer(_code_table(tail), np.int8).astype(np.int64)
    return math.sqrt(int((codes * codes).sum()) / len(codes))


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
    """int8 codes, normal with an rms of 34, with the extremes at the start of each block.

    Attributes:
        name: Name of the array.
        shape: Its shape.
        seed: The seed.
        tail: How much larger the largest codes are than most; 0 for normal ones.
    """

    name: str
    shape: Shape
    seed: int
    tail: float = 0.0

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:  # noqa: ARG002
        """Return the codes of whole rows, as uint8."""
        return _joined(self, box)

    def block(self, number: int, count: int) -> np.ndarray:
        """Return the first codes of a block."""
        raw = _Block(self.seed, self.name, number).raw(count)
        codes = np.frombuffer(bytearray(raw.tobytes().translate(_code_table(self.tail))), np.int8)
        codes[: len(_PLANTED)] = _PLANTED[:count]
        return codes.view(np.uint8)

    def describe(self) -> list[object]:
        """Return `["codes", name, seed]`, and the tail if there is one."""
        return ["codes", self.name, self.seed, *filter(None, [self.tail])]


@dataclass(frozen=True, slots=True)
class RandomFloats(Transform):
    """Floats `mean + spread * normal`, in float32, or in bfloat16 for scales.

    Attributes:
        name: Name of the array.
        shape: Its shape.
        seed: The seed.
        mean: Mean of its values.
        spread: Their root mean square around it.
        bf16: True for bfloat16.
        tail: How much farther the farthest values are than most; 0 for normal ones.
    """

    name: str
    shape: Shape
    seed: int
    mean: float
    spread: float
    bf16: bool = False
    tail: float = 0.0

    def make(self, box: Box, reader: ArraySource) -> np.ndarray:  # noqa: ARG002
        """Return the values of whole rows, as unsigned integers."""
        return _joined(self, box)

    def block(self, number: int, count: int) -> np.ndarray:
        """Return the first values of a block."""
        values = _Block(self.seed, self.name, number).normal(count)
        if self.tail:
            tail = np.float32(self.tail)
            values *= (np.float32(1) + tail * values * values) / _stretched_rms(self.tail)
        values = np.float32(self.mean) + np.float32(self.spread) * values
        if not self.bf16:
            return values.view(np.uint32)
        import ml_dtypes

        return values.astype(ml_dtypes.bfloat16).view(np.uint16)

    def describe(self) -> list[object]:
        """Return `["floats", name, seed, mean, spread]`, and the tail if there is one."""
        tail = filter(None, [self.tail])
        return ["floats", self.name, self.seed, self.mean, self.spread, *tail]


def _stretched_rms(tail: float) -> np.float32:
    """Return the root mean square of `z * (1 + tail * z^2)`, where z is a sum of four uniform ones.

    Its fourth moment is 2.7, its sixth 10.93; normal ones would have 3 and 15.
    """
    return np.float32(math.sqrt(1 + 2 * tail * 2.7 + tail * tail * (11 - 1 / 14)))


def _joined(op: RandomCodes | RandomFloats, box: Box) -> np.ndarray:
    """Return the elements of a box, from the blocks that hold them."""
    first, last = _span(op.shape, box)
    starts = range(first - first % BLOCK_ELEMENTS, last, BLOCK_ELEMENTS)
    values = np.concatenate(
        [op.block(at // BLOCK_ELEMENTS, min(last - at, BLOCK_ELEMENTS)) for at in starts]
    )
    begin = first - starts[0]
    return values[begin : begin + box.elements].reshape(box.shape)

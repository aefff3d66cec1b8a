"""Blocks of four-bit floats: how the scale of each is chosen, and how its weights are encoded.

A code is E2M1: a sign, and one of the levels 0, 0.5, 1, 1.5, 2, 3, 4 and 6. A block of MXFP4 is 32
weights with a power of two (E8M0, a byte: `2 ** (byte - 127)`); one of NVFP4 is 16 weights with an
E4M3 number, divided by one float32 for a whole matrix. The rules are those of compressed-tensors
and, for GGUF, of ggml.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from grokpack.kernels._ggml.blocks_of_32 import QuantizedBlock, nibbles

MX_BLOCK, NV_BLOCK = 32, 16
"""Weights that share a scale."""
MX_BYTES = 17
"""Bytes of a block in GGUF; ggml-common.h: block_mxfp4."""
DOUBLED = np.array([0, 1, 2, 3, 4, 6, 8, 12], np.int8)
"""Levels times two, which makes them whole."""
TOP = 12
"""Largest level, doubled."""
MIDDLES = np.array([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5], np.float32)
"""Middles between levels: what is greater takes the upper one. ggml gives a tie to the lower."""
TO_EVEN = MIDDLES.copy()
TO_EVEN[1::2] = np.nextafter(MIDDLES[1::2], np.float32(0))
"""Likewise, with ties to the level of even mantissa."""
LARGEST_EXPONENT = 253
"""Largest power of two, as a byte, that leaves room to double float32's largest level."""
LARGEST_STEP = 126
"""448, the largest number of E4M3, as a byte."""
SMALL_STEP = 0x20
"""0.125, the step that compressed-tensors gives a block whose own would be zero."""
MX_TRIALS = np.array([-1, 1], np.int32)
NV_TRIALS = np.array([-1, 1, 4, 5, 6], np.int32)
"""Bytes that a search adds to that of the plain rule: a little less, a little more and, in NVFP4,
about half as much again, under which the largest weight gets level 4."""
_ROUND_UP = 0x200000
"""Bits of a quarter: compressed-tensors takes the next power of two from 1.75 of one on."""

EXPONENT_BITS = 0x7F800000
LEAST_POWER = 127 << 23
"""Bits of one, below which levels are as far apart as above it."""
SHIFT = 22 << 23
"""Added to the bits of a power of two: times 2^22, at which float32 has the spacing of levels from
that power on."""
DROPPED_BITS = 22
BIAS = 127 << 1
"""Excess of a float32's exponent over that of E2M1, where codes count it."""


def exponents(largest: np.ndarray) -> np.ndarray:
    """Choose each block's power of two as compressed-tensors does, as a byte."""
    bits = largest.view(np.int32) + _ROUND_UP
    bounded: np.ndarray = np.clip((bits >> 23) - 2, 0, LARGEST_EXPONENT)
    return bounded


def floor_exponents(largest: np.ndarray) -> np.ndarray:
    """Choose each block's power of two as ggml does, by a logarithm rounded to float32."""
    with np.errstate(divide="ignore"):
        logarithm = np.log2(largest.astype(np.float64)).astype(np.float32)
    bounded = np.clip(np.floor(logarithm) + np.float32(125), 0, LARGEST_EXPONENT)
    return bounded.astype(np.int32)


def power(exponent: np.ndarray) -> np.ndarray:
    """Return powers of two as float32; that of byte 0 is below the normal range."""
    bits = np.where(exponent == 0, 0x00400000, exponent << 23).astype(np.int32)
    return bits.view(np.float32)


def nearest(sizes: np.ndarray) -> np.ndarray:
    """Return the levels nearest to magnitudes, of two as near either; beyond 6 they go on.

    A magnitude of one or more, times 2^22, has just the spacing of levels; adding it rounds to it.
    """
    bits = np.maximum(sizes.view(np.uint32), np.uint32(LEAST_POWER)) + np.uint32(SHIFT)
    rounder = bits.view(np.float32)
    levels: np.ndarray = (sizes + rounder) - rounder
    return levels


def to_e4m3(values: np.ndarray) -> np.ndarray:
    """Round numbers from 0 to 448 to E4M3, to nearest even, as bytes."""
    bits = values.view(np.int32)
    normal = ((bits + 0x7FFFF + ((bits >> 20) & 1)) >> 20) - 960
    small = np.rint(values * np.float32(512))
    with np.errstate(invalid="ignore"):
        return np.where(values < np.float32(2**-6), small.astype(np.int32), normal)


def from_e4m3(codes: np.ndarray) -> np.ndarray:
    """Return positive E4M3 numbers as float32."""
    normal = ((codes + 960) << 20).astype(np.int32).view(np.float32)
    return np.where(codes < 8, codes.astype(np.float32) * np.float32(2**-9), normal)  # noqa: PLR2004


def steps(largest: np.ndarray, unit: np.float32) -> np.ndarray:
    """Choose each block's E4M3 number, as a byte, from its largest magnitude."""
    wanted = np.minimum(unit * (largest / np.float32(6)), np.float32(448))
    codes = to_e4m3(wanted)
    return np.where(codes == 0, SMALL_STEP, codes)


@dataclass(frozen=True, slots=True)
class BlockForm:
    """Form of a block.

    Attributes:
        height: Weights of a block.
        micro: True for MXFP4.
        ggml: True for ggml's rules: exponent, ties, no negative zero, byte j has rows j and j + 16.
    """

    height: int
    micro: bool
    ggml: bool = False

    def plain(self, largest: np.ndarray, unit: np.float32) -> np.ndarray:
        """Choose the byte of each block's scale by the plain rule."""
        if not self.micro:
            return steps(largest, unit)
        return floor_exponents(largest) if self.ggml else exponents(largest)

    def scales(self, chosen: np.ndarray, unit: np.float32) -> np.ndarray:
        """Return the scales that bytes stand for."""
        return self.numbers(chosen) / unit

    def numbers(self, chosen: np.ndarray) -> np.ndarray:
        """Return the numbers that bytes stand for, which the scale of the matrix divides."""
        return power(chosen) if self.micro else from_e4m3(chosen)

    @property
    def trials(self) -> np.ndarray:
        """Bytes that a search adds to that of the plain rule."""
        return MX_TRIALS if self.micro else NV_TRIALS

    @property
    def last(self) -> int:
        """Largest byte of a scale."""
        return LARGEST_EXPONENT if self.micro else LARGEST_STEP

    @property
    def least(self) -> int:
        """Smallest byte of a scale."""
        return 0 if self.micro else 1

    def encode(self, x: np.ndarray, scale: np.ndarray) -> tuple[QuantizedBlock, np.ndarray]:
        """Return codes, as doubled levels of half the scale, and the bits that are packed."""
        y, level = np.abs(x) / scale, np.zeros(x.shape, np.uint8)
        for middle in MIDDLES if self.ggml else TO_EVEN:
            level += y > middle
        doubled = DOUBLED[level]
        codes = np.where(x < 0, -doubled, doubled)
        negative = codes < 0 if self.ggml else x < 0
        half = scale * np.float32(0.5)
        bits = level | (negative.astype(np.uint8) << 3)
        return QuantizedBlock(codes, (), half, np.zeros_like(half)), bits

    def pack(self, bits: np.ndarray) -> np.ndarray:
        """Pack codes of four bits in bytes, `u8[column, in / 2]`."""
        half = self.height // 2
        packed = nibbles(bits[:half], bits[half:]) if self.ggml else nibbles(bits[::2], bits[1::2])
        return packed.T


MX = BlockForm(MX_BLOCK, micro=True)
NV = BlockForm(NV_BLOCK, micro=False)
GGML = BlockForm(MX_BLOCK, micro=True, ggml=True)

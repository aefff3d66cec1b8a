"""CRC-32C (Castagnoli), the checksum of OCDBT's nodes and of zarr's shards.

The checksum is linear: that of two runs of bytes is the first's, advanced over as many zeros as the
second has bytes, xor the second's. Neighbours are combined pairwise, all pairs at once, until one
is left.
"""

from __future__ import annotations

from functools import cache

import numpy as np

_REFLECTED_POLYNOMIAL = 0x82F63B78
_ONES = 0xFFFFFFFF  # initial value of the register, and mask of the result
_BEGINNING = bytes.fromhex("54641f64")  # turns a register of zeros into one of ones
_WORD = 2  # level of the first words, which have 2**2 bytes


def crc32c(data: bytes) -> int:
    """Compute the checksum of a few megabytes; it takes a few times their memory."""
    data = _BEGINNING + data
    words = np.frombuffer(data.rjust(1 << (len(data) - 1).bit_length(), b"\0"), "<u4")
    level = _WORD
    while len(words) > 1:
        words = _passed(words[::2], level) ^ words[1::2]
        level += 1
    return int(_passed(words, _WORD)[0]) ^ _ONES


def _passed(states: np.ndarray, level: int) -> np.ndarray:
    """Advance registers over 2**level zero bytes."""
    tables, octets = _passing(level), states[..., None].view(np.uint8)  # u8[..., 4]
    passed: np.ndarray = tables[0][octets[..., 0]]
    for place in (1, 2, 3):
        passed ^= tables[place][octets[..., place]]
    return passed


@cache
def _passing(level: int) -> np.ndarray:
    """Return each value of each byte of a register after 2**level zero bytes, `u32[4, 256]`."""
    if level:
        return _passed(_passing(level - 1), level - 1)
    octets = np.arange(256, dtype=np.uint32)
    first = octets.copy()
    for _ in range(8):
        first[:] = (first >> 1) ^ (first & 1) * np.uint32(_REFLECTED_POLYNOMIAL)
    return np.stack([first, *(octets << (8 * place) for place in (0, 1, 2))])

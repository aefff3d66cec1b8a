"""CRC-32C (Castagnoli), the checksum of OCDBT's nodes and of zarr's shards."""

from __future__ import annotations

from functools import cache

_REFLECTED_POLYNOMIAL = 0x82F63B78
_ONES = 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """Checksum of a few megabytes at most: a byte at a time, about 10 MB/s."""
    table, state = _table(), _ONES
    for octet in data:
        state = table[(state ^ octet) & 0xFF] ^ (state >> 8)
    return state ^ _ONES


@cache
def _table() -> tuple[int, ...]:
    """What each value of a byte adds."""
    return tuple(_shifted(octet) for octet in range(256))


def _shifted(state: int) -> int:
    for _ in range(8):
        state = (state >> 1) ^ (_REFLECTED_POLYNOMIAL if state & 1 else 0)
    return state

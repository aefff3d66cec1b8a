"""Memory that reading a checkpoint takes, and the refusal of chunks that need more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.core.byte_size import byte_size
from grokpack.core.errors import GrokpackError, Place

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint

WINDOW_BYTES = 4 << 20
"""Decoded chunks that a thread requests at a time. TensorStore decodes all chunks of a read at
once, whatever its limits, so that a band of columns would decode a whole matrix."""
DECODING_BYTES = 2 * WINDOW_BYTES  # chunks as stored, and decoded
DEFAULT_MEMORY_BYTES = 512 << 20
RESERVED_BYTES = 128 << 20
"""Interpreter and libraries: 60 to 110 MB were measured before the first tile."""


def is_readable_within(source: Checkpoint, memory_bytes: int = DEFAULT_MEMORY_BYTES) -> bool:
    """Return whether a checkpoint can be read, and its chunks decoded, in the memory allowed."""
    return _reading_bytes(source) <= memory_bytes


def refuse_chunks(source: Checkpoint, memory_bytes: int = DEFAULT_MEMORY_BYTES) -> None:
    """Refuse a checkpoint whose chunks are too large to decode within the memory allowed.

    Raises:
        GrokpackError: GP240.
    """
    if is_readable_within(source, memory_bytes):
        return
    needs = _reading_bytes(source)
    facts = (("needs", byte_size(needs)), ("allowed", byte_size(memory_bytes)))
    hint = (
        "where you trust it, copy it into smaller chunks first: "
        f"`grokpack convert --to zarr --memory {-(-2 * needs // 10**9)}GB`"
    )
    what = "a chunk of this store is too large to be decoded in the memory allowed"
    raise GrokpackError("GP240", what, Place(source.folder), facts, hint)


def _reading_bytes(source: Checkpoint) -> int:
    return RESERVED_BYTES + source.cache_bytes + DECODING_BYTES

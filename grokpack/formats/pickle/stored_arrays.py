"""Arrays of a tensor's pickle, and their offsets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from grokpack.core.tensors import ArraySpec


class Bytes(Protocol):
    """Random access to the bytes of a file."""

    def size(self) -> int:
        """Return the size in bytes."""

    def read(self, offset: int, nbytes: int) -> bytes:
        """Return exactly `nbytes` bytes from `offset`; never called past the end."""


@dataclass(frozen=True, slots=True)
class StoredArray:
    """One array in a file: its shape and dtype, and the offset of its first byte."""

    spec: ArraySpec
    offset: int


@dataclass(frozen=True, slots=True)
class Pickled:
    """Whole pickle file, with every byte accounted for.

    Attributes:
        values: The plain array, or the weight of a QuantizedWeight8bit.
        scales: Its scales; None for a plain array.
        literals: Bytes before the first payload, between payloads, and after the last.
        nbytes: Size of the file: literals and payloads together.
    """

    values: StoredArray
    scales: StoredArray | None
    literals: tuple[bytes, ...]
    nbytes: int

    def arrays(self) -> tuple[StoredArray, ...]:
        """Return the stored arrays in file order."""
        return (self.values,) if self.scales is None else (self.values, self.scales)

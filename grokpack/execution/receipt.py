"""Receipts of written tiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack import storage
    from grokpack.execution.quantization_error import Accounts
    from grokpack.planning.tasks import TileRange


@dataclass(frozen=True, slots=True)
class CompressedFileRecord:
    """A file as it was written: its size, and the checksum (xxh3_128, hex) of each tile."""

    nbytes: int
    sums: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TaskInput:
    """What one task does.

    Attributes:
        runs: The tiles.
        tickets: What the output's sink must know of the files to go on with them elsewhere.
    """

    runs: tuple[TileRange, ...]
    tickets: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Receipt:
    """Tiles that are written: for each file of a band one checksum per tile.

    Of files that are written encoded the tiles are those of what they stand for, and all of them
    at once.
    """

    band: int
    first: int
    sums: tuple[tuple[str, ...], ...]  # [file in band][tile]
    accounts: tuple[Accounts, ...] = ()  # [tile], where weights are quantized
    encoded: tuple[
        CompressedFileRecord, ...
    ] = ()  # [file in band], where files are written encoded
    marks: tuple[storage.Mark, ...] = ()  # [file in band], after these tiles were written

    @property
    def last(self) -> int:
        """One past the last tile."""
        return self.first + len(self.sums[0])

    @property
    def tiles(self) -> range:
        """Its tiles."""
        return range(self.first, self.last)

"""Receipts of written tiles, and the input of a task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack import storage
    from grokpack.execution.quantization_error import StatsByTensor
    from grokpack.planning.tasks import TileRange


@dataclass(frozen=True, slots=True)
class CompressedFileRecord:
    """Compressed file as written: its size, and the checksum (xxh3_128, hex) of each tile."""

    nbytes: int
    sums: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TaskInput:
    """Tiles that one task writes.

    Attributes:
        runs: The tiles.
        tickets: Facts about the files that the sink of another process needs to continue them.
    """

    runs: tuple[TileRange, ...]
    tickets: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof of written tiles: for each file of a group one checksum per tile.

    For compressed files, checksums cover the decompressed bytes, and one receipt covers the whole
    file.
    """

    file_group: int
    first: int
    sums: tuple[tuple[str, ...], ...]  # [file in group][tile]
    error_stats: tuple[StatsByTensor, ...] = ()  # [tile], where weights are quantized
    compressed: tuple[CompressedFileRecord, ...] = ()  # [file in group], where files are compressed
    marks: tuple[storage.FileMark, ...] = ()  # [file in group], after these tiles were written

    @property
    def last(self) -> int:
        """One past the last tile."""
        return self.first + len(self.sums[0])

    @property
    def tiles(self) -> range:
        """Its tiles, as a range."""
        return range(self.first, self.last)

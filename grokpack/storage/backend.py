"""What a medium needs for itself, for plans to reckon with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from grokpack.kernels.dispatch import Engine


@dataclass(frozen=True, slots=True)
class ReadOverhead:
    """What a medium keeps.

    Attributes:
        memory_bytes: In memory, for the process.
        thread_bytes: In memory, for each thread that reads strips.
        scratch_bytes: On disk, where strips are read.
        threads: As many as keep it busy, where each waits for answers; 0 where cores decide.
    """

    memory_bytes: int = 0
    thread_bytes: int = 0
    scratch_bytes: int = 0
    threads: int = 0


S = TypeVar("S")


T = TypeVar("T")


Stamp = tuple[int, int | str]
"""Size, and modification time (ns) or the tag that a server gives a version of a file."""


class StorageBackend(Protocol):
    """Where files lie. A module of this package is one; each function raises what is said below."""

    BURDEN: ReadOverhead

    def read_into(self, path: str, offset: int, buffer: memoryview) -> None:
        """See `sources.read_into`."""

    def read_rows(
        self, path: str, offset: int, stride: int, rows: np.ndarray, engine: Engine = "numpy"
    ) -> None:
        """See `sources.read_rows`."""

    def size(self, path: str) -> int:
        """See `sources.FileBytes.size`."""

    def stamp(self, path: str, *, fresh: bool) -> Stamp:
        """See `sources.stamp`."""

    def exists(self, path: str) -> bool:
        """See `sources.exists`."""

    def is_file(self, path: str) -> bool:
        """See `sources.is_file`."""

    def is_folder(self, path: str) -> bool:
        """See `sources.is_folder`."""

    def names(self, folder: str) -> list[str]:
        """See `sources.names`."""

    def tree(self, folder: str) -> list[str]:
        """See `sources.tree`."""

    def map_all(self, work: Callable[[S], T], items: Sequence[S]) -> list[T]:
        """See `reading.map_all`."""

    def forget(self, folder: str) -> None:
        """See `sources.forget`."""

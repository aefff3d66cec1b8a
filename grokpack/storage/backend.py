"""Protocol of a storage backend, and the resources that reading through it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from grokpack.kernels.dispatch import Implementation


@dataclass(frozen=True, slots=True)
class ReadOverhead:
    """Resources that a backend adds to a run.

    Attributes:
        memory_bytes: Memory of the process.
        thread_bytes: Memory of each thread that reads strips.
        scratch_bytes: Disk space, where strips are read.
        threads: Number of threads that keep it busy while each waits for responses; 0 where the
            number of cores decides.
    """

    memory_bytes: int = 0
    thread_bytes: int = 0
    scratch_bytes: int = 0
    threads: int = 0


S = TypeVar("S")


T = TypeVar("T")


Stamp = tuple[int, int | str]
"""Size, and modification time (ns) or a server's tag of the version."""


class StorageBackend(Protocol):
    """Operations on one kind of storage, which a module of this package implements.

    `storage.reading` has a function for each; it gives arguments and errors in full.
    """

    def read_overhead(self, path: str) -> ReadOverhead:
        """Return the resources that reading below a path takes."""

    def read_into(self, path: str, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from byte `offset` of a file."""

    def read_rows(
        self,
        path: str,
        offset: int,
        stride: int,
        rows: np.ndarray,
        implementation: Implementation = "numpy",
    ) -> None:
        """Fill each row of `rows` from byte `offset + row * stride` of a file."""

    def size(self, path: str) -> int:
        """Return the size of a file in bytes."""

    def stamp(self, path: str, *, fresh: bool) -> Stamp:
        """Return a value that changes when the file does."""

    def exists(self, path: str) -> bool:
        """Return whether anything is at the path."""

    def is_file(self, path: str) -> bool:
        """Return whether a file of exactly this name is at the path."""

    def is_folder(self, path: str) -> bool:
        """Return whether the path is a folder."""

    def names(self, folder: str) -> list[str]:
        """Return the sorted names in a folder."""

    def tree(self, folder: str) -> list[str]:
        """Return every file below a folder, as sorted relative paths."""

    def map_all(self, near: str, work: Callable[[S], T], items: Sequence[S]) -> list[T]:
        """Apply a function to many items, in parallel where each waits for the server of a path."""

    def forget(self, folder: str) -> None:
        """Discard what is cached about the files below a folder."""

"""What a target says of files that are written encoded: where they are cut and what follows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from grokpack.core.layout import FileLayout


class Frame(NamedTuple):
    """A frame of a file: bytes that it stands for, and bytes that it takes."""

    decoded: int
    encoded: int


class FileCodec(Protocol):
    """How a target's files are kept.

    The target's layout says, as ever, what a file holds. The encoding cuts that into frames, turns
    each frame into bytes of any length, and ends the file with what it makes of their sizes. The
    same frame must always become the same bytes.
    """

    @property
    def held_bytes(self) -> int:
        """Memory that a file being encoded takes: a frame, what it becomes, the encoder's own."""

    def frames(self, file: FileLayout) -> Iterable[int]:
        """Length of each frame in bytes, none of them 0; together they are the whole file."""

    def encoder(self, file: FileLayout) -> Callable[[memoryview], bytes]:
        """What turns a frame of this file into bytes; one thread uses it, so it may keep state."""

    def ending(self, file: FileLayout, frames: Sequence[Frame]) -> bytes:
        """What follows the last frame."""

    def bound(self, file: FileLayout) -> int:
        """The most bytes that a file can take."""

    def describe(self) -> dict[str, object]:
        """The encoding as JSON values, for the plan's digest and the manifest."""

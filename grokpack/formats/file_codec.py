"""Protocol of compressed output files: how they are cut into frames and how they end."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from grokpack.core.layout import FileLayout


class Frame(NamedTuple):
    """Sizes of one frame of a file, before and after encoding."""

    decoded: int
    encoded: int


class FileCodec(Protocol):
    """Encoding of a target's files.

    The target's layout gives the decoded contents of a file. The codec cuts them into frames,
    encodes each frame to bytes of any length, and ends the file with a table made of their sizes.
    Equal frames must encode to equal bytes.
    """

    @property
    def held_bytes(self) -> int:
        """Memory that encoding a file takes: a frame, its result and the encoder's own state."""

    def frames(self, file: FileLayout) -> Iterable[int]:
        """Return the decoded length of each frame, none of them 0; together they cover the file."""

    def encoder(self, file: FileLayout) -> Callable[[memoryview], bytes]:
        """Return the encoder of this file's frames; it may be stateful, as one thread calls it."""

    def ending(self, file: FileLayout, frames: Sequence[Frame]) -> bytes:
        """Return the bytes that follow the last frame."""

    def bound(self, file: FileLayout) -> int:
        """Return the largest size that the encoded file can have."""

    def describe(self) -> dict[str, object]:
        """Return the encoding as JSON values, for the plan's digest and the manifest."""

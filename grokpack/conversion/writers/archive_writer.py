"""Writer of archives: a checkpoint's own files, compressed.

An archive has NAME.zst in place of each NAME, in zstd's seekable format. Small files stay as they
are. Every command reads an archive in place. `zstd -d` restores the files, and so does
`convert --to files`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from grokpack.conversion.writers.files_writer import copy_target, prefix_of
from grokpack.conversion.writers.writer_row import NoOptions, Writer
from grokpack.core.errors import GrokpackError
from grokpack.core.layout import FileLayout, Literal
from grokpack.core.tiles import SAMPLE_BYTES
from grokpack.formats import zstd_seekable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.formats.file_codec import Frame
    from grokpack.planning.target import Target

NAME = "archive"


@dataclass(frozen=True, slots=True)
class SeekableZstdCodec:
    """Codec of zstd's seekable format.

    Attributes:
        frame_bytes: Maximum decompressed size of a frame.
        cuts: Ascending offsets in each file, by path, at which a frame must begin.
    """

    frame_bytes: int = zstd_seekable.FRAME_BYTES
    cuts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def held_bytes(self) -> int:
        """Bytes of a frame, its compressed form, and the compressor's tables (1.4 MB, level 1)."""
        return 2 * zstd_seekable.bound(self.frame_bytes) + (2 << 20)

    def frames(self, file: FileLayout) -> Iterable[int]:
        """Yield the lengths of frames: equal, but the last one before a cut may be shorter."""
        edges = (0, *self.cuts.get(file.path, ()), file.nbytes)
        for start, stop in pairwise(edges):
            for at in range(start, stop, self.frame_bytes):
                yield min(self.frame_bytes, stop - at)

    def encoder(self, file: FileLayout) -> Callable[[memoryview], bytes]:  # noqa: ARG002  # all alike
        """Return the function that compresses a frame."""
        return zstd_seekable.compressor()

    def ending(self, file: FileLayout, frames: Sequence[Frame]) -> bytes:  # noqa: ARG002  # all alike
        """Make the table of frames."""
        return zstd_seekable.render(frames)

    def bound(self, file: FileLayout) -> int:
        """Return the largest size that a compressed file can have."""
        lengths = list(self.frames(file))
        return sum(map(zstd_seekable.bound, lengths)) + zstd_seekable.table_bytes(len(lengths))

    def describe(self) -> dict[str, object]:
        """Describe format, level, length of frames, and whether each has a checksum."""
        return {
            "name": "zstd seekable",
            "level": zstd_seekable.LEVEL,
            "frame_bytes": self.frame_bytes,
            "checksum": True,
        }


def to_archive(source: Checkpoint, _: NoOptions) -> Target:
    """Make the target: every file compressed in frames that can be read independently.

    Raises:
        GrokpackError: GP306 for chunked stores, whose files TensorStore must find as they are.
    """
    if source.cache_bytes:
        what = f"a checkpoint in {source.format} form is not read when its files are compressed"
        hint = f"`--to {source.format} --compress zstd` compresses its chunks"
        raise GrokpackError("GP306", what, hint=hint)
    cuts = {
        f"{prefix_of(source)}{file.path}{zstd_seekable.SUFFIX}": _cuts(file)
        for file in source.layout.files()
    }
    return copy_target(source, NAME, SeekableZstdCodec(cuts=cuts))


def _cuts(file: FileLayout) -> tuple[int, ...]:
    """List the offsets where headers begin and where the sample after each ends.

    Readers of headers alone then decompress only small frames.
    """
    edges: set[int] = set()
    for segment, end in zip(file.segments, file.ends, strict=True):
        if isinstance(segment, Literal):
            edges |= {end - segment.nbytes, end + SAMPLE_BYTES}
    return tuple(sorted(edge for edge in edges if 0 < edge < file.nbytes))


WRITER = Writer(
    NAME,
    "its own files, compressed; every command reads them in place",
    NoOptions,
    to_archive,
    lambda _: NAME,
)

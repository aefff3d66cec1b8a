"""zstd's seekable format: independent frames, and a table of them in a skippable frame.

`zstd -d` skips the last frame and sees an ordinary file. The format is described in zstd's
repository, contrib/seekable_format.
"""

from __future__ import annotations

import math
import struct
import sys
from array import array
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from grokpack.core.errors import FrameDamaged, GrokpackError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SUFFIX = ".zst"
LEVEL = 1
"""Weights hold no repetitions, so that all levels give the same size."""
FRAME_BYTES = 1 << 20
"""Decoded bytes of a frame that grokpack writes. Smaller ones save nothing when a few bytes are
read."""
LARGEST_FRAME_BYTES = 2 << 20
"""Largest decoded frame that is read, which bounds the memory of each thread."""
FOOTER_BYTES = 9
_HEADER_BYTES = 8
_MAGIC, _FOOTER_MAGIC = 0x184D2A5E, 0x8F92EAB1
_HAS_SUMS, _RESERVED = 0x80, 0x7C
_MOST_FRAMES = 1 << 21  # 2 TB in frames of 1 MiB; bounds the cost of a hostile table
_SMALL_BYTES, _MOST_TIMES = 256 << 20, 64
"""Bytes that may be decoded of any file, and the factor of its size for larger ones. Weights hardly
compress. A file of zeros, ten thousand times smaller, can be opened and described, but decoding it
whole would keep a reader busy for days."""


def bound(nbytes: int) -> int:
    """Return the largest size of a compressed frame: zstd's own ZSTD_COMPRESSBOUND."""
    small = 128 << 10
    return nbytes + (nbytes >> 8) + (max(0, small - nbytes) >> 11)


def table_bytes(frames: int) -> int:
    """Return the size of the table of so many frames."""
    return _HEADER_BYTES + 8 * frames + FOOTER_BYTES


def compressor() -> Callable[[memoryview], bytes]:
    """Return a compressor of frames, each with its size and a checksum; for one thread."""
    import zstandard

    made = zstandard.ZstdCompressor(LEVEL, write_checksum=True, write_content_size=True)
    return made.compress


def render(frames: Iterable[tuple[int, int]]) -> bytes:
    """Render the table.

    Args:
        frames: Decoded and encoded bytes of each frame.
    """
    entries = b"".join(struct.pack("<II", encoded, decoded) for decoded, encoded in frames)
    footer = struct.pack("<IBI", len(entries) // 8, 0, _FOOTER_MAGIC)
    return struct.pack("<II", _MAGIC, len(entries) + len(footer)) + entries + footer


@dataclass(frozen=True, slots=True)
class Footer:
    """End of a file: the number of frames in the table, and the bytes of each entry."""

    frames: int
    entry_bytes: int

    @property
    def table_bytes(self) -> int:
        """Bytes of the whole table, from its header on."""
        return _HEADER_BYTES + self.frames * self.entry_bytes + FOOTER_BYTES


def read_footer(data: bytes | bytearray, file_bytes: int) -> Footer | None:
    """Parse the last bytes of a file; return None if no table ends there.

    Raises:
        GrokpackError: GP227 for a table that cannot be one.
    """
    if len(data) < FOOTER_BYTES:
        return None
    frames, descriptor, magic = struct.unpack("<IBI", data)
    if magic != _FOOTER_MAGIC:
        return None
    footer = Footer(frames, 12 if descriptor & _HAS_SUMS else 8)
    if descriptor & _RESERVED:
        raise _broken("the table of frames is of a version that is not known")
    if frames > _MOST_FRAMES or footer.table_bytes > file_bytes:
        raise _broken(f"the table claims {frames:,} frames")
    return footer


@dataclass(frozen=True, slots=True)
class Table:
    """Positions of frames.

    Attributes:
        decoded: End of each frame in the decoded bytes.
        encoded: End of each frame in the file.
    """

    decoded: array[int]
    encoded: array[int]

    @property
    def nbytes(self) -> int:
        """Decoded size of the file."""
        return self.decoded[-1] if self.decoded else 0

    def frame_at(self, offset: int) -> int:
        """Return the frame that holds a decoded byte."""
        return bisect_right(self.decoded, offset)

    def span(self, frame: int) -> tuple[int, int]:
        """Return the first and the last decoded byte + 1 of a frame."""
        return self.decoded[frame - 1] if frame else 0, self.decoded[frame]

    def extent(self, frame: int) -> tuple[int, int]:
        """Return the first and the last byte + 1 of a frame in the file."""
        return self.encoded[frame - 1] if frame else 0, self.encoded[frame]

    def fitting(self, first: int, last: int, nbytes: int) -> int:
        """Return the end of as many frames, from `first` to at most `last`, as fit in `nbytes`.

        It is the end of frame `first` if even that does not fit.
        """
        start, stop = self.extent(first)
        behind = bisect_right(self.encoded, start + nbytes, first, last + 1)
        return self.encoded[behind - 1] if behind > first else stop


def read_table(data: bytes | bytearray, footer: Footer, file_bytes: int) -> Table:
    """Parse a table, which has to account for every byte of the file.

    Raises:
        GrokpackError: GP227 if it does not, or if a frame is larger than may be read.
    """
    magic, nbytes = struct.unpack_from("<II", data)
    if magic != _MAGIC or nbytes != len(data) - _HEADER_BYTES:
        raise _broken("the table of frames does not begin where it should")
    numbers = array("I")
    numbers.frombytes(data[_HEADER_BYTES : len(data) - FOOTER_BYTES])
    if sys.byteorder == "big":
        numbers.byteswap()
    step = footer.entry_bytes // numbers.itemsize  # a checksum may follow the two numbers
    sizes, lengths = numbers[1::step], numbers[::step]
    del numbers
    largest = max(sizes, default=0)
    if largest > LARGEST_FRAME_BYTES:
        raise _broken(f"a frame stands for {largest:,} bytes; {LARGEST_FRAME_BYTES:,} are the most")
    if 0 in lengths:
        raise _broken("the table has a frame of no bytes")
    if any(map(_is_swollen, lengths, sizes)):
        raise _broken("the table has a frame that is larger than what it stands for can become")
    table = Table(array("q", accumulate(sizes)), array("q", accumulate(lengths)))
    if (table.encoded[-1] if lengths else 0) + len(data) != file_bytes:
        raise _broken("the table of frames does not account for the file's size")
    return table


def decodable_bytes(table: Table, file_bytes: int) -> float:
    """Return how many bytes may be decoded of a file: no limit if it can hold weights."""
    most = max(_SMALL_BYTES, _MOST_TIMES * file_bytes)
    return math.inf if table.nbytes <= most else most


def _is_swollen(encoded: int, decoded: int) -> bool:
    """Return whether a frame is larger than its contents can become."""
    return encoded > decoded > 0 and encoded > bound(decoded)


def decompressor() -> Callable[[memoryview, memoryview], None]:
    """Return a decompressor of a frame into a buffer of its exact size; for one thread.

    It raises GP227 if the frame is damaged or decodes to another size.
    """
    import zstandard

    made = zstandard.ZstdDecompressor(max_window_size=LARGEST_FRAME_BYTES)

    def decompress(frame: memoryview, buffer: memoryview) -> None:
        try:
            claimed = zstandard.frame_content_size(frame)
            if claimed not in (len(buffer), -1):  # before memory is allocated for it
                raise _unlike(f"{claimed:,}", buffer)
            with made.stream_reader(frame, read_across_frames=True) as reader:
                got = reader.readinto(buffer)
                if got != len(buffer):
                    raise _unlike(f"{got:,}", buffer)
                if reader.read(1):
                    raise _unlike("more", buffer)
        except zstandard.ZstdError as error:
            raise _broken(f"the frame is damaged: {error}") from error

    return decompress


def _unlike(found: str, buffer: memoryview) -> GrokpackError:
    return _broken(f"the frame is {found} bytes where the table has {len(buffer):,}")


def _broken(what: str) -> GrokpackError:
    return FrameDamaged(what)

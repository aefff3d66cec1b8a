"""Cursor over the bytes of a pickle that reads little and tracks frames."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from grokpack.core.errors import (
    GrokpackError,
    MalformedInput,
    PickleBeyondLimits,
    Place,
    UnsafePickle,
)
from grokpack.formats.pickle.header_limits import MAX_LITERAL_BYTES

if TYPE_CHECKING:
    from grokpack.formats.pickle.stored_arrays import Bytes

_WINDOW_BYTES = 512  # a real header has 200 bytes, a tail less than 120
_LINE_BYTES = 1 << 20  # searched at a time for a line's end
_LONGEST_LINE_BYTES = 128 << 20
_KEPT = 4  # windows; the release's files have three, one more than payloads
_NUMBERS = {code: struct.Struct(f"<{code}") for code in "BHIQi"}
_SHOWN_CHARACTERS = 120  # of a name that a file made up: enough to recognize it, on one line


def printable(text: str) -> str:
    """Make text from a file fit for a terminal: one line, no control characters, not too long."""
    return text[:_SHOWN_CHARACTERS].encode("unicode_escape").decode("ascii")[:_SHOWN_CHARACTERS]


class Window:
    """Sequential reader that skips payloads; every error names file and byte.

    A checkpoint has 50,000 opcodes, and every command reads them all. Single bytes are therefore
    taken from the buffer on the shortest path.
    """

    def __init__(self, data: Bytes, path: str) -> None:
        self.path = path
        self.size = data.size()
        self.at = 0
        self.opcode_at = 0
        self._data = data
        self._frame_end: int | None = None
        self._begin, self._buffer = 0, b""
        self._near = 0  # offset up to which bytes are in the buffer and in the frame
        self._read: list[tuple[int, bytes]] = []  # the last buffers, which surround payloads

    def opcode(self) -> bytes:
        """Return the next opcode; a frame at its end is left."""
        self.opcode_at = self.at
        if self.at == self._frame_end:
            self._frame_end = None
        return self.take(1)

    def move(self, at: int) -> None:
        """Go on from another byte, also from one that lies before what is in the buffer."""
        self.at = at
        if at < self._begin:
            self._near = 0

    def take(self, nbytes: int) -> bytes:
        """Return the next bytes, which may not cross the end of a frame."""
        end = self.at + nbytes
        if end > self._near:
            return self._take_beyond(nbytes)
        low = self.at - self._begin
        self.at = end
        return self._buffer[low : low + nbytes]

    def _take_beyond(self, nbytes: int) -> bytes:
        """Return the next bytes when the buffer or the frame may end before them."""
        at, end = self.at, self.at + nbytes
        if self._frame_end is not None and end > self._frame_end:
            raise self.broken("an opcode runs over the end of its frame")
        if at < self._begin or end > self._begin + len(self._buffer):
            if end > self.size:
                raise self.truncated(end)
            wanted = min(max(_WINDOW_BYTES, nbytes), self.size - at)
            self._begin, self._buffer = at, self._data.read(at, wanted)
            self._read = [*self._read[1 - _KEPT :], (at, self._buffer)]
        self._look()
        low, self.at = at - self._begin, end
        return self._buffer[low : low + nbytes]

    def _look(self) -> None:
        """Set the offset up to which bytes can be taken without checking frame and buffer."""
        near = self._begin + len(self._buffer)
        self._near = near if self._frame_end is None else min(near, self._frame_end)

    def number(self, code: str) -> int:
        """Return the next little-endian integer of `struct`'s code."""
        form = _NUMBERS[code]
        value: int = form.unpack(self.take(form.size))[0]
        return value

    def begin_frame(self, nbytes: int) -> None:
        """Enter a frame of so many bytes."""
        if self._frame_end is not None:
            raise self.broken("a frame begins inside another")
        end = self.at + nbytes
        if end > self.size:
            raise self.truncated(end)
        self._frame_end = end
        self._look()

    def skip(self, nbytes: int) -> int:
        """Skip a payload and return its offset."""
        offset, end = self.at, self.at + nbytes
        if self._frame_end is not None and end > self._frame_end:
            raise self.broken("a payload runs over the end of its frame")
        if end > self.size:
            raise self.truncated(end)
        self.at = end
        return offset

    def skip_line(self, *, last: bool = False) -> bytes:
        """Skip a line.

        Args:
            last: True if the end of the file may end the line as well. Python's unpickler then
                takes the last byte for the end.

        Returns:
            The line without its end; of a longer line the beginning, longer than any name.

        Raises:
            GrokpackError: GP209 for a line that does not end within 128 MiB, or in the file.
        """
        begin, text, start = b"", b"", self.at
        while b"\n" not in text:
            if self.at - start > _LONGEST_LINE_BYTES:
                raise self.broken("a line has no end")
            wanted = min(_LINE_BYTES if begin else _WINDOW_BYTES, self.size - self.at)
            if last and not wanted and begin:
                return begin[:-1]
            text = self.take(max(1, wanted))
            begin = begin or text
        end = text.index(b"\n")
        self.at -= len(text) - end - 1
        return begin.partition(b"\n")[0]

    def literals(self, payloads: list[tuple[int, int]]) -> tuple[bytes, ...]:
        """Return all bytes outside these payloads (offset, end), in order."""
        bounds = [0, *(edge for run in payloads for edge in run), self.size]
        runs = list(zip(bounds[::2], bounds[1::2], strict=True))
        if sum(b - a for a, b in runs) > MAX_LITERAL_BYTES:
            raise self.beyond("bytes that are not payload", MAX_LITERAL_BYTES)
        return tuple(self._literal(a, b) for a, b in runs)

    def _literal(self, offset: int, end: int) -> bytes:
        for begin, buffer in self._read:
            if begin <= offset and end <= begin + len(buffer):
                return buffer[offset - begin : end - begin]
        return self._data.read(offset, end - offset)

    def broken(self, what: str) -> GrokpackError:
        """Return the error for a header that contradicts itself."""
        return MalformedInput(what, Place(self.path, self.opcode_at))

    def truncated(self, end: int) -> GrokpackError:
        """Return the error for a file that ends before `end`."""
        facts = (("expected", f"at least {end:,} bytes"), ("found", f"{self.size:,} bytes"))
        what = "file ends before its tensor does"
        return MalformedInput(what, Place(self.path, self.opcode_at), facts)

    def beyond(self, what: str, limit: int) -> GrokpackError:
        """Return the error for a header larger than any tensor's."""
        facts = (("limit", f"{limit:,} {what}"),)
        text = "refused a pickle beyond all limits: nothing was executed"
        return PickleBeyondLimits(text, Place(self.path, self.opcode_at), facts)

    def unsafe(self, found: str) -> GrokpackError:
        """Return the error for a construct that would run code."""
        allowed = "numpy array and dtype constructors, bfloat16, QuantizedWeight8bit"
        facts = (("found", printable(found)), ("allowed", allowed))
        hint = (
            "nothing was executed; grokpack never runs a pickle\n"
            "this file is not as xAI published it: fetch it again from the published source"
        )
        what = "refused a pickle that names more than arrays"
        return UnsafePickle(what, Place(self.path, self.opcode_at), facts, hint)

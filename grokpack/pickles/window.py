"""A cursor over the bytes of a pickle that reads little and knows about frames."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from grokpack.errors import GrokpackError, Place
from grokpack.pickles.limits import MAX_LITERAL_BYTES

if TYPE_CHECKING:
    from grokpack.pickles.records import Bytes

_WINDOW_BYTES = 512  # a real header is 200 bytes; a tail under 120
_SHOWN_CHARACTERS = 120  # of a name that a file made up: enough to recognise it, one line


def printable(text: str) -> str:
    """Text from a file, fit for a terminal: one line, no control characters, not too long."""
    return text[:_SHOWN_CHARACTERS].encode("unicode_escape").decode("ascii")[:_SHOWN_CHARACTERS]


class Window:
    """Sequential reading with payloads skipped; every complaint names file and byte."""

    def __init__(self, data: Bytes, path: str) -> None:
        self.path = path
        self.size = data.size()
        self.at = 0
        self.opcode_at = 0
        self.frame_end: int | None = None
        self._data = data
        self._buffer = b""
        self._begin = 0

    def take(self, nbytes: int) -> bytes:
        """The next bytes; they may not run over the end of a frame."""
        end = self.at + nbytes
        if self.frame_end is not None and end > self.frame_end:
            raise self.broken("an opcode runs over the end of its frame")
        low = self.at - self._begin
        if low < 0 or low + nbytes > len(self._buffer):
            if end > self.size:
                raise self.truncated(end)
            self._begin = self.at
            self._buffer = self._data.read(
                self.at, min(max(_WINDOW_BYTES, nbytes), self.size - self.at)
            )
            low = 0
        self.at = end
        return self._buffer[low : low + nbytes]

    def number(self, code: str) -> int:
        """The next integer, little-endian, in `struct`'s code."""
        (value,) = struct.unpack(f"<{code}", self.take(struct.calcsize(code)))
        return int(value)

    def skip(self, nbytes: int) -> int:
        """Pass over a payload and return its offset."""
        offset, end = self.at, self.at + nbytes
        if self.frame_end is not None and end > self.frame_end:
            raise self.broken("a payload runs over the end of its frame")
        if end > self.size:
            raise self.truncated(end)
        self.at = end
        return offset

    def literals(self, payloads: list[tuple[int, int]]) -> tuple[bytes, ...]:
        """All bytes outside these payload runs (offset, end), in order."""
        bounds = [0, *(edge for run in payloads for edge in run), self.size]
        runs = list(zip(bounds[::2], bounds[1::2], strict=True))
        if sum(b - a for a, b in runs) > MAX_LITERAL_BYTES:
            raise self.beyond("bytes that are not payload", MAX_LITERAL_BYTES)
        return tuple(self._data.read(a, b - a) for a, b in runs)

    def broken(self, what: str) -> GrokpackError:
        """An error for a header that contradicts itself."""
        return GrokpackError("GP209", what, Place(self.path, self.opcode_at))

    def truncated(self, end: int) -> GrokpackError:
        """An error for a file that ends before `end`."""
        facts = (("expected", f"at least {end:,} bytes"), ("found", f"{self.size:,} bytes"))
        what = "file ends before its tensor does"
        return GrokpackError("GP209", what, Place(self.path, self.opcode_at), facts)

    def beyond(self, what: str, limit: int) -> GrokpackError:
        """An error for a header larger than any tensor's."""
        facts = (("limit", f"{limit:,} {what}"),)
        text = "refused a pickle beyond all limits: nothing was executed"
        return GrokpackError("GP205", text, Place(self.path, self.opcode_at), facts)

    def unsafe(self, found: str) -> GrokpackError:
        """An error for a construct that would run code."""
        allowed = "numpy array and dtype constructors, bfloat16, QuantizedWeight8bit"
        facts = (("found", printable(found)), ("allowed", allowed))
        hint = (
            "nothing was executed; grokpack never runs a pickle\n"
            "this file is not as xAI published it: fetch it again from the published source"
        )
        what = "refused a pickle that names more than arrays"
        return GrokpackError("GP204", what, Place(self.path, self.opcode_at), facts, hint)

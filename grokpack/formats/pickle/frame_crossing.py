"""Frames as CPython's C unpickler reads them, whose opcodes may cross a frame's end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.formats.pickle.window import Window

if TYPE_CHECKING:
    from grokpack.formats.pickle.stored_arrays import Bytes


class FrameCrossingWindow(Window):
    """Cursor that continues behind a frame when an argument crosses its end.

    From memory the C unpickler reads on as if there were no frame. From a file it drops the rest of
    the frame and reads the argument from behind it. No pickler writes such a pickle.

    Attributes:
        dropped: Ends of frames whose rest is dropped.
        crossed: Ends of frames that arguments crossed.
    """

    def __init__(self, data: Bytes, path: str) -> None:
        super().__init__(data, path)
        self.dropped: frozenset[int] = frozenset()
        self.crossed: set[int] = set()
        self._edge: int | None = None  # end of the frame around the cursor

    def start(self, at: int, dropped: frozenset[int] = frozenset()) -> None:
        """Begin to read a pickle at a byte."""
        self.move(at)
        self.dropped, self._edge = dropped, None
        self.crossed = set()

    def take(self, nbytes: int) -> bytes:
        """Return the next bytes, as one read of the unpickler."""
        self._read_to(self.at + nbytes)
        return super().take(nbytes)

    def skip(self, nbytes: int) -> int:
        """Skip a payload, as one read of the unpickler, and return its offset."""
        self._read_to(self.at + nbytes)
        return super().skip(nbytes)

    def skip_line(self, *, last: bool = False) -> bytes:
        """Skip a line, as one read of the unpickler."""
        begin, edge, self._edge = self.at, self._edge, None
        line = super().skip_line(last=last)
        end, self._edge = self.at, edge
        self.move(begin)
        self._read_to(end)
        if self.at != begin:
            return super().skip_line(last=last)
        self.at = end
        return line

    def begin_frame(self, nbytes: int) -> None:
        """Enter a frame, which may cross the end of the enclosing one."""
        end = self.at + nbytes
        if self._edge is None or end > self._edge:
            self._read_to(end)
            self._edge = self.at + nbytes

    def _read_to(self, end: int) -> None:
        """Leave the frame if a read up to `end` crosses its end."""
        edge = self._edge
        if edge is None or end <= edge:
            return
        self._edge = None
        if self.at < edge:
            self.crossed.add(edge)
            if edge in self.dropped:
                self.at = edge

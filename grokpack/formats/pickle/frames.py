"""Frames as Python's compiled machine reads them: it believes a length that opcodes run over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.formats.pickle.window import Window

if TYPE_CHECKING:
    from grokpack.formats.pickle.records import Bytes


class Framed(Window):
    """A cursor that goes on behind a frame where an argument runs over its end.

    From memory the compiled machine reads on as if there were no frame. From a file it drops what
    is left of the frame and takes the argument from behind it. Nothing writes such a pickle.

    Attributes:
        dropped: Ends of frames up to which the rest is dropped.
        crossed: Ends of frames that arguments ran over.
    """

    def __init__(self, data: Bytes, path: str) -> None:
        super().__init__(data, path)
        self.dropped: frozenset[int] = frozenset()
        self.crossed: set[int] = set()
        self._edge: int | None = None  # end of the frame around the cursor

    def start(self, at: int, dropped: frozenset[int] = frozenset()) -> None:
        """Begin to read a pickle."""
        self.at, self.dropped, self._edge = at, dropped, None
        self.crossed = set()

    def take(self, nbytes: int) -> bytes:
        """Take the next bytes: one read of the machine."""
        self._read_to(self.at + nbytes)
        return super().take(nbytes)

    def skip(self, nbytes: int) -> int:
        """Pass over a payload: one read of the machine."""
        self._read_to(self.at + nbytes)
        return super().skip(nbytes)

    def skip_line(self, *, last: bool = False) -> bytes:
        """Pass over a line: one read of the machine."""
        begin, edge, self._edge = self.at, self._edge, None
        line = super().skip_line(last=last)
        end, self.at, self._edge = self.at, begin, edge
        self._read_to(end)
        if self.at != begin:
            return super().skip_line(last=last)
        self.at = end
        return line

    def begin_frame(self, nbytes: int) -> None:
        """Enter a frame, which may run over the end of the one around it."""
        end = self.at + nbytes
        if self._edge is None or end > self._edge:
            self._read_to(end)
            self._edge = self.at + nbytes

    def _read_to(self, end: int) -> None:
        """Look whether a read crosses the end of the frame, and leave the frame where it does."""
        edge = self._edge
        if edge is None or end <= edge:
            return
        self._edge = None
        if self.at < edge:
            self.crossed.add(edge)
            if edge in self.dropped:
                self.at = edge

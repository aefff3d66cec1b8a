"""Writer of one file of an output in a bucket: bytes become the parts of an upload."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.core.errors import GrokpackError
from grokpack.storage.sink_protocol import PART_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable


class ObjectWriter:
    """Buffer for a file's bytes that sends each full part.

    Args:
        send: Sends a part of the file, by its number.
        path: The file's URL.
        nbytes: Its size, which shows the last part; None if `sync` ends the file.
    """

    def __init__(
        self, send: Callable[[int, bytearray], None], path: str, nbytes: int | None
    ) -> None:
        self._send_part, self._path, self._nbytes = send, path, nbytes
        self._buffer = bytearray()
        self._at: int | None = None

    def write(self, offset: int, data: memoryview) -> None:
        """Buffer the bytes at `offset`, which follow the last ones or begin a part."""
        if offset != self._at and (self._buffer or offset % PART_BYTES):
            raise GrokpackError("GP901", f"byte {offset:,} after {self._at} of {self._path}")
        self._at = offset
        while len(data):
            piece = data[: PART_BYTES - len(self._buffer)]
            self._buffer += piece
            self._at += len(piece)
            data = data[len(piece) :]
            if len(self._buffer) == PART_BYTES:
                self._send()

    def sync(self) -> None:
        """Send the last part, if the file is complete."""
        if self._buffer and self._nbytes in (None, self._at):
            self._send()

    def mark(self) -> None:
        """Return None: parts are checked by their sizes."""

    def close(self) -> None:
        """Discard an incomplete part."""
        self._buffer = bytearray()

    def _send(self) -> None:
        at = self._at or 0
        body, self._buffer = self._buffer, bytearray()
        self._send_part((at - len(body)) // PART_BYTES + 1, body)

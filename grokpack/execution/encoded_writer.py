"""Writing a file encoded: in order, one frame after another, its size known when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xxhash

from grokpack.core.errors import GrokpackError
from grokpack.core.tiles import TILE_BYTES
from grokpack.execution.receipt import CompressedFileRecord
from grokpack.formats.file_codec import Frame

if TYPE_CHECKING:
    from grokpack.core.layout import FileLayout
    from grokpack.formats.file_codec import FileCodec
    from grokpack.storage import Mark, Sink


class CompressedWriter:
    """Takes the bytes that a file stands for, in order, and writes what they become.

    The file is begun anew: nobody can tell where in it an earlier run had got to.

    Attributes:
        ended: The file, once it is whole and durable.

    Args:
        encoding: How the target's files are kept.
        file: What is to be written.
        path: Where, without `.part`.
        sink: What takes it.
    """

    def __init__(self, encoding: FileCodec, file: FileLayout, path: str, sink: Sink) -> None:
        sink.create(path, 0)
        self.path = path
        self._encoding, self._file = encoding, file
        self._part = sink.writer(path, None)
        self._encode = encoding.encoder(file)
        self._lengths = iter(encoding.frames(file))
        self._length = next(self._lengths, 0)
        self._begun = bytearray()
        self._frames: list[Frame] = []
        self._taken = self._at = 0
        self._sums: list[str] = []
        self._tile = xxhash.xxh3_128()
        self.ended: CompressedFileRecord | None = None

    def write(self, offset: int, data: memoryview) -> None:
        """Take the bytes at `offset`, which is where the last ones ended."""
        if offset != self._taken:
            raise GrokpackError("GP901", f"byte {offset:,} after {self._taken:,} of {self.path}")
        self._taken += len(data)
        while len(data):
            piece, data = self._cut(data)
            if not self._begun and len(piece) == self._length:  # lies within one block
                self._append(piece)
                continue
            self._begun += piece
            if len(self._begun) == self._length:
                whole, self._begun = self._begun, bytearray()
                self._append(memoryview(whole))

    def _cut(self, data: memoryview) -> tuple[memoryview, memoryview]:
        """What belongs to the frame that is begun, and the rest."""
        take = self._length - len(self._begun)
        if take <= 0:
            raise GrokpackError("GP901", f"the frames of {self.path} do not make up the file")
        return data[:take], data[take:]

    def _append(self, frame: memoryview) -> None:
        encoded = self._encode(frame)
        self._frames.append(Frame(len(frame), len(encoded)))
        self._put(encoded)
        self._length = next(self._lengths, 0)

    def _put(self, data: bytes) -> None:
        view = memoryview(data)
        self._part.write(self._at, view)
        while view:
            take = TILE_BYTES - self._at % TILE_BYTES
            self._tile.update(view[:take])
            self._at += len(view[:take])
            view = view[take:]
            if self._at % TILE_BYTES == 0:
                self._close_tile()

    def _close_tile(self) -> None:
        self._sums.append(self._tile.hexdigest())
        self._tile.reset()

    def sync(self) -> None:
        """End the file and make it durable, where all of it was written."""
        if self._taken != self._file.nbytes:
            return
        if self._length:
            raise GrokpackError("GP901", f"the frames of {self.path} go on after the file")
        self._put(self._encoding.ending(self._file, self._frames))
        if self._at % TILE_BYTES:
            self._close_tile()
        self._part.sync()
        self.ended = CompressedFileRecord(self._at, tuple(self._sums))

    def mark(self) -> Mark | None:
        """See `storage.FileWriter`."""
        return self._part.mark()

    def close(self) -> None:
        """Give the handle back."""
        self._part.close()

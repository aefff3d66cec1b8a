"""Writer of one compressed file: in order, frame after frame, the size known at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.core.errors import GrokpackError
from grokpack.execution.receipt import CompressedFileRecord
from grokpack.formats.file_codec import Frame
from grokpack.storage.hashing import TileHasher

if TYPE_CHECKING:
    from grokpack.core.layout import FileLayout
    from grokpack.formats.file_codec import FileCodec
    from grokpack.storage import FileMark, Sink


class CompressedFileWriter:
    """Writer that takes uncompressed bytes in order, and writes compressed frames.

    It starts the file over: how far an earlier run got is unknown.

    Attributes:
        ended: Size and checksums of the file, once it is whole and durable.

    Args:
        codec: Compression of the target's files.
        file: Layout of the file.
        path: Path of the file, without `.part`.
        sink: Place that takes the file.
    """

    def __init__(self, codec: FileCodec, file: FileLayout, path: str, sink: Sink) -> None:
        sink.create(path, 0)
        self.path = path
        self._codec, self._file = codec, file
        self._part = sink.writer(path, None)
        self._encode = codec.encoder(file)
        self._lengths = iter(codec.frames(file))
        self._length = next(self._lengths, 0)
        self._begun = bytearray()
        self._frames: list[Frame] = []
        self._taken = 0
        self._hasher = TileHasher()
        self.ended: CompressedFileRecord | None = None

    def write(self, offset: int, data: memoryview) -> None:
        """Take the bytes at `offset`, which must be where the last ones ended."""
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
        """Split bytes into those of the frame in progress, and the rest."""
        take = self._length - len(self._begun)
        if take <= 0:
            raise GrokpackError("GP901", f"the frames of {self.path} do not make up the file")
        return data[:take], data[take:]

    def _append(self, frame: memoryview) -> None:
        compressed = self._encode(frame)
        self._frames.append(Frame(len(frame), len(compressed)))
        self._put(compressed)
        self._length = next(self._lengths, 0)

    def _put(self, data: bytes) -> None:
        self._part.write(self._hasher.nbytes, memoryview(data))
        self._hasher.update(data)

    def sync(self) -> None:
        """End the file and make it durable, where all of it was written."""
        if self._taken != self._file.nbytes:
            return
        if self._length:
            raise GrokpackError("GP901", f"the frames of {self.path} go on after the file")
        self._put(self._codec.ending(self._file, self._frames))
        sums = tuple(self._hasher.finish())
        self._part.sync()
        self.ended = CompressedFileRecord(self._hasher.nbytes, sums)

    def mark(self) -> FileMark | None:
        """Return the file's mark, as `storage.FileWriter` does."""
        return self._part.mark()

    def close(self) -> None:
        """Give the handle back."""
        self._part.close()

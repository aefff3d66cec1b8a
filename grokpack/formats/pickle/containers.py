"""Contents of archives, compressed files and object arrays, any of which can hold a pickle.

Nothing is extracted. Stored contents are returned as ranges of the file; compressed contents are
decompressed into memory up to a limit.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from grokpack.core.errors import GrokpackError, Place, revised
from grokpack.formats.pickle.header_limits import MAX_DECOMPRESSED_BYTES, MAX_MEMBERS, MAX_NESTING
from grokpack.formats.pickle.window import Window, printable

if TYPE_CHECKING:
    from grokpack.formats.pickle.stored_arrays import Bytes

_BLOCK = 512  # of tar
_CHUNK = 1 << 20
_MEMBER = b"PK\x03\x04"
_LOCAL = struct.Struct("<4s5H3I2H")  # zip: local file header
_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 1
_CLOSED = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"\x04\x22\x4d\x18": "a file compressed by LZ4",
    b"\x1f\x9d": "a file compressed by compress",
}
"""Beginnings of files that are refused unopened; no tensor's file begins so by accident."""
_CODE = re.compile(rb"[\xe3c]\x00\x00\x00\x00.{3}\x00", re.DOTALL)
"""Beginning of a code object in Python's marshal format: its type, and no arguments."""
_COMPILED_HEADER_BYTES = 16


@dataclass(slots=True)
class InspectionBudget:
    """Remaining depth, members and bytes that may be inspected, for one file and its contents."""

    depth: int = MAX_NESTING
    members: int = MAX_MEMBERS
    nbytes: int = MAX_DECOMPRESSED_BYTES


@dataclass(frozen=True, slots=True)
class Inside:
    """Location of contents in a file.

    Attributes:
        path: The file.
        name: A member's name, or the kind of compression.
        offset: First byte of the contents.
    """

    path: str
    name: str
    offset: int

    def named(self, error: GrokpackError) -> GrokpackError:
        """Return an error about the contents as an error about the file."""
        facts = tuple(
            (label, f"{value}, in {printable(self.name)}" if label == "found" else value)
            for label, value in error.facts
        )
        return revised(error, where=Place(self.path, self.offset), facts=facts)


@dataclass(slots=True)
class FileRange:
    """Range of a file, read like a file."""

    whole: Bytes
    begin: int
    end: int

    def size(self) -> int:
        """Return the size in bytes."""
        return self.end - self.begin

    def read(self, offset: int, nbytes: int) -> bytes:
        """Return exactly `nbytes` bytes from `offset`."""
        return self.whole.read(self.begin + offset, nbytes)


@dataclass(slots=True)
class MemoryFile:
    """Bytes in memory, read like a file."""

    data: bytes = field(repr=False)

    def size(self) -> int:
        """Return the size in bytes."""
        return len(self.data)

    def read(self, offset: int, nbytes: int) -> bytes:
        """Return exactly `nbytes` bytes from `offset`."""
        return self.data[offset : offset + nbytes]


def contents(data: Bytes, path: str, budget: InspectionBudget) -> Iterator[tuple[Inside, Bytes]]:
    """Yield everything inside a file that is an archive, compressed or an array of objects.

    Args:
        data: The file.
        path: Its name, for messages.
        budget: Limits of the inspection, from which its cost is subtracted.

    Raises:
        GrokpackError: GP204 for contents that cannot be inspected and are no tensor either, GP205
            beyond the limits.
    """
    size = data.size()
    head = data.read(0, min(size, _BLOCK))
    _refuse_closed(head, data, path)
    found = _kind(head)
    if found is None:
        found = _members_of_zip if _ends_as_zip(data) else None
    if found is None:
        return
    if not budget.depth:
        raise Window(data, path).beyond("archives inside one another", MAX_NESTING)
    budget.depth -= 1
    for name, offset, content in found(data, path, budget):
        budget.members -= 1
        if budget.members < 0:
            raise Window(data, path).beyond("members of archives", MAX_MEMBERS)
        yield Inside(path, name, offset), content
    budget.depth += 1


class _Readable(Protocol):
    """Stream of decompressed bytes."""

    def read(self, nbytes: int, /) -> bytes:
        """Return at most so many bytes; none at the end."""


_Contents = Iterator[tuple[str, int, "Bytes"]]
_Opener = Callable[["Bytes", str, InspectionBudget], _Contents]


def _refuse_closed(head: bytes, data: Bytes, path: str) -> None:
    for magic, what in _CLOSED.items():
        if head.startswith(magic):
            raise Window(data, path).unsafe(f"{what}, which is not looked into")
    body = head[_COMPILED_HEADER_BYTES:] if head[2:4] == b"\r\n" else head
    if _CODE.match(body):
        raise Window(data, path).unsafe("compiled Python code")


def _kind(head: bytes) -> _Opener | None:
    """Return the opener of a file with this beginning."""
    if head.startswith(b"PK"):
        return _members_of_zip
    if head.startswith(b"\x93NUMPY"):
        return _objects_of_npy
    if len(head) == _BLOCK and _is_tar(head):
        return _members_of_tar
    for magic, (name, opened) in _COMPRESSED.items():
        if head.startswith(magic):
            return _decompressed(name, opened)
    if head[:1] == b"\x78" and int.from_bytes(head[:2], "big") % 31 == 0:
        return _decompressed("zlib", _Inflating)
    return None


def _ends_as_zip(data: Bytes) -> bool:
    """Return whether the file is a zip behind other data, which programs find by its end."""
    size = data.size()
    tail = data.read(max(0, size - (1 << 16)), min(size, 1 << 16))
    at = tail.rfind(b"PK\x05\x06")
    return at >= 0 and b"PK\x01\x02" in tail[:at]


def _members_of_zip(data: Bytes, path: str, budget: InspectionBudget) -> _Contents:
    """Yield members by their local headers, because programs may read what no directory lists."""
    size = data.size()
    for at in _places(data, _MEMBER):
        if size - at < _LOCAL.size:
            return
        row = _LOCAL.unpack(data.read(at, _LOCAL.size))
        flags, method, stored, name_bytes, extra = row[2], row[3], row[7], row[9], row[10]
        begin = min(at + _LOCAL.size + name_bytes + extra, size)
        raw = data.read(at + _LOCAL.size, min(name_bytes, size - at - _LOCAL.size))
        name = raw.decode("utf-8", "replace")
        known = 0 < stored <= size - begin
        content = FileRange(data, begin, begin + stored if known else size)
        yield name, at, content
        if method == _DEFLATED:
            yield name, at, MemoryFile(_inflate(content, path, budget))
        elif method != _STORED:
            what = f"a zip in which {name} is compressed in a way that is not looked into"
            raise Window(data, path).unsafe(what)
        if flags & _ENCRYPTED:
            raise Window(data, path).unsafe(f"a zip in which {name} is encrypted")


def _places(data: Bytes, magic: bytes) -> Iterator[int]:
    """Yield the offsets of these bytes in a file of any size."""
    size, kept = data.size(), len(magic) - 1
    for begin in range(0, size, _CHUNK):
        chunk = data.read(begin, min(_CHUNK + kept, size - begin))
        at = chunk.find(magic)
        while at >= 0:
            yield begin + at
            at = chunk.find(magic, at + 1)


def _inflate(content: Bytes, path: str, budget: InspectionBudget) -> bytes:
    return _limited(_Inflating(_stream(content), wbits=-15), content, path, budget)


class _Inflating:
    """Zlib or raw deflate stream, read up to its first error."""

    def __init__(self, stream: io.BufferedReader, wbits: int = 15) -> None:
        self._stream = stream
        self._inflater = zlib.decompressobj(wbits)

    def read(self, nbytes: int) -> bytes:
        """Return at most so many bytes; none at the end."""
        while not self._inflater.eof:
            fed = self._inflater.unconsumed_tail or self._stream.read(1 << 16)
            if not fed:
                return b""
            made = self._inflater.decompress(fed, nbytes)
            if made:
                return made
        return b""


def _zstd(stream: io.BufferedReader) -> _Readable:
    import zstandard

    limit = max(zstandard.WINDOWLOG_MIN, MAX_DECOMPRESSED_BYTES.bit_length())
    unpacking = zstandard.ZstdDecompressor(max_window_size=1 << limit)
    return unpacking.stream_reader(stream, read_across_frames=True)


def _gzip(stream: io.BufferedReader) -> _Readable:
    return gzip.GzipFile(fileobj=stream)


def _bzip2(stream: io.BufferedReader) -> _Readable:
    return bz2.BZ2File(stream)


def _lzma(stream: io.BufferedReader) -> _Readable:
    return lzma.LZMAFile(stream)


_COMPRESSED: dict[bytes, tuple[str, Callable[[io.BufferedReader], _Readable]]] = {
    b"\x1f\x8b": ("gzip", _gzip),
    b"BZh": ("bzip2", _bzip2),
    b"\xfd7zXZ\x00": ("xz", _lzma),
    b"\x5d\x00\x00": ("lzma", _lzma),
    b"\x28\xb5\x2f\xfd": ("zstd", _zstd),
}


def _decompressed(name: str, opened: Callable[[io.BufferedReader], _Readable]) -> _Opener:
    def read(data: Bytes, path: str, budget: InspectionBudget) -> _Contents:
        yield name, 0, MemoryFile(_limited(opened(_stream(data)), data, path, budget))

    return read


def _limited(stream: _Readable, content: Bytes, path: str, budget: InspectionBudget) -> bytes:
    """Return the contents of a stream up to its first error.

    Raises:
        GrokpackError: GP205 if there are more than may be inspected.
    """
    made = bytearray()
    with contextlib.suppress(*_damages()):  # the bytes before the damage are inspected
        while block := stream.read(1 << 16):
            made += block
            if len(made) > budget.nbytes:
                raise Window(content, path).beyond("decompressed bytes", MAX_DECOMPRESSED_BYTES)
    budget.nbytes -= len(made)
    return bytes(made)


def _damages() -> tuple[type[Exception], ...]:
    """Return the errors of damaged streams, for every compression."""
    import zstandard

    return OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, zstandard.ZstdError


def _stream(data: Bytes) -> io.BufferedReader:
    return io.BufferedReader(_Raw(data), _CHUNK)


class _Raw(io.RawIOBase):
    """Bytes of a file as a raw stream."""

    def __init__(self, data: Bytes) -> None:
        self._data = data
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the buffer with the bytes that are left."""
        count = min(len(buffer), self._data.size() - self._at)
        buffer[:count] = self._data.read(self._at, count)
        self._at += count
        return count


def _is_tar(head: bytes) -> bool:
    """Return whether a block is a tar header: its checksum is right."""
    digits = head[148:156].strip(b" \x00")
    total = sum(head) - sum(head[148:156]) + 8 * ord(" ")
    return bool(re.fullmatch(rb"[0-7]+", digits)) and int(digits, 8) == total


def _members_of_tar(data: Bytes, path: str, budget: InspectionBudget) -> _Contents:
    _ = path, budget
    at, size = 0, data.size()
    while size - at >= _BLOCK:
        head = data.read(at, _BLOCK)
        digits = head[124:136].strip(b" \x00") or b"0"
        if not _is_tar(head) or not re.fullmatch(rb"[0-7]+", digits):
            return
        begin, nbytes = at + _BLOCK, int(digits, 8)
        name = head[:100].rstrip(b"\x00").decode("utf-8", "replace")
        if nbytes:
            yield name, begin, FileRange(data, begin, min(begin + nbytes, size))
        at = begin + -(-nbytes // _BLOCK) * _BLOCK


def _objects_of_npy(data: Bytes, path: str, budget: InspectionBudget) -> _Contents:
    """Yield the pickle of an array of objects; arrays of numbers have none."""
    _ = path, budget
    head = data.read(0, min(data.size(), 12))
    newer = head[6:7] != b"\x01"
    begin = 12 + int.from_bytes(head[8:12], "little") if newer else 10 + head[8] + (head[9] << 8)
    if begin < data.size():
        text = data.read(0, min(begin, 1 << 16))
        if b"O" in text[10:]:
            yield "an array of objects", begin, FileRange(data, begin, data.size())

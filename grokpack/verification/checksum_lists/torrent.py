"""Torrents of BitTorrent's version 1: names, sizes and the sha1 of every piece.

The source is BEP 3. Padding files and links, which no client writes to a disk, are those of BEP 47,
or padding as BitComet names it. A name in UTF-8 goes before the other. A hybrid torrent has all of
this; a torrent of version 2 alone has other hashes and is refused.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from grokpack import storage
from grokpack.core.errors import GrokpackError, Place
from grokpack.formats.bencode import Document

SUFFIX = ".torrent"
PUBLISHED = "5f96d43576e3d386c9ba65b883210a393b68210e"
"""Info-hash of the release's torrent; xAI's README, "Downloading the weights"."""
_LARGEST_BYTES = 32 << 20
_SHA1_BYTES = 20
_PIECE_BYTES = range(1 << 10, 1 << 30)
_MOST_FILES = 1 << 20
_BITCOMET = "_____padding_file_"
_BEGINNING = re.compile(rb"d\d{1,3}:")


@dataclass(frozen=True, slots=True)
class TorrentFile:
    """File that a torrent lists.

    Attributes:
        path: Path below the torrent's folder, with slashes; empty for padding and links.
        nbytes: Its size.
        start: Offset of its first byte in all files joined.
    """

    path: str
    nbytes: int
    start: int


@dataclass(frozen=True, slots=True)
class Torrent:
    """Files and piece digests of a torrent.

    Attributes:
        name: Name of its folder, or of its only file.
        info_hash: Its identity in BitTorrent, hex.
        files: Its files, in order.
        piece_bytes: Length of a piece; the last may be shorter.
        sums: sha1 of each piece, one after another.
    """

    name: str
    info_hash: str
    files: tuple[TorrentFile, ...]
    piece_bytes: int
    sums: bytes

    @property
    def pieces(self) -> int:
        """Number of pieces."""
        return len(self.sums) // _SHA1_BYTES

    def sum_of(self, piece: int) -> bytes:
        """Return the sha1 of a piece."""
        return self.sums[piece * _SHA1_BYTES : (piece + 1) * _SHA1_BYTES]

    @property
    def nbytes(self) -> int:
        """Bytes of all files joined."""
        last = self.files[-1]
        return last.start + last.nbytes


def is_torrent(path: str, head: bytes) -> bool:
    """Return whether a file is a torrent, by its name or its first bytes.

    Args:
        path: The file.
        head: Its first bytes.
    """
    return path.lower().endswith(SUFFIX) or _BEGINNING.match(head) is not None


def read(path: str) -> Torrent:
    """Read a torrent.

    Raises:
        GrokpackError: GP230 where it is none, contradicts itself, or names files outside its
            folder.
    """
    data = storage.FileBytes(path)
    if data.size() > _LARGEST_BYTES:
        raise GrokpackError("GP230", "too large to be a torrent", Place(path))
    try:
        document = Document(data.read(0, data.size()))
        digest = hashlib.sha1(document.encoded(b"info"), usedforsecurity=False).hexdigest()
        return _torrent(document.values[b"info"], digest, path)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        what = f"not a torrent: {type(error).__name__} {error}"[:200]
        raise GrokpackError("GP230", what, Place(path)) from error


def _torrent(info: dict[bytes, Any], digest: str, path: str) -> Torrent:
    if b"pieces" not in info:
        what = "a torrent of version 2 alone: it has no hashes of version 1, which are compared"
        raise GrokpackError("GP230", what, Place(path), hint="take the one that xAI published")
    name, pieces, length = _text(_named(info, b"name")), info[b"pieces"], info[b"piece length"]
    files = _files(info, name, path)
    total = files[-1].start + files[-1].nbytes
    if type(length) is not int or length not in _PIECE_BYTES or not isinstance(pieces, bytes):
        raise GrokpackError("GP230", f"pieces of {length!r} bytes are none", Place(path))
    count = -(-total // length)
    if len(pieces) != count * _SHA1_BYTES:
        facts = (("expected", f"{count:,} sums"), ("found", f"{len(pieces) / _SHA1_BYTES:,g}"))
        raise GrokpackError("GP230", "pieces and sizes contradict each other", Place(path), facts)
    return Torrent(name, digest, files, length, pieces)


def _files(info: dict[bytes, Any], name: str, path: str) -> tuple[TorrentFile, ...]:
    """Read the list of files, each with a checked size and a path that stays inside."""
    rows = info.get(b"files")
    if rows is None:
        rows = [{b"length": info[b"length"], b"path": [_named(info, b"name")]}]
    if not isinstance(rows, list) or not 0 < len(rows) <= _MOST_FILES:
        raise GrokpackError("GP230", "the torrent has no files, or too many", Place(path))
    found, start = [], 0
    for row in rows:
        nbytes, words = row[b"length"], [_text(word) for word in _named(row, b"path")]
        if type(nbytes) is not int or not 0 <= nbytes < 1 << 60:
            raise GrokpackError("GP230", f"a file of {nbytes!r} bytes", Place(path))
        if not words or any(_leads_out(word) for word in (*words, name)):
            raise GrokpackError("GP230", f"a path leads out of the folder: {words}", Place(path))
        absent = _is_no_file(row, words[-1])
        found.append(TorrentFile("" if absent else "/".join(words), nbytes, start))
        start += nbytes
    if start == 0:
        raise GrokpackError("GP230", "the torrent's files are empty", Place(path))
    return tuple(found)


def _named(row: dict[bytes, Any], key: bytes) -> Any:  # noqa: ANN401  # the caller checks it
    """Return a name, or the parts of a path, from the UTF-8 key if there is one."""
    return row.get(key + b".utf-8") or row[key]


def _is_no_file(row: dict[bytes, Any], name: str) -> bool:
    """Return whether clients write no file for an entry: padding, or a link to another file."""
    attributes = row.get(b"attr", b"")
    return b"p" in attributes or b"l" in attributes or name.startswith(_BITCOMET)


def _text(word: object) -> str:
    if not isinstance(word, bytes):
        message = "a name is no text"
        raise TypeError(message)
    return word.decode("utf-8", "surrogateescape")


def _leads_out(word: str) -> bool:
    return word in ("", ".", "..") or "/" in word or "\\" in word or "\0" in word

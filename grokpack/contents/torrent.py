"""Torrents: names, sizes and the sha1 of every piece, as BitTorrent's version 1 has them.

Source: BEP 3; padding files are those of BEP 47. A hybrid torrent has all of it; one of version 2
alone has other hashes and is refused.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from grokpack import extras, storage
from grokpack.errors import GrokpackError, Place

SUFFIX = ".torrent"
PUBLISHED = "5f96d43576e3d386c9ba65b883210a393b68210e"
"""Info-hash of the release's torrent; xAI's README, "Downloading the weights"."""
_LARGEST_BYTES = 64 << 20
_SHA1_BYTES = 20
_PIECE_BYTES = range(1 << 10, 1 << 30)
_MOST_FILES = 1 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a torrent.

    Attributes:
        path: Below the torrent's folder, with slashes; empty for padding.
        nbytes: Its size.
        start: Where it begins, of all files joined.
    """

    path: str
    nbytes: int
    start: int


@dataclass(frozen=True, slots=True)
class Torrent:
    """What a torrent says.

    Attributes:
        name: Of its folder, or its one file.
        info_hash: By which BitTorrent knows it, hex.
        files: In order.
        piece_bytes: Length of a piece; the last may be shorter.
        sums: sha1 of each piece.
    """

    name: str
    info_hash: str
    files: tuple[Entry, ...]
    piece_bytes: int
    sums: tuple[bytes, ...]

    @property
    def nbytes(self) -> int:
        """Of all files joined."""
        last = self.files[-1]
        return last.start + last.nbytes


def read(path: str) -> Torrent:
    """Read a torrent.

    Raises:
        GrokpackError: GP230 where it is none, contradicts itself, or names files outside its
            folder; GP307 without the package that reads its encoding.
    """
    data = storage.FileBytes(path)
    if data.size() > _LARGEST_BYTES:
        raise GrokpackError("GP230", "too large to be a torrent", Place(path))
    library: Any = extras.load("fastbencode", "torrent")
    try:
        info = library.bdecode(data.read(0, data.size()))[b"info"]
        digest = hashlib.sha1(library.bencode(info), usedforsecurity=False).hexdigest()
        return _torrent(info, digest, path)
    except GrokpackError:
        raise
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        what = f"not a torrent: {type(error).__name__} {error}"[:200]
        raise GrokpackError("GP230", what, Place(path)) from error


def _torrent(info: dict[bytes, Any], digest: str, path: str) -> Torrent:
    if b"pieces" not in info:
        what = "a torrent of version 2 alone: it has no hashes of version 1"
        raise GrokpackError("GP230", what, Place(path), hint="take the one that xAI published")
    name, pieces, length = _text(info[b"name"]), info[b"pieces"], info[b"piece length"]
    files = _files(info, name, path)
    total = files[-1].start + files[-1].nbytes
    if type(length) is not int or length not in _PIECE_BYTES or not isinstance(pieces, bytes):
        raise GrokpackError("GP230", f"pieces of {length!r} bytes are none", Place(path))
    count = -(-total // length)
    if len(pieces) != count * _SHA1_BYTES:
        facts = (("expected", f"{count:,} sums"), ("found", f"{len(pieces) / _SHA1_BYTES:,g}"))
        raise GrokpackError("GP230", "pieces and sizes contradict each other", Place(path), facts)
    sums = tuple(pieces[at : at + _SHA1_BYTES] for at in range(0, len(pieces), _SHA1_BYTES))
    return Torrent(name, digest, files, length, sums)


def _files(info: dict[bytes, Any], name: str, path: str) -> tuple[Entry, ...]:
    """The list of files, each checked: a size, and a path that stays inside."""
    rows = info.get(b"files")
    if rows is None:
        rows = [{b"length": info[b"length"], b"path": [info[b"name"]]}]
    if not isinstance(rows, list) or not 0 < len(rows) <= _MOST_FILES:
        raise GrokpackError("GP230", "the torrent has no files, or too many", Place(path))
    found, start = [], 0
    for row in rows:
        nbytes, words = row[b"length"], [_text(word) for word in row[b"path"]]
        if type(nbytes) is not int or not 0 <= nbytes < 1 << 60:
            raise GrokpackError("GP230", f"a file of {nbytes!r} bytes", Place(path))
        if not words or any(_leads_out(word) for word in (*words, name)):
            raise GrokpackError("GP230", f"a path leads out of the folder: {words}", Place(path))
        padding = b"p" in row.get(b"attr", b"")
        found.append(Entry("" if padding else "/".join(words), nbytes, start))
        start += nbytes
    if start == 0:
        raise GrokpackError("GP230", "the torrent's files are empty", Place(path))
    return tuple(found)


def _text(word: object) -> str:
    if not isinstance(word, bytes):
        message = "a name is no text"
        raise TypeError(message)
    return word.decode("utf-8", "surrogateescape")


def _leads_out(word: str) -> bool:
    return word in ("", ".", "..") or "/" in word or "\\" in word or "\0" in word

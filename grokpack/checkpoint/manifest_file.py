"""Manifest grokpack.json: what an output is, its source, and a checksum for each tile.

It holds no time, host, path, worker count or budget, so that two runs of one plan write the same
bytes.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from typing import TYPE_CHECKING, Any

import zstandard

from grokpack import storage
from grokpack.core.errors import MalformedInput, Place, revised
from grokpack.core.tiles import TILE_BYTES
from grokpack.core.version import __version__
from grokpack.formats import zstd, zstd_seekable
from grokpack.storage.hashing import TileHasher

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeGuard

    from grokpack.core.documents.manifest_json import FileRowJson

FILE = "grokpack.json"
SCHEMA = "grokpack/manifest/1"
_NO_FILES = '\n "files": {}'
_ROW = json.JSONEncoder(sort_keys=True, separators=(",\n   ", ": "))
_DIGEST_CHARS = 32  # xxh3_128 in hex
_MOST_PLAIN = 64  # tiles whose checksums are not compressed: those of files up to a gibibyte
_ANEW = (
    "fetch it again; or move it away, and record with `grokpack manifest` what the files are now"
)
_MOST_TILES = 1 << 20
"""Of all files together, 16 TiB; bounds what compressed checksums may expand to."""


def render(
    description: Mapping[str, Any],
    files: Mapping[str, tuple[int, list[str]]],
    framings: Mapping[str, tuple[bytes, ...]],
    decoded: Mapping[str, tuple[int, list[str]]] | None = None,
) -> bytes:
    """Render the manifest.

    Args:
        description: Licence, format, plan, source: JSON values that are the same in every run.
        files: Size and checksum (xxh3_128, hex) of each tile, by path.
        framings: Pickle framing that differs from the release's, by tensor.
        decoded: Decompressed size and checksums of compressed files, by the same path.
    """
    rows = {path: file_row(*entry) for path, entry in files.items()}
    for path, entry in (decoded or {}).items():
        rows[path]["decoded"] = file_row(*entry)
    return render_rows(description, rows, framings)


def render_rows(
    description: Mapping[str, Any],
    rows: Mapping[str, FileRowJson],
    framings: Mapping[str, tuple[bytes, ...]],
) -> bytes:
    """Render the manifest from rows of files."""
    variants: list[tuple[bytes, ...]] = sorted(set(framings.values()))
    document: dict[str, object] = {
        "schema": SCHEMA,
        "tool": {"name": "grokpack", "version": __version__},
        **description,
        "tile_bytes": TILE_BYTES,
        "checksum": "xxh3_128",
        "files": {},
    }
    if framings:
        document["framings"] = {
            "literals": [[base64.b64encode(b).decode() for b in row] for row in variants],
            "tensors": {name: variants.index(row) for name, row in sorted(framings.items())},
        }
    text = json.dumps(document, indent=1, sort_keys=True)
    return (text.replace(_NO_FILES, _rendered_files(rows)) + "\n").encode()


def _rendered_files(rows: Mapping[str, FileRowJson]) -> str:
    """Render rows of files, each by itself: Python indents slowly, and they may be thousands."""
    if not rows:
        return _NO_FILES
    encoded = (f"{json.dumps(path)}: {_rendered_row(row)}" for path, row in sorted(rows.items()))
    return _NO_FILES[:-1] + "\n  " + ",\n  ".join(encoded) + "\n }"


def _rendered_row(row: FileRowJson) -> str:
    if "decoded" in row:
        return json.dumps(row, indent=1, sort_keys=True).replace("\n", "\n  ")
    return f"{{\n   {_ROW.encode(row)[1:-1]}\n  }}"


def file_row(nbytes: int, tiles: list[str], sha256: str | None = None) -> FileRowJson:
    """Return the manifest's row of a file: size, checksum of each tile, and sha256 if known."""
    row: FileRowJson = {"bytes": nbytes}
    if len(tiles) > _MOST_PLAIN:
        packed = zstandard.compress(bytes.fromhex("".join(tiles)))
        row["tiles_zstd"] = base64.b64encode(packed).decode()
    else:
        row["tiles"] = "".join(tiles)
    if sha256 is not None:
        row["sha256"] = sha256
    return row


def row_of(data: bytes) -> FileRowJson:
    """Return the manifest's row of a small file, from its contents."""
    hasher = TileHasher()
    hasher.update(data)
    return file_row(len(data), hasher.finish())


def load(home: str) -> dict[str, Any] | None:
    """Read the manifest in a folder; return None if there is none.

    Raises:
        GrokpackError: GP209 if the file is no manifest.
    """
    path = os.path.join(home, FILE)
    return load_file(path) if storage.exists(path) else None


def load_file(path: str) -> dict[str, Any]:
    """Read a manifest.

    Raises:
        GrokpackError: GP209 if the file is none.
    """
    try:
        return _checked(storage.read_json(path), path)
    except MalformedInput as error:
        raise revised(error, hint=_ANEW) from error


def _checked(document: object, path: str) -> dict[str, Any]:
    """Return a document that is a manifest.

    Raises:
        MalformedInput: If it is none.
    """
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise MalformedInput("not a grokpack manifest", Place(path))
    tables = (document.get("files"), document.get("finals", {}))
    rows = [row for table in tables if isinstance(table, dict) for row in table.values()]
    rows += [row["decoded"] for row in rows if isinstance(row, dict) and "decoded" in row]
    sized = all(isinstance(table, dict) for table in tables) and all(map(_is_sized, rows))
    tiles = sum(-(-row["bytes"] // TILE_BYTES) for row in rows) if sized else 0
    if tiles > _MOST_TILES:
        what = f"the manifest claims {_MOST_TILES * TILE_BYTES >> 40} TiB of files or more"
        raise MalformedInput(what, Place(path))
    if not sized or any(_table(row, row["bytes"]) is None for row in rows):
        raise MalformedInput("the manifest's table of files is broken", Place(path))
    return document


def _is_sized(row: object) -> bool:
    """Return whether a row of the table of files gives a size."""
    return isinstance(row, dict) and type(row.get("bytes")) is int and row["bytes"] >= 0


def is_row(row: Any) -> TypeGuard[FileRowJson]:  # noqa: ANN401  # a value of somebody's JSON
    """Return whether a value is a valid row of a manifest's files."""
    if not _is_sized(row) or row["bytes"] > _MOST_TILES * TILE_BYTES:
        return False
    return _table(row, row["bytes"]) is not None


def _table(row: Mapping[str, Any], nbytes: int) -> str | None:
    """Return the checksums of all tiles as one hex text; None if their number is wrong."""
    chars = -(-nbytes // TILE_BYTES) * _DIGEST_CHARS
    text, packed = row.get("tiles"), row.get("tiles_zstd")
    if isinstance(packed, str):
        try:
            frame = base64.b64decode(packed, validate=True)
            text = zstd.decompress(frame, chars // 2).hex()
        except ValueError:
            return None
    return text if isinstance(text, str) and len(text) == chars else None


def row(document: Mapping[str, Any], path: str) -> FileRowJson | None:
    """Return size and checksums of a file as written, or decompressed."""
    files: dict[str, FileRowJson] = document["files"]
    compressed = files.get(path + zstd_seekable.SUFFIX)
    return files.get(path) or (compressed and compressed.get("decoded"))


def stays_inside(path: str) -> bool:
    """Return whether a name leads to a file below the manifest's folder."""
    return not os.path.isabs(path) and ".." not in path.split("/")


def tiles(row: FileRowJson) -> list[str]:
    """Return the checksums of a file's tiles, in order."""
    text = _table(row, row["bytes"]) or ""
    return [text[i : i + _DIGEST_CHARS] for i in range(0, len(text), _DIGEST_CHARS)]


def framings(document: Mapping[str, Any] | None) -> dict[str, tuple[bytes, ...]]:
    """Return the framing by tensor; its bytes must not be trusted unchecked."""
    table = (document or {}).get("framings")
    try:
        if not table:
            return {}
        rows = [tuple(base64.b64decode(b, validate=True) for b in row) for row in table["literals"]]
        return {str(name): rows[index] for name, index in table["tensors"].items()}
    except (KeyError, TypeError, IndexError, AttributeError, binascii.Error, ValueError) as error:
        raise MalformedInput("the manifest's table of framings is broken") from error

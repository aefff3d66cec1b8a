"""Records of a checkpoint's files in a manifest."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from grokpack import storage
from grokpack.checkpoint import manifest_file, manifest_paths
from grokpack.checkpoint.list_matching import match
from grokpack.core.layout import FileLayout
from grokpack.formats import zstd_seekable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from grokpack.checkpoint.manifest_paths import ComparedFiles


@dataclass(frozen=True, slots=True)
class Record:
    """Recorded size and checksums of a file.

    Attributes:
        file: The file.
        path: The path to compare: the file as stored, or its decompressed contents.
        nbytes: The recorded size.
        tiles: Checksum of each tile (xxh3_128, hex).
    """

    file: FileLayout
    path: str
    nbytes: int
    tiles: tuple[str, ...]

    @property
    def tail(self) -> str:
        """Checksum of the last tile; empty if there is none."""
        return self.tiles[-1] if self.tiles else ""


@dataclass(frozen=True, slots=True)
class Records:
    """Records of one manifest for a checkpoint.

    Attributes:
        origin: The manifest's path.
        files: A record for each file that it names and the checkpoint has.
        unknown: Files of the checkpoint that it does not name.
        absent: Files that it names and that do not exist.
        sidecars: Small files that were written with them: configs, indices, the tokenizer; for a
            manifest from elsewhere, the existing ones.
    """

    origin: str
    files: tuple[Record, ...]
    unknown: tuple[str, ...]
    absent: tuple[str, ...]
    sidecars: tuple[Record, ...] = ()


def own(checkpoint: ComparedFiles) -> Records | None:
    """Return the records of the checkpoint's own manifest; None if it has none.

    A single file's manifest lies beside it, whatever the file was called when it was written.

    Raises:
        GrokpackError: GP209 if the manifest is broken.
    """
    path = manifest_paths.present(checkpoint)
    if path is None:
        return None
    document = manifest_file.load_file(path)
    paths = [file.path for file in checkpoint.layout.files()]
    if not checkpoint.owns_folder and len(paths) == 1:
        alone = dict(zip(paths, document["files"], strict=False))
        return _records(checkpoint, path, document, alone)
    prefix = manifest_paths.below_home(checkpoint)
    found = _records(checkpoint, path, document, {p: prefix + p for p in paths})
    sidecars = tuple(_sidecars(checkpoint, document, "finals"))
    held = {record.path for record in sidecars}
    unknown = tuple(p for p in found.unknown if checkpoint.path(p) not in held)
    listed = {"files": {name: document["files"][name] for name in found.absent}}
    others = tuple(o for o in _sidecars(checkpoint, listed, "files") if storage.exists(o.path))
    there = {other.path for other in others}
    absent = tuple(n for n in found.absent if _place(checkpoint, n) not in there)
    return replace(
        found,
        files=(*found.files, *others),
        sidecars=sidecars,
        unknown=unknown,
        absent=absent,
    )


def _sidecars(
    checkpoint: ComparedFiles, document: Mapping[str, Any], table: str
) -> Iterator[Record]:
    """Yield records of files outside of the layout, except names that lead out of the folder.

    These are small files beside the weights, and weights whose headers could not be read.
    """
    for name, row in document.get(table, {}).items():
        path = _place(checkpoint, name)
        if manifest_file.stays_inside(name):
            file = FileLayout(os.path.relpath(path, checkpoint.folder), ())
            yield Record(file, path, row["bytes"], tuple(manifest_file.tiles(row)))


def _place(checkpoint: ComparedFiles, name: str) -> str:
    """Return the path of a file that a manifest names; the home may be a URL."""
    return os.path.join(checkpoint.home, os.path.normpath(name))


def foreign(checkpoint: ComparedFiles, path: str, document: Mapping[str, Any]) -> Records:
    """Return the records of a manifest from elsewhere, whose names may begin at another folder.

    Args:
        checkpoint: The files to compare.
        path: The manifest's path.
        document: The manifest.
    """
    paths = [file.path for file in checkpoint.layout.files()]
    names = {_plain(name): name for name in document["files"]}
    found = match(paths, names, manifest_paths.below_home(checkpoint))
    if not found and len(paths) == len(names) == 1:  # a single file, whatever it was called
        found = dict(zip(paths, names, strict=True))
    sidecars = _sidecars(checkpoint, document, "finals")
    there = tuple(c for c in sidecars if checkpoint.owns_folder and storage.exists(c.path))
    return replace(_records(checkpoint, path, document, found), sidecars=there)


def _records(
    checkpoint: ComparedFiles, origin: str, document: Mapping[str, Any], names: Mapping[str, str]
) -> Records:
    """Return the manifest's rows of the checkpoint's files.

    A compressed file is compared as stored, if it was recorded so: no frame is decompressed for it.
    """
    rows: list[Record] = []
    unknown: list[str] = []
    for file in checkpoint.layout.files():
        path, name = checkpoint.path(file.path), _plain(names.get(file.path, ""))
        held = storage.stored(path)
        row = manifest_file.row(document, name + held.removeprefix(path))
        if row is None:
            held, row = path, manifest_file.row(document, name)
        if row is None:
            unknown.append(file.path)
        else:
            rows.append(Record(file, held, row["bytes"], tuple(manifest_file.tiles(row))))
    known = set(map(_plain, names.values()))
    absent = tuple(name for name in document["files"] if _plain(name) not in known)
    return Records(origin, tuple(rows), tuple(unknown), absent)


def _plain(name: str) -> str:
    """Return the name of a compressed file's contents."""
    return name.removesuffix(zstd_seekable.SUFFIX)

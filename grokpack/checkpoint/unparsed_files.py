"""Files compared as bytes, not parsed as a checkpoint: those of a manifest, or all of a folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.checkpoint import manifest_file
from grokpack.core.layout import FileLayout, Layout
from grokpack.formats import ckpt0, zstd_seekable

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class UnparsedFolder:
    """Files of a folder, or a single file, whose headers are not trusted.

    Attributes:
        folder: Their folder.
        home: The folder of the manifest.
        layout: Their names, without contents.
        owns_folder: True if the folder holds nothing else.
        place: Path for people.
        model: Always None.
    """

    folder: str
    home: str
    layout: Layout
    owns_folder: bool
    place: str
    model: None = None

    def path(self, relative: str) -> str:
        """Return the path of a file."""
        return os.path.join(self.folder, relative)


def listed(path: str) -> UnparsedFolder | None:
    """Return the existing files that the manifest beside a path lists; None without a manifest.

    Args:
        path: A checkpoint's folder, the one above it, or its only file.

    Raises:
        GrokpackError: GP209 if the manifest is broken.
    """
    if not storage.is_folder(path):
        beside = f"{path}.{manifest_file.FILE}"
        there = storage.exists(path) and storage.exists(beside)
        return _single(path) if there else None
    homes = [path, os.path.join(path, ckpt0.FOLDER)]
    if os.path.basename(path) == ckpt0.FOLDER:
        homes.append(storage.parent(path))
    for home in homes:
        document = manifest_file.load(home)
        if document is not None:
            folder = path if home != homes[1] else home
            names = [name.removesuffix(zstd_seekable.SUFFIX) for name in document["files"]]
            return _folder(folder, home, _there(folder, home, names))
    return None


def everything(path: str) -> UnparsedFolder | None:
    """Return all files at a path but hidden ones and the manifest; None if there are none."""
    if not storage.exists(path):
        return None
    if not storage.is_folder(path):
        return _single(path)
    shown = [
        name
        for name in storage.tree(path)
        if name != manifest_file.FILE and not any(p.startswith(".") for p in name.split("/"))
    ]
    return _folder(path, path, shown) if shown else None


def _there(folder: str, home: str, names: Iterable[str]) -> list[str]:
    """Return a manifest's existing names, relative to another folder."""
    inside = dict.fromkeys(name for name in names if manifest_file.stays_inside(name))
    found = [name for name in inside if storage.exists(os.path.join(home, name))]
    return [os.path.relpath(os.path.join(home, name), folder) for name in found]


def _single(path: str) -> UnparsedFolder:
    layout = Layout({}, ((FileLayout(os.path.basename(path), ()),),))
    above = storage.parent(path)
    return UnparsedFolder(above, above, layout, owns_folder=False, place=path)


def _folder(folder: str, home: str, names: Iterable[str]) -> UnparsedFolder:
    layout = Layout({}, tuple((FileLayout(name, ()),) for name in names))
    return UnparsedFolder(folder, home, layout, owns_folder=True, place=folder)

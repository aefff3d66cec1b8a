"""Where an output's files, its manifest and its journal lie: in a folder, or beside a single file.

OUT/...files..., OUT/grokpack.json, OUT/.grokpack/         a folder
X.gguf, X.gguf.grokpack.json, X.gguf.grokpack/         a single file
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grokpack import manifest, storage
from grokpack.journal import FOLDER, Journal

if TYPE_CHECKING:
    from grokpack.plan import Target


@dataclass(frozen=True, slots=True)
class Output:
    """A place that a target is written to.

    Attributes:
        path: What the user named: the folder, or the file.
        single: Whether it is one file.
    """

    path: str
    single: bool

    @classmethod
    def of(cls, target: Target, path: str) -> Output:
        """The place for a target at a path."""
        return cls(path, target.single)

    def file(self, relative: str) -> str:
        """Where a file of the layout goes."""
        return self.path if self.single else os.path.join(self.path, relative)

    @property
    def root(self) -> str:
        """The folder that holds everything."""
        return os.path.dirname(os.path.abspath(self.path)) if self.single else self.path

    @property
    def manifest_path(self) -> str:
        """Where the manifest goes."""
        if self.single:
            return f"{self.path}.{manifest.FILE}"
        return os.path.join(self.path, manifest.FILE)

    @property
    def journal(self) -> Journal:
        """The record of a run that is not published."""
        folder = f"{self.path}.grokpack" if self.single else os.path.join(self.path, FOLDER)
        return Journal(folder)

    def manifest(self) -> dict[str, Any] | None:
        """The manifest that is there; None where there is none."""
        there = storage.exists(self.manifest_path)
        return manifest.load_file(self.manifest_path) if there else None

    def strangers(self) -> list[str]:
        """What is in the way: files in the folder, or a file of that name."""
        if self.single:
            found = (self.path, self.path + storage.PART)
            return [path for path in found if storage.exists(path)]
        return [name for name in storage.names(self.path) if name != FOLDER]

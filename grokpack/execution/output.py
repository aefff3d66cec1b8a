"""Paths of an output: its files, manifest and journal, in a folder or beside a single file.

OUT/...files..., OUT/grokpack.json, OUT/.grokpack/         a folder
X.gguf, X.gguf.grokpack.json, X.gguf.grokpack/         a single file

The journal of an output at a URL is in the user's cache folder: what is there can be neither
appended to nor locked.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grokpack import storage
from grokpack.checkpoint import manifest_file
from grokpack.checkpoint.state_folder import FOLDER
from grokpack.core.cache_folder import cache_folder
from grokpack.execution.journal import Journal

if TYPE_CHECKING:
    from grokpack.planning.target import Target


@dataclass(frozen=True, slots=True)
class Output:
    """Folder or file that a target is written to.

    Attributes:
        path: The folder or file that the user named.
        single: Whether it is one file.
        sink: Place that takes its files.
    """

    path: str
    single: bool
    sink: storage.Sink

    @classmethod
    def of(
        cls, target: Target, path: str, options: storage.PublishingOptions | None = None
    ) -> Output:
        """Make the output of a target at a path."""
        if storage.is_url(path):
            path = storage.absolute(path)
        return cls(path, target.single, _sink(path, options, single=target.single))

    def anywhere(self) -> Output:
        """Return this output with its path from the root, for other processes."""
        path = storage.absolute(self.path)
        return Output(path, self.single, _sink(path, None, single=self.single))

    def file(self, relative: str) -> str:
        """Return the path of a file of the layout."""
        return self.path if self.single else os.path.join(self.path, relative)

    @property
    def root(self) -> str:
        """Folder that holds everything."""
        return os.path.dirname(os.path.abspath(self.path)) if self.single else self.path

    @property
    def manifest_path(self) -> str:
        """Path of the manifest."""
        if self.single:
            return f"{self.path}.{manifest_file.FILE}"
        return os.path.join(self.path, manifest_file.FILE)

    @property
    def journal(self) -> Journal:
        """Journal of the run that is not published."""
        return Journal(_journal(self.path, self.single))

    def manifest(self) -> dict[str, Any] | None:
        """Read the manifest; None if there is none."""
        if storage.is_url(self.path):
            storage.forget(self.path)  # a run may have written since the last look
        there = storage.exists(self.manifest_path)
        return manifest_file.load_file(self.manifest_path) if there else None

    def foreign_files(self) -> list[str]:
        """List what is in the way: files in the folder, or a file of that name."""
        if self.single:
            found = (self.path, self.path + storage.PART)
            return [path for path in found if storage.exists(path)]
        return [name for name in self.sink.names(self.path) if name != FOLDER]


def _sink(path: str, options: storage.PublishingOptions | None, *, single: bool) -> storage.Sink:
    return storage.sink_of(path, _journal(path, single), options, single=single)


def _journal(path: str, single: bool) -> str:  # noqa: FBT001  # as `Output` has it
    """Return the folder of an output's journal."""
    if storage.is_url(path):
        name = hashlib.sha256(os.fsencode(path)).hexdigest()[:32]
        return os.path.join(cache_folder(), "outputs", name)
    return f"{path}.grokpack" if single else os.path.join(path, FOLDER)

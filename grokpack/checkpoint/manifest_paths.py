"""Paths of a checkpoint's manifest and of the history of its checks.

They lie beside the checkpoint, or in the user's cache if nothing can be written there.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Protocol

from grokpack import storage
from grokpack.checkpoint import manifest_file
from grokpack.checkpoint.state_folder import FOLDER
from grokpack.core.cache_folder import cache_folder

if TYPE_CHECKING:
    from grokpack.core.layout import Layout
    from grokpack.models.family import Model

_RESULTS = "checked.json"


class ComparedFiles(Protocol):
    """Files to compare: a checkpoint's, or those of a folder that is not read as one."""

    @property
    def folder(self) -> str:
        """Their folder; paths of the layout are relative to it."""

    @property
    def home(self) -> str:
        """The folder of the manifest."""

    @property
    def layout(self) -> Layout:
        """The files."""

    @property
    def owns_folder(self) -> bool:
        """True if the folder holds nothing else."""

    @property
    def model(self) -> Model | None:
        """Family and dimensions of the model; None if the headers were not read."""

    @property
    def place(self) -> str:
        """Path for people."""

    def path(self, relative: str) -> str:
        """Return the path of a file of the layout."""


def below_home(checkpoint: ComparedFiles) -> str:
    """Return the path from the checkpoint's home to its folder: `ckpt-0/`, or nothing."""
    prefix = os.path.relpath(checkpoint.folder, checkpoint.home)
    return "" if prefix == "." else f"{prefix}/"


def manifests(checkpoint: ComparedFiles) -> tuple[str, str]:
    """Return the possible paths of its manifest: beside it, in the cache."""
    return _beside(checkpoint), os.path.join(_cache(checkpoint), manifest_file.FILE)


def present(checkpoint: ComparedFiles) -> str | None:
    """Return the path of its manifest; None where there is none."""
    return next((path for path in manifests(checkpoint) if storage.exists(path)), None)


def results(checkpoint: ComparedFiles) -> tuple[str, str]:
    """Return the possible paths of the history of its checks: beside it, in the cache."""
    own = _beside(checkpoint)
    folder = os.path.join(os.path.dirname(own), FOLDER)
    if not checkpoint.owns_folder:
        folder = own.removesuffix(f".{manifest_file.FILE}") + FOLDER
    cached = os.path.join(_cache(checkpoint), _RESULTS)
    # A link that came with the files may lead elsewhere; nothing is written through it.
    beside = cached if storage.is_link(folder) else os.path.join(folder, _RESULTS)
    return beside, cached


def writable(choices: tuple[str, str]) -> str:
    """Return the first of these paths if it can be written, else the second."""
    first, second = choices
    return first if not storage.is_url(first) and storage.is_writable(first) else second


def _beside(checkpoint: ComparedFiles) -> str:
    paths = [file.path for file in checkpoint.layout.files()]
    if not checkpoint.owns_folder and len(paths) == 1:
        return f"{checkpoint.path(paths[0])}.{manifest_file.FILE}"
    return os.path.join(checkpoint.home, manifest_file.FILE)


def _cache(checkpoint: ComparedFiles) -> str:
    digest = hashlib.sha256(os.fsencode(storage.absolute(checkpoint.place))).hexdigest()[:32]
    return os.path.join(cache_folder(), "checkpoints", digest)

"""Reader of views: folders that hold an index into the files of another checkpoint.

    grokpack.view.json     relative path of the files; digests of the two that follow
    index.ocdbt            location of each chunk of each array
    manifest.ocdbt         the index's root
    .grokpack/run.json     size and modification time of each file when the view was made

TensorStore reads whatever bytes lie where the index points. Every command therefore first checks
that the files have not changed since the view was made.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from grokpack import storage
from grokpack.checkpoint import manifest_file
from grokpack.checkpoint.layouts.virtual_store_layout import NAME, RECORD, SCHEMA
from grokpack.checkpoint.readers import reader_registry
from grokpack.checkpoint.readers.reader_row import Reader
from grokpack.checkpoint.state_folder import kept_stamps
from grokpack.checkpoint.virtual_store import store_index
from grokpack.checkpoint.virtual_store.held_index import LARGEST_BYTES, HeldIndex
from grokpack.checkpoint.virtual_store.store_index import NODES
from grokpack.core.errors import GrokpackError, MalformedInput, Place
from grokpack.core.escaping import safe_operand, shell_command
from grokpack.core.finding import Finding, of_kinds, only_errors
from grokpack.formats import ocdbt

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.checkpoint.checkpoint import Checkpoint, Survey

CHANGED = "GP116"
_OF_CONFIGS = ("GP130",)  # findings about config.json, which no view points to


@dataclass(frozen=True, slots=True)
class VirtualStore:
    """Paths of a view's index and files.

    Attributes:
        folder: The view's own folder.
        base: The folder at which the index's paths begin.
        source: The checkpoint: its folder, or its file.
        format: Format of the checkpoint.
        digests: Digests of the index's own files, sha256 in hex, by name.
    """

    folder: str
    base: str
    source: str
    format: str
    digests: Mapping[str, str]

    @property
    def holds_tensors(self) -> bool:
        """True if the files hold the model's arrays unchanged, by xAI's names."""
        return reader_registry.reader(self.format).by_tensor

    def spec(self, array: str) -> dict[str, Any]:
        """Return the spec that opens an array of it in this process."""
        return store_index.spec(self.base, self.folder, array)

    def shown_spec(self, array: str) -> dict[str, Any]:
        """Return the spec that opens an array in any TensorStore program; empty if none does."""
        return store_index.shown_spec(self.base, self.folder, array)

    def changes(self) -> list[Finding]:
        """Return findings for missing and changed files: the index by digest, others by stamp."""
        folder = self.source if storage.is_folder(self.source) else os.path.dirname(self.source)
        found = self._changed_index(folder)
        for path, then in self._stamps().items():
            place = os.path.join(folder, path)
            if not storage.exists(place):
                found.append(Finding("GP101", "file is missing", path))
            elif storage.stamp(place) != then:
                found.append(Finding(CHANGED, "file changed since the view was made", path))
        return found

    def _changed_index(self, folder: str) -> list[Finding]:
        """Return findings for changed files of the index, which TensorStore may write to."""
        own = {name: os.path.join(self.folder, name) for name in self.digests}
        return [
            Finding(CHANGED, "the view's own file was changed", os.path.relpath(path, folder))
            for name, path in own.items()
            if not storage.exists(path) or _digest(path) != self.digests[name]
        ]

    def refuse_changes(self) -> bool:
        """Refuse files that changed since the view was made.

        Returns:
            True if that is known; False if their stamps were not kept.

        Raises:
            GrokpackError: GP226 if one was changed or is missing, and what judging the index does.
        """
        found = self.changes()
        if found:
            raise self.stale(found)
        HeldIndex(self.base, self.folder).judge()
        return bool(self._stamps())

    def stale(self, found: list[Finding]) -> GrokpackError:
        """Return the error for files that have changed."""
        facts = tuple((f.file or "?", f.message) for f in found[:5])
        facts += (("and", f"{len(found) - 5} more"),) * (len(found) > len(facts))
        what = "the files are not those that the view was made of"
        into = ("--to", "view", "-o", _typed(self.folder), "--restart")
        again = shell_command("grokpack", "convert", _typed(self.source), *into)
        hint = "restore them, or make the view anew" + (f": `{again}`" if again else "")
        return GrokpackError("GP226", what, Place(self.folder), facts, hint)

    def _stamps(self) -> dict[str, storage.Stamp]:
        return kept_stamps(self.folder) or {}


def _typed(path: str) -> str:
    """Return a path as one types it: relative if it lies below the current folder."""
    relative = os.path.relpath(path)
    return safe_operand(path if relative.startswith(os.pardir) else relative)


def _digest(path: str) -> str:
    data = storage.FileBytes(path)
    if data.size() > LARGEST_BYTES:
        return "none: it is too large to be an index"
    return hashlib.sha256(data.read(0, data.size())).hexdigest()


def is_store(folder: str) -> bool:
    """Return whether a folder is a view."""
    return storage.is_file(os.path.join(folder, RECORD))


def read(folder: str) -> VirtualStore:
    """Read the record of a view.

    Raises:
        GrokpackError: GP209 if it is broken.
    """
    path = os.path.join(folder, RECORD)
    document = storage.read_json(path)
    if not _is_sound(document):
        raise MalformedInput("the view's record is broken", Place(path))
    here = store_index.normal_path(folder)
    base = os.path.normpath(os.path.join(here, document["base"]))
    source = os.path.normpath(os.path.join(base, document["source"]))
    return VirtualStore(here, base, source, document["format"], document["digests"])


def can_hold(form: str) -> bool:
    """Return whether a view can point into files of a format."""
    return form in reader_registry.READERS and reader_registry.reader(form).dense


def _is_sound(document: Any) -> bool:  # noqa: ANN401  # whatever JSON held
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        return False
    digests = document.get("digests")
    if not isinstance(digests, dict) or {*digests} != {NODES, ocdbt.MANIFEST}:
        return False
    texts = (document.get("base"), document.get("source"), document.get("format"))
    return all(isinstance(t, str) for t in texts) and can_hold(document["format"])


def survey(folder: str, head_dim: int | None = None) -> Survey:
    """Read every header of the checkpoint behind a view, and report changes since.

    Raises:
        GrokpackError: GP226 if the checkpoint is gone, GP209 for a broken record.
    """
    view = read(folder)
    reader = reader_registry.reader(view.format)
    if not reader.is_store(view.source):
        gone = [Finding("GP101", "the checkpoint is gone", view.source)]
        raise view.stale(gone)
    found = reader.survey(view.source, head_dim)
    changed = of_kinds(view.changes(), CHANGED)
    broken = only_errors(found.findings, besides=_OF_CONFIGS)
    if found.checkpoint is not None and not changed and not broken:
        changed = _other_headers(view, found.checkpoint)
    return replace(found, findings=(*found.findings, *changed), view=view.folder)


def _other_headers(view: VirtualStore, checkpoint: Checkpoint) -> list[Finding]:
    """Return a finding if names, sizes or headers differ from the view's manifest or index."""
    document = manifest_file.load(view.folder) or {}
    if document.get("source") != checkpoint.identity():
        return [Finding(CHANGED, "headers changed since the view was made", None)]
    own = store_index.of_view(checkpoint, view.base, view.folder)
    if not HeldIndex(view.base, view.folder).holds(own):
        return [Finding(CHANGED, "the view's index does not point at its arrays", None)]
    return []


READER = Reader(NAME, "views", is_store, survey)

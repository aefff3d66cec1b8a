"""Writer of a checkpoint's own files, byte for byte; those of an archive are decompressed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.checkpoint import manifest_file, tokenizer_files
from grokpack.checkpoint.tokenizer_files import LIMIT_BYTES, read_small
from grokpack.conversion.writers.writer_row import NoOptions, Writer
from grokpack.core.layout import ArraySlice, FileLayout, Layout, whole_box
from grokpack.core.tensors import ArraySpec, DType
from grokpack.formats import ckpt0, zstd_seekable
from grokpack.models import config_json
from grokpack.planning.target import Target
from grokpack.transforms import copies

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.formats.file_codec import FileCodec

NAME = "files"
SOURCE_MANIFEST = f"source.{manifest_file.FILE}"
"""Name for the source's manifest, because the output's own has the usual name."""


def to_files(source: Checkpoint, _: NoOptions) -> Target:
    """Make the target: every file as it is, or as it was before archiving."""
    return copy_target(source, NAME, None)


def copy_target(source: Checkpoint, name: str, codec: FileCodec | None) -> Target:
    """Make a target of a checkpoint's files and the small files beside them.

    Args:
        source: The checkpoint.
        name: Name of the target.
        codec: Compression of each file; None for none.
    """
    suffix = zstd_seekable.SUFFIX if codec else ""
    prefix = prefix_of(source)
    held = {f"{prefix}{file.path}{suffix}": file for file in source.layout.files()}
    files = [_file(path, file.nbytes) for path, file in held.items()]
    made = {path: copies.CopyFile(file.path) for path, file in held.items()}
    arrays = {file.path: ArraySpec((file.nbytes, 1), DType.U8) for file in files}
    finals, notes = _sidecars(source)
    return Target(
        name,
        Layout(arrays, tuple((file,) for file in files)),
        made,
        finals,
        source.framings,
        notes,
        codec=codec,
    )


def prefix_of(source: Checkpoint) -> str:
    """Return the folder of the files, relative to the output's."""
    return f"{ckpt0.FOLDER}/" if source.format == ckpt0.NAME else ""


def _file(path: str, nbytes: int) -> FileLayout:
    """Lay out a file as an array of bytes, so that it can be cut anywhere."""
    return FileLayout(path, (ArraySlice(path, whole_box((nbytes, 1)), DType.U8),))


def _sidecars(source: Checkpoint) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Read the small files of the checkpoint's folder, with a note for each left out."""
    prefix = os.path.relpath(source.folder, source.home)
    weights = {os.path.normpath(os.path.join(prefix, f.path)) for f in source.layout.files()}
    small: dict[str, bytes] = {}
    left: list[str] = []
    for path in _beside(source):
        full = os.path.join(source.home, path)
        if path in weights or _is_ours(path):
            continue
        if storage.stamp(full)[0] > LIMIT_BYTES:
            left.append(path)
        else:
            small[path] = read_small(full)
    own = small.pop(manifest_file.FILE, None)
    if own is not None:
        small.setdefault(SOURCE_MANIFEST, own)
    if source.owns_folder:
        small = _above(source) | small
    return small, tuple(f"not of the checkpoint, left out: {path}" for path in left)


def _beside(source: Checkpoint) -> list[str]:
    """List files that may belong to the checkpoint; for a single file, its manifest."""
    if source.owns_folder:
        return storage.tree(source.home)
    manifests = (f"{file.path}.{manifest_file.FILE}" for file in source.layout.files())
    return [name for name in manifests if storage.exists(source.path(name))]


def _above(source: Checkpoint) -> dict[str, bytes]:
    """Return config.json or its equivalent; for pickles also files in the folder above.

    That is where xAI's release has them. Other files there may not belong to the checkpoint.
    """
    found = {config_json.FILE: config_json.render(source.model, source.config)}
    if source.format == ckpt0.NAME:
        folder = storage.parent(source.folder)
        names = (config_json.FILE, *tokenizer_files.names(source.model.family))
        paths = {name: os.path.join(folder, name) for name in names}
        found |= {name: read_small(path) for name, path in paths.items() if storage.exists(path)}
    return found


def _is_ours(path: str) -> bool:
    """Return whether a path belongs to an unfinished run, or is hidden."""
    return path.endswith(storage.PART) or any(part.startswith(".") for part in path.split("/"))


WRITER = Writer(
    NAME,
    "its own files as they are; what an archive was made of",
    NoOptions,
    to_files,
    lambda _: NAME,
)

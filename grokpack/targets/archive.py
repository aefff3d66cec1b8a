"""A checkpoint's own files, byte for byte: compressed as an archive, or as they are.

An archive has NAME.zst for each NAME, in zstd's seekable format, and small files beside them as
they are. Every command reads it in place; `zstd -d` gives the files back, as `files` does.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack import config, manifest, ops, storage
from grokpack.errors import GrokpackError
from grokpack.formats import ckpt0, seekable
from grokpack.layout import FileLayout, Layout, Part, whole
from grokpack.plan import Target
from grokpack.targets.companions import LIMIT_BYTES, read_small
from grokpack.tensor import ArraySpec, DType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from grokpack.checkpoint import Checkpoint
    from grokpack.encoding import Frame

ARCHIVE, FILES = "archive", "files"
SOURCE_MANIFEST = f"source.{manifest.FILE}"
"""The source's manifest, where it has one: the output has its own under the usual name."""


@dataclass(frozen=True, slots=True)
class Seekable:
    """Files in zstd's seekable format, in frames of equal length."""

    frame_bytes: int = seekable.FRAME_BYTES

    @property
    def held_bytes(self) -> int:
        """A frame, what it becomes, and the compressor's tables (1.4 MB at level 1)."""
        return 2 * seekable.bound(self.frame_bytes) + (2 << 20)

    def frames(self, file: FileLayout) -> Iterable[int]:
        """Frames of equal length; the last is what is left."""
        whole_frames, rest = divmod(file.nbytes, self.frame_bytes)
        yield from (self.frame_bytes for _ in range(whole_frames))
        if rest:
            yield rest

    def encoder(self, file: FileLayout) -> Callable[[memoryview], bytes]:  # noqa: ARG002  # all alike
        """What compresses a frame."""
        return seekable.compressor()

    def ending(self, file: FileLayout, frames: Sequence[Frame]) -> bytes:  # noqa: ARG002  # all alike
        """The table of frames."""
        return seekable.render(frames)

    def bound(self, file: FileLayout) -> int:
        """What the file takes if nothing in it can be compressed."""
        lengths = list(self.frames(file))
        return sum(map(seekable.bound, lengths)) + seekable.table_bytes(len(lengths))

    def describe(self) -> dict[str, object]:
        """Format, level, length of the frames, and whether each has a checksum."""
        return {
            "name": "zstd seekable",
            "level": seekable.LEVEL,
            "frame_bytes": self.frame_bytes,
            "checksum": True,
        }


def to_archive(source: Checkpoint) -> Target:
    """The target: every file of the checkpoint compressed, in frames that are read on their own.

    Raises:
        GrokpackError: GP306 for stores whose chunks TensorStore decodes, and only as they are.
    """
    if source.cache_bytes:
        what = f"a checkpoint in {source.format} form is not read when its files are compressed"
        hint = f"`--to {source.format} --compress zstd` compresses its chunks"
        raise GrokpackError("GP306", what, hint=hint)
    return _copied(source, ARCHIVE, Seekable())


def to_files(source: Checkpoint) -> Target:
    """The target: every file of the checkpoint as it is, or as it was before it was archived."""
    return _copied(source, FILES, None)


def _copied(source: Checkpoint, name: str, encoding: Seekable | None) -> Target:
    suffix = seekable.SUFFIX if encoding else ""
    prefix = f"{ckpt0.FOLDER}/" if source.format == ckpt0.NAME else ""
    held = {f"{prefix}{file.path}{suffix}": file for file in source.layout.files()}
    files = [_file(path, file.nbytes) for path, file in held.items()]
    made = {path: ops.CopyFile(file.path) for path, file in held.items()}
    arrays = {file.path: ArraySpec((file.nbytes, 1), DType.U8) for file in files}
    finals, notes = _companions(source)
    return Target(
        name,
        Layout(arrays, tuple((file,) for file in files)),
        made,
        finals,
        source.framings,
        notes,
        encoding=encoding,
    )


def _file(path: str, nbytes: int) -> FileLayout:
    """A file that is an array of bytes, a byte a row, so that it is cut wherever it may be."""
    return FileLayout(path, (Part(path, whole((nbytes, 1)), DType.U8),))


def _companions(source: Checkpoint) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Small files of the checkpoint's folder as they are, and a note for each that is left out."""
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
    own = small.pop(manifest.FILE, None)
    if own is not None:
        small.setdefault(SOURCE_MANIFEST, own)
    if config.FILE not in small and source.owns_folder:
        small[config.FILE] = _config(source)
    return small, tuple(f"not of the checkpoint, left out: {path}" for path in left)


def _beside(source: Checkpoint) -> list[str]:
    """Files that may belong to the checkpoint; of a file in a folder of others, its manifest."""
    if source.owns_folder:
        return storage.tree(source.home)
    manifests = (f"{file.path}.{manifest.FILE}" for file in source.layout.files())
    return [name for name in manifests if storage.exists(source.path(name))]


def _config(source: Checkpoint) -> bytes:
    """config.json of the folder above, as xAI's release is laid out, or what is known of it."""
    _, path = config.find([storage.parent(source.home)])
    return read_small(path) if path else config.render(source.geometry, source.config)


def _is_ours(path: str) -> bool:
    """Whether a path is of an unfinished run, or hidden."""
    return path.endswith(storage.PART) or any(part.startswith(".") for part in path.split("/"))

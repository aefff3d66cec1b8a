"""A checkpoint's own files, byte for byte: compressed as an archive, or as they are.

An archive has NAME.zst for each NAME, in zstd's seekable format, and small files beside them as
they are. Every command reads it in place; `zstd -d` gives the files back, as `files` does.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.checkpoint import manifest_file
from grokpack.checkpoint.tokenizer_files import LIMIT_BYTES, TOKENIZER_FILES, read_small
from grokpack.core.errors import GrokpackError
from grokpack.core.layout import FileLayout, Layout, Literal, Part, whole
from grokpack.core.tensors import ArraySpec, DType
from grokpack.core.tiles import SAMPLE_BYTES
from grokpack.formats import ckpt0, zstd_seekable
from grokpack.models import config_json
from grokpack.planning.target import Target
from grokpack.transforms import copies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.formats.file_codec import Frame

ARCHIVE, FILES = "archive", "files"
SOURCE_MANIFEST = f"source.{manifest_file.FILE}"
"""The source's manifest, where it has one: the output has its own under the usual name."""


@dataclass(frozen=True, slots=True)
class Seekable:
    """Files in zstd's seekable format.

    Attributes:
        frame_bytes: What a frame stands for at most.
        cuts: Bytes of each file at which a frame begins in any case, by path, in order.
    """

    frame_bytes: int = zstd_seekable.FRAME_BYTES
    cuts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def held_bytes(self) -> int:
        """A frame, what it becomes, and the compressor's tables (1.4 MB at level 1)."""
        return 2 * zstd_seekable.bound(self.frame_bytes) + (2 << 20)

    def frames(self, file: FileLayout) -> Iterable[int]:
        """Frames of equal length between the cuts; the last before each is what is left."""
        edges = (0, *self.cuts.get(file.path, ()), file.nbytes)
        for start, stop in pairwise(edges):
            for at in range(start, stop, self.frame_bytes):
                yield min(self.frame_bytes, stop - at)

    def encoder(self, file: FileLayout) -> Callable[[memoryview], bytes]:  # noqa: ARG002  # all alike
        """What compresses a frame."""
        return zstd_seekable.compressor()

    def ending(self, file: FileLayout, frames: Sequence[Frame]) -> bytes:  # noqa: ARG002  # all alike
        """The table of frames."""
        return zstd_seekable.render(frames)

    def bound(self, file: FileLayout) -> int:
        """What the file takes if nothing in it can be compressed."""
        lengths = list(self.frames(file))
        return sum(map(zstd_seekable.bound, lengths)) + zstd_seekable.table_bytes(len(lengths))

    def describe(self) -> dict[str, object]:
        """Format, level, length of the frames, and whether each has a checksum."""
        return {
            "name": "zstd seekable",
            "level": zstd_seekable.LEVEL,
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
    cuts = {
        f"{_prefix(source)}{file.path}{zstd_seekable.SUFFIX}": _cuts(file)
        for file in source.layout.files()
    }
    return _copied(source, ARCHIVE, Seekable(cuts=cuts))


def _cuts(file: FileLayout) -> tuple[int, ...]:
    """Where headers begin, and where a sample of what follows them ends.

    So that what looks at headers only reads small frames.
    """
    edges: set[int] = set()
    for segment, end in zip(file.segments, file.ends, strict=True):
        if isinstance(segment, Literal):
            edges |= {end - segment.nbytes, end + SAMPLE_BYTES}
    return tuple(sorted(edge for edge in edges if 0 < edge < file.nbytes))


def to_files(source: Checkpoint) -> Target:
    """The target: every file of the checkpoint as it is, or as it was before it was archived."""
    return _copied(source, FILES, None)


def _copied(source: Checkpoint, name: str, encoding: Seekable | None) -> Target:
    suffix = zstd_seekable.SUFFIX if encoding else ""
    prefix = _prefix(source)
    held = {f"{prefix}{file.path}{suffix}": file for file in source.layout.files()}
    files = [_file(path, file.nbytes) for path, file in held.items()]
    made = {path: copies.CopyFile(file.path) for path, file in held.items()}
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


def _prefix(source: Checkpoint) -> str:
    """The folder of the files, below the output's."""
    return f"{ckpt0.FOLDER}/" if source.format == ckpt0.NAME else ""


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
    own = small.pop(manifest_file.FILE, None)
    if own is not None:
        small.setdefault(SOURCE_MANIFEST, own)
    if source.owns_folder:
        small = _above(source) | small
    return small, tuple(f"not of the checkpoint, left out: {path}" for path in left)


def _beside(source: Checkpoint) -> list[str]:
    """Files that may belong to the checkpoint; of a file in a folder of others, its manifest."""
    if source.owns_folder:
        return storage.tree(source.home)
    manifests = (f"{file.path}.{manifest_file.FILE}" for file in source.layout.files())
    return [name for name in manifests if storage.exists(source.path(name))]


def _above(source: Checkpoint) -> dict[str, bytes]:
    """config.json, or what is known of it; with pickles also what lies in the folder above them.

    So xAI's release is laid out; what else is there need not be the checkpoint's.
    """
    found = {config_json.FILE: config_json.render(source.model, source.config)}
    if source.format == ckpt0.NAME:
        folder = storage.parent(source.folder)
        paths = {name: os.path.join(folder, name) for name in (config_json.FILE, *TOKENIZER_FILES)}
        found |= {name: read_small(path) for name, path in paths.items() if storage.exists(path)}
    return found


def _is_ours(path: str) -> bool:
    """Whether a path is of an unfinished run, or hidden."""
    return path.endswith(storage.PART) or any(part.startswith(".") for part in path.split("/"))

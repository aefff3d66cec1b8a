"""A checkpoint as a source: what it holds, where each byte lies, and what is wrong with it."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from grokpack import storage
from grokpack.core.layout import Literal as LiteralBytes
from grokpack.core.layout import Part

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.core.finding import Finding
    from grokpack.core.layout import FileLayout, Layout
    from grokpack.core.tensors import Packing, TensorSpec
    from grokpack.models.architecture import Geometry
    from grokpack.transforms.protocols import LazyArray


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An opened checkpoint; only headers have been read.

    Attributes:
        folder: Where the tensor files lie; paths in `layout` are relative to it.
        home: The folder above them that has config.json and grokpack.json; may equal `folder`.
        format: `ckpt-0`, `safetensors`, `hf`, `gguf`, `zarr` or `orbax`.
        geometry: Dimensions of the model.
        tensors: Whole tensors as stored, by name, in file order.
        layout: The files.
        ranks: Tensor-parallel ranks that the files are cut for; 1 where they hold whole tensors.
        config: The config.json found, or empty.
        framings: Literal bytes of pickles that are not framed as the release's are, by tensor.
        views: How the tensors' arrays are made of those that the files hold, where these have
            another form (transposed, one per expert, in blocks); empty where they are the same.
        bits: Of the codes of weights that were quantized anew, after the release, by tensor; they
            are read as int8 codes with the scales of their own groups, or as float32.
        cache_bytes: Memory that reading it takes beside what is asked for: chunks that are decoded.
        packings: Weights whose codes are stored unsigned, by tensor: arrays of their codes, scales
            and zero points can be read beside what they are read as.
        owns_folder: Whether the folder is the checkpoint's alone; a GGUF file may lie anywhere.
    """

    folder: str
    home: str
    format: str
    geometry: Geometry
    tensors: Mapping[str, TensorSpec]
    layout: Layout
    ranks: int = 1
    config: Mapping[str, Any] = field(default_factory=dict)
    framings: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)
    views: Mapping[str, LazyArray] = field(default_factory=dict)
    bits: Mapping[str, int] = field(default_factory=dict)
    cache_bytes: int = 0
    packings: Mapping[str, Packing] = field(default_factory=dict)
    owns_folder: bool = True

    def path(self, relative: str) -> str:
        """Where a file of the layout is."""
        return os.path.join(self.folder, relative)

    @property
    def place(self) -> str:
        """What a user calls it: the folder, or a single file that shares its folder."""
        paths = [file.path for file in self.layout.files()]
        return self.folder if self.owns_folder or len(paths) != 1 else self.path(paths[0])

    def anywhere(self) -> Checkpoint:
        """The same, its place told from the root: for other processes."""
        folder, home = storage.absolute(self.folder), storage.absolute(self.home)
        return replace(self, folder=folder, home=home)

    @property
    def sealed(self) -> bool:
        """Whether any of its files is compressed."""
        paths = (self.path(file.path) for file in self.layout.files())
        return any(storage.stored(path) != path for path in paths)

    def stored(self, array: str) -> tuple[str, ...]:
        """Arrays in the files that a tensor's array is made of; usually itself."""
        view = self.views.get(array)
        return (array,) if view is None else view.stored

    def label(self, tensor: TensorSpec) -> str:
        """What people call a tensor's dtype, as it is stored: `int8`, `int4`, `f32`."""
        bits = self.bits.get(tensor.name)
        return tensor.values.dtype.label if bits is None else f"int{bits}"

    def identity(self) -> str:
        """Digest of every file's name, size and non-payload bytes (sha256, hex).

        It says which checkpoint this is by its headers, wherever it is mounted; it does not
        vouch for the payload, which only checksums can.
        """
        rows = sorted((f.path, f.nbytes, _literal_digest(f)) for f in self.layout.files())
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def unlike(self) -> str | None:
        """The first file that is not as it was when the checkpoint was opened, by its headers.

        None where all are: a process elsewhere sees the same checkpoint.
        """
        for file in self.layout.files():
            path = self.path(file.path)
            if not _like(path, file):
                return path
        return None

    def stamps(self, *, as_opened: bool = False) -> dict[str, storage.Stamp]:
        """Size, and modification time or tag, of every file, to notice a change between runs.

        Args:
            as_opened: Take those that a far file had when it was opened, which cost nothing.
        """
        paths = [file.path for file in self.layout.files()]
        found = storage.map_all(
            self.folder, lambda path: storage.stamp(self.path(path), fresh=not as_opened), paths
        )
        return dict(zip(paths, found, strict=True))


def _like(path: str, file: FileLayout) -> bool:
    """Whether a file has the size that it should have, and what is not payload in it."""
    if storage.size_of(path) != file.nbytes:
        return False
    reader = storage.FileBytes(path)
    return all(
        reader.read(end - segment.nbytes, segment.nbytes) == segment.data
        for segment, end in zip(file.segments, file.ends, strict=True)
        if isinstance(segment, LiteralBytes)
    )


def _literal_digest(file: FileLayout) -> str:
    digest = hashlib.sha256()
    for segment in file.segments:
        if isinstance(segment, LiteralBytes):
            digest.update(segment.data)
        else:
            digest.update(f"<{segment.nbytes} {segment.dtype.value}>".encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Survey:
    """A look at every header of a checkpoint, whether or not it is whole.

    Attributes:
        folder: Where the tensor files lie.
        format: `ckpt-0` or `safetensors`.
        expected: Number of files that the model should have.
        findings: What is wrong, in file order; empty for a whole checkpoint.
        checkpoint: What could be read, None where the dimensions cannot be told.
        view: Folder of the view through which it was reached; None where it was named itself.
        told: What tells how many files there should be, for people: a config, an index, a
            manifest; None where only the files that are there do.
    """

    folder: str
    format: str
    expected: int
    findings: tuple[Finding, ...]
    checkpoint: Checkpoint | None
    view: str | None = None
    told: str | None = None

    @property
    def complete(self) -> bool | None:
        """Whether all files are there as they should be; None where nothing tells how many."""
        if not self.whole:
            return False
        return True if self.told else None

    @property
    def place(self) -> str:
        """What a user calls it."""
        return self.folder if self.checkpoint is None else self.checkpoint.place

    @property
    def whole(self) -> bool:
        """Whether every file is there and as it should be."""
        return self.checkpoint is not None and not any(
            finding.severity == "error" for finding in self.findings
        )


def array_parts(file: FileLayout) -> dict[str, tuple[int, Part]]:
    """Parts of a file by array name, with their offsets in the file."""
    return {
        segment.array: (end - segment.nbytes, segment)
        for segment, end in zip(file.segments, file.ends, strict=True)
        if isinstance(segment, Part)
    }

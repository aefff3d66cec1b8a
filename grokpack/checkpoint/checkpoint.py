"""A checkpoint as a source: its tensors, the location of each byte, and its findings."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from grokpack import storage
from grokpack.core.byte_size import byte_size
from grokpack.core.counts import counted
from grokpack.core.layout import ArraySlice
from grokpack.core.layout import Literal as LiteralBytes
from grokpack.core.notebook_table import notebook_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.core.finding import Finding
    from grokpack.core.layout import FileLayout, Layout
    from grokpack.core.tensors import ArraySpec, FloatPacking, Packing, TensorSpec
    from grokpack.models.architecture import Geometry
    from grokpack.models.family import Model
    from grokpack.transforms.protocols import LazyArray


_SCALES_OF_FLOATS = {"mxfp4": "e8m0", "nvfp4": "e4m3"}
"""Dtypes of the scales of four-bit floats as files have them; they are read as bfloat16."""


@dataclass(frozen=True, slots=True, repr=False)
class Checkpoint:
    """Opened checkpoint, of which only headers have been read.

    Attributes:
        folder: Folder of the tensor files; paths in `layout` are relative to it.
        home: The folder above them that has config.json and grokpack.json; may equal `folder`.
        format: `ckpt-0`, `safetensors`, `hf`, `gguf`, `zarr` or `orbax`.
        model: Its family and dimensions.
        tensors: Whole tensors as stored, by name, in file order.
        layout: The files.
        ranks: Number of tensor-parallel ranks of the files; 1 if they hold whole tensors.
        config: The config.json found, or empty.
        framings: Literal bytes of pickles that are not framed as the release's are, by tensor.
        views: Lazy arrays that make the tensors' arrays from those in the files, where these have
            another form (transposed, one per expert, in blocks).
        bits: Bit width of the codes of each re-quantized tensor, by name. It is read as int8 codes
            with the scales of its own groups, or as float32.
        cache_bytes: Memory that reading takes beside the requested values: decoded chunks.
        packings: Weights stored as unsigned codes, by tensor; arrays of their codes, scales and
            zero points can be read as well.
        owns_folder: True if the folder is the checkpoint's alone; a GGUF file may lie anywhere.
        floats: Format of each tensor whose codes are four-bit floats or other levels that are not
            equally far apart, by name: `mxfp4`, `iq4_nl`. Its int8 codes are twice the levels of a
            four-bit float.
        float_packings: Weights stored as floats of 8 bits or fewer with scales, by tensor; arrays
            of their scales can be read as well.
    """

    folder: str
    home: str
    format: str
    model: Model
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
    floats: Mapping[str, str] = field(default_factory=dict)
    float_packings: Mapping[str, FloatPacking] = field(default_factory=dict)

    def __repr__(self) -> str:
        facts = self._facts()
        listed = f"{facts['model']}, {facts['format']}, {facts['parameters']} parameters"
        return f"<Checkpoint {self.place}: {listed}, {facts['files']}>"

    def _repr_html_(self) -> str:
        return notebook_table(self.place, self._facts())

    def _facts(self) -> dict[str, str]:
        """Return what identifies the checkpoint, for people."""
        geometry, parameters = self.geometry, self.model.parameters()
        files = sum(1 for _ in self.layout.files())
        return {
            "model": self.model.title,
            "format": self.format if self.ranks == 1 else f"{self.format}, {self.ranks} ranks",
            "parameters": f"{parameters.total:,}",
            "active": f"{parameters.active:,} per token",
            "layers": f"{geometry.layers}, with {counted(geometry.experts, 'expert')} each",
            "files": f"{counted(files, 'file')}, {byte_size(self.layout.nbytes)}",
        }

    @property
    def geometry(self) -> Geometry:
        """Dimensions of the model."""
        return self.model.geometry

    def path(self, relative: str) -> str:
        """Return the path of a file of the layout."""
        return os.path.join(self.folder, relative)

    @property
    def place(self) -> str:
        """Path for people: the folder, or the only file if it shares its folder."""
        paths = [file.path for file in self.layout.files()]
        return self.folder if self.owns_folder or len(paths) != 1 else self.path(paths[0])

    def anywhere(self) -> Checkpoint:
        """Return this checkpoint with absolute paths, for other processes."""
        folder, home = storage.absolute(self.folder), storage.absolute(self.home)
        return replace(self, folder=folder, home=home)

    @property
    def sealed(self) -> bool:
        """True if any of its files is compressed."""
        paths = (self.path(file.path) for file in self.layout.files())
        return any(storage.stored(path) != path for path in paths)

    def stored(self, array: str) -> tuple[str, ...]:
        """Return the arrays in the files from which a tensor's array is made; usually itself."""
        view = self.views.get(array)
        return (array,) if view is None else view.inputs

    def label(self, tensor: TensorSpec) -> str:
        """Return the name of a tensor's stored dtype for people: `int8`, `mxfp4`, `fp8`, `f32`."""
        if tensor.name in self.float_packings:
            return self.float_packings[tensor.name].codes.dtype.label
        bits = self.bits.get(tensor.name)
        if tensor.name in self.floats:
            return self.floats[tensor.name]
        return tensor.values.dtype.label if bits is None else f"int{bits}"

    def scales(self, tensor: TensorSpec) -> ArraySpec | None:
        """Return the scales of a tensor as they are stored; None for one that has none."""
        packing = self.float_packings.get(tensor.name)
        return tensor.scales if packing is None else packing.scales

    def scales_label(self, tensor: TensorSpec) -> str | None:
        """Return the name of the stored dtype of a tensor's scales for people: `bf16`, `e8m0`."""
        scales = self.scales(tensor)
        if scales is None:
            return None
        return _SCALES_OF_FLOATS.get(self.floats.get(tensor.name, ""), scales.dtype.label)

    def identity(self) -> str:
        """Return a digest of every file's name, size and non-payload bytes (sha256, hex).

        It identifies the checkpoint by its headers, wherever it is mounted. It does not cover the
        payload, which only checksums do.
        """
        rows = sorted((f.path, f.nbytes, _literal_digest(f)) for f in self.layout.files())
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def unlike(self) -> str | None:
        """Return the first file whose headers changed since the checkpoint was opened.

        None if all are unchanged: another process then sees the same checkpoint.
        """
        for file in self.layout.files():
            path = self.path(file.path)
            if not _has_expected_literals(path, file):
                return path
        return None

    def stamps(self, *, as_opened: bool = False) -> dict[str, storage.Stamp]:
        """Return size and modification time or tag of every file, to detect changes between runs.

        Args:
            as_opened: True to use those that a remote file had when it was opened, which cost
                nothing.
        """
        paths = [file.path for file in self.layout.files()]
        found = storage.map_all(
            self.folder, lambda path: storage.stamp(self.path(path), fresh=not as_opened), paths
        )
        return dict(zip(paths, found, strict=True))


def _has_expected_literals(path: str, file: FileLayout) -> bool:
    """Return whether a file has the expected size and non-payload bytes."""
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


@dataclass(frozen=True, slots=True, repr=False)
class Survey:
    """Result of reading every header of a checkpoint, whether or not it is whole.

    Attributes:
        folder: Folder of the tensor files.
        format: Name of the format, as in `Checkpoint`.
        expected: Number of files that the model should have.
        findings: What is wrong, in file order; empty for a whole checkpoint.
        checkpoint: The readable parts; None if the dimensions are not known.
        view: Folder of the view through which it was reached; None if it was named itself.
        count_source: What gives the number of files, for people: a config, an index, a manifest;
            None if only the files themselves do.
    """

    folder: str
    format: str
    expected: int
    findings: tuple[Finding, ...]
    checkpoint: Checkpoint | None
    view: str | None = None
    count_source: str | None = None

    def __repr__(self) -> str:
        state = {True: "complete", False: "not whole", None: "completeness not known"}
        found = counted(len(self.findings), "finding")
        return f"<Survey {self.place}: {self.format}, {state[self.complete]}, {found}>"

    @property
    def complete(self) -> bool | None:
        """True if all files are sound; None if they are but their number is not known."""
        if not self.whole:
            return False
        return True if self.count_source else None

    @property
    def place(self) -> str:
        """Path for people."""
        return self.folder if self.checkpoint is None else self.checkpoint.place

    @property
    def whole(self) -> bool:
        """True if every file is there and sound."""
        return self.checkpoint is not None and not any(
            finding.severity == "error" for finding in self.findings
        )


def array_slices(file: FileLayout) -> dict[str, tuple[int, ArraySlice]]:
    """Return the slices of arrays in a file by array name, with their offsets in the file."""
    return {
        segment.array: (end - segment.nbytes, segment)
        for segment, end in zip(file.segments, file.ends, strict=True)
        if isinstance(segment, ArraySlice)
    }

"""Reader of stores of chunked arrays, common to zarr folders and Orbax checkpoints.

TensorStore decodes the arrays, whatever their chunks, shards and codecs are. The layout lists the
files as bytes, so that size, identity and changes between runs are determined as for any
checkpoint.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from grokpack import storage
from grokpack.checkpoint import config_file, manifest_file
from grokpack.checkpoint.checkpoint import Checkpoint, Survey
from grokpack.checkpoint.readers import expected_counts, shape_checks, store_names
from grokpack.checkpoint.readers.chunk_files import ArrayFiles
from grokpack.checkpoint.readers.matrix_assembly import MOST
from grokpack.checkpoint.readers.store_tensors import DecodedArray, StoreTensors
from grokpack.checkpoint.tensorstore.chunk_reader import ChunkReader
from grokpack.checkpoint.tensorstore.chunked_array import ChunkedArray
from grokpack.core.errors import GrokpackError, InputTooLarge, Place, UnsupportedLayout
from grokpack.core.finding import Finding, of_kinds
from grokpack.core.layout import ArraySlice, Box, FileLayout, Layout, Literal
from grokpack.core.tensors import ArraySpec, DType
from grokpack.formats import zarr_metadata_parsing, zarr_shards
from grokpack.models import config_json, registry
from grokpack.models.geometry_inference import infer
from grokpack.transforms.int4_pairs import Nibbles

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from grokpack.formats.zarr_metadata_parsing import ZarrArrayMetadata
    from grokpack.models.family import Family
    from grokpack.models.tensor_names import ParsedName
    from grokpack.transforms.protocols import LazyArray

_MOST_INDEX_BYTES = 256 << 20  # of all shards; a store of the release has 5 MB
_SMALL_VALUE_BYTES = 16 << 20  # of a database, whatever its arrays are: metadata
_SMALL_BYTES, _MOST_TIMES = 1 << 30, 64  # size and factor that arrays may claim beyond their files


@dataclass(frozen=True, slots=True)
class StoreArray:
    """Array of a store.

    Attributes:
        path: Its name there, keys joined by slashes.
        folder: Folder of its files below the store's; empty where files hold many arrays.
        document: Its metadata.
        spec: TensorStore's spec of it.
    """

    path: str
    folder: str
    document: bytes
    spec: Mapping[str, Any]

    @property
    def metadata(self) -> str | None:
        """File of its metadata; None if that lies in a database."""
        own = zarr_shards.METADATA_2 if self.spec["driver"] == "zarr" else zarr_shards.METADATA
        return f"{self.folder}/{own}" if self.folder else None


@dataclass(slots=True)
class StoreContents:
    """Contents of a store.

    Attributes:
        members: Its arrays.
        literals: Small files of metadata, by path.
        files: Paths of all other files.
        common: Those that hold many arrays.
        bits: Bit width of each re-quantized tensor, by name.
        findings: What is wrong.
        layers: Number of layers by the store's own word; None without.
        count_source: What gives the arrays that there should be; None if nothing does.
        largest_value: Bytes of the largest value of a database.
    """

    members: list[StoreArray]
    literals: dict[str, bytes]
    files: set[str]
    common: list[str] = field(default_factory=list)
    bits: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    layers: int | None = None
    count_source: str | None = None
    largest_value: int = 0


@dataclass(slots=True)
class _Store:
    """The model's arrays in a store."""

    folder: str
    chunk_reader: ChunkReader
    contents: StoreContents
    arrays: dict[str, ArraySpec] = field(default_factory=dict)
    file_groups: list[tuple[FileLayout, ...]] = field(default_factory=list)
    stored: dict[str, ZarrArrayMetadata] = field(default_factory=dict)
    """By weight or plain array, and by scales."""
    decoded: dict[str, DecodedArray] = field(default_factory=dict)  # likewise
    keys: dict[str, list[str]] = field(default_factory=dict)  # by folder of an array: its files
    index_bytes: int = 0  # of all shards
    claimed_bytes: int = 0  # decoded size of the readable arrays
    held_bytes: int = 0  # size of their files

    def claims(self, stored: ZarrArrayMetadata, held_bytes: int) -> None:
        """Add the decoded size that an array claims, and the size of its files."""
        self.claimed_bytes += stored.spec.nbytes
        self.held_bytes += held_bytes

    def refuse_claims(self) -> None:
        """Refuse arrays that claim far more than their files can hold.

        Weights hardly compress; zeros compress a thousandfold, and decoding them would keep a
        reader busy for days.

        Raises:
            GrokpackError: GP235.
        """
        if self.claimed_bytes > max(_SMALL_BYTES, _MOST_TIMES * self.held_bytes):
            what = "the arrays claim far more than their files can hold"
            facts = (
                ("claimed", f"{self.claimed_bytes:,} bytes"),
                ("files", f"{self.held_bytes:,} bytes"),
            )
            raise InputTooLarge(what, Place(self.folder), facts)

    def refuse_values(self) -> None:
        """Refuse a database with a value longer than any of its chunks can be.

        Raises:
            GrokpackError: GP235.
        """
        most = max((array.most_bytes for array in self.stored.values()), default=0)
        if self.contents.largest_value > max(most, _SMALL_VALUE_BYTES):
            what = f"a value of {self.contents.largest_value:,} bytes is no chunk of its arrays"
            raise InputTooLarge(what, Place(self.folder))


def survey(folder: str, name: str, contents: StoreContents, head_dim: int | None) -> Survey:
    """Survey the contents of a store.

    Args:
        folder: The store's folder.
        name: Name of the format.
        contents: What was found there.
        head_dim: Head size, if no config.json gives it.
    """
    store = _Store(folder, ChunkReader(folder), contents)
    settings, told = config_file.find([folder])
    family = registry.by_paths([member.path for member in contents.members])
    hints = config_json.hints(settings, family, head_dim)
    held = _take_members(store, family)
    tensors = StoreTensors(family, store.decoded)
    layers, experts = tensors.extent(held, hints.layers or contents.layers or 0)
    store.refuse_claims()
    store.refuse_values()
    chunks = [array.chunk_bytes for array in store.stored.values()]
    store.chunk_reader.largest_bytes = max(chunks, default=0)
    tensors.assemble(layers, experts)
    contents.findings += tensors.findings
    whole = {entry.index: tensor for entry, tensor in tensors.tensors.items()}
    model = infer(family, whole, layers, hints)
    files = sum(map(len, store.file_groups)) + len(contents.literals) + len(contents.common)
    missing = sum(f.file is not None for f in of_kinds(contents.findings, "GP101"))
    findings = contents.findings
    if model is None:
        return Survey(folder, name, files + missing, tuple(findings), None)
    bits = {tensor: n for tensor, n in contents.bits.items() if tensor in tensors.views}
    if bits:  # they have groups of their own, which ranks do not share as the release's
        model = model.sized(scale_groups=None)
    findings += expected_counts.other_layers(model, hints, partial(store_names.first, family))
    findings += tensors.misfits(model)
    findings += shape_checks.contradictions(settings, model, there=told is not None)
    checkpoint = Checkpoint(
        folder,
        folder,
        name,
        model,
        {tensor.name: tensor for tensor in whole.values()},
        _layout(store),
        config=settings,
        framings=manifest_file.framings(manifest_file.load(folder)),
        views=tensors.views,
        bits=bits,
        cache_bytes=store.chunk_reader.memory_bytes,
    )
    count_source = contents.count_source or expected_counts.layer_count_source(model, hints)
    return Survey(
        folder, name, files + missing, tuple(findings), checkpoint, count_source=count_source
    )


def _take_members(store: _Store, family: Family) -> list[ParsedName]:
    """Add the arrays that belong to the model; return what their names mean."""
    contents = store.contents
    store.keys = _keys({m.folder for m in contents.members if m.folder}, contents.files)
    store.held_bytes = sum(_size(store, path) for path in contents.common)
    held = []
    for member in contents.members:
        name = store_names.parse(family, member.path)
        if name is None or (name.named.layer or 0) >= MOST:
            what = "array does not belong to the model: not read"
            finding = Finding("GP102", what, member.metadata, member.path, severity="warning")
            contents.findings.append(finding)
            continue
        held.append(name.named)
        if name.array in store.stored:
            what = "two arrays of the store are the same tensor"
            contents.findings.append(Finding("GP109", what, member.metadata, name.array))
        else:
            _take(store, member, name.array)
    return held


def _take(store: _Store, member: StoreArray, array: str) -> None:
    """Add an array, and check that its files exist."""
    try:
        stored = zarr_metadata_parsing.parse(member.document)
        # There, headers of chunks cannot be checked.
        if stored and stored.blosc and not member.folder:
            raise UnsupportedLayout("chunks of blosc in a database are not read")
    except GrokpackError as error:
        code = "GP106" if isinstance(error, UnsupportedLayout) else "GP111"
        store.contents.findings.append(Finding(code, error.what, member.metadata, array))
        return
    if stored is None:
        return
    store.stored[array] = stored
    name = member.path if member.folder else ""
    spec = json.dumps(member.spec, sort_keys=True)
    view: LazyArray = ChunkedArray(store.chunk_reader, spec, stored, name, member.folder)
    own = stored.spec
    if stored.packing == zarr_shards.NIBBLES and own.dtype is DType.U8:
        own = ArraySpec((*own.shape[:-1], 2 * own.shape[-1]), DType.I8)
        view = Nibbles(view)
    store.decoded[array] = DecodedArray(own, view, member.metadata)
    if member.folder:
        _take_files(store, member, array, stored)
    else:
        store.claims(stored, 0)


def _take_files(store: _Store, member: StoreArray, array: str, stored: ZarrArrayMetadata) -> None:
    """Lay out an array's files; missing and truncated ones become findings."""
    keys = store.keys.get(member.folder, ())
    held = ArrayFiles.among(keys, store.folder, member.folder, array, stored)
    store.index_bytes += held.index_bytes
    if store.index_bytes > _MOST_INDEX_BYTES:
        what = f"more than {_MOST_INDEX_BYTES >> 20} MiB of indices of shards are not read"
        raise InputTooLarge(what, Place(store.folder))
    findings, at = store.contents.findings, 0
    findings += held.absences()
    for (place, path), size in zip(held.paths.items(), held.sizes(), strict=True):
        finding = held.damage(place, size)
        findings += [finding] if finding else []
        data = ArraySlice(member.path, Box((at,), (size,)), DType.U8)
        store.file_groups.append((FileLayout(path, (data,)),))
        at += size
    if not held.missing:
        store.claims(stored, at)
    # An array with missing files is made longer than its pieces, so that it is not read.
    store.arrays[member.path] = ArraySpec((at + held.missing,), DType.U8)


def _keys(folders: set[str], files: Iterable[str]) -> dict[str, list[str]]:
    """Group files by the innermost of some folders that holds them, with relative names."""
    found: dict[str, list[str]] = {}
    for path in files:
        at = path.rfind("/")
        while at > 0 and path[:at] not in folders:
            at = path.rfind("/", 0, at)
        if at > 0:
            found.setdefault(path[:at], []).append(path[at + 1 :])
    return found


def _layout(store: _Store) -> Layout:
    """Return the layout of the model's files and of the store's metadata."""
    file_groups, at = list(store.file_groups), 0
    file_groups += [
        (FileLayout(p, (Literal(d),)),) for p, d in sorted(store.contents.literals.items())
    ]
    for path in store.contents.common:
        size = _size(store, path)
        data = ArraySlice(_DATABASE, Box((at,), (size,)), DType.U8)
        file_groups.append((FileLayout(path, (data,)),))
        at += size
    arrays = dict(store.arrays)
    if store.contents.common:
        arrays[_DATABASE] = ArraySpec((at,), DType.U8)
    return Layout(arrays, tuple(file_groups))


def _size(store: _Store, path: str) -> int:
    """Return the size of a file of the store."""
    return storage.size_of(os.path.join(store.folder, path)) or 0


_DATABASE = "key-value store"  # name of the bytes of files that hold many arrays

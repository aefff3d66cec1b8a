"""Writer of shards of checksummed chunks, common to zarr folders and Orbax checkpoints."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from grokpack.conversion.writers import losslessness
from grokpack.conversion.writers.zarr_shard_codec import CHUNK_BYTES, ZarrShardCodec
from grokpack.core.errors import UnusableValue
from grokpack.core.layout import FileLayout, Layout, Literal
from grokpack.formats import zarr_metadata_rendering, zarr_shards
from grokpack.formats.crc32c import crc32c
from grokpack.models import config_json
from grokpack.planning.target import Target
from grokpack.transforms.copies import TurnedMatrix
from grokpack.transforms.zarr_chunks import ChecksummedChunks, held_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.core.tensors import ArraySpec
    from grokpack.transforms.protocols import LazyArray

SHARD_BYTES = 256 << 20
"""A rank's slice of one layer's experts is 201 MB: one file, as a task's output is."""
RANKS = 8  # devices that xAI's code runs on; no shard holds parts of two devices' slices
_BAND_BYTES = 8 << 20  # of adjacent chunks that are made together


@dataclass(frozen=True, slots=True)
class ChunkedStoreOptions:
    """Options of writing a chunked store.

    Attributes:
        dtype: `bf16` for matrices and embedding in bfloat16; None to keep all dtypes.
        tp: Number of ranks; no shard holds parts of two ranks' slices.
        shard_bytes: Maximum size of a shard without its index.
        compress: `zstd` to compress each chunk; None for uncompressed chunks.
    """

    dtype: str | None = None
    tp: int = RANKS
    shard_bytes: int = SHARD_BYTES
    compress: str | None = None


@dataclass(slots=True)
class ChunkedArrays:
    """Arrays of an output with their ops, added one by one.

    Attributes:
        specs: Shape and dtype of each array, by name.
        ops: The op that makes each array.
        file_groups: The files, by group.
        thread_bytes: Memory that a thread needs for the largest band of chunks.
    """

    specs: dict[str, ArraySpec] = field(default_factory=dict)
    ops: dict[str, ChecksummedChunks] = field(default_factory=dict)
    file_groups: list[tuple[FileLayout, ...]] = field(default_factory=list)
    thread_bytes: int = 0

    def add(
        self,
        name: str,
        folder: str,
        made: tuple[ArraySpec, LazyArray],
        rank_cuts: tuple[int, ...],
        options: ChunkedStoreOptions,
        **document: Any,  # noqa: ANN401  # what else the metadata says
    ) -> None:
        """Add an array.

        Args:
            name: Name of the array.
            folder: Folder of its files.
            made: Its shape and dtype, and its op.
            rank_cuts: Number of equal parts along each axis; no shard holds parts of two.
            options: Options of the store.
            document: Attributes and axes for the metadata.
        """
        spec, op = made
        chunk = min(CHUNK_BYTES, _BAND_BYTES // rank_cuts[-1])
        grid = zarr_shards.choose_grid(spec, rank_cuts, chunk, options.shard_bytes)
        itemsize = spec.dtype.itemsize
        small = options.compress is not None
        self.specs[name] = zarr_shards.frames_spec(spec, grid, checked=not small)
        self.ops[name] = ChecksummedChunks(op, grid, itemsize, checked=not small)
        self.file_groups += zarr_shards.lay_out(folder, name, spec, grid, compressed=small)
        metadata = zarr_metadata_rendering.sharded_array(spec, grid, **document, compressed=small)
        self.add_file(f"{folder}/{zarr_shards.METADATA}", metadata)
        self.thread_bytes = max(self.thread_bytes, held_bytes(grid, itemsize))

    def add_file(self, path: str, data: bytes) -> None:
        """Add a file with these contents."""
        self.file_groups.append((FileLayout(path, (Literal(data),)),))

    def layout(self) -> Layout:
        """Return the layout of all files."""
        return Layout(self.specs, tuple(self.file_groups))

    def target(
        self,
        name: str,
        source: Checkpoint,
        finals: Mapping[str, bytes],
        options: ChunkedStoreOptions,
    ) -> Target:
        """Make a target of these arrays and the model's config."""
        kept = losslessness.judge(source, {name: _values(op) for name, op in self.ops.items()})
        return Target(
            name,
            self.layout(),
            self.ops,
            {config_json.FILE: config_json.render(source.model, source.config), **finals},
            source.framings,
            kept.notes,
            kept.lossless,
            codec=ZarrShardCodec() if options.compress else None,
            thread_bytes=self.thread_bytes,
        )


def refuse_options(options: ChunkedStoreOptions) -> None:
    """Refuse options that have no such value, and checksums without end.

    Raises:
        GrokpackError: GP346, and GP307 without the compiled part of google-crc32c.
    """
    crc32c(b"")  # compressed chunks have their first checksum when the run has begun
    if options.dtype not in (None, "bf16"):
        raise UnusableValue.choice("--dtype", options.dtype, ("bf16",))
    if options.compress not in (None, "zstd"):
        raise UnusableValue.choice("--compress", options.compress, ("zstd",))
    if options.shard_bytes < CHUNK_BYTES:
        raise UnusableValue("--shard-size is at least 1MiB")


def _values(chunks: ChecksummedChunks) -> LazyArray:
    """Return what makes the values of chunks, whichever way a matrix lies."""
    return chunks.op.made if isinstance(chunks.op, TurnedMatrix) else chunks.op

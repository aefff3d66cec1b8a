"""Writer of SGLang's presharded files: the experts of each rank, and what ranks share.

    model-00001-TP-003.safetensors      rank 3's slices of the experts
    model-00001-TP-common.safetensors   everything else, whole

A family whose release has a file for each kind of tensor keeps its names and grouping.

SGLang's loader (models/grok.py, `_prepare_presharded_weights`) reads the files whose names end in
its rank's number or in `common`. It loads experts as they are, and cuts everything else itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from grokpack.checkpoint.layouts import kind_files_layout
from grokpack.checkpoint.readers.packed_arrays import weight_of
from grokpack.conversion.writers import huggingface_config, huggingface_folder, losslessness
from grokpack.conversion.writers.engine_arrays import engine_arrays
from grokpack.conversion.writers.huggingface_folder import INDEX, SHARD_BYTES, ModelCard
from grokpack.conversion.writers.writer_row import ReshardingWriter, Writer
from grokpack.core.errors import GrokpackError
from grokpack.core.layout import FileLayout, Layout, slice_box, whole_box
from grokpack.formats import safetensors
from grokpack.models.partition import refuse_width
from grokpack.models.tensor_names import rank_axis
from grokpack.planning.target import Target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.core.tensors import ArraySpec
    from grokpack.models.tensor_names import Convention

NAME = "sglang"
_RANKS = 8


@dataclass(frozen=True, slots=True)
class SglangOptions:
    """Options of writing presharded files.

    Attributes:
        tp: Number of tensor-parallel ranks; by default that of SGLang's own instructions.
        dtype: Dtype of the matrices: `bf16`, `f16` or `f32`.
        shard_bytes: Maximum size of a file; None for the usual one.
        tokenizer: File or folder of the tokenizer; None to look beside the checkpoint.
    """

    tp: int | None = None
    dtype: str = "bf16"
    shard_bytes: int | None = None
    tokenizer: str | None = None

    @property
    def ranks(self) -> int:
        """Ranks, given or by default."""
        return self.tp or _RANKS


def to_sglang(source: Checkpoint, options: SglangOptions) -> Target:
    """Make the target: rank files for the experts, common files for the rest.

    Raises:
        GrokpackError: GP301 for a width that the model cannot be cut into, GP304 for a limit on
            files that are as large as their kind of tensor.
    """
    tp = options.ranks
    refuse_width(source.geometry, tp, "sglang")
    convention = huggingface_config.convention(source.model.family, NAME)
    arrays, ops = engine_arrays(source, convention, options.dtype)
    kept = losslessness.judge(source, ops)
    finals = huggingface_folder.sidecars(
        source,
        _card(source, options),
        convention,
        options.dtype,
        options.tokenizer,
        load_presharded_moe=tp > 1,
    )
    return Target(
        NAME,
        _layout(source, convention, arrays, options),
        ops,
        finals,
        source.framings,
        notes=huggingface_folder.notes(source, kept, finals),
        lossless=kept.lossless,
    )


def _layout(
    source: Checkpoint,
    convention: Convention,
    arrays: Mapping[str, ArraySpec],
    options: SglangOptions,
) -> Layout:
    """Lay out the files: as the family is released where it is so, else in shards."""
    family = source.model.family
    if not family.release_layout.stem:
        axes = {name: rank_axis(convention, name) for name in arrays}
        return presharded(arrays, axes, options.ranks, options.shard_bytes or SHARD_BYTES)
    if options.shard_bytes is not None:
        what = f"files of {family.title} hold one kind of tensor each, whatever their size"
        raise GrokpackError("GP304", what, hint="leave out --shard-size")
    return kind_files_layout.lay_out(family, convention, arrays, options.ranks)


def presharded(
    arrays: Mapping[str, ArraySpec], axes: Mapping[str, int | None], ranks: int, shard_bytes: int
) -> Layout:
    """Lay out each rank's slices in its own files, and everything else in common ones.

    Args:
        arrays: Whole arrays.
        axes: The axis along which ranks cut each array; None for one that every rank has whole.
        ranks: Number of ranks.
        shard_bytes: Maximum size of a file.
    """
    files: list[FileLayout] = []
    for rank in range(ranks):
        slices = {
            name: slice_box(arrays[name].shape, axis, rank, ranks)
            for name, axis in axes.items()
            if axis is not None
        }
        files += huggingface_folder.shards(slices, arrays, shard_bytes, safetensors.of_rank(rank))
    shared = {name: whole_box(arrays[name].shape) for name, axis in axes.items() if axis is None}
    files += huggingface_folder.shards(shared, arrays, shard_bytes, safetensors.COMMON)
    return Layout(arrays, tuple((file,) for file in files))


def cut_for_ranks(target: Target, names: Convention, ranks: int, shard_bytes: int) -> Target:
    """Return the target of a folder with its experts in files of their ranks, and no index."""
    arrays = target.layout.arrays
    axes = {name: rank_axis(names, weight_of(name)) for name in arrays}
    layout = presharded(arrays, axes, ranks, shard_bytes)
    finals = {name: data for name, data in target.finals.items() if name != INDEX}
    return replace(target, layout=layout, finals=finals)


def _card(source: Checkpoint, options: SglangOptions) -> ModelCard:
    tp = options.ranks
    return ModelCard(
        f"{source.model.family.title} presharded for SGLang, {tp} ranks",
        f"{options.dtype} weights, experts cut for exactly {tp} tensor-parallel ranks.",
        f"`python -m sglang.launch_server --model-path FOLDER --tp {tp} "
        f"{source.model.family.sglang_options}`; "
        "another width loads incomplete experts.",
    )


def _suffix(tp: int) -> str:
    return f"{NAME}-tp{tp}"


WRITER = Writer(
    NAME,
    "presharded files for SGLang at exactly --tp ranks",
    SglangOptions,
    to_sglang,
    lambda options: _suffix(options.ranks),
)
RESHARDER = ReshardingWriter(NAME, "presharded files for SGLang", None, _suffix)

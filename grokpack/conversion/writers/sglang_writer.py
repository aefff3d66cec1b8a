"""Writer of SGLang's presharded files: the experts of each rank, and what ranks share.

    model-00001-TP-003.safetensors      rank 3's slices of the experts
    model-00001-TP-common.safetensors   everything else, whole

SGLang's loader (models/grok.py, `_prepare_presharded_weights`) takes every file whose name ends in
its rank's number or in `common`; experts go in as they are, all else it cuts itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack.checkpoint import tokenizer_files
from grokpack.conversion.writers import (
    huggingface_config,
    huggingface_writer,
    losslessness,
    sidecars,
)
from grokpack.conversion.writers.writer import Writer
from grokpack.core.layout import Box, FileLayout, Layout, cut, whole
from grokpack.formats import safetensors
from grokpack.models.partition import refuse_width
from grokpack.models.tensor_names import rank_axis
from grokpack.planning.target import Target

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.core.tensors import ArraySpec
    from grokpack.transforms.protocols import Op

NAME = "sglang"
_RANKS = 8


@dataclass(frozen=True, slots=True)
class SglangOptions:
    """Options of writing presharded files.

    Attributes:
        tp: Tensor-parallel ranks; as many as SGLang's recipe serves the model on by default.
        dtype: Of the matrices: `bf16`, `f16` or `f32`.
        shard_bytes: Size that a file keeps to.
        tokenizer: File or folder of the tokenizer; None to look beside the checkpoint.
    """

    tp: int | None = None
    dtype: str = "bf16"
    shard_bytes: int = huggingface_writer.SHARD_BYTES
    tokenizer: str | None = None

    @property
    def ranks(self) -> int:
        """Ranks, given or by default."""
        return self.tp or _RANKS


def to_sglang(source: Checkpoint, options: SglangOptions) -> Target:
    """Make the target: rank files for the experts, common files for the rest.

    Raises:
        GrokpackError: GP301 for a width that the model cannot be cut into.
    """
    tp = options.ranks
    refuse_width(source.geometry, tp)
    own = huggingface_config.convention(source.model.family, NAME)
    dtype = huggingface_writer.float_of(options.dtype)
    arrays: dict[str, ArraySpec] = {}
    made: dict[str, Op] = {}
    for name, spec, op in huggingface_writer.engine_arrays(source, own, dtype):
        arrays[name], made[name] = spec, op
    kept = losslessness.judge(source, made)
    cuts = {name: axis for name in arrays if (axis := rank_axis(own, name)) is not None}
    files = [
        file
        for rank in range(tp)
        for file in files_of(
            f"TP-{rank:03d}",
            {name: cut(arrays[name].shape, axis, rank, tp) for name, axis in cuts.items()},
            arrays,
            options.shard_bytes,
        )
    ]
    shared = {name: whole(spec.shape) for name, spec in arrays.items() if name not in cuts}
    files += files_of("TP-common", shared, arrays, options.shard_bytes)
    tokenizer = tokenizer_files.tokenizer_files(source, options.tokenizer)
    finals = {
        **tokenizer,
        **sidecars.code(source),
        "README.md": sidecars.card(
            f"{source.model.family.title} presharded for SGLang, {tp} ranks",
            source,
            f"{options.dtype} weights, experts cut for exactly {tp} tensor-parallel ranks.",
            f"`python -m sglang.launch_server --model-path FOLDER --tp {tp} --trust-remote-code`; "
            "another width loads incomplete experts.",
            tokenizer,
        ),
        **huggingface_config.render(
            own,
            source.model,
            source.config,
            huggingface_writer.TORCH[options.dtype],
            {"load_presharded_moe": tp > 1},
        ),
    }
    return Target(
        NAME,
        Layout(arrays, tuple((file,) for file in files)),
        made,
        finals,
        source.framings,
        notes=huggingface_writer.notes(source, kept, finals),
        lossless=kept.lossless,
    )


def files_of(
    group: str, boxes: Mapping[str, Box], arrays: Mapping[str, ArraySpec], shard_bytes: int
) -> Iterator[FileLayout]:
    """Yield the files of one rank, or of what ranks share.

    Args:
        group: `TP-003` or `TP-common`.
        boxes: What the files hold of each array.
        arrays: Whole arrays.
        shard_bytes: Size that a file keeps to.
    """
    sizes = {name: box.elements * arrays[name].dtype.itemsize for name, box in boxes.items()}
    for number, shard in enumerate(safetensors.shards(sizes, shard_bytes)):
        path = f"model-{number + 1:05d}-{group}{safetensors.SUFFIX}"
        yield safetensors.lay_out(
            path, {name: boxes[name] for name in safetensors.aligned(shard, arrays)}, arrays
        )


WRITER = Writer(
    NAME,
    "presharded files for SGLang at exactly --tp ranks",
    SglangOptions,
    to_sglang,
    lambda options: f"{NAME}-tp{options.ranks}",
)

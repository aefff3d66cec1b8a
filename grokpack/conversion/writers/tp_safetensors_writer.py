"""Writer of grokpack's safetensors: a folder per tensor-parallel rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack.checkpoint.layouts import tp_safetensors_layout
from grokpack.conversion.writers import losslessness
from grokpack.conversion.writers.scale_groups import (
    NO_CODES,
    has_int8_codes,
    in_release_form,
    requantized_rows,
)
from grokpack.conversion.writers.writer_row import ReshardingWriter, Writer
from grokpack.core.errors import GrokpackError
from grokpack.core.tensors import DType
from grokpack.models import config_json
from grokpack.models.partition import refuse_width
from grokpack.planning.target import Target
from grokpack.transforms.copies import Copy

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.conversion.writers.scale_groups import Scales
    from grokpack.conversion.writers.writer_row import ReshardOptions
    from grokpack.models.architecture import ModelTensor
    from grokpack.transforms.protocols import LazyArray


@dataclass(frozen=True, slots=True)
class TpSafetensorsOptions:
    """Options of writing rank folders.

    Attributes:
        tp: Tensor-parallel ranks; 1 by default.
    """

    tp: int | None = None

    @property
    def ranks(self) -> int:
        """Ranks, given or by default."""
        return self.tp or 1


def to_ranks(source: Checkpoint, tp: int, scales: Scales) -> Target:
    """Make the target: a folder for each rank's slices, and one for arrays common to all.

    Args:
        source: A checkpoint whose head size is known.
        tp: Number of ranks.
        scales: How row-parallel scales are stored.
    """
    geometry, model = source.geometry, source.model
    stored: list[tp_safetensors_layout.StoredTensor] = []
    made: dict[str, LazyArray] = {}
    for entry in model.tensors():
        own, own_ops = _form(source, entry, tp, scales)
        stored.append(own)
        made |= own_ops
    kept = losslessness.judge(source, made)
    layout = tp_safetensors_layout.lay_out(model, stored, tp)
    finals = {
        config_json.FILE: config_json.render(model, source.config),
        tp_safetensors_layout.INDEX: tp_safetensors_layout.index(geometry, layout, tp, source.bits),
    }
    return Target(
        tp_safetensors_layout.NAME,
        layout,
        made,
        finals,
        source.framings,
        (*_without_codes(source), *kept.notes),
        kept.lossless,
    )


def _without_codes(source: Checkpoint) -> tuple[str, ...]:
    """Note that the release's int8 codes are missing, where it has some."""
    floats = source.model.family.release_layout.weights is not DType.I8
    return () if floats or has_int8_codes(source) or source.packings else (NO_CODES,)


def _form(
    source: Checkpoint, entry: ModelTensor, tp: int, scales: Scales
) -> tuple[tp_safetensors_layout.StoredTensor, dict[str, LazyArray]]:
    """Return a tensor as the ranks hold it, with its ops.

    Re-quantized weights keep their own groups, and packed weights stay packed.

    Raises:
        GrokpackError: GP301 if ranks cannot share the groups or the packed bytes.
    """
    tensor, packing = source.tensors[entry.name], source.packings.get(entry.name)
    if packing is not None:
        requantized_rows(entry, packing.scales, tp)
        if entry.rule.cut == "rows" and packing.codes.shape[-2] % tp:
            what = f"{tp} ranks would cut bytes of {entry.name}, which have the codes of two inputs"
            raise GrokpackError("GP301", what, hint="choose a width that divides them")
        return packing, {name: Copy(name) for name in packing.arrays()}
    rows = None if scales == "expanded" else source.geometry.scale_groups
    if entry.name in source.bits and tensor.scales:
        rows = requantized_rows(entry, tensor.scales, tp)
    return in_release_form(tensor, entry, rows, source.model.family.release_layout)


def _convert(source: Checkpoint, options: TpSafetensorsOptions) -> Target:
    refuse_width(source.geometry, options.ranks)
    return to_ranks(source, options.ranks, "auto")


def _reshard(source: Checkpoint, options: ReshardOptions) -> Target:
    refuse_width(source.geometry, options.tp)
    if options.hosts != 1 or options.forward_only or options.scales == "bf16-weights":
        what = "--hosts, --forward-only and --scales bf16-weights belong to --to ckpt-0"
        raise GrokpackError("GP304", what)
    return to_ranks(source, options.tp, options.scales)


WRITER = Writer(
    tp_safetensors_layout.NAME,
    "xAI's names, int8 and scales as they are; `reshard` cuts it for ranks",
    TpSafetensorsOptions,
    _convert,
    lambda options: f"tp{options.ranks}",
)
RESHARDER = ReshardingWriter(
    tp_safetensors_layout.NAME, "a folder for each rank", _reshard, lambda tp: f"tp{tp}"
)

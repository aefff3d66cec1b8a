"""grokpack's safetensors: a folder per tensor-parallel rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack import config
from grokpack.models import grok1
from grokpack.plan import Target
from grokpack.stores import ranks
from grokpack.targets import fidelity
from grokpack.targets.groups import NO_CODES, own_rows, quantised, release_form

if TYPE_CHECKING:
    from grokpack.checkpoint import Checkpoint
    from grokpack.ops import Op
    from grokpack.targets.groups import Scales
    from grokpack.tensor import TensorSpec


def to_ranks(source: Checkpoint, tp: int, scales: Scales) -> Target:
    """The target: every rank's slices, and one folder of what all ranks hold.

    Args:
        source: Its head size is known.
        tp: Ranks.
        scales: How row-parallel scales are stored.
    """
    geometry = source.geometry
    tensors: dict[str, TensorSpec] = {}
    made: dict[str, Op] = {}
    for entry in grok1.entries(geometry.layers):
        rows = None if scales == "expanded" else geometry.scale_groups
        if entry.name in source.bits and source.tensors[entry.name].scales:
            rows = own_rows(entry, source.tensors[entry.name], tp)
        tensor, tensor_ops = release_form(source.tensors[entry.name], entry, rows)
        tensors[tensor.name] = tensor
        made |= tensor_ops
    kept = fidelity.judge(source, made)
    layout = ranks.lay_out(geometry, tensors, tp)
    finals = {
        config.FILE: config.render(geometry, source.config),
        ranks.INDEX: ranks.index(geometry, layout, tp, source.bits),
    }
    return Target(
        ranks.NAME,
        layout,
        made,
        finals,
        source.framings,
        (*(() if quantised(source) else (NO_CODES,)), *kept.notes),
        kept.lossless,
    )

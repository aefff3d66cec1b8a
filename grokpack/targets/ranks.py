"""grokpack's safetensors: a folder per tensor-parallel rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack import config
from grokpack.errors import GrokpackError
from grokpack.models import grok1
from grokpack.ops import Copy
from grokpack.plan import Target
from grokpack.stores import ranks
from grokpack.targets import fidelity
from grokpack.targets.groups import NO_CODES, own_rows, quantised, release_form

if TYPE_CHECKING:
    from grokpack.checkpoint import Checkpoint
    from grokpack.models.grok1 import Entry
    from grokpack.ops import Op
    from grokpack.targets.groups import Scales


def to_ranks(source: Checkpoint, tp: int, scales: Scales) -> Target:
    """The target: every rank's slices, and one folder of what all ranks hold.

    Args:
        source: Its head size is known.
        tp: Ranks.
        scales: How row-parallel scales are stored.
    """
    geometry = source.geometry
    stored: list[ranks.Stored] = []
    made: dict[str, Op] = {}
    for entry in grok1.entries(geometry.layers):
        own, own_ops = _form(source, entry, tp, scales)
        stored.append(own)
        made |= own_ops
    kept = fidelity.judge(source, made)
    layout = ranks.lay_out(geometry, stored, tp)
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
        (*(() if quantised(source) or source.packings else (NO_CODES,)), *kept.notes),
        kept.lossless,
    )


def _form(
    source: Checkpoint, entry: Entry, tp: int, scales: Scales
) -> tuple[ranks.Stored, dict[str, Op]]:
    """A tensor as the ranks hold it, and how its arrays are made.

    What was quantised anew keeps its own groups, and what is packed stays so.

    Raises:
        GrokpackError: GP301 where the ranks cannot share groups or bytes.
    """
    tensor, packing = source.tensors[entry.name], source.packings.get(entry.name)
    if packing is not None:
        own_rows(entry, packing.scales, tp)
        if entry.rule.cut == "rows" and packing.codes.shape[-2] % tp:
            what = f"{tp} ranks would cut bytes of {entry.name}, which have the codes of two inputs"
            raise GrokpackError("GP301", what, hint="choose a width that divides them")
        return packing, {name: Copy(name) for name in packing.arrays()}
    rows = None if scales == "expanded" else source.geometry.scale_groups
    if entry.name in source.bits and tensor.scales:
        rows = own_rows(entry, tensor.scales, tp)
    return release_form(tensor, entry, rows)

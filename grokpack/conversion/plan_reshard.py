"""Cut a checkpoint for another number of tensor-parallel ranks, without changing a value."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from grokpack.conversion.writers.ckpt0_writer import to_ckpt0
from grokpack.conversion.writers.scale_groups import with_groups
from grokpack.conversion.writers.tp_safetensors_writer import to_ranks
from grokpack.core.errors import GrokpackError
from grokpack.models import config_json, partition
from grokpack.models.partition import refuse_width
from grokpack.planning.plan import Plan

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.conversion.writers.scale_groups import Scales
    from grokpack.models.architecture import Geometry


def plan_reshard(
    source: Checkpoint,
    tp: int,
    to: str = "safetensors",
    *,
    hosts: int = 1,
    scales: Scales = "auto",
    forward_only: bool = False,
) -> Plan:
    """Plan the cut of a checkpoint for `tp` ranks.

    Args:
        source: What to cut, in any width and format.
        tp: Ranks. A source returns to ckpt-0 of as many ranks as it has scale groups, whatever
            can run it there.
        to: `safetensors` (a folder per rank) or `ckpt-0` (what xAI's JAX code loads).
        hosts: Processes that share a ckpt-0; each reads `tensorNNNNN_HHH` of its own.
        scales: How row-parallel scales are stored.
        forward_only: Allow a ckpt-0 wider than there are key/value heads: the forward pass works
            at such a width, the key/value cache of xAI's code does not.

    Raises:
        GrokpackError: GP211 where the head size is unknown, GP301 to GP304 for a width, hosts or
            options that cannot be, GP215 where expanded scales have no groups.
    """
    source = with_groups(source)
    geometry = source.geometry
    if geometry.head_dim is None:
        raise config_json.unknown_head_size()
    returning = to == "ckpt-0" and tp == geometry.scale_groups and hosts == 1
    if not returning:
        refuse_width(geometry, tp, "jax" if to == "ckpt-0" else "engines")
    if to == "safetensors":
        if hosts != 1 or forward_only or scales == "bf16-weights":
            what = "--hosts, --forward-only and --scales bf16-weights belong to --to ckpt-0"
            raise GrokpackError("GP304", what)
        target = to_ranks(source, tp, scales)
    elif to == "ckpt-0":
        target = to_ckpt0(source, tp, hosts, scales, forward_only=forward_only or returning)
        if returning:
            target = replace(target, notes=(*target.notes, *_returned(geometry, tp)))
    else:
        raise GrokpackError("GP304", f"reshard writes safetensors or ckpt-0, not {to}")
    parameters = {"tp": tp, "to": to, "hosts": hosts, "scales": scales}
    return Plan("reshard", parameters, source, target)


def _returned(geometry: Geometry, tp: int) -> tuple[str, ...]:
    """What to say of a model that returns to the width it was written for, if none can run it."""
    wrong = partition.remainders(geometry, tp, "jax")
    if tp > (geometry.kv_heads or tp):
        wrong.append(f"{geometry.kv_heads} key-value heads for {tp} ranks")
    if not wrong:
        return ()
    return (f"as the source was written; xAI's code does not run it there: {', '.join(wrong)}",)

"""Plans of `grokpack reshard`: a checkpoint cut for another number of ranks, every value kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.checkpoint.open_checkpoint import opened
from grokpack.conversion.carried_files import carried
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.conversion.writers import writer_registry
from grokpack.conversion.writers.scale_groups import with_groups
from grokpack.conversion.writers.writer_row import ReshardOptions
from grokpack.core.errors import GrokpackError, UnusableValue
from grokpack.models import config_json
from grokpack.planning.plan import Plan

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.conversion.writers.scale_groups import Scales
    from grokpack.core.paths import StrPath


def plan_reshard(
    source: Checkpoint | StrPath,
    tp: int,
    to: str | None = None,
    *,
    hosts: int = 1,
    scales: Scales = "auto",
    forward_only: bool = False,
) -> Plan:
    """Plan the cut of a checkpoint for `tp` ranks.

    Args:
        source: A checkpoint of any width and format, or its path.
        tp: Number of ranks. A ckpt-0 of as many ranks as the source has scale groups is always
            possible, even if nothing can run it at that width.
        to: `safetensors` (a folder per rank), `ckpt-0` (what xAI's JAX code loads) or `sglang`
            (presharded files); None for presharded files where the family is released so, else
            folders.
        hosts: Number of processes that share a ckpt-0; each reads its own `tensorNNNNN_HHH`.
        scales: How row-parallel scales are stored.
        forward_only: True to allow a ckpt-0 wider than there are key/value heads. The forward pass
            works at such a width; the key/value cache of xAI's code does not.

    Raises:
        GrokpackError: GP211 where the head size is unknown, GP346 for an unknown format,
            GP301 to GP304 for a width, hosts or options that cannot be, GP215 where expanded
            scales have no groups.
    """
    source = with_groups(opened(source))
    to = to or writer_registry.DEFAULT_RESHARDING[source.model.family.release_layout.format]
    if source.geometry.head_dim is None:
        raise config_json.unknown_head_size(source.model.family)
    if to not in writer_registry.RESHARDING:
        raise UnusableValue.choice("--to", to, writer_registry.RESHARDING)
    options = ReshardOptions(tp, hosts, scales, forward_only)
    writer = writer_registry.resharding(to)
    if writer.make is None:
        if options != ReshardOptions(tp):
            raise GrokpackError("GP304", f"--to {to} takes no --hosts, --scales or --forward-only")
        return plan_convert(source, to, ConvertOptions(tp=tp))
    target = carried(source, writer.make(source, options), tokenizer=True)
    parameters = {"tp": tp, "to": to, "hosts": hosts, "scales": scales}
    return Plan("reshard", parameters, source, target)

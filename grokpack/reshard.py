"""Cut a checkpoint for another number of tensor-parallel ranks, without changing a value."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from grokpack import config, ops, pickles
from grokpack.errors import GrokpackError
from grokpack.formats import ckpt0 as ckpt0_format
from grokpack.layout import Box, Layout
from grokpack.models import grok1
from grokpack.plan import Plan, Target
from grokpack.reading import ArrayReader
from grokpack.stores import ckpt0, ranks
from grokpack.tensor import ArraySpec, DType, TensorSpec, scales_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.checkpoint import Checkpoint
    from grokpack.models.grok1 import Entry, Geometry
    from grokpack.ops import Op

Scales = Literal["auto", "expanded", "bf16-weights"]
"""`auto`: as compact as the target can hold exactly; `expanded`: one scale row per weight row;
`bf16-weights`: row-parallel weights as bf16 with scales of one (one rounding)."""


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
        tp: Ranks.
        to: `safetensors` (a folder per rank) or `ckpt-0` (what xAI's JAX code loads).
        hosts: Processes that share a ckpt-0; each reads `tensorNNNNN_HHH` of its own.
        scales: How row-parallel scales are stored.
        forward_only: Allow a ckpt-0 wider than there are key/value heads: the forward pass works
            at such a width, the key/value cache of xAI's code does not.

    Raises:
        GrokpackError: GP211 where the head size is unknown, GP301 to GP304 for a width, hosts or
            options that cannot be, GP215 where expanded scales have no groups.
    """
    geometry = _with_groups(source)
    if geometry.head_dim is None:
        raise config.unknown_head_size()
    _refuse_width(geometry, tp)
    source = replace(source, geometry=geometry)
    if to == "safetensors":
        if hosts != 1 or forward_only or scales == "bf16-weights":
            what = "--hosts, --forward-only and --scales bf16-weights belong to --to ckpt-0"
            raise GrokpackError("GP304", what)
        target = _to_ranks(source, tp, scales)
    elif to == "ckpt-0":
        target = _to_ckpt0(source, tp, hosts, scales, forward_only=forward_only)
    else:
        raise GrokpackError("GP304", f"reshard writes safetensors or ckpt-0, not {to}")
    parameters = {"tp": tp, "to": to, "hosts": hosts, "scales": scales}
    return Plan("reshard", parameters, source, target)


def _refuse_width(geometry: Geometry, tp: int) -> None:
    wrong = grok1.remainders(geometry, tp) if tp > 0 else [f"{tp} ranks"]
    if wrong:
        legal = ", ".join(map(str, grok1.legal_widths(geometry)))
        facts = tuple(("remainder", text) for text in wrong)
        raise GrokpackError(
            "GP301", f"the model cannot be cut into {tp} equal ranks", None, facts, f"--tp {legal}"
        )


def _with_groups(source: Checkpoint) -> Geometry:
    """The geometry with its scale groups; probes one tensor where scales stand expanded."""
    geometry = source.geometry
    if geometry.scale_groups is not None:
        return geometry
    entry = next(
        e for e in grok1.entries(geometry.layers) if e.rule.path == "multi_head_attention/linear/w"
    )
    return replace(geometry, scale_groups=probe_groups(source, source.tensors[entry.name]))


def probe_groups(source: Checkpoint, tensor: TensorSpec) -> int | None:
    """The fewest equal groups that the scale rows of a tensor fall into; None if all differ.

    Every other tensor is checked against the answer while its scales are collapsed.
    """
    if tensor.scales is None:
        return None
    rows, columns = tensor.scales.shape[-2:]
    reader, step = ArrayReader(source), max(1, (4 << 20) // (2 * columns))
    common, last = rows, None
    for first in range(0, rows, step):
        count = min(step, rows - first)
        values = reader.read(scales_name(tensor.name), Box((first, 0), (count, columns)))
        for offset in range(count):
            if last is not None and (values[offset] != last).any():
                common = math.gcd(common, first + offset)
            last = values[offset]
    return None if common == 1 else rows // common


def _to_ranks(source: Checkpoint, tp: int, scales: Scales) -> Target:
    geometry = source.geometry
    tensors: dict[str, TensorSpec] = {}
    made: dict[str, Op] = {}
    for entry in grok1.entries(geometry.layers):
        rows = None if scales == "expanded" else geometry.scale_groups
        tensor, tensor_ops = _with_scale_rows(source.tensors[entry.name], entry, rows)
        tensors[tensor.name] = tensor
        made |= tensor_ops
    layout = ranks.lay_out(geometry, tensors, tp)
    finals = {
        config.FILE: config.render(geometry, source.config),
        ranks.INDEX: ranks.index(geometry, layout, tp),
    }
    return Target(ranks.NAME, layout, made, finals, source.framings)


def _with_scale_rows(
    tensor: TensorSpec, entry: Entry, rows: int | None
) -> tuple[TensorSpec, dict[str, Op]]:
    """A tensor with `rows` scale rows (None: one per weight row), and how it is made."""
    made: dict[str, Op] = {name: ops.Copy(name) for name in tensor.arrays()}
    if tensor.scales is None or entry.rule.cut != "rows":
        return tensor, made
    scales, wanted = tensor.scales, rows or tensor.values.shape[-2]
    if scales.shape[-2] == wanted:
        return tensor, made
    name = scales_name(tensor.name)
    made[name] = ops.Regroup(name, scales.shape[-2], wanted)
    shape = (*scales.shape[:-2], wanted, scales.shape[-1])
    return replace(tensor, scales=ArraySpec(shape, scales.dtype)), made


def _to_ckpt0(
    source: Checkpoint, tp: int, hosts: int, scales: Scales, *, forward_only: bool
) -> Target:
    geometry = source.geometry
    _refuse_hosts(geometry, tp, hosts, forward_only=forward_only)
    rows = _ckpt0_rows(geometry, tp, scales)
    bands = []
    arrays: dict[str, ArraySpec] = {}
    made: dict[str, Op] = {}
    for entry in grok1.entries(geometry.layers):
        tensor = source.tensors[entry.name]
        if scales == "bf16-weights" and entry.rule.cut == "rows":
            tensor, tensor_ops = _as_bf16(tensor, tp)
        else:
            tensor, tensor_ops = _with_scale_rows(tensor, entry, rows)
        made |= tensor_ops
        arrays |= tensor.arrays()
        literals = _framing(source.framings, tensor) if hosts == 1 else None
        bands.append(
            ckpt0.lay_out_tensor(
                f"{ckpt0_format.FOLDER}/", geometry, entry, tensor, hosts, literals
            )
        )
    layout = Layout(arrays, tuple(bands))
    lossless = scales != "bf16-weights"
    finals = {config.FILE: config.render(geometry, source.config)}
    return Target(
        ckpt0_format.NAME,
        layout,
        made,
        finals,
        source.framings,
        _notes(source, layout, rows, scales),
        lossless,
    )


def _refuse_hosts(geometry: Geometry, tp: int, hosts: int, *, forward_only: bool) -> None:
    if hosts < 1 or tp % hosts:
        raise GrokpackError(
            "GP303",
            f"{hosts} hosts do not share {tp} ranks evenly",
            hint="each host holds the same number of ranks: --hosts divides --tp",
        )
    if geometry.d_model % tp:
        raise GrokpackError(
            "GP301",
            f"xAI's code cuts the embedding by features, and "
            f"{geometry.d_model} features / {tp} leave a remainder",
        )
    heads = geometry.kv_heads or 0
    if tp > heads and not forward_only:
        what = f"xAI's key/value cache fails with {tp} ranks and {heads} key-value heads"
        hint = "`--forward-only` writes it for the forward pass; or use `--to safetensors`"
        raise GrokpackError("GP302", what, hint=hint)


def _ckpt0_rows(geometry: Geometry, tp: int, scales: Scales) -> int | None:
    """Scale rows that xAI's code takes at this width: one per rank, or one per weight row."""
    groups = geometry.scale_groups
    if scales == "expanded" or groups is None or tp % groups:
        return None
    return tp


def _as_bf16(tensor: TensorSpec, tp: int) -> tuple[TensorSpec, dict[str, Op]]:
    """A row-parallel weight dequantised to bf16, with a scale row of ones per rank."""
    if tensor.scales is None or tensor.values.dtype is DType.BF16:
        return tensor, {name: ops.Copy(name) for name in tensor.arrays()}
    name, shape = scales_name(tensor.name), tensor.values.shape
    values = ArraySpec(shape, DType.BF16)
    scales = ArraySpec((*shape[:-2], tp, shape[-1]), DType.BF16)
    made: dict[str, Op] = {
        tensor.name: ops.Dequantize(tensor),
        name: ops.Constant(ops.BF16_ONE, DType.BF16.itemsize),
    }
    return TensorSpec(tensor.name, values, scales), made


def _framing(
    framings: Mapping[str, tuple[bytes, ...]], tensor: TensorSpec
) -> list[tuple[bytes, ...]] | None:
    """The tensor's own framing, where it is known and fits these shapes."""
    literals = framings.get(tensor.name)
    if literals and pickles.check_literals(literals, tensor.values, tensor.scales):
        return [literals]
    return None


def _notes(source: Checkpoint, layout: Layout, rows: int | None, scales: Scales) -> tuple[str, ...]:
    if scales == "bf16-weights":
        return ("row-parallel weights are rounded once to bf16: not lossless",)
    growth = layout.nbytes - source.layout.nbytes
    if rows is None and growth > 0:
        return (
            (
                f"xAI's code takes one scale row per rank or per weight row; at this width that is "
                f"one per weight row, {growth / 1e9:.2f} GB more. "
                "`--scales bf16-weights` is smaller, with one rounding"
            ),
        )
    return ()

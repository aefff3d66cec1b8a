"""Writer of xAI's ckpt-0, as its JAX code loads it on any number of devices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from grokpack.checkpoint.layouts import ckpt0_layout
from grokpack.conversion.writers import losslessness
from grokpack.conversion.writers.scale_groups import (
    NO_CODES,
    has_int8_codes,
    in_release_form,
    row_parallel_codes,
)
from grokpack.conversion.writers.writer_row import ReshardingWriter, Writer
from grokpack.core.byte_size import byte_size
from grokpack.core.errors import GrokpackError
from grokpack.core.layout import Layout
from grokpack.core.tensors import ArraySpec, DType, TensorSpec, scales_name
from grokpack.formats import ckpt0 as ckpt0_format
from grokpack.formats import pickle
from grokpack.models import config_json, partition
from grokpack.models.partition import refuse_width
from grokpack.planning.target import Target
from grokpack.transforms import copies, dequantize

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.conversion.writers.scale_groups import Scales
    from grokpack.conversion.writers.writer_row import ReshardOptions
    from grokpack.models.architecture import Geometry, ModelTensor
    from grokpack.models.family import Family, Model
    from grokpack.transforms.protocols import LazyArray, Op

    MakeForm = Callable[[TensorSpec, ModelTensor], tuple[TensorSpec, Mapping[str, Op]]]


@dataclass(frozen=True, slots=True)
class Ckpt0Options:
    """Options of writing ckpt-0.

    Attributes:
        tp: Number of ranks on which xAI's code will run; by default the source's scale groups.
    """

    tp: int | None = None


def to_ckpt0(
    source: Checkpoint, tp: int, hosts: int, scales: Scales, *, forward_only: bool
) -> Target:
    """Make the target: one pickle per tensor and host, below `ckpt-0/`.

    Args:
        source: A checkpoint whose head size is known.
        tp: Number of ranks on which xAI's code will run.
        hosts: Number of processes that share the ranks.
        scales: How row-parallel scales are stored.
        forward_only: True to allow more ranks than key/value heads.

    Raises:
        GrokpackError: GP302 or GP303 for a width or hosts that cannot be.
    """
    geometry = source.geometry
    refuse_hosts(geometry, tp, hosts, forward_only=forward_only)
    has_codes = row_parallel_codes(source) and not source.bits
    rows = _ckpt0_rows(geometry, tp, scales, has_codes=has_codes)

    def form(tensor: TensorSpec, entry: ModelTensor) -> tuple[TensorSpec, Mapping[str, Op]]:
        if entry.name in source.bits and tensor.scales:  # xAI's code does not load such groups
            return as_bf16(tensor, tp if entry.rule.cut == "rows" else 1)
        if scales == "bf16-weights" and entry.rule.cut == "rows":
            return as_bf16(tensor, tp)
        return in_release_form(tensor, entry, rows, source.model.family.release_layout)

    target = assemble_target(source, source.model, form, hosts)
    kept = losslessness.judge(source, target.ops)
    notes = (*_notes(source, target.layout, rows, scales), *kept.notes)
    return replace(target, notes=notes, lossless=kept.lossless)


def assemble_target(source: Checkpoint, model: Model, form: MakeForm, hosts: int) -> Target:
    """Make the target from tensors and their ops.

    Args:
        source: The checkpoint to convert.
        model: The model, with the scale groups of the output.
        form: Returns a tensor as the output stores it, with the ops of its arrays.
        hosts: Number of processes that share the files.
    """
    file_groups = []
    arrays: dict[str, ArraySpec] = {}
    made: dict[str, Op] = {}
    flags = pickle.bf16_flags(source.framings.values())
    for entry in model.tensors():
        tensor, tensor_ops = form(source.tensors[entry.name], entry)
        made |= tensor_ops
        arrays |= tensor.arrays()
        literals = _framing(source.framings, tensor) if hosts == 1 else None
        file_groups.append(
            ckpt0_layout.lay_out_tensor(
                f"{ckpt0_format.FOLDER}/", model.geometry, entry, tensor, hosts, literals, flags
            )
        )
    finals = {config_json.FILE: config_json.render(model, source.config)}
    return Target(
        ckpt0_format.NAME, Layout(arrays, tuple(file_groups)), made, finals, source.framings
    )


def refuse_family(family: Family) -> None:
    """Refuse a family for which there is no JAX code.

    Raises:
        GrokpackError: GP306.
    """
    if family.release_layout.format != ckpt0_format.NAME:
        authors = family.publication.organization
        what = f"{authors} published no JAX code for {family.title}: nothing loads a ckpt-0 of it"
        raise GrokpackError("GP306", what, hint="`convert --to hf` and `--to sglang` are loaded")


def refuse_hosts(geometry: Geometry, tp: int, hosts: int, *, forward_only: bool) -> None:
    """Refuse numbers of ranks and processes on which xAI's code cannot run.

    Raises:
        GrokpackError: GP301 to GP303 where it cannot.
    """
    if hosts < 1 or tp % hosts:
        raise GrokpackError(
            "GP303",
            f"{hosts} hosts do not share {tp} ranks evenly",
            hint="each host holds the same number of ranks: --hosts divides --tp",
        )
    if geometry.kv_width % hosts:
        raise GrokpackError(
            "GP303", f"{hosts} hosts do not share {geometry.kv_width} columns of keys evenly"
        )
    heads = geometry.kv_heads or 0
    if tp > heads and not forward_only:
        what = f"xAI's key/value cache fails with {tp} ranks and {heads} key-value heads"
        hint = "`--forward-only` writes it for the forward pass; or use `--to safetensors`"
        raise GrokpackError("GP302", what, hint=hint)


def _ckpt0_rows(geometry: Geometry, tp: int, scales: Scales, *, has_codes: bool) -> int | None:
    """Return the scale rows that xAI's code needs at a width: one per rank or per weight row."""
    groups = geometry.scale_groups
    if scales != "expanded" and not has_codes:
        return tp  # scales of one: as many rows as there are ranks
    if scales == "expanded" or groups is None or tp % groups:
        return None
    return tp


def as_bf16(tensor: TensorSpec, rows: int) -> tuple[TensorSpec, dict[str, LazyArray]]:
    """Dequantize a weight to bf16, with a row of scales of one for each rank."""
    if tensor.scales is None or tensor.values.dtype is DType.BF16:
        return tensor, {name: copies.Copy(name) for name in tensor.arrays()}
    name, shape = scales_name(tensor.name), tensor.values.shape
    values = ArraySpec(shape, DType.BF16)
    scales = ArraySpec((*shape[:-2], rows, shape[-1]), DType.BF16)
    made: dict[str, LazyArray] = {
        tensor.name: dequantize.Dequantize(tensor),
        name: copies.Constant(copies.BF16_ONE, DType.BF16.itemsize),
    }
    return TensorSpec(tensor.name, values, scales), made


def _framing(
    framings: Mapping[str, tuple[bytes, ...]], tensor: TensorSpec
) -> list[tuple[bytes, ...]] | None:
    """Return the tensor's own framing, if it is known and fits these shapes."""
    literals = framings.get(tensor.name)
    if literals and pickle.check_literals(literals, tensor.values, tensor.scales):
        return [literals]
    return None


def _notes(source: Checkpoint, layout: Layout, rows: int | None, scales: Scales) -> tuple[str, ...]:
    if not has_int8_codes(source):
        return (NO_CODES,)
    if scales == "bf16-weights":
        return ()
    growth = layout.nbytes - source.layout.nbytes
    if rows is None and growth > 0:
        return (
            (
                f"xAI's code takes one scale row per rank or per weight row; at this width that is "
                f"one per weight row, {byte_size(growth)} more. "
                "`--scales bf16-weights` is smaller, with one rounding"
            ),
        )
    return ()


def _convert(source: Checkpoint, options: Ckpt0Options) -> Target:
    refuse_family(source.model.family)
    tp = options.tp or source.geometry.scale_groups or 1
    refuse_width(source.geometry, tp, "jax")
    # without a width the source's own groups are kept, whatever may run on them
    return to_ckpt0(source, tp, 1, "auto", forward_only=options.tp is None)


def _reshard(source: Checkpoint, options: ReshardOptions) -> Target:
    refuse_family(source.model.family)
    geometry, tp, hosts = source.geometry, options.tp, options.hosts
    returning = tp == geometry.scale_groups and hosts == 1
    if not returning:
        refuse_width(geometry, tp, "jax")
    forward_only = options.forward_only or returning
    target = to_ckpt0(source, tp, hosts, options.scales, forward_only=forward_only)
    if returning:
        target = replace(target, notes=(*target.notes, *_returned(geometry, tp)))
    return target


def _returned(geometry: Geometry, tp: int) -> tuple[str, ...]:
    """Return a note if nothing can run the model at the width that it was written for."""
    wrong = partition.remainders(geometry, tp, "jax")
    if tp > (geometry.kv_heads or tp):
        wrong.append(f"{geometry.kv_heads} key-value heads for {tp} ranks")
    if not wrong:
        return ()
    return (f"as the source was written; xAI's code does not run it there: {', '.join(wrong)}",)


WRITER = Writer(
    ckpt0_format.NAME,
    "xAI's pickles: what its JAX code loads",
    Ckpt0Options,
    _convert,
    lambda _: ckpt0_format.NAME,
)
RESHARDER = ReshardingWriter(
    ckpt0_format.NAME,
    "what xAI's JAX code loads",
    _reshard,
    lambda tp: f"tp{tp}-{ckpt0_format.NAME}",
)

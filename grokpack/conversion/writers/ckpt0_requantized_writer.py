"""Writer of xAI's ckpt-0 with int8 quantized again, a scale group for each rank.

`reshard --to ckpt-0` is exact at every width, but below that of the release it stores a scale for
each row of a weight: 529 GB at full size. This writer's output is as small as the release, at the
cost of a small error.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from grokpack.conversion.writers.ckpt0_writer import (
    Ckpt0Options,
    as_bf16,
    assemble_target,
    refuse_family,
    refuse_hosts,
)
from grokpack.conversion.writers.scale_groups import collapsed_groups, in_release_form
from grokpack.conversion.writers.writer_row import QuantizingWriter
from grokpack.core.errors import GrokpackError
from grokpack.core.tensors import ArraySpec, DType, TensorSpec, scales_name
from grokpack.formats import ckpt0 as ckpt0_format
from grokpack.models.partition import refuse_width
from grokpack.transforms.copies import Copy
from grokpack.transforms.source_weight import SourceWeight
from grokpack.transforms.two_pass_quantize import WideCodes, WideScales

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.conversion.quantization.policy import Policy
    from grokpack.models.architecture import ModelTensor
    from grokpack.planning.target import Target
    from grokpack.transforms.protocols import Op
    from grokpack.transforms.quantization_scheme import QuantizationScheme

NAME = ckpt0_format.NAME


def to_requantized(source: Checkpoint, policy: Policy, options: Ckpt0Options) -> Target:
    """Make the target: row-parallel weights with a group for each rank, all others unchanged.

    Args:
        source: The checkpoint to quantize.
        policy: The method, and the weights to keep as bfloat16 with scales of one.
        options: Number of ranks on which xAI's code will run; 1 by default.

    Raises:
        GrokpackError: GP301 and GP302 for a width that cannot be, GP309 for other bits than 8.
    """
    refuse_family(source.model.family)
    ranks = options.tp or 1
    refuse_width(source.geometry, ranks)
    refuse_hosts(source.geometry, ranks, 1, forward_only=False)
    forced = policy.forced(group=None, symmetric=True, scales=DType.BF16)
    made: dict[str, int] = {}

    def form(tensor: TensorSpec, entry: ModelTensor) -> tuple[TensorSpec, Mapping[str, Op]]:
        if not entry.rule.quantized:
            return in_release_form(tensor, entry, ranks, source.model.family.release_layout)
        rows = ranks if entry.rule.cut == "rows" else 1
        scheme = forced.scheme(entry)
        if scheme is None:
            return as_bf16(tensor, rows)
        weight = SourceWeight(tensor, collapsed_groups(source.geometry, entry, tensor))
        spec, ops, words = _weight(weight, scheme, rows)
        made[words] = made.get(words, 0) + 1
        return spec, ops

    target = assemble_target(source, source.model.sized(scale_groups=ranks), form, 1)
    notes = tuple(f"{words}: {count} weights" for words, count in made.items())
    return replace(target, notes=(*notes, *target.notes), lossless=False)


def _weight(
    weight: SourceWeight, scheme: QuantizationScheme, rows: int
) -> tuple[TensorSpec, Mapping[str, Op], str]:
    """Return a weight with `rows` scale rows, its ops, and a description of what was done to it."""
    if scheme.bits != DType.I8.itemsize * 8:
        what = "xAI's code takes int8, and bfloat16 with scales of one"
        raise GrokpackError("GP309", what, hint="--bits 8, or --keep what is to be bfloat16")
    if weight.coded and weight.tensor.scales and weight.tensor.scales.shape[-2] == rows:
        kept: dict[str, Op] = {name: Copy(name) for name in weight.tensor.arrays()}
        return weight.tensor, kept, "int8, codes and scales as they are"
    shape = weight.tensor.values.shape
    own = replace(scheme, group=shape[-2] // rows)
    ops: dict[str, Op] = {
        weight.name: WideCodes(weight, own),
        scales_name(weight.name): WideScales(weight, own),
    }
    scales = ArraySpec((*shape[:-2], rows, shape[-1]), DType.BF16)
    words = f"int8 quantized anew, {rows} groups of inputs, {scheme.method}"
    return TensorSpec(weight.name, ArraySpec(shape, DType.I8), scales), ops, words


WRITER = QuantizingWriter(
    NAME,
    "xAI's pickles, int8 in one scale group for each of --tp ranks: its JAX code",
    (8,),
    frozenset(),
    Ckpt0Options,
    to_requantized,
)

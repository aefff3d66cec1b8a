"""Writer of quantized weights as plain arrays: codes and scales under the family's own names.

The layout is that of `reshard` at width 1: arrays have xAI's orientation. numpy and grokpack's
commands read them; engines do not. It is meant for study.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.checkpoint.layouts import tp_safetensors_layout
from grokpack.conversion.quantization.policy import in_words
from grokpack.conversion.writers.quantized_folder import refuse_group
from grokpack.conversion.writers.scale_groups import collapsed_groups
from grokpack.conversion.writers.writer_row import NoOptions, QuantizingWriter
from grokpack.core.errors import GrokpackError
from grokpack.core.tensors import (
    ArraySpec,
    DType,
    Packing,
    TensorSpec,
    codes_name,
    scales_name,
    zeros_name,
)
from grokpack.models import config_json
from grokpack.planning.target import Target
from grokpack.transforms.copies import Copy
from grokpack.transforms.quantized_arrays import (
    QuantizedCodes,
    QuantizedScales,
    QuantizedZeros,
)

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.conversion.quantization.policy import Policy
    from grokpack.transforms.protocols import Op, StreamedArray
    from grokpack.transforms.quantization_scheme import QuantizationScheme
    from grokpack.transforms.source_weight import SourceWeight

NAME = "safetensors"


def to_plain(source: Checkpoint, policy: Policy, _: NoOptions) -> Target:
    """Make the target. Weights that the policy keeps are stored as in the source.

    Raises:
        GrokpackError: GP309 for one scale per output, or groups that do not divide the inputs.
    """
    stored: list[tp_safetensors_layout.StoredTensor] = []
    made: dict[str, Op] = {}
    said: dict[str, int] = {}
    bits = dict(source.bits)
    for entry in source.model.tensors():
        tensor, scheme = source.tensors[entry.name], policy.scheme(entry)
        own: tp_safetensors_layout.StoredTensor = tensor
        if scheme is None:
            made |= {name: Copy(name) for name in tensor.arrays()}
        else:
            refuse_group(entry, tensor, scheme)
            groups = collapsed_groups(source.geometry, entry, tensor)
            own, ops = _weight(policy.weight(tensor, groups), scheme)
            made |= ops
            bits[entry.name] = scheme.bits
            words = f"{entry.rule.role} {in_words(scheme)}"
            said[words] = said.get(words, 0) + 1
        stored.append(own)
    layout = tp_safetensors_layout.lay_out(source.model, stored, 1)
    finals = {
        config_json.FILE: config_json.render(source.model, source.config),
        tp_safetensors_layout.INDEX: tp_safetensors_layout.index(source.geometry, layout, 1, bits),
    }
    notes = tuple(f"{words}: {count} weights" for words, count in said.items())
    return Target(NAME, layout, made, finals, source.framings, notes, lossless=False)


def _weight(
    weight: SourceWeight, scheme: QuantizationScheme
) -> tuple[tp_safetensors_layout.StoredTensor, dict[str, StreamedArray]]:
    """Return a weight with its ops; as int8 if that holds the codes unchanged."""
    if scheme.group is None:
        what = "plain arrays are written in groups of inputs"
        raise GrokpackError("GP309", what, hint="--group 128, or --to compressed-tensors")
    *lead, inputs, outputs = weight.tensor.values.shape
    scales = ArraySpec((*lead, inputs // scheme.group, outputs), scheme.scales)
    ops: dict[str, StreamedArray] = {scales_name(weight.name): QuantizedScales(weight, scheme)}
    if scheme.bits == DType.I8.itemsize * 8 and scheme.symmetric:
        values = ArraySpec(weight.tensor.values.shape, DType.I8)
        codes = QuantizedCodes(weight, scheme, signed=True)
        return TensorSpec(weight.name, values, scales), {weight.name: codes, **ops}
    octets = ArraySpec((*lead, inputs * scheme.bits // 8, outputs), DType.U8)
    ops = {codes_name(weight.name): QuantizedCodes(weight, scheme), **ops}
    if scheme.symmetric:
        return Packing(weight.name, scheme.bits, octets, scales), ops
    ops[zeros_name(weight.name)] = QuantizedZeros(weight, scheme)
    zeros = ArraySpec(scales.shape, DType.U8)
    return Packing(weight.name, scheme.bits, octets, scales, zeros), ops


WRITER = QuantizingWriter(
    NAME,
    "plain arrays in xAI's names: for study",
    (4, 8),
    frozenset({"group", "importance", "scales", "symmetric"}),
    NoOptions,
    to_plain,
)

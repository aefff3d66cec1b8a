"""Forms that weights can have in compressed-tensors: int4 and int8 in groups, and bfloat16.

Weights of a layer that engines need alike get one form, so that every engine takes the folder.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from grokpack.conversion.quantization.bit_allocation import Unit, WeightForm
from grokpack.conversion.writers.gguf_forms import in_bf16
from grokpack.conversion.writers.scale_groups import collapsed_groups
from grokpack.models.architecture import ALIKE
from grokpack.transforms.quantizer import quantize_groups

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.conversion.quantization.policy import Policy
    from grokpack.conversion.quantization.sampled_errors import Trial, WeightSample
    from grokpack.kernels.dispatch import Implementation
    from grokpack.models.architecture import ModelTensor, NetworkPart
    from grokpack.transforms.quantization_scheme import QuantizationScheme
    from grokpack.transforms.source_weight import SourceWeight

_BITS = (4, 8)
_BF16_BYTES = 2


def units(source: Checkpoint, policy: Policy, _options: object) -> list[Unit]:
    """Return the weights whose forms are to be chosen: those that no rule decides."""
    together: dict[tuple[int | None, tuple[NetworkPart, ...]], list[ModelTensor]] = {}
    for entry in source.model.tensors():
        if entry.rule.quantized and policy.rule_of(entry) is None:
            part = entry.rule.part
            alike = next((parts for parts in ALIKE if part in parts), (part,))
            together.setdefault((entry.layer, alike), []).append(entry)
    return [_unit(source, entries, policy) for entries in together.values()]


def _unit(source: Checkpoint, entries: list[ModelTensor], policy: Policy) -> Unit:
    tensors = [source.tensors[entry.name] for entry in entries]
    weights = tuple(
        (entry, policy.weight(tensor, collapsed_groups(source.geometry, entry, tensor)))
        for entry, tensor in zip(entries, tensors, strict=True)
    )
    schemes = [replace(policy.default, bits=bits) for bits in _BITS]
    forms = [_form(scheme, [weight for _, weight in weights]) for scheme in schemes]
    kept = sum(_BF16_BYTES * tensor.values.elements for tensor in tensors)
    return Unit(
        weights,
        (*forms, WeightForm("bf16", kept, in_bf16, None)),
        whole_columns=policy.default.group is None,
    )


def _form(scheme: QuantizationScheme, weights: list[SourceWeight]) -> WeightForm:
    nbytes = 0
    for weight in weights:
        inputs, outputs = weight.shape
        matrices = weight.tensor.values.elements // (inputs * outputs)
        groups = inputs // scheme.inputs_per_group(inputs)
        codes = 4 * -(-inputs // scheme.per_word) * outputs
        zeros = 0 if scheme.symmetric else 4 * -(-outputs // scheme.per_word) * groups
        nbytes += matrices * (codes + scheme.scales.itemsize * groups * outputs + zeros)
    changes = {
        "bits": scheme.bits,
        "group": scheme.group,
        "method": scheme.method,
        "symmetric": scheme.symmetric,
    }
    return WeightForm(f"int{scheme.bits}", nbytes, _in_groups(scheme), changes)


def _in_groups(scheme: QuantizationScheme) -> Trial:
    """Return the trial of a scheme."""

    def trial(sample: WeightSample, implementation: Implementation) -> np.ndarray:
        importance = None if sample.importance is None else sample.importance.of(None)
        inputs, outputs = sample.values.shape
        block = sample.values, sample.scales, inputs // len(sample.scales)
        group = scheme.inputs_per_group(inputs)
        made = quantize_groups(block, (0, outputs), scheme, group, importance, implementation)
        each = len(sample.values) // len(made.scales)
        steps, zeros = (own.repeat(each, axis=0) for own in (made.scales, made.zeros))
        codes = made.words
        if scheme.bits == min(_BITS):
            fields = np.arange(0, 32, 4, dtype=np.uint32)[None, :, None]
            codes = (made.words[:, None, :] >> fields & np.uint32(15)).reshape(sample.values.shape)
        restored: np.ndarray = steps * (codes.astype(np.float32) - zeros.astype(np.float32))
        return restored

    return trial

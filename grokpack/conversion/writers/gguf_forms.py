"""Forms that weights can have in a GGUF: types whose blocks divide their inputs, and bfloat16."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from grokpack.conversion.quantization.bit_allocation import Unit, WeightForm
from grokpack.conversion.writers.scale_groups import collapsed_groups
from grokpack.core.ggml_types import QUANTIZING, GGMLType
from grokpack.core.tensors import DType
from grokpack.formats.gguf import ALIGNMENT, TensorInfo
from grokpack.kernels.block_kernels import PRODUCTS
from grokpack.kernels.float_casts import narrow_bf16, to_f32
from grokpack.transforms.ggml_blocks import BlockRecipe, searches
from grokpack.transforms.source_weight import SourceWeight

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.conversion.quantization.policy import Policy
    from grokpack.conversion.quantization.sampled_errors import Trial, WeightSample
    from grokpack.conversion.writers.gguf_writer import GgufOptions
    from grokpack.kernels.dispatch import Implementation
    from grokpack.models.architecture import ModelTensor


def units(source: Checkpoint, policy: Policy, options: GgufOptions) -> list[Unit]:
    """Return the weights whose types are to be chosen: those that no rule and option decides."""
    return [
        _unit(source, entry, policy)
        for entry in source.model.tensors()
        if (entry.rule.quantized or (entry.rule.by_token and options.embedding is None))
        and policy.rule_of(entry) is None
    ]


def _unit(source: Checkpoint, entry: ModelTensor, policy: Policy) -> Unit:
    tensor = source.tensors[entry.name]
    if entry.rule.by_token:
        weight, shape = SourceWeight(tensor, by_token=True), tensor.values.shape
    else:
        weight = policy.weight(tensor, collapsed_groups(source.geometry, entry, tensor))
        *lead, inputs, outputs = tensor.values.shape
        shape = (*lead, outputs, inputs)
    searched = policy.default.method != "rtn" and not entry.rule.by_token
    kinds = [kind for kind in QUANTIZING.values() if shape[-1] % kind.weights == 0]
    forms = [_form(kind, shape, searched=searched) for kind in [*kinds, GGMLType.BF16]]
    return Unit(((entry, weight),), tuple(forms))


def _form(kind: GGMLType, shape: tuple[int, ...], *, searched: bool) -> WeightForm:
    stored = TensorInfo(kind, shape).stored.nbytes
    nbytes = stored + -stored % ALIGNMENT
    if kind.bits is None:
        return WeightForm(kind.word, nbytes, in_bf16, None, kind.word)
    trial = _in_blocks(kind, searched=searched and searches(kind.word))
    return WeightForm(kind.word, nbytes, trial, {"bits": kind.bits}, kind.word)


def in_bf16(sample: WeightSample, _implementation: Implementation) -> np.ndarray:
    """Round a sample to bfloat16."""
    return to_f32(narrow_bf16(sample.exact()), DType.BF16)


def _in_blocks(kind: GGMLType, *, searched: bool) -> Trial:
    """Return the trial of a type of blocks."""
    form = BlockRecipe(kind.word, searched)

    def trial(sample: WeightSample, implementation: Implementation) -> np.ndarray:
        inputs, outputs = sample.values.shape
        quantizer = form.quantizer(sample.importance, None, implementation)
        blocks, _, _ = quantizer.make(sample.values, sample.scales, 0, outputs)
        restored = np.empty((outputs, inputs), np.float32)
        PRODUCTS[kind.word](blocks, restored)
        return restored.T

    return trial

"""Quantised weights as plain arrays: xAI's names, int8 codes with the scales of their groups.

The layout of `reshard` at width 1: nothing is packed, so that numpy reads it and grokpack's other
commands do, and no engine does. For study.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack import config
from grokpack.errors import GrokpackError
from grokpack.models import grok1
from grokpack.ops import Copy
from grokpack.ops.in_place import CodesInPlace, StepsInPlace
from grokpack.ops.source_weight import SourceWeight
from grokpack.plan import Target
from grokpack.policy import in_words
from grokpack.stores import ranks
from grokpack.targets.groups import collapsed
from grokpack.targets.quantised import refuse_group
from grokpack.tensor import ArraySpec, DType, TensorSpec, scales_name

if TYPE_CHECKING:
    from grokpack.checkpoint import Checkpoint
    from grokpack.ops import Op, StreamedOp
    from grokpack.policy import Policy
    from grokpack.recipe import Recipe

NAME = "safetensors"


def to_plain(source: Checkpoint, policy: Policy) -> Target:
    """The target; weights that are kept stay as the source has them.

    Raises:
        GrokpackError: GP309 for a scale for each output, or groups that do not divide.
    """
    tensors: dict[str, TensorSpec] = {}
    made: dict[str, Op | StreamedOp] = {}
    said: dict[str, int] = {}
    bits = dict(source.bits)
    for entry in grok1.entries(source.geometry.layers):
        tensor, recipe = source.tensors[entry.name], policy.recipe(entry)
        if recipe is None:
            made |= {name: Copy(name) for name in tensor.arrays()}
        else:
            refuse_group(entry, tensor, recipe)
            groups = collapsed(source.geometry, entry, tensor)
            tensor, ops = _weight(SourceWeight(tensor, groups), recipe)
            made |= ops
            bits[entry.name] = recipe.bits
            words = f"{entry.rule.role} {in_words(recipe)}"
            said[words] = said.get(words, 0) + 1
        tensors[entry.name] = tensor
    layout = ranks.lay_out(source.geometry, tensors, 1)
    finals = {
        config.FILE: config.render(source.geometry, source.config),
        ranks.INDEX: ranks.index(source.geometry, layout, 1, bits),
    }
    notes = tuple(f"{words}: {count} weights, a byte for each" for words, count in said.items())
    return Target(NAME, layout, made, finals, source.framings, notes, lossless=False)


def _weight(weight: SourceWeight, recipe: Recipe) -> tuple[TensorSpec, dict[str, Op | StreamedOp]]:
    if recipe.group is None:
        what = "plain arrays are written in groups of inputs"
        raise GrokpackError("GP309", what, hint="--group 128, or --to compressed-tensors")
    if not recipe.symmetric and recipe.bits == DType.I8.itemsize * 8:
        what = "codes of 8 bits less their zero points do not fit int8"
        raise GrokpackError("GP309", what, hint="leave --asymmetric out")
    shape = weight.tensor.values.shape
    *lead, inputs, outputs = shape
    values = ArraySpec(shape, DType.I8)
    scales = ArraySpec((*lead, inputs // recipe.group, outputs), recipe.scales)
    made: dict[str, Op | StreamedOp] = {
        weight.name: CodesInPlace(weight, recipe),
        scales_name(weight.name): StepsInPlace(weight, recipe),
    }
    return TensorSpec(weight.name, values, scales), made

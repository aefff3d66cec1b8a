"""Writer of GPTQ's packing, 4 and 8 bits, symmetric, for vLLM up to 0.24.

Each weight becomes `qweight`, `qzeros`, `scales` and `g_idx`. Where the groups divide those of the
release, its int8 codes are copied with 128 added to each, and its scales are repeated. A
`group_size` of -1 means one scale per output. The format is that of GPTQModel's v1 checkpoints,
which store each zero point less one.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from grokpack.conversion.writers import huggingface_config, quantized_folder
from grokpack.conversion.writers.writer_row import QuantizingWriter
from grokpack.core.errors import GrokpackError
from grokpack.core.tensors import ArraySpec, DType
from grokpack.models import tensor_names
from grokpack.transforms.copies import Constant, GroupIndex
from grokpack.transforms.quantized_arrays import Orientation, QuantizedCodes, QuantizedScales
from grokpack.transforms.repacked import CodeColumns, RepeatedScales
from grokpack.transforms.two_pass_quantize import WideScales, WideWords

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.conversion.quantization.policy import Policy
    from grokpack.conversion.writers.quantized_shards import WeightArrays
    from grokpack.planning.target import Target
    from grokpack.transforms.quantization_scheme import QuantizationScheme
    from grokpack.transforms.source_weight import SourceWeight

NAME = "gptq"
_BITS = 8  # of the release
_ZEROS = {4: 0x77777777, 8: 0x7F7F7F7F}
"""Words of zero points in the middle of the range, each stored less one."""


def to_gptq(
    source: Checkpoint, policy: Policy, options: quantized_folder.QuantizedFolderOptions
) -> Target:
    """Make the target.

    Raises:
        GrokpackError: GP346 for an unknown convention, GP309 for what the packing cannot hold.
    """
    schemes = {scheme for _, scheme in policy.schemes(source.model) if scheme is not None}
    for scheme in schemes:
        _refuse(scheme)
    if len(schemes) > 1:
        what = "a GPTQ folder has one number of bits and one group for all of its weights"
        hint = "`--to compressed-tensors` takes several; --keep leaves weights in bf16 here too"
        raise GrokpackError("GP309", what, hint=hint)
    (scheme,) = schemes or {policy.default}
    config = {
        "quant_method": NAME,
        "checkpoint_format": NAME,
        "bits": scheme.bits,
        "group_size": -1 if scheme.group is None else scheme.group,
        "desc_act": False,
        "sym": True,
        "lm_head": False,
        **_listed(source, policy, options),
        **_kept(source, policy, options),
    }
    return quantized_folder.folder(NAME, source, policy, options, unit, config)


def _refuse(scheme: QuantizationScheme) -> None:
    if not scheme.symmetric:
        what = "engines read GPTQ's packing with the zero point in the middle only"
        raise GrokpackError("GP309", what, hint="leave --asymmetric out")


def _listed(
    source: Checkpoint, policy: Policy, options: quantized_folder.QuantizedFolderOptions
) -> dict[str, Any]:
    """Return vLLM's modules where their names are not the files', by which it would look for them.

    It fills those that it does not find with nothing, and says nothing.
    """
    own = huggingface_config.convention(source.model.family, options.names)
    if not own.renamed:
        return {}
    packed = [entry.rule.part for entry, scheme in policy.schemes(source.model) if scheme]
    return {"modules_in_block_to_quantize": [tensor_names.vllm_modules(own, packed)]}


def _kept(
    source: Checkpoint, policy: Policy, options: quantized_folder.QuantizedFolderOptions
) -> dict[str, Any]:
    """Return the modules that are not quantized, in the form that GPTQModel and vLLM expect."""
    own = huggingface_config.convention(source.model.family, options.names)
    kept = [entry for entry, scheme in policy.schemes(source.model) if scheme is None]
    patterns = [*quantized_folder.module_patterns(own, kept, source.geometry.layers)]
    experts = Counter(entry.layer or 0 for entry in kept if entry.rule.stacked)
    matrices = sum(rule.stacked for rule in source.model.family.layer_rules)
    whole = sorted(layer for layer, count in experts.items() if count == matrices)
    if own.fused and whole:
        everywhere = len(whole) == source.geometry.layers
        patterns.append(tensor_names.experts_pattern(own, None if everywhere else whole))
    table: dict[str, Any] = {"-:" + pattern.removeprefix("re:"): {} for pattern in patterns}
    return {"dynamic": table} if table else {}


def unit(
    base: str, weight: SourceWeight, expert: int | None, scheme: QuantizationScheme
) -> WeightArrays:
    """Make the arrays of one weight."""
    inputs, outputs = weight.shape
    group = scheme.inputs_per_group(inputs)
    groups, words = inputs // group, outputs // scheme.per_word
    if outputs % scheme.per_word:
        what = f"{outputs} outputs do not fill words of {scheme.per_word} zero points"
        raise GrokpackError("GP309", what, hint=f"--keep '{weight.name}'")
    codes: Any
    if repacks(weight, scheme):
        codes = CodeColumns(weight.tensor, expert)
        scales: Any = RepeatedScales(weight, expert, group, scheme.scales)
    elif scheme.group is None:
        codes, scales = WideWords(weight, scheme, expert), WideScales(weight, scheme, expert)
    else:
        columns = weight, scheme, expert, Orientation.COLUMNS
        codes, scales = QuantizedCodes(*columns), QuantizedScales(*columns)
    return {
        f"{base}.qweight": (ArraySpec((inputs // scheme.per_word, outputs), DType.I32), codes),
        f"{base}.scales": (ArraySpec((groups, outputs), scheme.scales), scales),
        f"{base}.qzeros": (
            ArraySpec((groups, words), DType.I32),
            Constant(_ZEROS[scheme.bits], DType.I32.itemsize),
        ),
        f"{base}.g_idx": (ArraySpec((inputs,), DType.I32), GroupIndex(group)),
    }


def repacks(weight: SourceWeight, scheme: QuantizationScheme) -> bool:
    """Return whether the source's codes and scales can be repacked without quantizing again.

    They can if the codes are int8, each group lies within one of the source's groups, and the dtype
    of the scales holds the source's exactly: bfloat16 as in the release, or float32.
    """
    scales = weight.tensor.scales
    if not weight.coded or scales is None or scheme.bits != _BITS:
        return False
    exact = scheme.scales in (scales.dtype, DType.F32)
    return exact and weight.per_scale % scheme.inputs_per_group(weight.shape[0]) == 0


WRITER = QuantizingWriter(
    NAME,
    "GPTQ packing: vLLM up to 0.24; 8 bits are the released int8 as it is",
    (4, 8),
    frozenset({"group", "importance", "scales"}),
    quantized_folder.QuantizedFolderOptions,
    to_gptq,
)

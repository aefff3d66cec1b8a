"""Writer of compressed-tensors, `pack-quantized`, for transformers and vLLM up to 0.24.

Each weight becomes `weight_packed`, `weight_scale`, `weight_shape` and, with zero points,
`weight_zero_point`. The format follows compressed_tensors/compressors/pack_quantized, 0.20.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from grokpack.conversion.writers import (
    compressed_tensors_forms,
    huggingface_config,
    quantized_folder,
)
from grokpack.conversion.writers.writer_row import QuantizingWriter
from grokpack.core.tensors import ArraySpec, DType
from grokpack.models import tensor_names
from grokpack.transforms.copies import IntegerArray
from grokpack.transforms.quantized_arrays import (
    Orientation,
    QuantizedCodes,
    QuantizedScales,
    QuantizedZeros,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.conversion.quantization.policy import Policy
    from grokpack.conversion.writers.quantized_shards import WeightArrays
    from grokpack.models.architecture import ModelTensor
    from grokpack.models.tensor_names import Convention
    from grokpack.planning.target import Target
    from grokpack.transforms.quantization_scheme import QuantizationScheme
    from grokpack.transforms.source_weight import SourceWeight

NAME = "compressed-tensors"


def to_compressed_tensors(
    source: Checkpoint, policy: Policy, options: quantized_folder.QuantizedFolderOptions
) -> Target:
    """Make the target.

    Raises:
        GrokpackError: GP346 for an unknown convention, GP309 for a group that does not divide.
    """
    convention = huggingface_config.convention(source.model.family, options.names)
    config = quantization_config(source, convention, policy)
    return quantized_folder.folder(NAME, source, policy, options, unit, config)


def unit(
    base: str, weight: SourceWeight, expert: int | None, scheme: QuantizationScheme
) -> WeightArrays:
    """Make the arrays of one weight.

    Args:
        base: Name of the weight's module.
        weight: The source's weight, `[..., in, out]`.
        expert: Index in a stack of experts; None where there is no stack.
        scheme: The quantization scheme.
    """
    rows = weight, scheme, expert, Orientation.ROWS
    inputs, outputs = weight.shape
    words, groups = -(-inputs // scheme.per_word), inputs // scheme.inputs_per_group(inputs)
    packed = ArraySpec((outputs, words), DType.I32)
    scales = ArraySpec((outputs, groups), scheme.scales)
    made: dict[str, Any] = {
        f"{base}.weight_packed": (packed, QuantizedCodes(*rows)),
        f"{base}.weight_scale": (scales, QuantizedScales(*rows)),
    }
    if not scheme.symmetric:
        zeros = ArraySpec((-(-outputs // scheme.per_word), groups), DType.I32)
        made[f"{base}.weight_zero_point"] = (zeros, QuantizedZeros(*rows))
    made[f"{base}.weight_shape"] = (ArraySpec((2,), DType.I64), IntegerArray((outputs, inputs)))
    return made


def quantization_config(
    source: Checkpoint,
    convention: Convention,
    policy: Policy,
    form: str = "pack-quantized",
    settings: Mapping[str, Any] = MappingProxyType({}),
    activations: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Make `quantization_config` of config.json: a group per scheme, and the modules to ignore.

    Args:
        source: The checkpoint to quantize.
        convention: Names of the tensors.
        policy: Which weights to quantize, and how.
        form: compressed-tensors' name of the format.
        settings: Settings of the weights that follow from the format.
        activations: Settings of activations; None where they are not quantized.
    """
    chosen = policy.schemes(source.model)
    used = {scheme for _, scheme in chosen if scheme is not None}
    ordered = sorted(used, key=lambda scheme: (scheme != policy.default, str(scheme.describe())))
    groups = {
        f"group_{number}": {
            "targets": _targets(scheme, chosen, convention, everything=number == 0),
            "weights": {**_weights(scheme), **settings},
            "input_activations": activations,
            "output_activations": None,
        }
        for number, scheme in enumerate(ordered)
    }
    kept = [entry for entry, scheme in chosen if scheme is None]
    return {
        "quant_method": NAME,
        "format": form,
        "quantization_status": "compressed",
        "global_compression_ratio": None,
        "kv_cache_scheme": None,
        "config_groups": groups,
        "ignore": ["lm_head", tensor_names.pattern_of(convention, "router", None),
                   *quantized_folder.module_patterns(convention, kept, source.geometry.layers)],
    }  # fmt: skip


def _targets(
    scheme: QuantizationScheme,
    chosen: list[tuple[ModelTensor, QuantizationScheme | None]],
    convention: Convention,
    *,
    everything: bool,
) -> list[str]:
    """Return a group's modules. The first has every `Linear` that no other group names."""
    if everything:
        return ["Linear"]
    own = [entry for entry, other in chosen if other == scheme]
    layers = 1 + max(entry.layer or 0 for entry, _ in chosen)
    return list(quantized_folder.module_patterns(convention, own, layers))


def _weights(scheme: QuantizationScheme) -> dict[str, Any]:
    """Return the settings of a group's weights."""
    return {
        "num_bits": scheme.bits,
        "type": "int",
        "symmetric": scheme.symmetric,
        "strategy": "channel" if scheme.group is None else "group",
        "group_size": -1 if scheme.group is None else scheme.group,
        "dynamic": False,
        "actorder": None,
        "observer": "minmax",
    }


WRITER = QuantizingWriter(
    NAME,
    "pack-quantized: transformers, vLLM up to 0.24",
    (4, 8),
    frozenset({"group", "importance", "scales", "symmetric"}),
    quantized_folder.QuantizedFolderOptions,
    to_compressed_tensors,
    units=compressed_tensors_forms.units,
)

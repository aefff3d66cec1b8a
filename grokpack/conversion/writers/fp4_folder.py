"""Folders of four-bit floats: `mxfp4-pack-quantized` and `nvfp4-pack-quantized`.

Each weight becomes `weight_packed` and `weight_scale`, in NVFP4 also `weight_global_scale`. The
formats follow compressed_tensors/compressors/nvfp4 and mxfp4, 0.20; scales that are not searched
are those of its `calculate_qparams`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from grokpack.conversion.writers import compressed_tensors_writer, huggingface_config
from grokpack.conversion.writers.quantized_folder import QuantizedFolderOptions, folder
from grokpack.conversion.writers.scale_groups import collapsed_groups
from grokpack.core.errors import GrokpackError
from grokpack.core.tensors import ArraySpec, DType
from grokpack.models.architecture import FUSED
from grokpack.transforms.fp4_arrays import Fp4Codes, Fp4Scales, GlobalScale, WeightMatrix
from grokpack.transforms.source_weight import SourceWeight

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.conversion.quantization.policy import Policy
    from grokpack.conversion.writers.quantized_shards import WeightArrays
    from grokpack.models.architecture import NetworkPart
    from grokpack.planning.target import Target
    from grokpack.transforms.quantization_scheme import QuantizationScheme

_BITS = 4
_FUSED: dict[NetworkPart, tuple[NetworkPart, ...]] = {
    part: parts for parts in FUSED.values() for part in parts
}
"""By each matrix, those that it shares a global scale with."""


@dataclass(frozen=True, slots=True)
class Fp4Form:
    """One of the two formats.

    Attributes:
        name: As `--to` has it.
        block: Inputs that share a scale.
        scales: Dtype of the scales.
        fuses: True if matrices that engines fuse share a global scale.
        settings: What `quantization_config` has of the weights beside what both formats have.
    """

    name: Literal["mxfp4", "nvfp4"]
    block: int
    scales: DType
    fuses: bool
    settings: Mapping[str, Any]


def to_folder(
    form: Fp4Form, source: Checkpoint, policy: Policy, options: QuantizedFolderOptions
) -> Target:
    """Make the target.

    Raises:
        GrokpackError: GP346 for an unknown convention, GP309 for weights of other than four bits,
            or whose inputs the blocks do not divide.
    """
    own = policy.forced(group=form.block, scales=form.scales, symmetric=True, numbers=form.name)
    _refuse_bits(form, source, own)
    fused = _fused(source, own) if form.fuses else {}

    def unit(
        base: str, weight: SourceWeight, expert: int | None, scheme: QuantizationScheme
    ) -> WeightArrays:
        sharing = fused.get(weight.name, (weight,)) if form.fuses else ()
        together = tuple(WeightMatrix(one, expert) for one in sharing)
        return _unit(base, WeightMatrix(weight, expert), scheme, together)

    convention = huggingface_config.convention(source.model.family, options.names)
    config = compressed_tensors_writer.quantization_config(
        source, convention, own, f"{form.name}-pack-quantized", form.settings
    )
    return folder(form.name, source, own, options, unit, config)


def _refuse_bits(form: Fp4Form, source: Checkpoint, policy: Policy) -> None:
    for entry, scheme in policy.schemes(source.model):
        if scheme is not None and scheme.bits != _BITS:
            what = f"{form.name} has {_BITS} bits, and the policy gives {entry.name} {scheme.bits}"
            raise GrokpackError("GP309", what, hint="keep the weight: bits = 16")


def _fused(source: Checkpoint, policy: Policy) -> dict[str, tuple[SourceWeight, ...]]:
    """Return the weights that share a global scale with each that does."""
    together = defaultdict(list)
    for entry, scheme in policy.schemes(source.model):
        if scheme is not None and entry.rule.part in _FUSED:
            together[entry.layer, _FUSED[entry.rule.part]].append(entry)
    found = {}
    for entries in together.values():
        weights = tuple(
            SourceWeight(tensor, collapsed_groups(source.geometry, entry, tensor))
            for entry in entries
            for tensor in [source.tensors[entry.name]]
        )
        found.update(dict.fromkeys((entry.name for entry in entries), weights))
    return found


def _unit(
    base: str, matrix: WeightMatrix, scheme: QuantizationScheme, fused: tuple[WeightMatrix, ...]
) -> WeightArrays:
    """Make the arrays of one weight."""
    inputs, outputs = matrix.weight.shape
    made = matrix, scheme.method != "rtn", fused
    codes = ArraySpec((outputs, inputs // 2), DType.U8)
    scales = ArraySpec((outputs, inputs // scheme.inputs_per_group(inputs)), scheme.scales)
    unit: dict[str, Any] = {
        f"{base}.weight_packed": (codes, Fp4Codes(*made)),
        f"{base}.weight_scale": (scales, Fp4Scales(*made)),
    }
    if fused:
        spec = ArraySpec((1,), DType.F32)
        unit[f"{base}.weight_global_scale"] = (spec, GlobalScale(fused))
    return unit

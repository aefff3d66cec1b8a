"""Writer of SGLang's `w8a8_int8`: int8 weights with a float32 scale for each output.

In the release, query, key, value, gate and up projections have exactly this form. Down projections
have eight groups of inputs. Cut for eight ranks, each rank's slice has one group, so that they stay
exact as well. The attention's output projection, which every rank loads whole, is requantized,
and so are the down projections of a folder that is not cut. Floating-point weights can be cut for
any width: a down projection of an expert gets a scale for each output and rank. The format follows
SGLang's layers/quantization/w8a8_int8.py, and the share of each rank models/grok.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from grokpack.conversion.writers import huggingface_config, quantized_folder, sglang_writer
from grokpack.conversion.writers.huggingface_folder import SHARD_BYTES
from grokpack.conversion.writers.scale_groups import has_int8_codes
from grokpack.conversion.writers.writer_row import QuantizingWriter
from grokpack.core.errors import GrokpackError
from grokpack.core.tensors import ArraySpec, DType
from grokpack.models import tensor_names
from grokpack.models.partition import refuse_width
from grokpack.transforms.quantized_arrays import Orientation, QuantizedCodes, QuantizedScales
from grokpack.transforms.repacked import CodeRows, OutputScales

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.conversion.quantization.policy import Policy
    from grokpack.conversion.writers.quantized_shards import WeightArrays
    from grokpack.planning.target import Target
    from grokpack.transforms.quantization_scheme import QuantizationScheme
    from grokpack.transforms.source_weight import SourceWeight

NAME = "w8a8-int8"
_INPUTS = -1  # axis of a matrix `[out, in]`


@dataclass(frozen=True, slots=True)
class W8A8Options:
    """Options of writing w8a8_int8.

    Attributes:
        tp: Number of ranks, by default the source's scale groups, or as many as the release is cut
            for; 1 for a folder that is not cut.
        shard_bytes: Maximum size of a file.
        tokenizer: File or folder of the tokenizer; None to look beside the checkpoint.
    """

    tp: int | None = None
    shard_bytes: int = SHARD_BYTES
    tokenizer: str | None = None


def to_w8a8(source: Checkpoint, policy: Policy, options: W8A8Options) -> Target:
    """Make the target: rank files for `tp` ranks, or one folder that is not cut.

    Args:
        source: The checkpoint to quantize.
        policy: The weights that stay bfloat16, and the method for requantized ones.
        options: Ranks, sizes, tokenizer.

    Raises:
        GrokpackError: GP309 or GP301 for a width that does not fit, GP309 for weights to be kept.
    """
    _refuse_kept(source, policy)
    ranks = _ranks(source, options.tp)
    names = huggingface_config.convention(source.model.family, sglang_writer.NAME)

    def unit(
        base: str, weight: SourceWeight, expert: int | None, scheme: QuantizationScheme
    ) -> WeightArrays:
        by_inputs = tensor_names.rank_axis(names, f"{base}.weight") == _INPUTS
        return _unit(base, weight, expert, scheme, ranks if by_inputs else 1)

    config = {
        "quant_method": "w8a8_int8",
        "ignore": ["lm_head", tensor_names.pattern_of(names, "router", None)],
    }
    own = quantized_folder.QuantizedFolderOptions(
        names.name, options.shard_bytes, options.tokenizer
    )
    forced = policy.forced(group=None, scales=DType.F32, symmetric=True)
    target = quantized_folder.folder(
        NAME, source, forced, own, unit, config, {"load_presharded_moe": ranks > 1}
    )
    if ranks == 1:
        return target
    return sglang_writer.cut_for_ranks(target, names, ranks, options.shard_bytes)


def _refuse_kept(source: Checkpoint, policy: Policy) -> None:
    """Refuse weights that stay as they are: SGLang would take their bytes for int8 codes.

    Raises:
        GrokpackError: GP309.
    """
    kept = next((entry for entry, scheme in policy.schemes(source.model) if scheme is None), None)
    if kept is not None:
        what = f"SGLang loads every matrix of {NAME} as int8, so that none can be kept"
        hint = "--to compressed-tensors has a list of what is kept"
        raise GrokpackError("GP309", what, None, (("kept", kept.name),), hint)


def _ranks(source: Checkpoint, given: int | None) -> int:
    """Return the number of ranks, by default that of the source's scale groups or of the release.

    Raises:
        GrokpackError: GP309 where scale groups do not fit the ranks, GP301 for a width that the
            model cannot be cut into.
    """
    groups = source.geometry.scale_groups or source.model.family.release_layout.ranks
    ranks = groups if given is None else given
    if not has_int8_codes(source):
        refuse_width(source.geometry, ranks)
    elif ranks not in (1, groups):
        what = f"down projections have {groups} groups of inputs, which {ranks} ranks do not share"
        hint = f"--tp {groups} keeps them exact; --tp 1 quantizes them anew and loads at any width"
        raise GrokpackError("GP309", what, hint=hint)
    return ranks


def _unit(
    base: str, weight: SourceWeight, expert: int | None, scheme: QuantizationScheme, groups: int
) -> WeightArrays:
    """Make codes and scales of one weight, exactly if the source has as many groups of inputs."""
    inputs, outputs = weight.shape
    codes: Any
    scales: Any
    if weight.coded and weight.scale_rows == groups:
        codes, scales = CodeRows(weight.tensor, expert), OutputScales(weight, expert)
    else:
        own = scheme if groups == 1 else replace(scheme, group=inputs // groups)
        rows = weight, own, expert, Orientation.ROWS
        codes, scales = QuantizedCodes(*rows, signed=True), QuantizedScales(*rows)
    return {
        f"{base}.weight": (ArraySpec((outputs, inputs), DType.I8), codes),
        f"{base}.weight_scale": (ArraySpec((outputs, groups), DType.F32), scales),
    }


WRITER = QuantizingWriter(
    NAME,
    "int8 with a scale for each output: SGLang",
    (8,),
    frozenset({"importance"}),
    W8A8Options,
    to_w8a8,
)

"""Writer of SGLang's `w8a8_int8`: int8 weights with a float32 scale for each output.

In the release, query, key, value, gate and up projections have exactly this form. Down projections
have eight groups of inputs. Cut for eight ranks, each rank's slice has one group, so that they stay
exact as well. The attention's output projection, which every rank loads whole, is quantized anew,
and so are the down projections of a folder that is not cut. The format follows SGLang's
layers/quantization/w8a8_int8.py, and the share of each rank models/grok.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from grokpack.conversion.writers import huggingface_config, quantized_folder, sglang_writer
from grokpack.conversion.writers.huggingface_folder import INDEX, SHARD_BYTES
from grokpack.conversion.writers.writer import QuantizingWriter
from grokpack.core.errors import GrokpackError
from grokpack.core.tensors import ArraySpec, DType
from grokpack.models import tensor_names
from grokpack.transforms.quantized_arrays import Orientation, QuantizedCodes, QuantizedScales
from grokpack.transforms.repacked import CodeRows, OutputScales

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.conversion.quantization.policy import Policy
    from grokpack.conversion.writers.quantized_shards import Unit
    from grokpack.planning.target import Target
    from grokpack.transforms.quantization_scheme import QuantizationScheme
    from grokpack.transforms.source_weight import SourceWeight

NAME = "w8a8-int8"


@dataclass(frozen=True, slots=True)
class W8A8Options:
    """Options of writing w8a8_int8.

    Attributes:
        tp: Number of ranks, by default the source's scale groups; 1 for a folder that is not cut.
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
        policy: The weights that stay bfloat16, and the method for those quantized anew.
        options: Ranks, sizes, tokenizer.

    Raises:
        GrokpackError: GP309 for a width at which the scale groups do not fit the ranks.
    """
    groups = source.geometry.scale_groups or 1
    ranks = groups if options.tp is None else options.tp
    if ranks not in (1, groups):
        what = f"down projections have {groups} groups of inputs, which {ranks} ranks do not share"
        hint = f"--tp {groups} keeps them exact; --tp 1 quantizes them anew and loads at any width"
        raise GrokpackError("GP309", what, hint=hint)

    def unit(
        base: str, weight: SourceWeight, expert: int | None, scheme: QuantizationScheme
    ) -> Unit:
        return _unit(base, weight, expert, scheme, ranks)

    names = huggingface_config.convention(source.model.family, sglang_writer.NAME)
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
    arrays = target.layout.arrays
    axes = {name: tensor_names.rank_axis(names, name.removesuffix("_scale")) for name in arrays}
    layout = sglang_writer.presharded(arrays, axes, ranks, options.shard_bytes)
    finals = {name: data for name, data in target.finals.items() if name != INDEX}
    return replace(target, layout=layout, finals=finals)


def _unit(
    base: str, weight: SourceWeight, expert: int | None, scheme: QuantizationScheme, ranks: int
) -> Unit:
    """Make codes and scales of one weight, exactly if the source's groups allow it."""
    inputs, outputs = weight.shape
    codes: Any
    scales: Any
    groups = weight.scale_rows if weight.coded else 0
    if groups == 1 or (groups == ranks and expert is not None):
        codes, scales = CodeRows(weight.tensor, expert), OutputScales(weight, expert)
    else:
        rows, groups = (weight, scheme, expert, Orientation.ROWS), 1
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

"""Writer of FP8: codes in E4M3, with float32 scales of blocks or outputs.

Blocks of 128 x 128 have DeepSeek's form: `quant_method` is `fp8`, and each weight has a
`weight_scale_inv`, by which codes are multiplied (SGLang's layers/quantization/fp8.py). A scale for
each output has the form of compressed-tensors, `float-quantized` (compressors/naive_quantized).
Presharded, a down projection of an expert has a scale for each output and rank.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from grokpack.conversion.writers import (
    compressed_tensors_writer,
    huggingface_config,
    quantized_folder,
    sglang_writer,
)
from grokpack.conversion.writers.engine_arrays import engine_tensors
from grokpack.conversion.writers.huggingface_folder import SHARD_BYTES
from grokpack.conversion.writers.writer_row import QuantizingWriter
from grokpack.core.errors import GrokpackError
from grokpack.core.tensors import ArraySpec, DType
from grokpack.models import tensor_names
from grokpack.models.partition import refuse_width
from grokpack.transforms.fp8_arrays import Fp8Scales, Fp8Weight

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.conversion.quantization.policy import Policy
    from grokpack.conversion.writers.quantized_shards import WeightArrays
    from grokpack.models.architecture import ModelTensor, NetworkPart
    from grokpack.models.tensor_names import Convention
    from grokpack.planning.target import Target
    from grokpack.transforms.quantization_scheme import QuantizationScheme
    from grokpack.transforms.source_weight import SourceWeight

NAME = "fp8"
BLOCK = 128
_INPUTS = -1  # axis of a matrix `[out, in]`
_WEIGHT = ".weight"
_ACTIVATIONS = {
    "num_bits": 8,
    "type": "float",
    "symmetric": True,
    "strategy": "token",
    "group_size": None,
    "dynamic": True,
    "actorder": None,
    "observer": None,
}
"""Activations beside weights in FP8: in FP8 too, with a scale for each token."""
_KEPT_TOGETHER: dict[tuple[NetworkPart, ...], tuple[str, ...]] = {
    ("query", "key", "value"): ("attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.qkv_proj"),
    ("attention_output",): ("attn.o_proj",),
    ("mlp_gate", "mlp_up"): ("gate_proj", "up_proj", "gate_up_proj"),
    ("mlp_down",): ("down_proj",),
}
"""Parts that SGLang fuses, and what it calls their modules: alike in all layers (models/grok.py).

Its experts have no name, so that they cannot be kept.
"""


@dataclass(frozen=True, slots=True)
class Fp8Options:
    """Options of writing FP8.

    Attributes:
        names: The convention of the tensors' names; by default SGLang's.
        tp: Number of ranks of presharded files; None for one folder of whole arrays.
        shard_bytes: Maximum size of a file.
        tokenizer: File or folder of the tokenizer; None to look beside the checkpoint.
    """

    names: str | None = None
    tp: int | None = None
    shard_bytes: int = SHARD_BYTES
    tokenizer: str | None = None


def to_fp8(source: Checkpoint, policy: Policy, options: Fp8Options) -> Target:
    """Make the target: one folder, or files for each of `tp` ranks.

    Raises:
        GrokpackError: GP304 for groups, methods or names that do not go with it, GP309 for kept
            weights that SGLang would read as codes, GP301 for a width that the model or its blocks
            cannot be cut into.
    """
    policy = _fixed(source, policy)
    ranks = options.tp or 1
    names = huggingface_config.convention(source.model.family, options.names or sglang_writer.NAME)
    if names.name == sglang_writer.NAME:
        _refuse_kept(source, policy)
    if options.tp is not None:
        _refuse_ranks(source, policy, names, ranks)

    def unit(
        base: str, weight: SourceWeight, expert: int | None, scheme: QuantizationScheme
    ) -> WeightArrays:
        by_inputs = tensor_names.rank_axis(names, f"{base}{_WEIGHT}") == _INPUTS
        return _unit(base, weight, expert, scheme, ranks if by_inputs else 1)

    own = quantized_folder.QuantizedFolderOptions(
        names.name, options.shard_bytes, options.tokenizer
    )
    whole = {"load_presharded_moe": ranks > 1}
    config = _config(source, names, policy)
    target = quantized_folder.folder(NAME, source, policy, own, unit, config, whole)
    if ranks == 1:
        return target
    return sglang_writer.cut_for_ranks(target, names, ranks, options.shard_bytes)


def _fixed(source: Checkpoint, policy: Policy) -> Policy:
    """Return the policy with what the format fixes.

    Raises:
        GrokpackError: GP304 for groups that are neither blocks nor outputs, or a method that only
            integers have; GP309 for weights that would have different forms.
    """
    group = policy.default.group
    if group not in (None, BLOCK):
        raise GrokpackError("GP304", f"--to {NAME} has --group {BLOCK} or channel, not {group}")
    chosen = [scheme for _, scheme in policy.schemes(source.model) if scheme is not None]
    if any(scheme.method == "lsq" for scheme in chosen):
        raise GrokpackError("GP304", f"--to {NAME} has --method rtn or mse, not lsq")
    if any((scheme.bits, scheme.group, scheme.symmetric) != (8, group, True) for scheme in chosen):
        what = f"config.json has one form for all weights in {NAME}"
        hint = "a policy can choose the method, and keep weights: `bits = 16`, or --keep"
        raise GrokpackError("GP309", what, hint=hint)
    outputs = 1 if group is None else BLOCK
    return policy.forced(scales=DType.F32, numbers=NAME, outputs=outputs)


def _refuse_ranks(source: Checkpoint, policy: Policy, names: Convention, ranks: int) -> None:
    """Refuse files that SGLang does not read, and ranks that would cut blocks.

    Raises:
        GrokpackError: GP304 for other names than SGLang's, GP301 for a width that does not fit.
    """
    if names.name != sglang_writer.NAME:
        what = f"files of ranks are SGLang's, and have its names, not those of {names.name}"
        raise GrokpackError("GP304", what, hint="leave out --names, or --tp")
    refuse_width(source.geometry, ranks)
    for entry, scheme in policy.schemes(source.model):
        length = _slice_length(source, entry, ranks)
        if ranks > 1 and scheme is not None and scheme.outputs > 1 and length % BLOCK:
            what = f"a rank's {length} of {entry.name} are no whole blocks of {BLOCK}"
            hint = "--group channel, fewer ranks, or one folder without --tp"
            raise GrokpackError("GP301", what, None, (("ranks", str(ranks)),), hint)


def _slice_length(source: Checkpoint, entry: ModelTensor, ranks: int) -> int:
    """Return the length of a rank's slice along the axis that ranks cut; heads are never cut."""
    inputs, outputs = source.tensors[entry.name].values.shape[-2:]
    if entry.rule.cut == "rows":
        return inputs // ranks
    heads = source.geometry.kv_heads if entry.rule.part in ("key", "value") else None
    return outputs // min(ranks, heads or ranks)


def _unit(
    base: str, weight: SourceWeight, expert: int | None, scheme: QuantizationScheme, parts: int
) -> WeightArrays:
    """Make codes and scales of one weight, whose inputs are cut in so many parts."""
    inputs, outputs = weight.shape
    if scheme.group is None and parts > 1:
        scheme = replace(scheme, group=inputs // parts)
    name = "weight_scale" if scheme.outputs == 1 else "weight_scale_inv"
    blocks = -(-outputs // scheme.outputs), -(-inputs // scheme.inputs_per_group(inputs))
    made: dict[str, Any] = {
        f"{base}{_WEIGHT}": (
            ArraySpec((outputs, inputs), DType.F8_E4M3),
            Fp8Weight(weight, scheme, expert),
        ),
        f"{base}.{name}": (ArraySpec(blocks, DType.F32), Fp8Scales(weight, scheme, expert)),
    }
    return made


def _config(source: Checkpoint, names: Convention, policy: Policy) -> dict[str, Any]:
    """Make `quantization_config` of config.json."""
    called = list(_called(source, policy)) if names.name == sglang_writer.NAME else []
    if policy.default.group is None:
        config = compressed_tensors_writer.quantization_config(
            source, names, policy, "float-quantized", {"type": "float"}, _ACTIVATIONS
        )
        config["ignore"] += [f"re:{re.escape(name)}$" for name in called]
        return config
    return {
        "quant_method": NAME,
        "fmt": "e4m3",
        "activation_scheme": "dynamic",
        "weight_block_size": [BLOCK, BLOCK],
        "modules_to_not_convert": ["lm_head", *_kept_modules(source, names, policy), *called],
    }


def _kept_modules(source: Checkpoint, names: Convention, policy: Policy) -> Iterator[str]:
    """Yield the modules whose weights are not quantized: routers, and what the policy keeps."""
    for own in engine_tensors(source, names):
        rule = own.entry.rule
        if rule.matrix and own.entry.layer is not None and policy.scheme(own.entry) is None:
            yield own.name.removesuffix(_WEIGHT)


def _called(source: Checkpoint, policy: Policy) -> Iterator[str]:
    """Yield SGLang's own names of the modules that are kept."""
    kept = {entry.rule.part for entry, scheme in policy.schemes(source.model) if scheme is None}
    for parts, called in _KEPT_TOGETHER.items():
        if kept.issuperset(parts):
            yield from called


def _refuse_kept(source: Checkpoint, policy: Policy) -> None:
    """Refuse to keep weights that SGLang has no setting for, and would read as codes.

    Raises:
        GrokpackError: GP309.
    """
    kept: dict[NetworkPart, ModelTensor] = {}
    quantized: set[NetworkPart] = set()
    for entry, scheme in policy.schemes(source.model):
        if scheme is None:
            kept.setdefault(entry.rule.part, entry)
        else:
            quantized.add(entry.rule.part)
    whole = (parts for parts in _KEPT_TOGETHER if not quantized.intersection(parts))
    for part in kept.keys() - {part for parts in whole for part in parts}:
        what = "SGLang keeps attention, or the MLP, in all layers or in none, and experts never"
        hint = "--keep attention; or --names hpcai, for another engine"
        raise GrokpackError("GP309", what, None, (("kept", kept[part].name),), hint)


def _suffix(_: int, options: Fp8Options) -> str:
    return NAME if options.tp is None else f"{NAME}-tp{options.tp}"


WRITER = QuantizingWriter(
    NAME,
    "E4M3 in blocks, or with a scale for each output: SGLang",
    (8,),
    frozenset({"group"}),
    Fp8Options,
    to_fp8,
    _suffix,
)

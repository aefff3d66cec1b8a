"""Writer of GGUF in blocks of 2 to 8 bits, quantized as in ggml or with searched scales."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from grokpack.conversion.writers import gguf_forms, gguf_writer
from grokpack.conversion.writers.exactness_checks import exact_in_q8
from grokpack.conversion.writers.gguf_mixes import mixed_type
from grokpack.conversion.writers.scale_groups import collapsed_groups
from grokpack.conversion.writers.writer_row import QuantizingWriter
from grokpack.core.counts import counted
from grokpack.core.errors import GrokpackError
from grokpack.core.ggml_types import MIXES, QUANTIZING, GGMLType, Mix, base_type, default_type
from grokpack.core.tensors import DType
from grokpack.formats.gguf import TensorInfo
from grokpack.kernels.transposed_weights import Q8_BLOCK
from grokpack.transforms.dequantize import rows_per_group
from grokpack.transforms.ggml_blocks import PackQ8, QuantizeBlocks, searches, weighs
from grokpack.transforms.source_weight import SourceWeight

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.conversion.quantization.policy import Policy
    from grokpack.models.architecture import ModelTensor
    from grokpack.planning.target import Target
    from grokpack.transforms.protocols import Op

NAME = "gguf"
MEASURED = 32  # weights in a group whose error is measured


def to_gguf(source: Checkpoint, policy: Policy, options: gguf_writer.GgufOptions) -> Target:
    """Make the target: unquantized weights in bfloat16, router and norms in float32.

    Raises:
        GrokpackError: GP304 for a type of another bit width, GP309 if blocks do not divide the
            inputs, and GP306 and GP307 as `convert` raises them.
    """
    chosen = _type(policy, options)
    kept = _kept_codes(source, chosen, policy)
    made: Counter[str] = Counter()

    def tensor(entry: ModelTensor) -> tuple[TensorInfo, Op]:
        own = _own_type(source, entry, chosen, policy, options)
        if own.bits is None:
            if entry.rule.quantized:
                made[f"{entry.rule.role} kept in {own.word}"] += 1
            return gguf_writer.plain_tensor(source, entry, own)
        if own is GGMLType.Q8_0 and entry.name in kept:
            made[f"{entry.rule.role} {own.word}, codes and scales as they are"] += 1
            return gguf_writer.plain_tensor(source, entry, own)
        info, op = _blocks(source, entry, own, policy)
        how = "searched scales" if op.searched else "as ggml's reference"
        made[f"{entry.rule.role} {own.word}, {how}"] += 1
        return info, op

    declared = _declared(source, chosen, policy)
    target = gguf_writer.assemble(source, declared, tensor, options)
    said = [f"{words}: {counted(count, 'tensor')}" for words, count in made.items()]
    density = 8 * target.layout.nbytes / source.model.parameters().total
    notes = (*said, f"{density:.2f} bits per parameter", *target.notes)
    return replace(target, notes=notes, lossless=False)


def _type(policy: Policy, options: gguf_writer.GgufOptions) -> GGMLType | Mix:
    """Return the requested mix or type, or the usual one of so many bits.

    Raises:
        GrokpackError: GP304 for one of other bits, and for one that takes no importance.
    """
    bits = policy.default.bits
    known = QUANTIZING | MIXES
    chosen = known.get(options.type or default_type(bits).word)
    if chosen is None or base_type(chosen).bits != bits:
        fitting = ", ".join(name for name, own in known.items() if base_type(own).bits == bits)
        what = f"--type takes {fitting} for {bits} bits, not `{options.type}`"
        raise GrokpackError("GP304", what)
    if policy.importance is not None and not weighs(base_type(chosen).word):
        what = f"--importance weighs errors, and {chosen.word} is made without weighing any"
        raise GrokpackError("GP304", what, hint="--type q4_0 or any other type of fewer bits")
    return chosen


def _declared(source: Checkpoint, chosen: GGMLType | Mix, policy: Policy) -> GGMLType | Mix:
    """Return the type that the file declares: of most weights, where rules name types."""
    weights: Counter[GGMLType] = Counter()
    for entry in source.model.tensors():
        named = policy.type_of(entry)
        if named is not None:
            weights[GGMLType[named.upper()]] += source.tensors[entry.name].values.elements
    return max(weights, key=lambda kind: (weights[kind], -kind)) if weights else chosen


def _kept_codes(source: Checkpoint, chosen: GGMLType | Mix, policy: Policy) -> frozenset[str]:
    """Return the weights that a mix with MXFP4 has in Q8_0 without loss: the release's codes."""
    if base_type(chosen) is not GGMLType.MXFP4:
        return frozenset()
    packs = []
    for entry, scheme in policy.schemes(source.model):
        tensor = source.tensors[entry.name]
        groups = collapsed_groups(source.geometry, entry, tensor)
        coded = tensor.values.dtype is DType.I8 and tensor.scales is not None
        if coded and scheme is not None and rows_per_group(tensor, groups) % Q8_BLOCK == 0:
            packs += [] if entry.rule.stacked else [PackQ8(tensor, groups)]
    return exact_in_q8(source, packs)


def _own_type(
    source: Checkpoint,
    entry: ModelTensor,
    chosen: GGMLType | Mix,
    policy: Policy,
    options: gguf_writer.GgufOptions,
) -> GGMLType:
    """Return the type of a tensor: bfloat16 for what is not quantized."""
    named = policy.type_of(entry)
    if named is not None:
        return GGMLType[named.upper()]
    mixed = isinstance(chosen, Mix)
    if entry.rule.by_token and (options.embedding or not mixed):
        return gguf_writer.embedding_type(options.embedding, GGMLType.BF16)
    scheme = policy.scheme(entry)
    if scheme is None and not (mixed and entry.rule.by_token):
        return GGMLType.BF16
    if scheme is not None and scheme.bits != policy.default.bits:
        return default_type(scheme.bits)
    return mixed_type(chosen, entry, source.model) if isinstance(chosen, Mix) else chosen


def _blocks(
    source: Checkpoint, entry: ModelTensor, kind: GGMLType, policy: Policy
) -> tuple[TensorInfo, QuantizeBlocks]:
    tensor = source.tensors[entry.name]
    if entry.rule.by_token:
        weight = SourceWeight(tensor, by_token=True)
        return TensorInfo(kind, tensor.values.shape), QuantizeBlocks(
            weight, kind.word, searched=False
        )
    *lead, inputs, outputs = tensor.values.shape
    if inputs % kind.weights:
        what = f"blocks of {kind.weights} do not divide the {inputs} inputs of {entry.name}"
        hint = f"--keep '{entry.rule.path}' leaves it in bf16"
        if kind.weights > MEASURED and inputs % MEASURED == 0:
            hint = f"--type q4_0 has blocks of {MEASURED}; {hint}"
        raise GrokpackError("GP309", what, hint=hint)
    weight = policy.weight(tensor, collapsed_groups(source.geometry, entry, tensor))
    scheme = policy.scheme(entry) or policy.default
    searched = scheme.method != "rtn" and searches(kind.word)
    info = TensorInfo(kind, (*lead, outputs, inputs))
    return info, QuantizeBlocks(weight, kind.word, searched)


def _suffix(bits: int, options: gguf_writer.GgufOptions) -> str:
    kind = options.type or default_type(bits).word
    return kind if options.shard_bytes else f"{kind}.gguf"


WRITER = QuantizingWriter(
    NAME,
    f"{', '.join(QUANTIZING)} blocks: llama.cpp",
    (2, 3, 4, 5, 6, 8),
    frozenset({"importance"}),
    gguf_writer.GgufOptions,
    to_gguf,
    _suffix,
    gguf_forms.units,
)

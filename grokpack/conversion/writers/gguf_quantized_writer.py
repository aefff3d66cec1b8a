"""Writer of GGUF in blocks of 4 or 8 bits, quantized as in ggml or with searched scales."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from grokpack.conversion.writers import gguf_writer
from grokpack.conversion.writers.scale_groups import collapsed_groups
from grokpack.conversion.writers.writer import QuantizingWriter
from grokpack.core.errors import GrokpackError
from grokpack.core.ggml_types import QUANTIZING, GGMLType, default_type
from grokpack.formats.gguf import TensorInfo
from grokpack.transforms.ggml_blocks import QuantizeBlocks, searches

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.conversion.quantization.policy import Policy
    from grokpack.models.architecture import ModelTensor
    from grokpack.planning.target import Target
    from grokpack.transforms.protocols import Op
    from grokpack.transforms.quantization_scheme import QuantizationScheme

NAME = "gguf"
MEASURED = 32  # weights in a group whose error is measured


def to_gguf(source: Checkpoint, policy: Policy, options: gguf_writer.GgufOptions) -> Target:
    """Make the target: unquantized weights in bfloat16, router and norms in float32.

    Raises:
        GrokpackError: GP304 for a type of another bit width, GP309 if blocks do not divide the
            inputs, and GP306 and GP307 as `convert` raises them.
    """
    bits = policy.default.bits
    kind = QUANTIZING.get(options.type) if options.type else default_type(bits)
    if kind is None or kind.bits != bits:
        fitting = ", ".join(name for name, own in QUANTIZING.items() if own.bits == bits)
        what = f"--type takes {fitting} for {bits} bits, not `{options.type}`"
        raise GrokpackError("GP304", what)
    made: Counter[str] = Counter()

    def tensor(entry: ModelTensor) -> tuple[TensorInfo, Op]:
        scheme = policy.scheme(entry)
        if scheme is None:
            if entry.rule.quantized:
                made[f"{entry.rule.role} kept in bf16"] += 1
            kept = gguf_writer.embedding_type(options.embedding, GGMLType.BF16)
            own = kept if entry.rule.by_token else GGMLType.BF16
            return gguf_writer.plain_tensor(source, entry, own)
        own = kind if scheme.bits == bits else default_type(scheme.bits)
        info, op = _blocks(source, entry, own, scheme, policy)
        how = "searched scales" if op.searched else "as ggml's reference"
        made[f"{entry.rule.role} {own.word}, {how}"] += 1
        return info, op

    target = gguf_writer.assemble(source, kind, tensor, options)
    said = [f"{words}: {count} tensors" for words, count in made.items()]
    density = 8 * target.layout.nbytes / source.model.parameters().total
    notes = (*said, f"{density:.2f} bits per parameter", *target.notes)
    return replace(target, notes=notes, lossless=False)


def _blocks(
    source: Checkpoint,
    entry: ModelTensor,
    kind: GGMLType,
    scheme: QuantizationScheme,
    policy: Policy,
) -> tuple[TensorInfo, QuantizeBlocks]:
    tensor = source.tensors[entry.name]
    *lead, inputs, outputs = tensor.values.shape
    if inputs % kind.weights:
        what = f"blocks of {kind.weights} do not divide the {inputs} inputs of {entry.name}"
        hint = f"--keep '{entry.rule.path}' leaves it in bf16"
        if kind.weights > MEASURED and inputs % MEASURED == 0:
            hint = f"--type q4_0 has blocks of {MEASURED}; {hint}"
        raise GrokpackError("GP309", what, hint=hint)
    if policy.importance is not None and not searches(kind.word):
        what = f"--importance weighs the errors of a search, and {kind.word} has none"
        raise GrokpackError("GP304", what, hint="--type q4_0 or --type q4_1")
    weight = policy.weight(tensor, collapsed_groups(source.geometry, entry, tensor))
    searched = scheme.method != "rtn" and searches(kind.word)
    info = TensorInfo(kind, (*lead, outputs, inputs))
    return info, QuantizeBlocks(weight, kind.word, searched)


def _suffix(bits: int, options: gguf_writer.GgufOptions) -> str:
    kind = options.type or default_type(bits).word
    return kind if options.shard_bytes else f"{kind}.gguf"


WRITER = QuantizingWriter(
    NAME,
    f"{', '.join(QUANTIZING)} blocks: llama.cpp",
    (4, 8),
    frozenset({"importance"}),
    gguf_writer.GgufOptions,
    to_gguf,
    _suffix,
)

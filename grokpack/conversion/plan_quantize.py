"""Plan a quantized copy: which weights, how, and in whose format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grokpack.conversion import engine_support
from grokpack.conversion.quantization import importance, policy, policy_file
from grokpack.conversion.quantization.policy import BITS, CHANNEL, GROUPS, Policy
from grokpack.conversion.writers import (
    ckpt0_requantized_writer,
    compressed_tensors_writer,
    gguf_quantized_writer,
    gptq_writer,
    huggingface_writer,
    quantized_folder,
    tp_safetensors_quantized_writer,
    w8a8_writer,
)
from grokpack.conversion.writers.scale_groups import with_groups
from grokpack.core.errors import GrokpackError, Place
from grokpack.core.tensors import DType
from grokpack.models import config_json, selection
from grokpack.planning.plan import Plan
from grokpack.transforms.scheme import METHODS, QuantizationScheme

if TYPE_CHECKING:
    from collections.abc import Callable

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.conversion.quantization.importance import Importance
    from grokpack.planning.target import Target

GROUP = 128
SCALES = {"bf16": DType.BF16, "f16": DType.F16, "f32": DType.F32}


@dataclass(frozen=True, slots=True)
class QuantizeOptions:
    """Everything that a quantization can be told.

    Attributes:
        bits: 4 or 8.
        to: One of `TARGETS`; by default what the engine loads, else compressed-tensors for 4 bits
            and GPTQ for 8.
        group: Inputs that share a scale, `channel` for all of an output's; 128 by default.
        method: `rtn`, `mse` or `lsq`; `mse` by default for 4 bits, `rtn` for 8.
        symmetric: Without zero points.
        scales: Dtype of the scales, where the format leaves it open: `bf16` (the default), `f16` or
            `f32`.
        keep: Patterns of weights that stay bfloat16.
        policy: A policy file.
        engine: The program that is to load it; refused where it is known not to.
        type: Of a GGUF's blocks: `q4_0` (the default), `q4_1` or `q4_k` for 4 bits, `q8_0` for 8.
        embedding: Dtype of a GGUF's embedding; bfloat16 by default.
        names: Convention of tensor names, for compressed-tensors and GPTQ.
        tp: Ranks, for w8a8-int8 and ckpt-0.
        shard_bytes: Size that a file keeps to.
        tokenizer: File or folder of the tokenizer; None to look beside the checkpoint.
        importance: A calibration file, by which the searched methods weigh errors.
    """

    bits: int = 4
    to: str | None = None
    group: str | None = None
    method: str | None = None
    symmetric: bool = True
    scales: str | None = None
    keep: tuple[str, ...] = ()
    policy: str | None = None
    engine: str | None = None
    type: str | None = None
    embedding: str | None = None
    names: str | None = None
    tp: int | None = None
    shard_bytes: int | None = None
    tokenizer: str | None = None
    importance: str | None = None

    @property
    def target(self) -> str:
        """The target, given or by default."""
        usual = {4: compressed_tensors_writer.NAME, 8: gptq_writer.NAME}.get(self.bits, "")
        return self.to or engine_support.preferred(self.engine, self.bits) or usual

    @property
    def suffix(self) -> str:
        """What a default name ends with: `int4`, `int8-w8a8`."""
        if self.target == gguf_quantized_writer.NAME:
            kind = self.type or gguf_quantized_writer.DEFAULTS[self.bits]
            return kind if self.shard_bytes else f"{kind}.gguf"
        usual = QuantizeOptions(self.bits).target
        return f"int{self.bits}" + ("" if self.target == usual else f"-{self.target}")


@dataclass(frozen=True, slots=True)
class QuantizeTarget:
    """One row of the table of targets.

    Attributes:
        title: What it is and who loads it.
        bits: Bits that it can have.
        takes: Options that concern it, of those that not every target takes.
        plan: Makes the target.
    """

    title: str
    bits: tuple[int, ...]
    takes: frozenset[str]
    plan: Callable[[Checkpoint, Policy, QuantizeOptions], Target]


def _folder(options: QuantizeOptions) -> quantized_folder.QuantizedFolderOptions:
    return quantized_folder.QuantizedFolderOptions(
        options.names or "hpcai",
        options.shard_bytes or huggingface_writer.SHARD_BYTES,
        options.tokenizer,
    )


def _gguf(options: QuantizeOptions) -> gguf_quantized_writer.QuantizedGgufOptions:
    return gguf_quantized_writer.QuantizedGgufOptions(
        options.type, options.embedding, options.shard_bytes, options.tokenizer
    )


TARGETS: dict[str, QuantizeTarget] = {
    compressed_tensors_writer.NAME: QuantizeTarget(
        "pack-quantized: transformers, vLLM up to 0.24",
        (4, 8),
        frozenset({"group", "importance", "names", "scales", "symmetric"}),
        lambda s, p, o: compressed_tensors_writer.to_compressed_tensors(s, p, _folder(o)),
    ),
    gptq_writer.NAME: QuantizeTarget(
        "GPTQ packing: vLLM up to 0.24; 8 bits are the released int8 as it is",
        (4, 8),
        frozenset({"group", "importance", "names", "scales"}),
        lambda s, p, o: gptq_writer.to_gptq(s, p, _folder(o)),
    ),
    w8a8_writer.NAME: QuantizeTarget(
        "int8 with a scale for each output: SGLang",
        (8,),
        frozenset({"importance", "tp"}),
        lambda s, p, o: w8a8_writer.to_w8a8(s, p, _folder(o), o.tp),
    ),
    gguf_quantized_writer.NAME: QuantizeTarget(
        "q4_0, q4_1, q4_k or q8_0 blocks: llama.cpp",
        (4, 8),
        frozenset({"embedding", "importance", "type"}),
        lambda s, p, o: gguf_quantized_writer.to_gguf(s, p, _gguf(o)),
    ),
    ckpt0_requantized_writer.NAME: QuantizeTarget(
        "xAI's pickles, int8 in one scale group for each of --tp ranks: its JAX code",
        (8,),
        frozenset({"tp"}),
        lambda s, p, o: ckpt0_requantized_writer.to_requantized(s, p, o.tp),
    ),
    tp_safetensors_quantized_writer.NAME: QuantizeTarget(
        "plain arrays in xAI's names: for study",
        (4, 8),
        frozenset({"group", "importance", "scales", "symmetric"}),
        lambda s, p, _: tp_safetensors_quantized_writer.to_plain(s, p),
    ),
}


def plan_quantize(source: Checkpoint, options: QuantizeOptions | None = None) -> Plan:
    """Plan a quantization.

    Args:
        source: Any checkpoint that grokpack reads, with int8 codes or in floating point.
        options: What is asked for.

    Raises:
        GrokpackError: GP304 for options that are unknown or not the target's, GP309 for what
            cannot be quantized so, GP310 for a policy file that is wrong, GP313 for an engine that
            does not load it, GP211 where the head size is unknown.
    """
    options = options or QuantizeOptions()
    _refuse_values(options)
    kind = TARGETS[options.target]
    _refuse_foreign(options, kind)
    if source.geometry.head_dim is None:
        raise config_json.unknown_head_size()
    if min(source.bits.values(), default=BITS[-1]) <= BITS[0]:
        what = f"the source is already int{BITS[0]}"
        hint = "start from ckpt-0; quantising twice only adds error"
        raise GrokpackError("GP309", what, Place(source.folder), hint=hint)
    source = with_groups(source)
    chosen = _policy(source, options)
    engine_support.refuse_engine(options.engine, options.target, chosen, source)
    target = kind.plan(source, chosen, options)
    return Plan("quantize", _parameters(options, chosen), source, target)


def _refuse_values(options: QuantizeOptions) -> None:
    """See that options have values that they may have."""
    choices: tuple[tuple[str, object, tuple[object, ...]], ...] = (
        ("--bits", options.bits, BITS),
        ("--to", options.to, (None, *TARGETS)),
        ("--group", options.group, (None, *map(str, GROUPS), CHANNEL)),
        ("--method", options.method, (None, *METHODS)),
        ("--scale-dtype", options.scales, (None, *SCALES)),
    )
    for flag, given, allowed in choices:
        if given not in allowed:
            listed = ", ".join(str(choice) for choice in allowed if choice is not None)
            raise GrokpackError("GP304", f"{flag} takes {listed}, not `{given}`")


def _refuse_foreign(options: QuantizeOptions, kind: QuantizeTarget) -> None:
    """See that options concern the target."""
    if options.bits not in kind.bits:
        listed = " or ".join(map(str, kind.bits))
        raise GrokpackError("GP304", f"{options.target} has {listed} bits, not {options.bits}")
    given = {
        "--group": options.group is not None and "group" not in kind.takes,
        "--scale-dtype": options.scales is not None and "scales" not in kind.takes,
        "--type": options.type is not None and "type" not in kind.takes,
        "--embedding": options.embedding is not None and "embedding" not in kind.takes,
        "--names": options.names is not None and "names" not in kind.takes,
        "--asymmetric": not options.symmetric and "symmetric" not in kind.takes,
        "--tp": options.tp is not None and "tp" not in kind.takes,
        "--importance": options.importance is not None and "importance" not in kind.takes,
    }
    for flag, foreign in given.items():
        if foreign:
            raise GrokpackError("GP304", f"{flag} does not belong to --to {options.target}")


def _policy(source: Checkpoint, options: QuantizeOptions) -> Policy:
    method = options.method or ("mse" if options.bits == BITS[0] else "rtn")
    group = None if options.group == CHANNEL else int(options.group or GROUP)
    scales = SCALES[options.scales or "bf16"]
    default = QuantizationScheme(options.bits, group, method, options.symmetric, scales)  # type: ignore[arg-type]
    rules = policy_file.read(options.policy, source.model) if options.policy else ()
    for name in options.keep:
        selection.select(source.model.tensors(), name)
    kept = map(policy.keep, options.keep)
    return Policy(default, (*rules, *kept), _importance(options, method))


def _importance(options: QuantizeOptions, method: str) -> Importance | None:
    """The calibration, which is of use where steps are searched for."""
    if options.importance is None:
        return None
    if METHODS[method] == METHODS["rtn"]:
        what = "--importance weighs the errors of a search, and rtn does not search"
        raise GrokpackError("GP304", what, hint="--method mse or --method lsq")
    return importance.read(options.importance)


def _parameters(options: QuantizeOptions, chosen: Policy) -> dict[str, Any]:
    """Options that change the output, as JSON values."""
    given: dict[str, Any] = {
        "to": options.target,
        "bits": options.bits,
        "group": chosen.default.group or CHANNEL,
        "method": chosen.default.method,
        "symmetric": options.symmetric,
        "scales": options.scales,
        "keep": list(options.keep),
        "type": options.type,
        "embedding": options.embedding,
        "names": options.names,
        "tp": options.tp,
        "shard_bytes": options.shard_bytes,
        "importance": None if chosen.importance is None else chosen.importance.digest,
    }
    return {name: value for name, value in given.items() if value not in (None, [])}

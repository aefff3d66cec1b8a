"""Plans of `grokpack quantize`: which weights, how, and in whose format."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from grokpack.checkpoint.open_checkpoint import opened
from grokpack.conversion import engine_support
from grokpack.conversion.carried_files import carried
from grokpack.conversion.quantization import importance, policy, policy_file
from grokpack.conversion.quantization.bit_allocation import SizeLimit, allocate
from grokpack.conversion.quantization.policy import BITS, CHANNEL, GROUPS, Policy
from grokpack.conversion.writers import writer_registry
from grokpack.conversion.writers.scale_groups import with_groups
from grokpack.conversion.writers.writer_row import option_names, options_for
from grokpack.core import ggml_types
from grokpack.core.errors import GrokpackError, Place, UnusableValue
from grokpack.core.events import ignore_event
from grokpack.core.tensors import DType
from grokpack.models import config_json, tensor_patterns
from grokpack.planning.plan import Plan
from grokpack.transforms.quantization_scheme import METHODS, QuantizationScheme

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.conversion.quantization.bit_allocation import Allocation
    from grokpack.conversion.quantization.importance import Importance
    from grokpack.conversion.quantization.policy import PolicyRule
    from grokpack.conversion.writers.writer_row import QuantizingWriter
    from grokpack.core.events import Listener
    from grokpack.core.paths import StrPath
    from grokpack.planning.target import Target

GROUP = 128
_USUAL_BITS = 4
_COARSE = 8
"""From this many bits on, codes are fine enough to be quantized again."""
_FLAGS = {
    "group": "--group",
    "scales": "--scale-dtype",
    "type": "--type",
    "embedding": "--embedding",
    "names": "--names",
    "symmetric": "--asymmetric",
    "tp": "--tp",
    "importance": "--importance",
    "yarn": "--yarn",
}
"""Options that only some formats take, in the order in which they are refused."""
SCALES = {"bf16": DType.BF16, "f16": DType.F16, "f32": DType.F32}


@dataclass(frozen=True, slots=True)
class QuantizeOptions:
    """Options of a quantization.

    Attributes:
        bits: 4 or 8, of a GGUF also 2, 3, 5 or 6; None for those of `type`, or of a target that
            has no others, else for 4.
        to: Target, as `--to` takes it; by default one that the engine loads, else
            compressed-tensors for 4 bits and GPTQ for 8.
        group: Number of inputs that share a scale, or `channel` for one scale per output; 128 by
            default.
        method: `rtn`, `mse` or `lsq`; `rtn` by default for 8 bits, `mse` for fewer.
        symmetric: True to store no zero points.
        scales: Dtype of the scales, where the format leaves it open: `bf16` (the default), `f16` or
            `f32`.
        keep: Patterns of weights that stay bfloat16.
        policy: A policy file.
        engine: The program that will load the output. What it cannot load is refused.
        type: Type of a GGUF's blocks, or llama.cpp's name of a mix: `q4_k_m`. By default the first
            of so many bits in `QUANTIZING` of `grokpack.core.ggml_types`, `q4_0` of 4.
        embedding: Dtype of a GGUF's embedding; bfloat16 by default.
        names: Convention of tensor names, for compressed-tensors, GPTQ and fp8.
        tp: Ranks, for w8a8-int8, fp8 and ckpt-0.
        shard_bytes: Maximum size of a file.
        tokenizer: File or folder of the tokenizer; None to look beside the checkpoint.
        importance: A calibration file or llama.cpp's imatrix, by which errors are weighed.
        yarn: True for the keys of YaRN, for a GGUF of a family that has them.
        avg_bits: Bits of the weight files for each parameter, within which each weight gets the
            form that loses least for all.
        size_bytes: Likewise: bytes of the whole output.
    """

    bits: int | None = None
    to: str | None = None
    group: str | None = None
    method: str | None = None
    symmetric: bool = True
    scales: str | None = None
    keep: tuple[str, ...] = ()
    policy: StrPath | None = None
    engine: str | None = None
    type: str | None = None
    embedding: str | None = None
    names: str | None = None
    tp: int | None = None
    shard_bytes: int | None = None
    tokenizer: StrPath | None = None
    importance: StrPath | None = None
    yarn: bool | None = None
    avg_bits: float | None = None
    size_bytes: int | None = None

    @property
    def width(self) -> int:
        """Bits, given or by default."""
        if self.bits is not None:
            return self.bits
        to = self.to if self.to in writer_registry.QUANTIZING else None
        possible = writer_registry.quantizing(to).bits if to else ()
        return possible[0] if len(possible) == 1 else ggml_types.bits_of(self.type) or _USUAL_BITS

    @property
    def budgeted(self) -> bool:
        """True if forms are chosen by size."""
        return self.avg_bits is not None or self.size_bytes is not None

    @property
    def target(self) -> str:
        """Name of the target, given or by default."""
        usual = writer_registry.DEFAULT_QUANTIZING.get(self.width, "gguf")
        return self.to or engine_support.preferred(self.engine, self.width) or usual

    @property
    def suffix(self) -> str:
        """Ending of a default name: `int4`, `int8-w8a8`."""
        writer = writer_registry.quantizing(self.target)
        if self.budgeted:
            amount = f"{self.avg_bits:g}bits" if self.avg_bits else f"{self.size_bytes}B"
            return f"{amount}.gguf" if self.target == "gguf" and not self.shard_bytes else amount
        if writer.suffix is not None:
            return writer.suffix(self.width, options_for(writer, self))
        usual = QuantizeOptions(self.width).target
        return f"int{self.width}" + ("" if self.target == usual else f"-{self.target}")


def plan_quantize(
    source: Checkpoint | StrPath,
    options: QuantizeOptions | None = None,
    listen: Listener = ignore_event,
) -> Plan:
    """Plan a quantization.

    Args:
        source: Any checkpoint that grokpack reads, or its path; with int8 codes or floats.
        options: Options of the quantization.
        listen: Receives progress where errors are measured to choose forms.

    Raises:
        GrokpackError: GP346 for values that there are not, GP304 for options that are not the
            target's, GP309 for what cannot be quantized so, GP310 for a wrong policy file,
            GP313 for an engine that does not load the output, GP211 where the head size is unknown.
    """
    options = options or QuantizeOptions()
    _refuse_values(options)
    writer = writer_registry.quantizing(options.target)
    _refuse_foreign(options, writer)
    source = opened(source)
    if source.geometry.head_dim is None:
        raise config_json.unknown_head_size(source.model.family)
    least = min(source.bits.values(), default=_COARSE)
    if least < _COARSE:
        form = next(iter(source.floats.values()), f"int{least}")
        what = f"the source is already {form}"
        hint = "start from ckpt-0; quantizing twice only adds error"
        raise GrokpackError("GP309", what, Place(source.folder), hint=hint)
    source = with_groups(source)
    options = _named_for_engine(source, options)
    making = _Making(source, options, writer, _policy(source, options))
    _refuse_other_bits(making.policy, options.target, writer)
    allocation = making.allocation(listen) if options.budgeted else None
    if allocation is not None:
        making = replace(making, policy=replace(making.policy, rules=allocation.rules))
    engine_support.refuse_engine(options.engine, options.target, making.policy, source)
    target = making.target()
    if allocation is not None:
        notes = (*allocation.notes, *target.notes)
        target = replace(target, notes=notes, account={"allocation": allocation.account})
    return Plan("quantize", _parameters(options, making.policy), source, target)


def _named_for_engine(source: Checkpoint, options: QuantizeOptions) -> QuantizeOptions:
    """Name tensors of FP8 as vLLM looks them up, where they are for it: the format's are SGLang's.

    Raises:
        GrokpackError: GP313 for files of ranks, which vLLM does not read.
    """
    if (options.engine, options.target) != ("vllm", "fp8"):
        return options
    if options.tp is not None:
        what = "vllm does not load this: it cuts whole folders itself"
        raise GrokpackError("GP313", what, hint="leave --tp")
    return replace(options, names=options.names or next(iter(source.model.family.conventions)))


@dataclass(frozen=True, slots=True)
class _Making:
    """Source, options and policy from which a target is made."""

    source: Checkpoint
    options: QuantizeOptions
    writer: QuantizingWriter[Any]
    policy: Policy

    def target(self) -> Target:
        """Make the target, with the files that are copied into it."""
        made = self.writer.make(self.source, self.policy, options_for(self.writer, self.options))
        own = "tokenizer" in option_names(self.writer)
        return carried(self.source, made, tokenizer=not own)

    def allocation(self, listen: Listener) -> Allocation:
        """Choose forms within the size that was asked for.

        Raises:
            GrokpackError: GP304 for a target whose weights all have one form, GP309 for a size that
                is less than the smallest forms take.
        """
        if self.writer.units is None:
            what = f"all weights of {self.options.target} have one form"
            raise GrokpackError("GP304", what, hint="--to gguf has many to choose from")
        own = options_for(self.writer, self.options)
        units = self.writer.units(self.source, self.policy, own)
        parameters = self.source.model.parameters().total
        nbytes = self.options.size_bytes or int((self.options.avg_bits or 0) * parameters / 8)
        budget = SizeLimit(nbytes, self._size_of)
        return allocate(self.source, units, budget, self.policy.rules, listen)

    def _size_of(self, rules: tuple[PolicyRule, ...]) -> int:
        """Return the bytes of the output that some rules give; for bits, of its weight files."""
        target = replace(self, policy=replace(self.policy, rules=rules)).target()
        if self.options.avg_bits is not None:
            return target.layout.nbytes
        return target.files_bytes + sum(map(len, target.finals.values()))


def _refuse_values(options: QuantizeOptions) -> None:
    """Refuse options with values that they cannot have."""
    choices: tuple[tuple[str, object, tuple[object, ...]], ...] = (
        ("--bits", options.width, BITS),
        ("--to", options.to, (None, *writer_registry.QUANTIZING)),
        ("--group", options.group, (None, *map(str, GROUPS), CHANNEL)),
        ("--method", options.method, (None, *METHODS)),
        ("--scale-dtype", options.scales, (None, *SCALES)),
    )
    for flag, given, allowed in choices:
        if given not in allowed:
            raise UnusableValue.choice(flag, given, filter(None, allowed))


def _refuse_foreign(options: QuantizeOptions, writer: QuantizingWriter[Any]) -> None:
    """Refuse options that do not concern the target."""
    if options.width not in writer.bits:
        listed = " or ".join(map(str, writer.bits))
        raise GrokpackError("GP304", f"{options.target} has {listed} bits, not {options.width}")
    if options.avg_bits is not None and options.size_bytes is not None:
        raise GrokpackError("GP304", "--avg-bits and --size say the same thing", hint="leave one")
    for name in ("bits", "type"):
        if options.budgeted and getattr(options, name) is not None:
            what = f"--{name} is one for all weights, and --avg-bits and --size choose it for each"
            raise GrokpackError("GP304", what, hint=f"leave --{name}")
    known = writer.scheme | option_names(writer)
    for name, flag in _FLAGS.items():
        usual = name == "symmetric"
        if getattr(options, name) not in (None, usual) and name not in known:
            raise GrokpackError("GP304", f"{flag} does not belong to --to {options.target}")


def _refuse_other_bits(chosen: Policy, target: str, writer: QuantizingWriter[Any]) -> None:
    """Refuse rules with bits that few formats have; of others writers say more themselves."""
    for rule in chosen.rules:
        if rule.type is not None and "type" not in option_names(writer):
            what = f"types of blocks, as {rule.type} in --policy, are GGUF's, not of {target}"
            raise GrokpackError("GP304", what)
        bits = (rule.changes or {}).get("bits", chosen.default.bits)
        if bits not in {*writer.bits, *writer_registry.DEFAULT_QUANTIZING}:
            listed = " or ".join(map(str, writer.bits))
            raise GrokpackError("GP304", f"{target} has {listed} bits, not {bits} as in --policy")


def _policy(source: Checkpoint, options: QuantizeOptions) -> Policy:
    method = options.method or ("mse" if options.width < _COARSE else "rtn")
    group = None if options.group == CHANNEL else int(options.group or GROUP)
    scales = SCALES[options.scales or "bf16"]
    default = QuantizationScheme(options.width, group, method, options.symmetric, scales)  # type: ignore[arg-type]
    rules = policy_file.read(os.fspath(options.policy), source.model) if options.policy else ()
    for name in options.keep:
        tensor_patterns.select(source.model.tensors(), name)
    kept = map(policy.keep, options.keep)
    return Policy(default, (*rules, *kept), _importance(source, options, method))


def _importance(source: Checkpoint, options: QuantizeOptions, method: str) -> Importance | None:
    """Read the calibration, if scales are searched for."""
    if options.importance is None:
        return None
    if METHODS[method] == METHODS["rtn"]:
        what = "--importance weighs the errors of a search, and rtn does not search"
        raise GrokpackError("GP304", what, hint="--method mse or --method lsq")
    names = {entry.name: entry.gguf for entry in source.model.tensors()}
    return importance.read(os.fspath(options.importance), names)


def _parameters(options: QuantizeOptions, chosen: Policy) -> dict[str, Any]:
    """Return the options that change the output, as JSON values."""
    given: dict[str, Any] = {
        "to": options.target,
        "bits": None if options.budgeted else options.width,
        "avg_bits": options.avg_bits,
        "size_bytes": options.size_bytes,
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
        "yarn": options.yarn,
    }
    return {name: value for name, value in given.items() if value not in (None, [])}

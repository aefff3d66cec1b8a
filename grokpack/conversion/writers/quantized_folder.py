"""Parts common to all folders of quantized weights: options, names, notes, card."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grokpack.conversion.quantization.policy import in_words
from grokpack.conversion.writers import huggingface_config, huggingface_folder
from grokpack.conversion.writers.engine_arrays import engine_tensors
from grokpack.conversion.writers.huggingface_folder import SHARD_BYTES, ModelCard
from grokpack.conversion.writers.quantized_shards import QuantizedArrays
from grokpack.core.errors import GrokpackError
from grokpack.core.tensors import DType
from grokpack.models import hyperparameters, tensor_names
from grokpack.planning.target import Target
from grokpack.transforms.repacked import CodeColumns, CodeRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.conversion.quantization.policy import Policy
    from grokpack.conversion.writers.quantized_shards import WeightArrays
    from grokpack.core.tensors import TensorSpec
    from grokpack.models.architecture import ModelTensor, NetworkPart
    from grokpack.models.tensor_names import Convention
    from grokpack.transforms.quantization_scheme import QuantizationScheme
    from grokpack.transforms.source_weight import SourceWeight

    MakeArrays = Callable[[str, SourceWeight, int | None, QuantizationScheme], WeightArrays]

_WEIGHT = ".weight"


@dataclass(frozen=True, slots=True)
class QuantizedFolderOptions:
    """Options of writing a folder of quantized weights.

    Attributes:
        names: The convention of the tensors' names; None for the family's first.
        shard_bytes: Maximum size of a shard.
        tokenizer: File or folder of the tokenizer; None to look beside the checkpoint.
    """

    names: str | None = None
    shard_bytes: int = SHARD_BYTES
    tokenizer: str | None = None


def folder(
    form: str,
    source: Checkpoint,
    policy: Policy,
    options: QuantizedFolderOptions,
    unit: MakeArrays,
    config: dict[str, Any],
    extra: dict[str, Any] | None = None,
) -> Target:
    """Make the target: quantized weights, and all others in bfloat16 or float32.

    Args:
        form: Name of the format.
        source: The checkpoint to quantize.
        policy: Which weights to quantize, and how.
        options: Names, sizes, tokenizer.
        unit: Makes the arrays of a quantized weight.
        config: Value of `quantization_config` in config.json.
        extra: More keys of config.json.
    """
    own = huggingface_config.convention(source.model.family, options.names)
    arrays, made = QuantizedArrays(), Counter[str]()
    for words, one in _units(source, own, policy, unit):
        arrays.add(one)
        made[words] += 1
    layout = arrays.layout(options.shard_bytes)
    schemes = [f"{words}: {count} matrices" for words, count in made.items() if words]
    card = ModelCard(
        f"{source.model.family.title}, {form}",
        _how(source, schemes),
        _usage(form, source.model.family.sglang_options),
    )
    finals = {
        **huggingface_folder.sidecars(
            source,
            card,
            own,
            "bf16",
            options.tokenizer,
            quantization_config=config,
            **(extra or {}),
        ),
        **huggingface_folder.index(layout.files(), arrays.specs),
    }
    bits = 8 * layout.nbytes / source.model.parameters().total
    notes = (*schemes, f"{bits:.2f} bits per parameter", *_notes(source))
    return Target(form, layout, arrays.ops, finals, source.framings, notes=notes, lossless=False)


def _how(source: Checkpoint, schemes: list[str]) -> str:
    precise = source.model.family.release_layout.others
    others = _PRECISE if precise is DType.F32 else _AS_RELEASED
    return f"Quantised weights: {'; '.join(schemes)}. {others}"


# Spelled as before: a card is in the digest of its plan, by which unfinished runs are continued.
_PRECISE = "Router and norms are float32, embedding and whatever else is not quantised bfloat16."
_AS_RELEASED = "Router, norms, embedding and whatever else is not quantised are bfloat16."
_ACCOUNT = "`grokpack.json` has the account of what was lost, tensor by tensor."
_LOADING = {
    "fp8": """`python -m sglang.launch_server --model-path FOLDER --tp N {options}` loads it; files
whose names have `TP` load at that number of ranks only.

The experts' activation is GELU. SGLang's Triton runner (`--moe-runner-backend triton`) computes it.
**Never use `--moe-runner-backend cutlass`**: it computes SiLU whatever the config says, and gives
wrong results without a word (SGLang 0.5.23, `layers/moe/cutlass_moe.py`)."""
}
"""How a folder of a format is loaded, where more is to be said than by its config."""


def _usage(form: str, options: str) -> str:
    """Return how to load the folder, and where its account is."""
    said = [_LOADING[form].format(options=options)] if form in _LOADING else []
    return "\n\n".join([*said, _ACCOUNT])


def _units(
    source: Checkpoint, convention: Convention, policy: Policy, unit: MakeArrays
) -> Iterator[tuple[str, WeightArrays]]:
    """Yield how each tensor is stored, in words, and its arrays, in the order of the network."""
    for own in engine_tensors(source, convention):
        rule, scheme = own.entry.rule, policy.scheme(own.entry)
        if scheme is None:
            kept = f"{rule.role} kept in bf16" if rule.quantized else ""
            yield kept, {own.name: own.array(DType.BF16)}
        else:
            refuse_group(own.entry, own.tensor, scheme)
            weight = policy.weight(own.tensor, own.groups)
            made = unit(own.name.removesuffix(_WEIGHT), weight, own.expert, scheme)
            yield f"{rule.role} {_in_words(scheme, made)}", made


def module_patterns(own: Convention, entries: list[ModelTensor], layers: int) -> Iterator[str]:
    """Yield patterns of module names, one for each kind of weight.

    Args:
        own: Convention of the names.
        entries: The weights to match.
        layers: Number of layers; a kind that occurs in all of them gets a pattern without number.
    """
    by_part: dict[NetworkPart, list[int]] = {}
    for entry in entries:
        by_part.setdefault(entry.rule.part, []).append(entry.layer or 0)
    for part, found in by_part.items():
        yield tensor_names.pattern_of(own, part, None if len(found) == layers else sorted(found))


def refuse_group(entry: ModelTensor, tensor: TensorSpec, scheme: QuantizationScheme) -> None:
    """Refuse groups that do not divide the inputs, or do not fill words.

    Blocks of inputs and outputs may be cut off at the edges of a matrix.

    Raises:
        GrokpackError: GP309 where they do not.
    """
    inputs = tensor.values.shape[-2]
    group = scheme.inputs_per_group(inputs)
    if scheme.numbers == "fp8":
        return
    if inputs % group or group % scheme.per_word:
        what = f"groups of {group} do not divide the {inputs} inputs of {entry.name}"
        divides = [str(g) for g in (32, 64, 128, 256) if inputs % g == 0]
        hint = (
            f"--group {' or '.join([*divides, 'channel'])}, or keep it: --keep '{entry.rule.path}'"
        )
        raise GrokpackError("GP309", what, hint=hint)


def _in_words(scheme: QuantizationScheme, made: WeightArrays) -> str:
    """Describe how a weight is quantized, or that its codes are copied."""
    if any(isinstance(op, CodeRows | CodeColumns) for _, op in made.values()):
        return f"int{scheme.bits}, codes and scales as they are"
    return in_words(scheme)


def _notes(source: Checkpoint) -> tuple[str, ...]:
    """Return the notes that the user reads before the run."""
    embedding = source.tensors[source.model.tensor("embedding").name]
    rounded = embedding.values.dtype is not DType.BF16
    return (
        *(["the embedding is rounded to bf16"] if rounded else []),
        *hyperparameters.notes(source.config, source.model),
    )

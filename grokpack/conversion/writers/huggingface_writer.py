"""Writer of Hugging Face folders: safetensors shards with an index, in three conventions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grokpack.conversion.writers import huggingface_config, huggingface_folder, losslessness
from grokpack.conversion.writers.engine_arrays import engine_arrays
from grokpack.conversion.writers.huggingface_folder import SHARD_BYTES, TORCH, ModelCard
from grokpack.conversion.writers.writer_row import Writer, suffix_unless_usual
from grokpack.core.layout import Layout, whole_box
from grokpack.core.tensors import DType
from grokpack.models import registry
from grokpack.planning.target import Target

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.models.family import ReleaseLayout
    from grokpack.models.tensor_names import Convention

NAME = "hf"


@dataclass(frozen=True, slots=True)
class HuggingFaceOptions:
    """Options of writing a folder.

    Attributes:
        names: The convention of the tensors' names; None for the family's first.
        dtype: Dtype of the matrices: `bf16`, `f16` or `f32`.
        shard_bytes: Maximum size of a shard.
        tokenizer: File or folder of the tokenizer; None to look beside the checkpoint.
    """

    names: str | None = None
    dtype: str = "bf16"
    shard_bytes: int = SHARD_BYTES
    tokenizer: str | None = None


def to_hf(source: Checkpoint, options: HuggingFaceOptions) -> Target:
    """Make the target: whole matrices, one for each expert.

    Raises:
        GrokpackError: GP346 for an unknown convention or dtype.
    """
    convention = huggingface_config.convention(source.model.family, options.names)
    arrays, ops = engine_arrays(source, convention, options.dtype)
    kept = losslessness.judge(source, ops)
    boxes = {name: whole_box(spec.shape) for name, spec in arrays.items()}
    files = list(huggingface_folder.shards(boxes, arrays, options.shard_bytes))
    finals = {
        **huggingface_folder.sidecars(
            source,
            _card(source, convention, options),
            convention,
            options.dtype,
            options.tokenizer,
            **_whole_experts(convention),
        ),
        **huggingface_folder.index(files, arrays),
    }
    return Target(
        NAME,
        Layout(arrays, tuple((file,) for file in files)),
        ops,
        finals,
        source.framings,
        notes=huggingface_folder.notes(source, kept, finals),
        lossless=kept.lossless,
    )


def _whole_experts(convention: Convention) -> dict[str, Any]:
    """Tell SGLang that experts are whole; it would otherwise take them for one rank's share."""
    return {"load_presharded_moe": False} if convention.name == "sglang" else {}


def _card(source: Checkpoint, convention: Convention, options: HuggingFaceOptions) -> ModelCard:
    title = f"{source.model.family.title} in {options.dtype}, {convention.name} names"
    family = source.model.family
    usage = _WITH_CODE if family.code else _SERVED.format(options=family.sglang_options)
    return ModelCard(title, _how(family.release_layout, options), usage)


def _how(released: ReleaseLayout, options: HuggingFaceOptions) -> str:
    if released.weights is not DType.I8:
        others = TORCH[released.others.label]
        return f"Weights in {TORCH[options.dtype]}, whole; router and norms in {others}."
    if options.dtype == "bf16":
        return (
            "int8 weights times their scales, rounded once to bfloat16: bit for bit the weights "
            "that xAI's code computes with. Router and norms are float32."
        )
    return (
        f"int8 weights times their scales in {TORCH[options.dtype]}. Router and norms are float32."
    )


_WITH_CODE = """`AutoModelForCausalLM.from_pretrained(FOLDER, trust_remote_code=True)` loads it in
transformers 4.57 and 5, with the modelling code in this folder."""
_SERVED = """SGLang loads it at any width, and vLLM up to 0.24:
`python -m sglang.launch_server --model-path FOLDER --tp N {options}`."""


WRITER = Writer(
    NAME,
    "Hugging Face folder: transformers, vLLM up to 0.24, SGLang, llama.cpp's converter",
    HuggingFaceOptions,
    to_hf,
    lambda o: "-".join(
        [
            NAME,
            *suffix_unless_usual(o.names, registry.convention_names()[0]),
            *suffix_unless_usual(o.dtype, "bf16"),
        ]
    ),
)

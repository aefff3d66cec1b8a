"""Writer of Hugging Face folders: safetensors shards with an index, in three conventions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack.checkpoint import tokenizer_files
from grokpack.conversion.writers import huggingface_config, losslessness, sidecars
from grokpack.conversion.writers.engine_arrays import FLOATS, engine_array
from grokpack.conversion.writers.scale_groups import collapsed
from grokpack.conversion.writers.writer import Writer, unusual
from grokpack.core.errors import GrokpackError
from grokpack.core.layout import FileLayout, Layout, whole
from grokpack.formats import safetensors
from grokpack.models import hyperparameters
from grokpack.planning.target import Target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.conversion.writers.losslessness import Fidelity
    from grokpack.core.tensors import ArraySpec, DType
    from grokpack.models.tensor_names import Convention
    from grokpack.transforms.protocols import Op

NAME = "hf"
INDEX = "model.safetensors.index.json"
SHARD_BYTES = 5_000_000_000
"""transformers' own default for the size of a shard, until it became 50 GB."""
TORCH = {"bf16": "bfloat16", "f16": "float16", "f32": "float32"}


@dataclass(frozen=True, slots=True)
class HuggingFaceOptions:
    """Options of writing a folder.

    Attributes:
        names: The convention: `hpcai`, `sglang` or `keyfan`.
        dtype: Of the matrices: `bf16`, `f16` or `f32`.
        shard_bytes: Size that a shard keeps to.
        tokenizer: File or folder of the tokenizer; None to look beside the checkpoint.
    """

    names: str = "hpcai"
    dtype: str = "bf16"
    shard_bytes: int = SHARD_BYTES
    tokenizer: str | None = None


def to_hf(source: Checkpoint, options: HuggingFaceOptions) -> Target:
    """Make the target: whole matrices, one per expert.

    Raises:
        GrokpackError: GP304 for an unknown convention or dtype.
    """
    convention = huggingface_config.convention(source.model.family, options.names)
    dtype = float_of(options.dtype)
    arrays: dict[str, ArraySpec] = {}
    made: dict[str, Op] = {}
    for name, spec, op in engine_arrays(source, convention, dtype):
        arrays[name], made[name] = spec, op
    kept = losslessness.judge(source, made)
    shards = list(safetensors.shards({n: a.nbytes for n, a in arrays.items()}, options.shard_bytes))
    files = []
    for number, shard in enumerate(shards):
        path = f"model-{number + 1:05d}-of-{len(shards):05d}{safetensors.SUFFIX}"
        boxes = {n: whole(arrays[n].shape) for n in safetensors.aligned(shard, arrays)}
        files.append(safetensors.lay_out(path, boxes, arrays))
    tokenizer = tokenizer_files.tokenizer_files(source, options.tokenizer)
    finals = {
        **tokenizer,
        **sidecars.code(source),
        "README.md": sidecars.card(
            f"{source.model.family.title} in {options.dtype}, {options.names} names",
            source,
            _how(options),
            _USAGE,
            tokenizer,
        ),
        **huggingface_config.render(
            convention, source.model, source.config, TORCH[options.dtype], _whole(options)
        ),
        INDEX: index(files, arrays),
    }
    return Target(
        NAME,
        Layout(arrays, tuple((file,) for file in files)),
        made,
        finals,
        source.framings,
        notes=notes(source, kept, finals),
        lossless=kept.lossless,
    )


def float_of(name: str) -> DType:
    """The dtype of matrices that an option names.

    Raises:
        GrokpackError: GP304 for an unknown one.
    """
    if name not in FLOATS:
        raise GrokpackError("GP304", f"--dtype takes {', '.join(FLOATS)}")
    return FLOATS[name]


def engine_arrays(
    source: Checkpoint, convention: Convention, dtype: DType
) -> Iterator[tuple[str, ArraySpec, Op]]:
    """Yield every array of a folder by its name, in the order of the network.

    The final norm and the head come last: llama.cpp's converter gathers the experts of a layer
    and writes them when something else follows.
    """
    for entry in source.model.network_order():
        tensor = source.tensors[entry.name]
        stack = range(source.geometry.experts) if entry.rule.stacked else (None,)
        groups = collapsed(source.geometry, entry, tensor)
        for expert in stack:
            yield convention.of(entry, expert), *engine_array(entry, tensor, dtype, expert, groups)
    for name, entry in huggingface_config.head_copies(source.model, convention):
        yield name, *engine_array(entry, source.tensors[entry.name], dtype)


def index(files: list[FileLayout], arrays: dict[str, ArraySpec]) -> bytes:
    """Make the index: which file holds each array, and the bytes of all arrays."""
    held = {name: file.path for file in files for name in _names(file)}
    document = {
        "metadata": {"total_size": sum(array.nbytes for array in arrays.values())},
        "weight_map": dict(sorted(held.items())),
    }
    return (json.dumps(document, indent=2) + "\n").encode()


def _names(file: FileLayout) -> Iterator[str]:
    return (name for s in file.segments if (name := getattr(s, "array", None)) is not None)


def _whole(options: HuggingFaceOptions) -> dict[str, bool]:
    """Note that SGLang takes experts for one rank's share unless it is told."""
    return {"load_presharded_moe": False} if options.names == "sglang" else {}


def _how(options: HuggingFaceOptions) -> str:
    if options.dtype == "bf16":
        return (
            "int8 weights times their scales, rounded once to bfloat16: bit for bit the weights "
            "that xAI's code computes with. Router and norms are float32."
        )
    return (
        f"int8 weights times their scales in {TORCH[options.dtype]}. Router and norms are float32."
    )


_USAGE = """`AutoModelForCausalLM.from_pretrained(FOLDER, trust_remote_code=True)` loads it in
transformers 4.57 and 5, with the modelling code in this folder."""


def notes(source: Checkpoint, kept: Fidelity, finals: dict[str, bytes]) -> tuple[str, ...]:
    """Make the notes that the user reads before the run."""
    said = list(kept.notes)
    if not finals.keys() & {tokenizer_files.TOKENIZER, tokenizer_files.TOKENIZER_JSON}:
        said.append("no tokenizer is written: none was found beside the checkpoint, or asked for")
    return (*said, *constant_notes(source))


def constant_notes(source: Checkpoint) -> list[str]:
    """Note constants of the source's config that differ from xAI's code."""
    known = hyperparameters.read(source.config, source.model)
    return [
        f"config.json of the source has {text}; it is carried over"
        for text in hyperparameters.differences(known, source.model)
    ]


WRITER = Writer(
    NAME,
    "Hugging Face folder: transformers, vLLM up to 0.24, SGLang, llama.cpp's converter",
    HuggingFaceOptions,
    to_hf,
    lambda o: "-".join([NAME, *unusual(o.names, "hpcai"), *unusual(o.dtype, "bf16")]),
)

"""Hugging Face folders: arrays in shards, and the small files that go with them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grokpack.checkpoint import companion_files, tokenizer_files
from grokpack.conversion.writers import huggingface_config
from grokpack.core.layout import ArraySlice
from grokpack.formats import safetensors
from grokpack.models import hyperparameters

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.conversion.writers.losslessness import Fidelity
    from grokpack.core.layout import Box, FileLayout
    from grokpack.core.tensors import ArraySpec
    from grokpack.models.tensor_names import Convention

INDEX = "model.safetensors.index.json"
SHARD_BYTES = 5_000_000_000
"""Default of transformers for the size of a shard, before it became 50 GB."""
TORCH = {"bf16": "bfloat16", "f16": "float16", "f32": "float32"}


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Sentences of README.md that differ from folder to folder.

    Attributes:
        title: The first line.
        how: A sentence on what was done to the weights.
        usage: A paragraph of Markdown on how to load the folder.
    """

    title: str
    how: str
    usage: str


def sidecars(
    source: Checkpoint,
    card: ModelCard,
    convention: Convention,
    dtype: str,
    tokenizer: str | None,
    **config: Any,  # noqa: ANN401  # values of JSON
) -> dict[str, bytes]:
    """Make the files beside the shards: tokenizer, modelling code, card, configs.

    Args:
        source: The checkpoint from which the folder is made.
        card: Sentences for README.md.
        convention: Names of the tensors.
        dtype: Dtype of the matrices: `bf16`, `f16` or `f32`.
        tokenizer: File or folder of the tokenizer; None to look beside the checkpoint.
        config: More keys of config.json.

    Raises:
        GrokpackError: GP306 if there is no tokenizer at the given path.
    """
    held = tokenizer_files.tokenizer_files(source, tokenizer, generation=True)
    return {
        **held,
        **{name: _model_code(name) for name in source.model.family.code},
        companion_files.CARD: _render(card, source, held),
        **huggingface_config.render(convention, source.model, source.config, TORCH[dtype], config),
    }


def shards(
    boxes: Mapping[str, Box],
    arrays: Mapping[str, ArraySpec],
    shard_bytes: int,
    rank: str | None = None,
) -> Iterator[FileLayout]:
    """Yield shards that together hold regions of arrays.

    Args:
        boxes: The region of each array.
        arrays: Whole arrays.
        shard_bytes: Maximum size of a file.
        rank: Ending of the names of one rank's files: `TP-003`.
    """
    sizes = {name: box.elements * arrays[name].dtype.itemsize for name, box in boxes.items()}
    for path, shard in safetensors.named(safetensors.shards(sizes, shard_bytes), rank):
        names = safetensors.aligned(shard, arrays)
        yield safetensors.lay_out(path, {name: boxes[name] for name in names}, arrays)


def index(files: Iterable[FileLayout], arrays: Mapping[str, ArraySpec]) -> dict[str, bytes]:
    """Make the index: which file holds each array, and the bytes of all arrays."""
    held = {
        s.array: file.path for file in files for s in file.segments if isinstance(s, ArraySlice)
    }
    document = {
        "metadata": {"total_size": sum(array.nbytes for array in arrays.values())},
        "weight_map": dict(sorted(held.items())),
    }
    return {INDEX: (json.dumps(document, indent=2) + "\n").encode()}


def notes(source: Checkpoint, kept: Fidelity, finals: Mapping[str, bytes]) -> tuple[str, ...]:
    """Make the notes on a folder of floating-point weights that the user reads before the run."""
    said = list(kept.notes)
    if not tokenizer_files.is_one(finals, source.model.family):
        said.append("no tokenizer is written: none was found beside the checkpoint, or asked for")
    else:
        said += tokenizer_files.notes(finals, source.model.family)
    return (*said, *hyperparameters.notes(source.config, source.model))


def _model_code(name: str) -> bytes:
    """Read modelling code, which grokpack ships to put it into outputs."""
    package = os.path.dirname(os.path.dirname(__file__))
    return tokenizer_files.read_small(os.path.join(package, "model_code", name))


def _render(card: ModelCard, source: Checkpoint, tokenizer: Collection[str]) -> bytes:
    """Render README.md: what the folder is, where it comes from, how to load it."""
    own = source.model.family.publication
    named = f"\nlicense_name: {own.license_name}\nlicense_link: LICENSE" if own.license_name else ""
    text = f"""---
license: {own.license}{named}
base_model: {own.repository}
---

# {card.title}

{card.how}

Made by grokpack from a {source.format} checkpoint whose identity (sha256 of its headers) is
`{source.identity()}`. `grokpack.json` holds the plan, sizes and checksums. The weights are
{own.organization}'s, released under the {own.license_words}.

{card.usage}

{_tokenizer_usage(tokenizer)}
"""
    return text.encode()


def _tokenizer_usage(held: Collection[str]) -> str:
    if tokenizer_files.TOKENIZER_JSON in held:
        return "`AutoTokenizer.from_pretrained(FOLDER)` reads the tokenizer."
    if not held:
        return "There is no tokenizer here; the model takes token ids."
    return _FOR_4_57


_FOR_4_57 = """The tokenizer is `tokenizer.model`; there is no `tokenizer.json`.
`AutoTokenizer.from_pretrained(FOLDER)` reads it in transformers 5. transformers 4.57 needs a
`tokenizer.json`: without one, take ids from sentencepiece,
`SentencePieceProcessor(model_file="FOLDER/tokenizer.model").encode(TEXT)`."""

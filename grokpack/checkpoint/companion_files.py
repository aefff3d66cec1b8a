"""Small files that belong to a checkpoint beside its weights: config, tokenizer, LICENSE, index."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.checkpoint import tokenizer_files
from grokpack.checkpoint.layouts import tp_safetensors_layout
from grokpack.checkpoint.readers import weight_files
from grokpack.formats import orbax
from grokpack.models import config_json, registry

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint

LICENSE = "LICENSE"

NAMES = tuple(
    dict.fromkeys(
        (
            config_json.FILE,
            LICENSE,
            tokenizer_files.GENERATION_CONFIG,
            tokenizer_files.CHAT_TEMPLATE,
            *(n for own in registry.FAMILIES.values() for n in tokenizer_files.names(own)),
            *(name for own in registry.FAMILIES.values() for name in own.code),
            weight_files.INDEX,
            tp_safetensors_layout.INDEX,
            orbax.CHECKPOINT,
            orbax.COMMIT,
        )
    )
)
"""Names of those that a manifest of files from elsewhere lists."""
CARD = "README.md"
"""Name of the card, into which people write notes of their own."""


def is_one(path: str) -> bool:
    """Return whether a file of a checkpoint holds no weights, by its name."""
    return os.path.basename(path) in (*NAMES, CARD)


def present(checkpoint: Checkpoint) -> dict[str, str]:
    """Return the path of each that is there, by its name below the checkpoint's home.

    A file that shares its folder has none: what lies beside it may be another model's.
    """
    if not checkpoint.owns_folder:
        return {}
    weights = {checkpoint.path(file.path) for file in checkpoint.layout.files()}
    folders = dict.fromkeys((checkpoint.home, checkpoint.folder))
    paths = [os.path.join(folder, name) for folder in folders for name in NAMES]
    there = storage.map_all(checkpoint.folder, storage.is_file, paths)
    return {
        os.path.relpath(path, checkpoint.home): path
        for path, held in zip(paths, there, strict=True)
        if held and path not in weights
    }

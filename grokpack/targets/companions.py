"""Small files that go with a converted model: tokenizer, licence, modelling code, a card."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import grokpack
from grokpack import storage
from grokpack.errors import GrokpackError, Place

if TYPE_CHECKING:
    from grokpack.checkpoint import Checkpoint

TOKENIZER = "tokenizer.model"
_TOKENIZER_FILES = (
    TOKENIZER,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
_LIMIT_BYTES = 64 << 20  # thirty times the release's; these files are held in memory


def find_tokenizer(source: Checkpoint, given: str | None) -> str | None:
    """Path of tokenizer.model: the one given, or found beside the checkpoint or one folder up.

    Raises:
        GrokpackError: GP306 where the one given is not there.
    """
    if given is not None:
        path = os.path.join(given, TOKENIZER) if storage.is_folder(given) else given
        if not storage.exists(path):
            raise GrokpackError("GP306", "no tokenizer here", Place(path))
        return path
    folders = dict.fromkeys(
        [
            source.folder,
            source.home,
            os.path.dirname(os.path.abspath(source.folder)),
            os.path.dirname(os.path.abspath(source.home)),
        ]
    )
    paths = (os.path.join(folder, TOKENIZER) for folder in folders)
    return next((path for path in paths if storage.exists(path)), None)


def tokenizer_files(source: Checkpoint, given: str | None) -> dict[str, bytes]:
    """tokenizer.model, and the files that describe it to transformers, where they are there."""
    path = find_tokenizer(source, given)
    folder = os.path.dirname(path) if path else source.home
    found = {} if path is None else {TOKENIZER: read_small(path)}
    for name in _TOKENIZER_FILES:
        beside = os.path.join(folder, name)
        if name not in found and storage.exists(beside):
            found[name] = read_small(beside)
    return found


def read_small(path: str) -> bytes:
    """A whole small file.

    Raises:
        GrokpackError: GP209 where it is too large to be one.
    """
    data = storage.FileBytes(path)
    size = data.size()
    if size > _LIMIT_BYTES:
        raise GrokpackError("GP209", f"{size:,} bytes are too many for this file", Place(path))
    return data.read(0, size)


def template(folder: str, name: str) -> bytes:
    """A file that is shipped with grokpack to be put into outputs."""
    return read_small(os.path.join(os.path.dirname(grokpack.__file__), "templates", folder, name))


def card(title: str, source: Checkpoint, how: str, usage: str) -> bytes:
    """A README.md that says what the folder is, where it came from and how to load it.

    Args:
        title: Its first line.
        source: What it was made from.
        how: One sentence: what was done to the weights.
        usage: A paragraph of Markdown: how to load it.
    """
    text = f"""---
license: apache-2.0
base_model: xai-org/grok-1
---

# {title}

{how}

Made by grokpack from a {source.format} checkpoint whose identity (sha256 of its headers) is
`{source.identity()}`. `grokpack.json` holds the plan, sizes and checksums. The weights are
xAI's, released under the Apache License 2.0.

{usage}
"""
    return text.encode()

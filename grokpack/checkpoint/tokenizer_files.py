"""Tokenizer files that belong to a checkpoint."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.core.errors import GrokpackError, Place
from grokpack.formats import sentencepiece as vocabularies

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.models.family import Family

TOKENIZER = "tokenizer.model"
TOKENIZER_JSON = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"

NO_TOKENIZER = "none"
"""Value of an option where no tokenizer is wanted."""
TOKENIZER_FILES = (
    TOKENIZER,
    TOKENIZER_JSON,
    TOKENIZER_CONFIG,
    "special_tokens_map.json",
    "added_tokens.json",
)
LIMIT_BYTES = 64 << 20  # thirty times the release's; these files are held in memory


def find_tokenizer(source: Checkpoint, given: str | None) -> str | None:
    """Find tokenizer.model: the given one, or one beside the checkpoint or a folder above.

    Raises:
        GrokpackError: GP306 if the given one does not exist.
    """
    if given is not None:
        path = os.path.join(given, TOKENIZER) if storage.is_folder(given) else given
        if not storage.exists(path):
            raise GrokpackError("GP306", "no tokenizer here", Place(path))
        return path
    paths = (os.path.join(folder, TOKENIZER) for folder in _folders(source))
    return next((path for path in paths if storage.exists(path)), None)


def _folders(source: Checkpoint) -> list[str]:
    """Return the folders that may hold the tokenizer: the checkpoint's, and those above."""
    held = (source.folder, source.home)
    above = (storage.parent(folder) for folder in held)
    return list(dict.fromkeys([*held, *above]))


def tokenizer_files(source: Checkpoint, given: str | None) -> dict[str, bytes]:
    """Read tokenizer.model and the existing files that describe it to transformers.

    Raises:
        GrokpackError: GP306 if the given path has none, or another model's, GP242 if
            tokenizer.model is broken.
    """
    found = {} if given == NO_TOKENIZER else _read_tokenizer(source, given)
    hint = "name the right one with --tokenizer; `--tokenizer none` writes none"
    if TOKENIZER in found:
        place = given or TOKENIZER
        pieces = vocabularies.check(found[TOKENIZER], place)
        vocabularies.refuse_another(pieces, source.geometry.vocab, place, hint)
    family = source.model.family
    pieces_of_release = family.release.vocab
    if _is_released(found, family) and source.geometry.vocab != pieces_of_release:
        facts = (
            ("tokenizer", f"{family.publication.organization}'s, {pieces_of_release:,} pieces"),
            ("embedding", f"{source.geometry.vocab:,} rows"),
        )
        raise GrokpackError("GP306", "the tokenizer is another model's", None, facts, hint)
    return found


def _read_tokenizer(source: Checkpoint, given: str | None) -> dict[str, bytes]:
    """Read the files at the given path, or in the first folder that has some."""
    if given is not None and not storage.is_folder(given):
        if os.path.basename(given) not in TOKENIZER_FILES:
            return _described(source, {TOKENIZER: read_small(_existing(given))})
        given = os.path.dirname(_existing(given)) or "."
    for folder in [given] if given is not None else _folders(source):
        found = {
            name: read_small(path)
            for name in TOKENIZER_FILES
            if storage.exists(path := os.path.join(folder, name))
        }
        if found.keys() & {TOKENIZER, TOKENIZER_JSON}:
            return _described(source, found)
    if given is not None:
        raise GrokpackError("GP306", "no tokenizer here", Place(given))
    return {}


def _existing(path: str) -> str:
    if not storage.exists(path):
        raise GrokpackError("GP306", "no tokenizer here", Place(path))
    return path


def _described(source: Checkpoint, found: dict[str, bytes]) -> dict[str, bytes]:
    """Add a config for transformers to the release's tokenizer.model, if it is alone.

    transformers 5 makes the exact tokenizer of it if told the general class. With Llama's, to which
    such a file usually belongs, it cuts most texts differently from SentencePiece.
    """
    own = source.model.family.tokenizer
    alone = not found.keys() & {TOKENIZER_JSON, TOKENIZER_CONFIG}
    if own is None or not alone or not _is_released(found, source.model.family):
        return found
    return found | {TOKENIZER_CONFIG: (json.dumps(own.config, indent=2) + "\n").encode()}


def _is_released(found: Mapping[str, bytes], family: Family) -> bool:
    """Return whether tokenizer.model is that of the family's release."""
    own, contents = family.tokenizer, found.get(TOKENIZER)
    if own is None or contents is None:
        return False
    return hashlib.sha256(contents).hexdigest() == own.sha256


def read_small(path: str) -> bytes:
    """Read a whole small file.

    Raises:
        GrokpackError: GP235 if it is too large to be one.
    """
    return storage.read_whole(path, LIMIT_BYTES)

"""Tokenizer files that belong to a checkpoint."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.core.errors import GrokpackError, Place
from grokpack.formats.tokenizers.tokenizer_kinds import KINDS, refuse_another

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.formats.tokenizers.tokenizer_kinds import Tokenizer
    from grokpack.models.family import Family, Model
    from grokpack.models.tokenizer_table import TokenizerTable

TOKENIZER_JSON = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
CHAT_TEMPLATE = "chat_template.jinja"
GENERATION_CONFIG = "generation_config.json"

NO_TOKENIZER = "none"
"""Value of an option where no tokenizer is wanted."""
_DESCRIPTIONS = (
    TOKENIZER_JSON,
    TOKENIZER_CONFIG,
    "special_tokens_map.json",
    "added_tokens.json",
)
LIMIT_BYTES = 64 << 20  # thirty times the release's; these files are held in memory


def names(family: Family) -> tuple[str, ...]:
    """Return the names of all files that a family's tokenizer may have, its own first."""
    own = family.tokenizer
    return (KINDS[own.kind].file, *_DESCRIPTIONS, *([CHAT_TEMPLATE] if own.chat else ()))


def is_one(held: Collection[str], family: Family) -> bool:
    """Return whether there is a tokenizer among files."""
    return not {KINDS[family.tokenizer.kind].file, TOKENIZER_JSON}.isdisjoint(held)


def origin(model: Model) -> str:
    """Say where the tokenizer of a release is, if not beside the weights; else nothing."""
    family = model.family
    if not model.is_release or family.tokenizer.released:
        return ""
    return f" ({family.publication.organization} keeps it at {family.publication.url})"


def find_tokenizer(source: Checkpoint, given: str | None) -> str | None:
    """Find the tokenizer's own file: the given one, or one beside the checkpoint or a folder above.

    Raises:
        GrokpackError: GP306 if the given one does not exist.
    """
    name = KINDS[source.model.family.tokenizer.kind].file
    if given is not None:
        return _existing(os.path.join(given, name) if storage.is_folder(given) else given)
    paths = [os.path.join(folder, name) for folder in _folders(source)]
    found = storage.map_all(source.folder, storage.exists, paths)
    return next(itertools.compress(paths, found), None)


def _folders(source: Checkpoint) -> list[str]:
    """Return the folders that may hold the tokenizer: the checkpoint's, and those above."""
    held = (source.folder, source.home)
    above = (storage.parent(folder) for folder in held)
    return list(dict.fromkeys([*held, *above]))


def tokenizer_files(
    source: Checkpoint, given: str | None, *, generation: bool = False
) -> dict[str, bytes]:
    """Read the tokenizer's file and those that describe it, and make those that are missing.

    Args:
        source: The checkpoint.
        given: File or folder of the tokenizer; None to look beside the checkpoint.
        generation: True for generation_config.json as well, where the tokenizer tells it.

    Raises:
        GrokpackError: GP306 if the given path has none, or another model's, GP242 if the
            tokenizer's own file is broken.
    """
    found = {} if given == NO_TOKENIZER else _read_tokenizer(source, given)
    family, rows = source.model.family, source.geometry.vocab
    kind = KINDS[family.tokenizer.kind]
    if kind.file not in found:
        return found
    hint = "name the right one with --tokenizer; `--tokenizer none` writes none"
    place = given or kind.file
    held = kind.read(found[kind.file], place)
    held.check()
    refuse_another(held, rows, place, hint)
    if _is_released(found, family.tokenizer) and rows != family.release.vocab:
        facts = (
            ("tokenizer", f"{family.publication.organization}'s, {family.release.vocab:,} pieces"),
            ("embedding", f"{rows:,} rows"),
        )
        raise GrokpackError("GP306", "the tokenizer is another model's", None, facts, hint)
    more = _generation_config(held, family.tokenizer) if generation else {}
    return _described(found, held, family.tokenizer) | more


def _read_tokenizer(source: Checkpoint, given: str | None) -> dict[str, bytes]:
    """Read the files at the given path, or in the first folder that has some."""
    family = source.model.family
    if given is not None and not storage.is_folder(given):
        if os.path.basename(given) not in names(family):
            return {KINDS[family.tokenizer.kind].file: read_small(_existing(given))}
        given = os.path.dirname(_existing(given)) or "."
    for folder in [given] if given is not None else _folders(source):
        paths = [os.path.join(folder, name) for name in names(family)]
        there = itertools.compress(paths, storage.map_all(folder, storage.exists, paths))
        found = {os.path.basename(path): read_small(path) for path in there}
        if is_one(found, family):
            return found
    if given is not None:
        raise GrokpackError("GP306", "no tokenizer here", Place(given))
    return {}


def _existing(path: str) -> str:
    if not storage.exists(path):
        raise GrokpackError("GP306", "no tokenizer here", Place(path))
    return path


def _described(found: dict[str, bytes], held: Tokenizer, own: TokenizerTable) -> dict[str, bytes]:
    """Add the files that transformers needs and nothing beside the tokenizer's own file says.

    transformers 5 makes the exact tokenizer of a SentencePiece model if told the general class.
    With Llama's, to which such a file usually belongs, it cuts most texts differently.
    """
    made = {}
    if TOKENIZER_JSON not in found:
        made[TOKENIZER_JSON] = held.tokenizer_json()
    if not found.keys() & {TOKENIZER_JSON, TOKENIZER_CONFIG} and _is_known(found, own):
        made[TOKENIZER_CONFIG] = _config(held, own)
    if own.chat is not None and CHAT_TEMPLATE not in found:
        made[CHAT_TEMPLATE] = own.chat.template().encode()
    return found | {name: data for name, data in made.items() if data is not None}


def _generation_config(held: Tokenizer, own: TokenizerTable) -> dict[str, bytes]:
    """Make generation_config.json of a family whose tokenizer has the tokens that end a turn.

    transformers otherwise takes those of whatever class `model_type` names.
    """
    stops = [held.special[text] for text in own.stops if text in held.special]
    if not stops:
        return {}
    ids: dict[str, object] = {"eos_token_id": stops}
    padding = held.special.get(own.special["padding"])
    if padding is not None:
        ids["pad_token_id"] = padding
    return {GENERATION_CONFIG: (json.dumps(ids, indent=2) + "\n").encode()}


def notes(made: Mapping[str, bytes], family: Family) -> list[str]:
    """Note that the tokenizer among files of an output lacks tokens that end an answer."""
    stops = family.tokenizer.stops
    if KINDS[family.tokenizer.kind].file not in made or not stops:
        return []
    told = json.loads(made.get(GENERATION_CONFIG, b"{}")).get("eos_token_id", [])
    if len(told) == len(stops):
        return []
    return [f"the tokenizer has {len(told)} of the {len(stops)} tokens that end an answer"]


def _config(held: Tokenizer, own: TokenizerTable) -> bytes | None:
    """Make tokenizer_config.json without tokens that the tokenizer does not have.

    transformers would add them, with ids of its own.
    """
    missing = {*own.special.values()} - held.special.keys()
    config = {key: value for key, value in own.config.items() if value not in missing}
    return (json.dumps(config, indent=2) + "\n").encode() if config else None


def _is_known(found: Mapping[str, bytes], own: TokenizerTable) -> bool:
    """Return whether the family's table describes this tokenizer."""
    return own.sha256 is None or _is_released(found, own)


def _is_released(found: Mapping[str, bytes], own: TokenizerTable) -> bool:
    """Return whether the tokenizer is known to be that of the family's release."""
    return hashlib.sha256(found[KINDS[own.kind].file]).hexdigest() == own.sha256


def read_small(path: str) -> bytes:
    """Read a whole small file.

    Raises:
        GrokpackError: GP235 if it is too large to be one.
    """
    return storage.read_whole(path, LIMIT_BYTES)

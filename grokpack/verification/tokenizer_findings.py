"""Findings about the tokenizer of a release that has one beside its weights."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from grokpack import storage
from grokpack.checkpoint import manifest_file, manifest_paths, tokenizer_files
from grokpack.core.errors import NO_FAULT_OF_FILES, GrokpackError, InputTooLarge
from grokpack.core.finding import Finding
from grokpack.formats.tokenizers.tokenizer_kinds import KINDS, refuse_another
from grokpack.models import config_json, hyperparameters

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.formats.tokenizers.tokenizer_kinds import Tokenizer
    from grokpack.models.tokenizer_table import TokenizerTable

CODE = "GP132"
_LEAST_SHARE = 7 / 8  # of the rows; embeddings are padded by less, to a multiple that chips like


def findings(checkpoint: Checkpoint) -> list[Finding]:
    """Return what is wrong with the tokenizer; nothing where none belongs to the checkpoint.

    One that is missing is a warning, since the weights are whole without it. It is none where the
    manifest tells: of an output that was made without, or of one that lists it.
    """
    own, released = checkpoint.model.family.tokenizer, checkpoint.model.family.release_layout
    if not own.released or checkpoint.format != released.format:
        return []
    kind = KINDS[own.kind]
    path = tokenizer_files.find_tokenizer(checkpoint, None)
    if path is None:
        others = tokenizer_files.is_one(storage.names(checkpoint.folder), checkpoint.model.family)
        if others or _is_told(checkpoint, kind.file):
            return []
        return [Finding(CODE, "tokenizer is missing", kind.file, severity="warning")]
    file = os.path.relpath(path, checkpoint.folder)
    try:
        read = kind.read(tokenizer_files.read_small(path), path)
        read.check()
        refuse_another(read, checkpoint.geometry.vocab, path)
    except GrokpackError as error:
        if isinstance(error, NO_FAULT_OF_FILES) and not isinstance(error, InputTooLarge):
            raise
        facts = dict(error.facts)
        wanted, found = facts.get("embedding"), facts.get("tokenizer")
        return [Finding(CODE, error.what, file, None, wanted, found)]
    return [
        *_too_few(read, checkpoint.geometry.vocab, file),
        *_without_specials(read, own, file),
        *_other_ids(read, checkpoint),
    ]


def _too_few(read: Tokenizer, rows: int, file: str) -> Iterator[Finding]:
    """Warn about a tokenizer with far fewer pieces than the embedding has rows."""
    if read.rows < _LEAST_SHARE * rows:
        what = "the tokenizer is smaller than the embedding: perhaps another model's"
        wanted, found = f"{rows:,} rows", f"{read.rows:,} pieces"
        yield Finding(CODE, what, file, None, wanted, found, "warning")


def _without_specials(read: Tokenizer, own: TokenizerTable, file: str) -> Iterator[Finding]:
    """Yield a finding for special tokens of the family that the tokenizer lacks.

    Plain texts become tokens without them, so that it is a warning. Where none is there, nothing
    ends a turn or an answer, and no conversation works.
    """
    lacking = [text for text in sorted(own.special.values()) if text not in read.special]
    if not lacking:
        return
    ends = [text for text in own.stops if text in read.special]
    what = "the tokenizer lacks special tokens of the model"
    if not ends:
        what += "; none is left that ends an answer"
    found = "no special token" if not read.special else f"no {', '.join(lacking)}"
    wanted = ", ".join(sorted(own.special.values()))
    severity: Literal["error", "warning"] = "warning" if ends else "error"
    yield Finding(CODE, what, file, None, wanted, found, severity)


def _other_ids(read: Tokenizer, checkpoint: Checkpoint) -> Iterator[Finding]:
    """Warn about ids in config.json that are not those of the tokenizer: engines follow either."""
    family = checkpoint.model.family
    used = {"pad": [family.tokenizer.special["padding"]], "eos": family.tokenizer.stops}
    for constant, texts in used.items():
        ids = {text: read.special[text] for text in texts if text in read.special}
        for key in family.hyperparameters.get(constant, ()):
            said = checkpoint.config.get(key)
            if ids and not _are_among(said, ids.values()):
                what = f"{key} in config.json is not the tokenizer's"
                wanted = ", ".join(f"{text} is {number}" for text, number in ids.items())
                found = f"{key} is {hyperparameters.shown(said)}"
                yield Finding(CODE, what, config_json.FILE, None, wanted, found, "warning")


def _are_among(said: object, ids: Collection[int]) -> bool:
    """Return whether a config's id, or each of a list of them, is one of these; -1 is none."""
    numbers = said if isinstance(said, list) else [said]
    return all(number in (None, -1, *ids) for number in numbers)


def _is_told(checkpoint: Checkpoint, name: str) -> bool:
    """Return whether the manifest tells of the tokenizer, that it was there or that none was made.

    What only records the files of a release does not say that they are all.
    """
    path = manifest_paths.present(checkpoint)
    if path is None:
        return False
    document = manifest_file.load_file(path)
    return document.get("command") != "manifest" or name in document.get("finals", {})

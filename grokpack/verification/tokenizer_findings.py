"""Findings about the tokenizer of a release that has one beside its weights."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.checkpoint import manifest_file, manifest_paths, tokenizer_files
from grokpack.core.errors import NO_FAULT_OF_FILES, GrokpackError, InputTooLarge
from grokpack.core.finding import Finding
from grokpack.formats.tokenizers.tokenizer_kinds import KINDS, refuse_another

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint

CODE = "GP132"


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
    try:
        read = kind.read(tokenizer_files.read_small(path), path)
        read.check()
        refuse_another(read, checkpoint.geometry.vocab, path)
    except GrokpackError as error:
        if isinstance(error, NO_FAULT_OF_FILES) and not isinstance(error, InputTooLarge):
            raise
        file, facts = os.path.relpath(path, checkpoint.folder), dict(error.facts)
        wanted, found = facts.get("embedding"), facts.get("tokenizer")
        return [Finding(CODE, error.what, file, None, wanted, found)]
    return []


def _is_told(checkpoint: Checkpoint, name: str) -> bool:
    """Return whether the manifest tells of the tokenizer, that it was there or that none was made.

    What only records the files of a release does not say that they are all.
    """
    path = manifest_paths.present(checkpoint)
    if path is None:
        return False
    document = manifest_file.load_file(path)
    return document.get("command") != "manifest" or name in document.get("finals", {})

"""Files beside the source's weights that are copied into outputs: its LICENSE, its tokenizer."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.checkpoint import tokenizer_files
from grokpack.checkpoint.companion_files import LICENSE
from grokpack.models import config_json

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.planning.target import Target


def carried(source: Checkpoint, target: Target, *, tokenizer: bool) -> Target:
    """Add the files that are copied to a target, and notes on what is not.

    A view lies beside the source, and a single file has no folder of its own.

    Args:
        source: The checkpoint that is converted.
        target: What is made of it.
        tokenizer: Whether the tokenizer is copied; False where the writer deals with it.
    """
    if target.fixed_path is not None:
        return target
    target = _telling_lost_entries(source, _licensed(source, target))
    return _with_tokenizer(source, target) if tokenizer and not target.single else target


def _licensed(source: Checkpoint, target: Target) -> Target:
    """Add the source's LICENSE; one that hubs know is copied under that name."""
    own = source.model.family.publication
    if not own.license_name or LICENSE in target.finals:
        return target
    paths = (os.path.join(folder, LICENSE) for folder in (source.folder, source.home))
    found = next((path for path in paths if storage.exists(path)), None)
    if found is None:
        note = f"no {LICENSE} is beside the source: its weights are under the {own.license_words}"
        return replace(target, notes=(*target.notes, note))
    if target.single:
        return target
    held = {**target.finals, LICENSE: tokenizer_files.read_small(found)}
    return replace(target, finals=held)


def _telling_lost_entries(source: Checkpoint, target: Target) -> Target:
    """Note the entries of the source's config that the target's has no place for."""
    made = json.loads(target.finals.get(config_json.FILE, b"{}"))
    lost = config_json.left_out(source.config, made, source.model.family)
    return replace(target, notes=(*target.notes, *lost))


def _with_tokenizer(source: Checkpoint, target: Target) -> Target:
    """Add the tokenizer, where releases of the family have it beside their weights."""
    family = source.model.family
    if not family.tokenizer.released or tokenizer_files.is_one(target.finals, family):
        return target
    held = tokenizer_files.tokenizer_files(source, None)
    return replace(target, finals={**target.finals, **held})

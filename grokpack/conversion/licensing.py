"""Licence of what is written: the source's LICENSE goes along where the family's has to be read."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.checkpoint.tokenizer_files import read_small

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.planning.target import Target

FILE = "LICENSE"


def licensed(source: Checkpoint, target: Target) -> Target:
    """Add the source's LICENSE to a target's files, or a note that there is none.

    A licence that hubs know by its name goes along as that name. A view lies beside the source,
    and a single file has no folder of its own.

    Args:
        source: The checkpoint that is converted.
        target: What is made of it.
    """
    own = source.model.family.publication
    if not own.license_name or FILE in target.finals or target.fixed_path is not None:
        return target
    paths = (os.path.join(folder, FILE) for folder in (source.folder, source.home))
    found = next((path for path in paths if storage.exists(path)), None)
    if found is None:
        note = f"no {FILE} is beside the source: its weights are under the {own.license_words}"
        return replace(target, notes=(*target.notes, note))
    if target.single:
        return target
    return replace(target, finals={**target.finals, FILE: read_small(found)})

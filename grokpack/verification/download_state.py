"""State of a download that is not finished: how much of the checkpoint is there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from grokpack import storage
from grokpack.checkpoint import manifest_file
from grokpack.checkpoint.readers.unfinished_downloads import begun
from grokpack.core.errors import OtherFormat
from grokpack.core.finding import of_kinds, only_errors

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.verification.verify_structure import Verdict

_UNFINISHED = ("GP101", "GP103", OtherFormat.CODE)
"""Codes of what an unfinished download leaves: no file, one cut short, a pointer in its place."""


class Progress(NamedTuple):
    """Progress of a download.

    Attributes:
        here: Bytes of tensors in sound files; None where nothing tells how many there should be.
        total: Bytes of all tensors; None likewise.
        on_their_way: Files that a program for downloads has begun under another name.
    """

    here: int | None
    total: int | None
    on_their_way: int


def progress(verdict: Verdict) -> Progress | None:
    """Return how far a download has come; None where more is wrong than that it is not finished."""
    wrong, checkpoint = only_errors(verdict.findings), verdict.survey.checkpoint
    if not wrong or only_errors(wrong, besides=_UNFINISHED):
        return None
    if checkpoint is None:
        return Progress(None, None, 0)
    present = {file.path for file in checkpoint.layout.files()}
    if any(finding.file in present for finding in of_kinds(wrong, "GP101")):
        return None  # a tensor is missing in a file that is there
    under_way = 0 if storage.is_url(checkpoint.folder) else len(begun(checkpoint))
    if not (_as_released(checkpoint) and _told_by_model(verdict.survey.count_source)):
        return Progress(None, None, under_way)
    total = sum(tensor.nbytes for tensor in checkpoint.model.specs())
    pieces = checkpoint.layout.pieces().values()
    here = sum(piece.extent.nbytes for rows in pieces for piece in rows)
    return Progress(min(here, total), total, under_way)


def _told_by_model(count_source: str | None) -> bool:
    """Return whether the number of layers is known, and not only the names of a manifest."""
    return count_source is not None and os.path.basename(count_source) != manifest_file.FILE


def _as_released(checkpoint: Checkpoint) -> bool:
    """Return whether tensors have the bytes that they have in their family's release."""
    packed = checkpoint.bits or checkpoint.floats or checkpoint.float_packings
    return checkpoint.format == checkpoint.model.family.release_layout.format and not packed

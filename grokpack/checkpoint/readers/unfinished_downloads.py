"""Unfinished downloads, recognized by what download programs leave beside the files."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.core.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.checkpoint.checkpoint import Checkpoint, Survey

ENDINGS = "incomplete|part|partial|aria2|crdownload|opdownload|download|filepart|!qb|!ut|bc!"
"""Endings that download programs give files until they are whole, in any case, as a pattern."""

_CONTROL = ".aria2"  # beside a file that has its full size from the beginning
_BESIDE = ("", "blobs", ".cache/huggingface/download")  # where a folder's download keeps its files
_BEGUN = re.compile(rf".*\.({ENDINGS})", re.IGNORECASE)


def with_unfinished(found: Survey) -> Survey:
    """Add findings for files of full size whose download is not finished."""
    checkpoint = found.checkpoint
    if checkpoint is None or storage.is_url(checkpoint.folder):
        return found
    known = {finding.file for finding in found.findings}
    findings = tuple(one for one in _unfinished(checkpoint) if one.file not in known)
    return replace(found, findings=(*found.findings, *findings)) if findings else found


def begun_in(folder: str) -> list[str]:
    """List the files of a download under way in a local folder without a checkpoint.

    `hf download` keeps them in `.cache` of the folder, or in `blobs` of its own cache.
    """
    places = [place for place in _BESIDE if storage.is_folder(os.path.join(folder, place))]
    return [
        os.path.join(place, name)
        for place in places
        for name in (storage.tree if place else storage.names)(os.path.join(folder, place))
        if _BEGUN.fullmatch(name)
    ]


def _unfinished(checkpoint: Checkpoint) -> Iterator[Finding]:
    beside = set(begun(checkpoint))
    for file in checkpoint.layout.files():
        if file.path + _CONTROL in beside:
            control = os.path.basename(file.path) + _CONTROL
            what = f"the download of this file is not finished: {control} lies beside it"
            yield Finding("GP103", what, file.path)


def begun(checkpoint: Checkpoint) -> list[str]:
    """List the files of a local folder that belong to a download under way."""
    folders = {os.path.dirname(file.path) for file in checkpoint.layout.files()}
    return [
        os.path.join(folder, name)
        for folder in sorted(folders)
        for name in storage.names(checkpoint.path(folder))
        if _BEGUN.fullmatch(name)
    ]

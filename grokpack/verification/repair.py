"""Commands that fetch what is wrong with a release again, and nothing else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.checkpoint.layouts import kind_files_layout
from grokpack.core.escaping import safe_operand, shell_command
from grokpack.core.finding import of_kinds
from grokpack.formats import ckpt0
from grokpack.formats.tokenizers.tokenizer_kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.verification.verify_structure import Verdict


_MOST_NAMED = 20  # files in a command that can still be read


def repair_command(verdict: Verdict) -> str | None:
    """Return the command that fetches only the bad files of the release, or None."""
    return _fetching(verdict, _fetchable(verdict, verdict.bad_files))


def fixes(verdict: Verdict) -> list[str | None]:
    """Return for each finding the command that repairs it, or None."""
    bad = [f.file if f.file and f.severity == "error" else None for f in verdict.findings]
    known = set(_fetchable(verdict, [name for name in bad if name]))
    return [_fetching(verdict, [name]) if name in known and name else None for name in bad]


def _fetchable(verdict: Verdict, names: Sequence[str]) -> list[str]:
    """Return the files that the release has too, and so can replace."""
    checkpoint = verdict.survey.checkpoint
    if checkpoint is None:
        return []
    foreign = {finding.file for finding in of_kinds(verdict.findings, "GP102")}
    released = _released(checkpoint)
    return [
        name
        for name in names
        if name not in foreign and (name in released or _is_pickle(checkpoint, name))
    ]


def _is_pickle(checkpoint: Checkpoint, name: str) -> bool:
    return checkpoint.format == ckpt0.NAME and name.startswith("tensor")


def _released(checkpoint: Checkpoint) -> set[str]:
    """Return the names of the release's files, where each of weights holds a kind of tensor."""
    family = checkpoint.model.family
    released = family.release_layout
    if not released.stem or checkpoint.format != released.format:
        return set()
    if checkpoint.ranks != released.ranks:
        return set()
    tokenizer = [KINDS[family.tokenizer.kind].file] if family.tokenizer.released else []
    return {*kind_files_layout.paths(family, released.ranks), *tokenizer}


def _fetching(verdict: Verdict, names: Sequence[str]) -> str | None:
    """Return the command that fetches files of the release again."""
    checkpoint = verdict.survey.checkpoint
    if not names or checkpoint is None or storage.is_url(checkpoint.folder):
        return None
    if not checkpoint.model.is_release or checkpoint.layout.nbytes == 0:
        return None
    pickles = checkpoint.format == ckpt0.NAME
    home = storage.parent(checkpoint.folder) if pickles else checkpoint.folder
    folder = safe_operand(os.path.relpath(home))
    repository = checkpoint.model.family.publication.repository
    listed = _listed(names, pickles=pickles)
    return shell_command("hf", "download", repository, *listed, "--local-dir", folder)


def _listed(names: Sequence[str], *, pickles: bool) -> Iterable[str]:
    """Return what names files of the release: each, or all where these are many.

    `hf download` leaves out what is there and whole.
    """
    if len(names) > _MOST_NAMED:
        return ("--include", f"{ckpt0.FOLDER}/*") if pickles else ()
    return (f"{ckpt0.FOLDER}/{name}" for name in names) if pickles else names

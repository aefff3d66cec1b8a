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
from grokpack.models import registry

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
    renamed = _renamings(verdict)
    return [
        renamed.get(name) or (_fetching(verdict, [name]) if name in known else None)
        if name
        else None
        for name in bad
    ]


def renaming_commands(verdict: Verdict) -> list[str]:
    """Return the commands that give files the release's names, where they have others."""
    return list(dict.fromkeys(filter(None, _renamings(verdict).values())))


def release_downloads(verdict: Verdict) -> list[str]:
    """Return the command that fetches the release of the checkpoint's family; else that of each.

    Where no header can be read, the names of its files tell the family.
    """
    if verdict.survey.checkpoint is not None:
        return [registry.downloads(verdict.survey.checkpoint.model.family)]
    named = (
        family
        for family in registry.FAMILIES.values()
        if any(kind_files_layout.numbers(family, name) for name in verdict.bad_files)
    )
    return registry.downloads(next(named, None)).splitlines()


def _renamings(verdict: Verdict) -> dict[str, str | None]:
    """Return the command for each misnamed file, by its name and by the one that it should have."""
    checkpoint = verdict.survey.checkpoint
    if checkpoint is None or storage.is_url(checkpoint.folder):
        return {}
    commands: dict[str, str | None] = {}
    for name, meant in _misnamed(verdict).items():
        paths = [os.path.relpath(checkpoint.path(one)) for one in (name, meant)]
        command = shell_command("mv", *map(safe_operand, paths))
        commands |= {name: command, meant: command}
    return commands


def _misnamed(verdict: Verdict) -> dict[str, str]:
    """Return the right name of each file that is here under another."""
    foreign = of_kinds(verdict.findings, "GP102")
    return {f.file: f.expected for f in foreign if f.file and f.expected and not f.tensor}


def _fetchable(verdict: Verdict, names: Sequence[str]) -> list[str]:
    """Return the files that the release has too, and so can replace."""
    checkpoint = verdict.survey.checkpoint
    if checkpoint is None:
        return []
    misnamed = _misnamed(verdict)
    foreign = {*verdict.superfluous_files, *misnamed, *misnamed.values()}
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

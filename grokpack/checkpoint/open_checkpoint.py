"""Opening of the checkpoint that a path, or no path, means."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.checkpoint import missing_checkpoint
from grokpack.checkpoint.checkpoint import Checkpoint, Survey
from grokpack.checkpoint.readers import (
    expected_counts,
    reader_registry,
    unfinished_downloads,
)
from grokpack.checkpoint.state_folder import has_unfinished_run
from grokpack.core.errors import (
    UNSAFE_PICKLES,
    GrokpackError,
    NothingThere,
    Place,
    UnfinishedOutput,
    UnsafePickle,
)
from grokpack.core.escaping import escape_line, safe_operand, shell_command
from grokpack.core.finding import of_kinds, only_errors
from grokpack.formats import ckpt0 as ckpt0_format
from grokpack.formats import zstd_seekable
from grokpack.models import config_json

if TYPE_CHECKING:
    from grokpack.checkpoint.readers.reader_row import Reader
    from grokpack.core.finding import Finding
    from grokpack.core.paths import StrPath


VARIABLE = "GROKPACK_CHECKPOINT"
_USUAL = ("checkpoints/ckpt-0", "ckpt-0", ".")  # xAI's README puts it in the first


def default_source() -> str:
    """Return the checkpoint that is meant where none is named.

    Raises:
        GrokpackError: GP201 with the paths that were tried.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return named
    for place in _USUAL:
        if _find(place):
            return place
    facts = tuple(("looked at", place) for place in (f"${VARIABLE}", *_USUAL))
    below = missing_checkpoint.suggested(".", _folder)
    hint = below or f"name the folder, or {missing_checkpoint.fetching()}"
    raise NothingThere("no checkpoint found", None, facts, hint)


def _find(path: str) -> tuple[str, Reader] | None:
    """Find the folder of the files, `path` itself or the ckpt-0 in it, and its reader."""
    places = (
        path,
        os.path.join(path, ckpt0_format.FOLDER),
        path.removesuffix(zstd_seekable.SUFFIX),
    )
    for folder in dict.fromkeys(places):
        for reader in reader_registry.readers():
            if reader.is_store(folder):
                return folder, reader
    return None


def _folder(path: str) -> str | None:
    """Return the folder of the files of the checkpoint at a path; None if there is none."""
    found = _find(path)
    return found[0] if found else None


def survey(path: StrPath, head_dim: int | None = None) -> Survey:
    """Read every header of the checkpoint at `path`, whole or not.

    Args:
        path: The folder of the files, or the one above `ckpt-0`.
        head_dim: Size of an attention head, if no config.json gives it.

    Raises:
        GrokpackError: GP201 if there is nothing, GP203 if the format is not known, GP212 for the
            output of an unfinished run, GP346 for a head size that this model cannot have.
    """
    path = os.fspath(path)
    path = storage.absolute(path) if storage.is_url(path) else path
    storage.forget(path)
    homes = [path, storage.parent(path)]
    for home in itertools.compress(homes, storage.map_all(path, has_unfinished_run, homes)):
        raise UnfinishedOutput(
            "output of a run that is not finished",
            Place(home),
            hint="run the command that began it once more; it continues",
        )
    found = _find(path)
    if found is None:
        raise missing_checkpoint.error(path, _folder)
    folder, reader = found
    if reader.name == "hf" and not storage.is_url(folder):
        _refuse_rank(folder)
    surveyed = expected_counts.against_manifest(reader.survey(folder, head_dim))
    if head_dim is not None and surveyed.checkpoint is not None:
        own = surveyed.checkpoint
        config_json.refuse_head_dim(head_dim, own.model, own.config)
    return unfinished_downloads.with_unfinished(surveyed)


def _refuse_rank(folder: str) -> None:
    """Refuse the folder of one rank, whose files look like those of a Hugging Face folder.

    Raises:
        GrokpackError: GP203.
    """
    above = storage.parent(folder)
    if reader_registry.reader("safetensors").is_store(above):
        what = "this is a part of a checkpoint that is cut for several ranks"
        hint = f"name the folder of all ranks: `{escape_line(above)}`"
        raise GrokpackError("GP203", what, Place(folder), hint=hint)


def open_checkpoint(path: StrPath, head_dim: int | None = None) -> Checkpoint:
    """Open a checkpoint that is whole.

    Raises:
        GrokpackError: GP204 or GP205 for a hostile file, GP202 for one that is missing or wrong,
            GP226 for one that changed since its view was made, and the errors of `survey`.
    """
    found = survey(path, head_dim)
    wrong = only_errors(found.findings)
    hostile = of_kinds(wrong, *UNSAFE_PICKLES)
    if hostile:
        raise unsafe_pickle_error(found, hostile[0])
    refuse_stale(found)
    doubtful = of_kinds(found.findings, expected_counts.UNKNOWN_RANKS)
    if doubtful and not wrong:
        raise _doubtful(found, doubtful[0])
    if wrong or found.checkpoint is None:
        raise _incomplete(found, wrong)
    return found.checkpoint


def opened(source: Checkpoint | StrPath) -> Checkpoint:
    """Return a checkpoint as it is; open the one that a path names."""
    return source if isinstance(source, Checkpoint) else open_checkpoint(source)


def surveyed(source: Survey | Checkpoint | StrPath) -> Survey:
    """Return a survey as it is; of a path, or of a checkpoint that was opened, make one."""
    if isinstance(source, Survey):
        return source
    if isinstance(source, Checkpoint):
        return survey(source.place, source.geometry.head_dim)
    return survey(source)


def refuse_stale(found: Survey) -> None:
    """Refuse files that changed since the view was made through which they were reached.

    Raises:
        GrokpackError: GP226.
    """
    if found.view is None:
        return
    from grokpack.checkpoint.readers import virtual_store_reader

    changed = of_kinds(found.findings, virtual_store_reader.CHANGED)
    if changed:
        raise virtual_store_reader.read(found.view).stale(changed)


def unsafe_pickle_error(found: Survey, finding: Finding) -> UnsafePickle:
    """Return the error for a file that would run code."""
    facts = (("found", finding.found or "?"), ("allowed", finding.expected or "?"))
    hint = "nothing was executed; grokpack never runs a pickle\nfetch the file again"
    where = Place(os.path.join(found.folder, finding.file or ""))
    return UNSAFE_PICKLES[finding.code](finding.message, where, facts, hint)


def _doubtful(found: Survey, finding: Finding) -> GrokpackError:
    """Return the error for rank files whose full number is not known."""
    where = Place(os.path.join(found.folder, finding.file or ""))
    hint = "put the model's config.json beside them: it has the width of the experts"
    return GrokpackError(finding.code, finding.message, where, hint=hint)


def _incomplete(found: Survey, wrong: list[Finding]) -> GrokpackError:
    what = "the tensors are not those of a known model family"
    if found.checkpoint is None and not wrong:
        return GrokpackError("GP210", what, Place(found.folder))
    first = wrong[0]
    facts = tuple(
        (f.file or f.tensor or found.folder, f"{f.message} ({f.code})") for f in wrong[:5]
    )
    if len(wrong) > len(facts):
        facts += (("and", f"{len(wrong) - len(facts)} more"),)
    where = Place(os.path.join(found.folder, first.file or ""), tensor=first.tensor)
    verifying = shell_command("grokpack", "verify", safe_operand(found.folder)) or "grokpack verify"
    hint = f"`{verifying}` says more, and how to fetch what is wrong"
    return GrokpackError("GP202", "the checkpoint is not whole", where, facts, hint)

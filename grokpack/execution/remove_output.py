"""Removal of an earlier run's output: files that grokpack provably wrote, or nothing at all.

Names come from a journal or a manifest, which may be forged or copied. So a name proves nothing:
the file must be the one that the run created, or have the recorded size and a checksum.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grokpack import storage
from grokpack.checkpoint import manifest_file
from grokpack.core.errors import GrokpackError, Place
from grokpack.core.escaping import safe_operand, shell_command
from grokpack.core.tiles import tile_count
from grokpack.execution import tile_coverage
from grokpack.execution.written_files import written_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from grokpack.core.documents.manifest_json import FileRowJson
    from grokpack.execution.output import Output
    from grokpack.planning.plan import Plan

_SHOWN = 5  # files that an error names


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """File that a journal or a manifest says is grokpack's.

    Attributes:
        path: The file.
        written: Recorded size and checksums, or None.
        inode: Recorded inode number of the file as the run created it, or None.
    """

    path: str
    written: storage.WrittenParts | None = None
    inode: int | None = None


def own_manifest(output: Output) -> dict[str, Any] | None:
    """Read the manifest of an output that a plan wrote; None if there is none.

    A manifest that `grokpack manifest` made for other files gives no leave to remove them.
    """
    document = output.manifest()
    return document if document is not None and document.get("plan") else None


def removable(plan: Plan, output: Output) -> list[str]:
    """List the files of an earlier run in an output, without the manifest and the journal.

    Args:
        plan: The plan that is to be written in their place.
        output: The output.

    Raises:
        GrokpackError: GP330 where a file cannot be proven to be grokpack's, GP323 where others are
            there beside, GP209 where the record of them is broken.
    """
    by_path: dict[str, list[RecordedFile]] = {}
    for file in _recorded_files(plan, output):
        by_path.setdefault(file.path, []).append(file)
    sink = output.sink
    unproven = [
        path
        for path, files in by_path.items()
        if not any(sink.is_free_or_own(path, file.written, file.inode) for file in files)
    ]
    if unproven:
        raise _refusal(output, unproven)
    if by_path and not output.single:
        foreign_files = sink.foreign_files(output.path, {*by_path, output.manifest_path})
        if foreign_files:
            what = "the folder holds other files"
            hint = "move them away, or use another `--out`; nothing was removed"
            raise GrokpackError("GP323", what, Place(foreign_files[0]), hint=hint)
    return list(by_path)


def discard(plan: Plan, output: Output) -> None:
    """Remove an earlier run's files; the manifest and the journal last, so that it can be resumed.

    Raises:
        GrokpackError: What `removable` raises; then nothing was removed.
    """
    paths = removable(plan, output)
    if paths:
        output.sink.discard(output.root, paths)
    if own_manifest(output) is not None:
        output.sink.discard(output.root, [output.manifest_path])
    output.journal.discard()


def _recorded_files(plan: Plan, output: Output) -> Iterator[RecordedFile]:
    if output.journal.exists():
        yield from _journal_files(plan, output)
    document = own_manifest(output)
    if document is not None:
        for name, row in document["files"].items():
            _refuse_outside(output, name)
            yield RecordedFile(output.file(name), _written(row))
        yield from _final_files(output, document.get("finals", {}))


def _journal_files(plan: Plan, output: Output) -> Iterator[RecordedFile]:
    """Yield the files of an unfinished run, under their names and as `.part`."""
    journal = output.journal
    document, made = journal.plan(), journal.made()
    finals = document.get("finals")
    finals = finals if isinstance(finals, dict) else {}
    left: Mapping[str, storage.WrittenParts] = {}
    if document["digest"] == plan.digest():
        layout = plan.target.layout
        left = written_files(layout, tile_coverage.fitting(layout, journal.receipts()))
    for name in document["files"]:
        _refuse_outside(output, name)
        if name not in finals:
            for end in ("", storage.PART):
                yield RecordedFile(output.file(name) + end, left.get(name), made.get(name))
    yield from _final_files(output, finals)


def _final_files(output: Output, rows: Mapping[str, Any]) -> Iterator[RecordedFile]:
    for name, row in rows.items():
        _refuse_outside(output, name)
        written = _written(row) if manifest_file.is_row(row) else None
        yield RecordedFile(os.path.join(output.root, name), written)


def _written(row: FileRowJson) -> storage.WrittenParts:
    sums = dict(enumerate(manifest_file.tiles(row)))
    nbytes = row["bytes"]
    return storage.WrittenParts(nbytes, sums, (), whole=len(sums) == tile_count(nbytes))


def _refuse_outside(output: Output, name: object) -> None:
    """Refuse a name that leads outside the output."""
    if not isinstance(name, str) or not name or not manifest_file.stays_inside(name):
        raise _refusal(output, [os.path.join(output.root, str(name))])


def _moving(path: str) -> str | None:
    """Return the command that renames an output; None if it could not be pasted into a shell."""
    return shell_command("mv", "-n", safe_operand(path), safe_operand(f"{path.rstrip('/')}.aside"))


def _refusal(output: Output, paths: list[str]) -> GrokpackError:
    what = "a file that grokpack cannot prove it wrote is in the way; nothing was removed"
    facts = tuple(("also", path) for path in paths[1:_SHOWN])
    facts += (("and", f"{len(paths) - _SHOWN} more"),) * (len(paths) > _SHOWN)
    hint = "look at it; remove or move it yourself, or use another `--out`"
    aside = None if storage.is_url(output.path) else _moving(output.path)
    if aside is not None:
        hint += f"\nthis moves all that is there out of the way: {aside}"
    return GrokpackError("GP330", what, Place(paths[0]), facts, hint)

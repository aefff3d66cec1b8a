"""Journal of an unfinished run: its plan, and the tiles that are written, in `OUT/.grokpack`.

plan.json     the plan
run.json      the source's stamps, by path
made.jsonl    inode number of each unfinished file
done.jsonl    tiles that are written; a process that does a part of the plan has a log of its own
lock          held by the running process, or shared by those that each do a part
stop-*        asks remote workers to end early (`execution/workers/jobs.py`)
"""

from __future__ import annotations

import json
import os
import zlib
from typing import TYPE_CHECKING, Any

from grokpack import storage
from grokpack.checkpoint import manifest_file
from grokpack.checkpoint.state_folder import (
    KEPT,
    PLAN,
    RUN,
    as_stamps,
    read_run,
    stamps_in,
    well_formed,
)
from grokpack.core.errors import GrokpackError, MalformedInput, Place
from grokpack.execution.quantization_error import ErrorStats
from grokpack.execution.receipt import CompressedFileRecord, Receipt
from grokpack.formats import bounded_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from grokpack.planning.plan import Plan

    Places = dict[str, dict[str, storage.Stamp]]
    """By place, as far as a source was read there, the stamp of each file."""

_LOG, _LOCK = "done.jsonl", "lock"
_RUN_LOCK, _RUN_LOCK_S = "run.lock", 30.0  # held for a moment only
_LOGS = ("done", ".jsonl")  # beginning and end of a log's name
_MADE, _MADE_ROWS = "made.jsonl", 1000  # in a line
_UPLOADS = "uploads.jsonl"  # of an output in a bucket (`storage/buckets/bucket_sink.py`)
_PUBLISHED = "published.jsonl"  # of an output to the hub (`storage/hub/hub_publication_record.py`)
STOP = "stop-"  # prefix of files that ask for an early end
_SCHEMA = "grokpack/journal/1"


class Journal:
    """Record of a run, in a folder of its own.

    Args:
        folder: The folder.
        writer: A name, for a process that writes beside others; None for the only one.
    """

    def __init__(self, folder: str, writer: str | None = None) -> None:
        self.folder = folder
        self._log = _LOG if writer is None else f"-{writer}".join(_LOGS)

    def path(self, name: str) -> str:
        """Return the path of a file of the journal."""
        return os.path.join(self.folder, name)

    @property
    def lock_path(self) -> str:
        """Path of the file that the running process holds locked."""
        return self.path(_LOCK)

    def exists(self) -> bool:
        """Return whether a run has begun here and not been published."""
        return storage.exists(self.path(PLAN))

    def begin(self, plan: Plan, places: Places) -> None:
        """Record the plan and the source's stamps by place, before anything is written."""
        # of a run that was being discarded when it crashed
        for name in (RUN, _MADE, *self._logs()):
            storage.remove(self.path(name))
        self.remember(places)
        document = recorded_plan(plan)
        storage.write_whole(self.path(PLAN), json.dumps(document, indent=1).encode())

    def plan(self) -> dict[str, Any]:
        """Read the recorded plan.

        Raises:
            GrokpackError: GP209 where the record is broken.
        """
        document: dict[str, Any] = storage.read_json(self.path(PLAN))
        if not _is_plan(document):
            raise MalformedInput(
                "the journal's plan is broken",
                Place(self.path(PLAN)),
                hint="`--restart` discards what is there",
            )
        return document

    def recorded(self) -> dict[str, Any] | None:
        """Read the recorded plan; None if there is none, or another process ends the run meanwhile.

        Raises:
            GrokpackError: GP209 where the record is broken.
        """
        if not self.exists():
            return None
        try:
            return self.plan()
        except GrokpackError:
            if self.exists():
                raise
            return None

    def stamps(self, place: str) -> dict[str, storage.Stamp] | None:
        """Return the stamps of the source's files when first read at a path, or None.

        A run may continue from another mount or a server, where times and tags differ.
        """
        return self._places().get(place)

    def remember(self, places: Places) -> None:
        """Record the stamps of the source's files at a path, beside those at others."""
        document = {"places": self._places() | places}
        storage.write_whole(self.path(RUN), json.dumps(document).encode())

    def remember_also(self, places: Places) -> None:
        """Record stamps while other processes may be recording theirs."""
        with storage.locked(self.path(_RUN_LOCK), wait_s=_RUN_LOCK_S):
            self.remember(places)

    def _places(self) -> Places:
        if not storage.exists(self.path(RUN)):
            return {}
        places = read_run(self.path(RUN)).get("places", {})  # journals of 0.1 have none
        with well_formed(self.path(RUN)):
            return {place: as_stamps(table) for place, table in places.items()}

    def keep(self, stamps: dict[str, storage.Stamp]) -> None:
        """Record stamps that outlast the run, for an output that points at the files."""
        document = read_run(self.path(RUN)) | {KEPT: stamps}
        storage.write_whole(self.path(RUN), json.dumps(document).encode())

    def kept(self) -> dict[str, storage.Stamp] | None:
        """Return the stamps that were kept; None if there are none.

        Raises:
            GrokpackError: GP209 where the record is broken.
        """
        return stamps_in(self.path(RUN))

    def record(self, receipts: list[Receipt]) -> None:
        """Append receipts, durably; the tiles themselves are durable already."""
        if receipts:
            self._append(self._log, [_row(receipt) for receipt in receipts])

    def note_made(self, made: Mapping[str, int]) -> None:
        """Record the inode numbers of unfinished files that were created, by path."""
        rows = list(made.items())
        for first in range(0, len(rows), _MADE_ROWS):
            self._append(_MADE, rows[first : first + _MADE_ROWS])

    def made(self) -> dict[str, int]:
        """Return the inode number of each unfinished file as last created, by path.

        Raises:
            GrokpackError: GP209 where a line is whole and holds something else.
        """
        found: dict[str, int] = {}
        for rows in self._lines(_MADE):
            with well_formed(self.path(_MADE)):
                found.update((str(path), int(inode)) for path, inode in rows)
        return found

    def receipts(self) -> list[Receipt]:
        """Read the receipts of all processes; lines that are torn or damaged are left out.

        Raises:
            GrokpackError: GP209 where a line is whole and holds no receipts.
        """
        found: list[Receipt] = []
        for name in self._logs():
            for rows in self._lines(name):
                with well_formed(self.path(name)):
                    found += map(_receipt, rows)
        return found

    def _append(self, name: str, rows: list[Any]) -> None:
        """Append a line to a log, with a checksum that shows whether it is whole."""
        body = json.dumps(rows)
        storage.append_line(self.path(name), f"{zlib.crc32(body.encode()):08x} {body}")

    def _lines(self, name: str) -> Iterator[Any]:
        """Read the lines of a log that are whole, as JSON values."""
        path = self.path(name)
        for line in storage.lines(path):
            check, _, body = line.partition(" ")
            if check == f"{zlib.crc32(body.encode()):08x}":
                with well_formed(self.path(name)):
                    rows = bounded_json.parse(body.encode(), Place(path))
                yield rows

    def _logs(self) -> list[str]:
        """List the names of all logs."""
        begins, ends = _LOGS
        there = storage.names(self.folder)
        return [name for name in there if name.startswith(begins) and name.endswith(ends)]

    def lingers(self) -> bool:
        """Return whether anything of a run is left, begun or stopped as it ended."""
        if self.exists():
            return True
        there = storage.names(self.folder)
        empty = storage.is_folder(self.folder) and not there
        return empty or any(_is_own(name) for name in there if name != RUN)

    def finish(self) -> None:
        """Remove the record of a published run, except stamps that are to be kept."""
        kept = self.kept()
        if kept is not None:
            storage.write_whole(self.path(RUN), json.dumps({KEPT: kept}).encode())
        self._clear([] if kept is None else [RUN])

    def discard(self) -> None:
        """Forget the run; the lock stays with the process that holds it."""
        self._clear([_LOCK])

    def _clear(self, but: list[str]) -> None:
        """Remove the run's files: the plan after all that belongs to it, the lock last."""
        last = (PLAN, _RUN_LOCK, _LOCK)
        there = storage.names(self.folder)
        names = [name for name in there if _is_own(name) and name not in last]
        storage.clear_folder(self.folder, [n for n in (*names, *last) if n not in but])


def recorded_plan(plan: Plan) -> dict[str, Any]:
    """Return the record of a plan: its digest, its origin, and the files that it writes."""
    files = [file.path for file in plan.target.layout.files()]
    finals = plan.target.finals
    return {
        "schema": _SCHEMA,
        "digest": plan.digest(),
        **plan.description(),
        "files": files + list(finals),
        "finals": {name: manifest_file.row_of(data) for name, data in finals.items()},
    }


def _is_own(name: str) -> bool:
    """Return whether a name in the folder is one that a run gives."""
    begins, ends = _LOGS
    return (
        name in (PLAN, RUN, _MADE, _UPLOADS, _PUBLISHED, _RUN_LOCK, _LOCK)
        or (name.startswith(begins) and name.endswith(ends))
        or name.startswith(STOP)
        or storage.is_temporary(name)
    )


def _is_plan(document: object) -> bool:
    """Return whether a document has the fields that a recorded plan needs."""
    return (
        isinstance(document, dict)
        and document.get("schema") == _SCHEMA
        and isinstance(document.get("digest"), str)
        and isinstance(document.get("files"), list)
        and isinstance(document.get("parameters") or {}, dict)
    )


def _row(receipt: Receipt) -> list[Any]:
    error_stats = [{t: a.to_json() for t, a in tile.items()} for tile in receipt.error_stats]
    compressed = [[file.nbytes, file.sums] for file in receipt.compressed]
    return [receipt.file_group, receipt.first, receipt.sums, error_stats, compressed, receipt.marks]


def _receipt(row: list[Any]) -> Receipt:
    group, first, sums, *rest = row
    error_stats, compressed, marks = [*rest, [], [], []][:3]  # journals of 0.1 have none
    return Receipt(
        group,
        first,
        tuple(map(tuple, sums)),
        tuple({t: ErrorStats.from_json(a) for t, a in tile.items()} for tile in error_stats),
        tuple(CompressedFileRecord(nbytes, tuple(tiles)) for nbytes, tiles in compressed),
        tuple((inode, changed) for inode, changed in marks),
    )

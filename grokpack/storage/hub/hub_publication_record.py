"""Record of what a run has published to the hub, a log in the folder of its journal.

Its first line has the run's own name and the folder in which files are made; each further one a
file that the hub lists as it was sent.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

from grokpack.core.errors import GrokpackError
from grokpack.formats import bounded_json
from grokpack.storage import new_files, reading

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.storage.http.hub_repository import HubFile

LOG = "published.jsonl"


@dataclass(frozen=True, slots=True)
class SentFile:
    """Contents of a file as they were sent.

    Attributes:
        nbytes: Size.
        sha256: sha256 in hex, by which the hub lists large files.
        blob: git's hash in hex, by which it lists small ones; None if the file is not small.
    """

    nbytes: int
    sha256: str
    blob: str | None

    @classmethod
    def of(cls, data: bytes) -> SentFile:
        """Describe a small file."""
        return cls(len(data), hashlib.sha256(data).hexdigest(), git_blob(data))

    def is_listed_as(self, row: HubFile | None) -> bool:
        """Return whether the hub lists a file with these contents."""
        if row is None or row.nbytes != self.nbytes:
            return False
        return row.blob == self.blob if row.sha256 is None else row.sha256 == self.sha256


def git_blob(data: bytes) -> str:
    """Return git's hash of a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


class HubRecord:
    """Record of one run.

    Args:
        journal: Folder of the run's journal.

    Attributes:
        run: The run's own name; empty if none has begun.
        folder: Folder in which its files are made.
        files: What it has published, by name.
    """

    def __init__(self, journal: str) -> None:
        self._path = os.path.join(journal, LOG)
        self.run, self.folder = "", ""
        self.files: dict[str, SentFile] = {}
        for line in reading.lines(self._path):
            with contextlib.suppress(GrokpackError, TypeError, ValueError, LookupError):
                self._take(bounded_json.parse(line.encode()))

    def _take(self, row: object) -> None:
        """Take in a line; one that a crash tore is no JSON, or no row."""
        if isinstance(row, dict):
            self.run, self.folder = str(row["run"]), str(row["folder"])
        elif isinstance(row, list):
            name, nbytes, sha256, blob = row
            self.files[name] = SentFile(nbytes, sha256, blob)

    def begin(self, run: str, folder: str) -> None:
        """Note a run, durably."""
        self.run, self.folder = run, folder
        new_files.append_line(self._path, json.dumps({"run": run, "folder": folder}))

    def add(self, files: Mapping[str, SentFile]) -> None:
        """Note files that are published, durably."""
        for name, sent in files.items():
            new_files.append_line(self._path, json.dumps([name, *astuple(sent)]))
        self.files.update(files)

    def forget(self) -> None:
        """Remove the log."""
        self.run, self.files = "", {}
        new_files.remove(self._path)

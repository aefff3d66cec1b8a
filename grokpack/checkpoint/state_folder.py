"""OUT/.grokpack, the folder of a run's records, as readers of checkpoints see it."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from grokpack import storage
from grokpack.core.errors import MalformedInput, Place

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = ".grokpack"
PLAN, RUN = "plan.json", "run.json"
KEPT = "kept"
"""Key of the stamps in run.json that remain when a run is published."""


def has_unfinished_run(home: str) -> bool:
    """Return whether a folder holds the records of a run that was begun and not published."""
    return storage.exists(os.path.join(home, FOLDER, PLAN))


def kept_stamps(home: str) -> dict[str, storage.Stamp] | None:
    """Return the stamps of the source's files that a published run kept; None without.

    Raises:
        GrokpackError: GP209 if the record is broken.
    """
    return stamps_in(os.path.join(home, FOLDER, RUN))


def stamps_in(path: str) -> dict[str, storage.Stamp] | None:
    """Return the stamps in the record at `path`; None if there are none.

    Raises:
        GrokpackError: GP209 if the record is broken.
    """
    if not storage.exists(path):
        return None
    table = read_run(path).get(KEPT)
    with well_formed(path):
        return table and as_stamps(table)


def read_run(path: str) -> dict[str, Any]:
    """Read the record of stamps, which is a JSON object.

    Raises:
        GrokpackError: GP209 if it is anything else.
    """
    document = storage.read_json(path)
    with well_formed(path):
        table: dict[str, Any] = document | {}  # fails for a list
    return table


@contextlib.contextmanager
def well_formed(path: str) -> Iterator[None]:
    """Map errors of a block that parses a record to GP209."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        what, where = "the journal is broken", Place(path)
        hint = "`--restart` discards what is there"
        raise MalformedInput(what, where, hint=hint) from error


def as_stamps(table: dict[str, Any]) -> dict[str, storage.Stamp]:
    """Return stamps by file, from their rows in JSON."""
    return {path: (row[0], row[1]) for path, row in table.items()}

"""`grokpack-manifest FILE...`, for pre-commit: check manifests without their weights."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from grokpack.checkpoint import manifest_file
from grokpack.cli import streams
from grokpack.core import escaping
from grokpack.core.errors import GrokpackError
from grokpack.core.exit_status import ExitStatus
from grokpack.core.tiles import TILE_BYTES

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FIXED = {"tile_bytes": TILE_BYTES, "checksum": "xxh3_128"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Check each file; exit with status 1 and a line for each reason if one is not sound."""
    if arguments is None:
        streams.guard()
    paths = list(sys.argv[1:] if arguments is None else arguments)
    wrong = [f"{path}: {reason}" for path in paths for reason in faults(path)]
    for reason in wrong:
        typer.echo(escaping.escape_terminal(escaping.escape_line(reason)), err=True)
    sys.exit(int(ExitStatus.ANSWER_IS_NO if wrong else ExitStatus.OK))


def faults(path: str) -> list[str]:
    """List the reasons why a manifest is not sound, as sentences."""
    try:
        document = manifest_file.load_file(path)
        manifest_file.framings(document)
    except GrokpackError as error:
        return [f"{error.what} [{error.code}]"]
    found = [
        f"{key} is {document.get(key)!r}, not {wanted!r}"
        for key, wanted in _FIXED.items()
        if document.get(key) != wanted
    ]
    for key in ("plan", "source"):
        value = document.get(key)
        if value is not None and not _is_digest(value):
            found.append(f"{key} is no sha256")
    for table in ("files", "finals"):
        found += _row_faults(document.get(table, {}))
    return found


def _row_faults(rows: Mapping[str, Any]) -> list[str]:
    found = [
        f"{name!r} leads out of the folder" for name in rows if not manifest_file.stays_inside(name)
    ]
    for name, row in rows.items():
        if "sha256" in row and not _is_digest(row["sha256"]):
            found.append(f"sha256 of {name!r} is none")
        if any(re.fullmatch("[0-9a-f]{32}", tile) is None for tile in manifest_file.tiles(row)):
            found.append(f"checksums of {name!r} are not hex")
    return found


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None

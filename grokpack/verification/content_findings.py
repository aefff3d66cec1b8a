"""Findings about contents of files: gone, of another size, changed, unreadable, never compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.core.counts import counted
from grokpack.core.finding import Finding
from grokpack.verification import byte_ranges

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from grokpack.checkpoint.manifest_records import Record
    from grokpack.core.layout import FileLayout

_FEW = 3  # names that a finding lists


def missing(name: str) -> Finding:
    """Make the finding for a file that is not there."""
    return Finding("GP101", "file is missing", name)


def size_finding(
    name: str, expected: int | None, found: int, than: str = "the manifest recorded"
) -> Finding:
    """Make the finding for a file of another size than it should have."""
    what = f"file has another size than {than}"
    return Finding("GP112", what, name, None, f"{expected:,} bytes", f"{found:,} bytes")


def size_findings(records: Sequence[Record], sizes: Mapping[str, int | None]) -> Iterator[Finding]:
    """Yield findings for recorded files that are gone or of another size.

    Args:
        records: The recorded files.
        sizes: Size of each by its path; None for one that is gone.
    """
    for record in records:
        name, found = record.file.path, sizes[record.path]
        if found is None:
            yield missing(name)
        elif found != record.nbytes:
            yield size_finding(name, record.nbytes, found)


def change_finding(name: str, where: str, tensor: str | None = None) -> Finding:
    """Make the finding for bytes that are not what the checksum says."""
    return Finding("GP110", "contents changed", name, tensor, None, where)


def unreadable_finding(
    name: str, reason: str, where: str | None = None, tensor: str | None = None
) -> Finding:
    """Make the finding for bytes that storage does not give."""
    return Finding("GP117", f"contents cannot be read: {reason}", name, tensor, None, where)


def unlisted_finding(names: Sequence[str]) -> Iterator[Finding]:
    """Warn about files that the list of checksums does not name."""
    if names:
        what = f"nothing to compare {counted(len(names), 'file')} with"
        yield Finding("GP118", what, None, None, None, join_first_few(names), "warning")


def join_first_few(words: Sequence[str]) -> str:
    """Join the first few of many words."""
    return ", ".join(words[:_FEW]) + (", .." if len(words) > _FEW else "")


def located(file: FileLayout | None, start: int, stop: int) -> tuple[str, str | None]:
    """Describe bytes `start` to `stop` of a file, and name the tensor that they belong to.

    Args:
        file: Its layout; None where that says nothing of these bytes.
        start: The first byte.
        stop: The last, plus one.
    """
    where = f"bytes {start:,} to {stop - 1:,}"
    if file is None:
        return where, None
    names = byte_ranges.tensors(file, start, stop)
    words = byte_ranges.describe_range(file, start, stop)
    return where + (f" ({words})" if words else ""), names[0] if len(names) == 1 else None

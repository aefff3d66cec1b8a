"""Lists of sha256 sums, as `sha256sum` and `shasum` write them. Pure but for reading the list."""

from __future__ import annotations

import re

from grokpack import storage
from grokpack.errors import GrokpackError, Place

_LARGEST_BYTES = 64 << 20  # half a million files
_GNU = re.compile(r"(\\?)([0-9a-fA-F]{64})[ ][ *](.+)")
_BSD = re.compile(r"SHA256 \((.+)\) = ([0-9a-fA-F]{64})")
_ESCAPES = {"\\n": "\n", "\\r": "\r", "\\\\": "\\"}


def read(path: str) -> dict[str, str]:
    """The sums of a list by name, in lower case; comments and blank lines are left out.

    Raises:
        GrokpackError: GP230 where a line is none of the two forms, or two lines contradict.
    """
    data = storage.FileBytes(path)
    if data.size() > _LARGEST_BYTES:
        raise GrokpackError("GP230", "too large to be a list of sha256 sums", Place(path))
    text = data.read(0, data.size()).decode("utf-8", "surrogateescape")
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        row = _row(line)
        if row is None or found.setdefault(*row) != row[1]:
            facts = (("line", f"{number}: {line[:80]!r}"),)
            what = "not a list of sha256 sums" if row is None else "two sums for one name"
            hint = "lines are `SUM  NAME` or `SHA256 (NAME) = SUM`; or name a grokpack manifest"
            raise GrokpackError("GP230", what, Place(path), facts, hint)
    return found


def _row(line: str) -> tuple[str, str] | None:
    gnu = _GNU.fullmatch(line)
    if gnu is not None:
        name = re.sub(r"\\[nr\\]", lambda m: _ESCAPES[m[0]], gnu[3]) if gnu[1] else gnu[3]
        return name, gnu[2].lower()
    bsd = _BSD.fullmatch(line)
    return (bsd[1], bsd[2].lower()) if bsd is not None else None

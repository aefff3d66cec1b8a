"""Lists of sha256 digests, in every form that `sha256sum -c` takes.

Forms are `SUM  NAME`, `SUM *NAME`, `SUM NAME` and `SHA256 (NAME) = SUM`. Blanks may stand before
them, or a backslash if the name holds escapes. Lines end with LF, CR LF or, as `sha256sum --zero`
writes them, NUL.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.core.errors import GrokpackError, Place

if TYPE_CHECKING:
    from collections.abc import Iterator

_LARGEST_BYTES = 64 << 20
_MOST_LINES = 1 << 18
_LONGEST_LINE_BYTES = 1 << 16
_BLOCK_BYTES = 1 << 20
_MARK = "\N{BYTE ORDER MARK}".encode()
_GNU = re.compile(r"(\\?)([0-9a-fA-F]{64})[ \t][ *]?(.+)", re.DOTALL)
_BSD = re.compile(r"(\\?)SHA256 ?\((.+)\)[ \t]*=[ \t]*([0-9a-fA-F]{64})[ \t]*", re.DOTALL)
_ESCAPES = {"\\n": "\n", "\\r": "\r", "\\\\": "\\"}


def read(path: str) -> dict[str, str]:
    """Read the digests of a list by name, in lower case; comments and blank lines are left out.

    Raises:
        GrokpackError: GP230 where a line is of no form that is known, two lines contradict each
            other, or there are too many.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(_lines(path), 1):
        if not line.strip() or line.startswith("#"):
            continue
        row = _row(line)
        if row is None or found.setdefault(*row) != row[1]:
            facts = (("line", f"{number}: {line[:80]!r}"),)
            what = "not a list of sha256 sums" if row is None else "two sums for one name"
            hint = "lines are `SUM  NAME` or `SHA256 (NAME) = SUM`; or name a grokpack manifest"
            raise GrokpackError("GP230", what, Place(path), facts, hint)
    return found


def _lines(path: str) -> Iterator[str]:
    """Yield the lines without their ends, read block by block.

    Raises:
        GrokpackError: GP230 where there are too many, or one is longer than any name.
    """
    data = storage.FileBytes(path)
    nbytes, rest, count = data.size(), b"", 0
    if nbytes > _LARGEST_BYTES:
        raise GrokpackError("GP230", "too large to be a list of sha256 sums", Place(path))
    end = b""
    for at in range(0, nbytes, _BLOCK_BYTES):
        block = data.read(at, min(_BLOCK_BYTES, nbytes - at))
        end = end or (b"\0" if b"\0" in block else b"\n")
        *lines, rest = (rest + block).removeprefix(b"" if at else _MARK).split(end)
        count += len(lines)
        longest = max(map(len, (*lines, rest)))
        if count > _MOST_LINES or longest > _LONGEST_LINE_BYTES:
            what = f"a list of sums has no more than {_MOST_LINES:,} lines, and no such long ones"
            raise GrokpackError("GP230", what, Place(path), hint="compare with a manifest instead")
        yield from map(_text, lines)
    yield _text(rest)


def _text(line: bytes) -> str:
    return line.removesuffix(b"\r").decode("utf-8", "surrogateescape")


def _row(line: str) -> tuple[str, str] | None:
    """Parse a line into name and digest; None for a line of another form."""
    text = line.lstrip(" \t")
    gnu, bsd = _GNU.fullmatch(text), _BSD.fullmatch(text)
    if gnu is not None:
        escaped, value, name = gnu.groups()
    elif bsd is not None:
        escaped, name, value = bsd.groups()
    else:
        return None
    if escaped:
        name = re.sub(r"\\[nr\\]", lambda m: _ESCAPES[m[0]], name)
    return name, value.lower()

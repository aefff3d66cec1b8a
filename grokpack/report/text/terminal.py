"""Text for a terminal or log: wrapped to its width, coloured if wanted, escaped where needed.

Reports are plain text. Their first words (`error[GP103]:`, `hint:`, `ok`) carry the meaning; colour
is added here, and nothing is lost without it.
"""

from __future__ import annotations

import os
import re
from typing import TextIO

from grokpack.core import escaping
from grokpack.report.text.line_wrapping import wrapped

_RESET = "\x1b[0m"
_USUAL_WIDTH = 80  # of a terminal that does not tell
_STYLES = (  # first words of a line, and how they are shown
    (re.compile(r"^error(\[GP\d{3}\])?:", re.MULTILINE), "\x1b[1;31m"),
    (re.compile(r"^(damaged|incomplete):", re.MULTILINE), "\x1b[1;31m"),
    (re.compile(r"^warning(\[GP\d{3}\])?:", re.MULTILINE), "\x1b[1;33m"),
    (re.compile(r"^(hint|note):", re.MULTILINE), "\x1b[36m"),
    (re.compile(r"^ok(?=  )", re.MULTILINE), "\x1b[1;32m"),
    (re.compile(r"^--(?=  )", re.MULTILINE), "\x1b[2m"),
    (re.compile(r"^  -->", re.MULTILINE), "\x1b[34m"),
)


def is_coloured(choice: str, stream: TextIO) -> bool:
    """Return whether a stream gets colour.

    Args:
        choice: `always`, `never`, or `auto`: what NO_COLOR, FORCE_COLOR and TERM ask for, in this
            order, and else whether the stream is a terminal. Set to nothing, they ask for nothing.
        stream: Standard output or standard error; one may be a terminal and the other a file.
    """
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return os.environ.get("TERM") != "dumb" and stream.isatty()


def paint(text: str) -> str:
    """Colour the words that lines begin with."""
    for pattern, style in _STYLES:
        text = pattern.sub(rf"{style}\g<0>{_RESET}", text)
    return text


def encodable(text: str, encoding: str | None) -> str:
    """Spell out each character that an encoding lacks, as Python would.

    grokpack's own words are ASCII. File names may not be, and may even hold bytes that no encoding
    has (surrogates, here).
    """
    encoding = encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def text_width(stream: TextIO) -> int | None:
    """Return the characters of a line of a stream; None where lines have no end."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    if not stream.isatty():
        return None
    try:
        return os.get_terminal_size(stream.fileno()).columns or _USUAL_WIDTH
    except OSError:
        return _USUAL_WIDTH


def fitted(text: str, stream: TextIO, choice: str, *, verbatim: bool = False) -> str:
    """Return the text as it is to be written to a stream; on a terminal, long lines are wrapped.

    Args:
        text: Lines of any length.
        stream: Where it will be written.
        choice: `always`, `never` or `auto`, as `is_coloured` takes it.
        verbatim: Whether no line may be wrapped, because line breaks belong to what it says.
    """
    width = text_width(stream)
    if stream.isatty() and width is not None and not verbatim:
        text = wrapped(text, width)
    safe = escaping.escape_terminal(text)  # last: a fold makes new beginnings of lines
    shown = paint(safe) if is_coloured(choice, stream) else safe
    return encodable(shown, stream.encoding)

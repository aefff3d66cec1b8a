"""Escaping of text from outside, by where it is printed.

Names and messages come from files, servers and command lines that nobody has checked. A terminal
obeys some characters, GitHub Actions some lines, a shell some words. Errors and findings pass
through `escape_line` when they are made; everything printed passes through `escape_terminal`.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Mapping
from typing import Any

from grokpack.core.redaction import redact

_PROSE = ("hint", "text")
"""Keys of a document whose values may have several lines."""
_COMMAND = r"(?m)^([ \t]*):(?=:)"
_OLD_COMMAND = r"##(?=\[)"
_MARKS = r"([\\`*_{}\[\]()#+!|<>~&])"


def plain(text: str, keep: str = "") -> str:
    r"""Escape every character that cannot be seen: `\n`, `\x1b`, `\u202e`.

    These are control characters, those that change the direction of writing, those without width,
    and the bytes of names that are not UTF-8.

    Args:
        text: Any text.
        keep: Characters to leave as they are.
    """
    if text.isprintable():
        return text
    return "".join(c if _is_seen(c) or c in keep else _spelled(c) for c in text)


def _is_seen(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _spelled(character: str) -> str:
    return ascii(character)[1:-1]


def escape_line(text: object) -> str:
    """Escape and redact text from outside to one line."""
    return plain(redact(str(text)))


def escape_prose(text: str) -> str:
    """Escape and redact text of several lines."""
    return plain(redact(text), "\n\t")


def escape_terminal(text: str) -> str:
    """Escape text for a terminal, where no line may be a command to GitHub Actions."""
    safe = re.sub(_COMMAND, r"\1\\x3a", escape_prose(text))
    return re.sub(_OLD_COMMAND, r"\\x23#", safe)


def json(text: str) -> str:
    """Escape a JSON document so that no line is a command to GitHub Actions; it parses the same."""
    return re.sub(_OLD_COMMAND, r"\\u0023#", text)


def xml(text: str) -> str:
    """Escape an XML document so that no line is a command to GitHub Actions; it parses the same."""
    return re.sub(_OLD_COMMAND, "&#35;#", re.sub(_COMMAND, r"\1&#58;", text))


def document(value: Any, key: str = "") -> Any:  # noqa: ANN401  # JSON values
    """Escape JSON values and their keys: to one line, or as prose where values have many."""
    if isinstance(value, str):
        return escape_prose(value) if key in _PROSE else escape_line(value)
    if isinstance(value, Mapping):
        return {escape_line(name): document(own, name) for name, own in value.items()}
    if isinstance(value, list | tuple):
        return [document(own, key) for own in value]
    return value


def markdown(text: str) -> str:
    """Escape text from outside for a paragraph or a table's cell of Markdown."""
    return re.sub(_MARKS, r"\\\1", escape_line(text)).replace("\\<", "&lt;").replace("\\&", "&amp;")


def code(text: str) -> str:
    """Render text from outside as inline code of Markdown."""
    safe = escape_line(text)
    fence = "`" * (max(map(len, re.findall("`+", safe)), default=0) + 1)
    pad = " " if "`" in safe else ""
    return f"{fence}{pad}{safe}{pad}{fence}"


def shell_command(*words: str) -> str | None:
    """Join words to a shell's command line; None where one of them is not safe to paste."""
    if not all(map(_is_pasted, words)):
        return None
    return shlex.join(words)


def safe_operand(path: str) -> str:
    """Write a path so that no command takes it for an option."""
    return f"./{path}" if path.startswith("-") else path


def _is_pasted(word: str) -> bool:
    return word.isprintable() and redact(word) == word

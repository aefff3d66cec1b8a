"""Text from outside made safe, once for each place that it goes to.

Names and messages come from files, servers and command lines that nobody has checked. A terminal
obeys some characters, GitHub Actions some lines, a shell some words. Errors and findings pass
`line` as they are made, and whatever is printed passes `terminal` as it leaves.
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
    r"""Text with each character spelled out that is not one to be seen: `\n`, `\x1b`, `\u202e`.

    Those are control characters, what changes the direction of writing, what has no width, and
    the bytes of names that are not UTF-8.

    Args:
        text: Any.
        keep: Characters that stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(c if _is_seen(c) or c in keep else _spelled(c) for c in text)


def _is_seen(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _spelled(character: str) -> str:
    return ascii(character)[1:-1]


def line(text: object) -> str:
    """Text from outside as part of one line, without secrets."""
    return plain(redact(str(text)))


def prose(text: str) -> str:
    """Text of several lines, without secrets."""
    return plain(redact(text), "\n\t")


def terminal(text: str) -> str:
    """Text as it is printed: no line of it is a command to GitHub Actions, on either stream."""
    safe = re.sub(_COMMAND, r"\1\\x3a", prose(text))
    return re.sub(_OLD_COMMAND, r"\\x23#", safe)


def json(text: str) -> str:
    """A JSON document as it is printed, with no command to GitHub Actions; it means the same."""
    return re.sub(_OLD_COMMAND, r"\\u0023#", text)


def xml(text: str) -> str:
    """An XML document as it is printed, with no command to GitHub Actions; it means the same."""
    return re.sub(_OLD_COMMAND, "&#35;#", re.sub(_COMMAND, r"\1&#58;", text))


def document(value: Any, key: str = "") -> Any:  # noqa: ANN401  # JSON values
    """JSON values with all their text, and their keys, as `line` makes it; prose as `prose`."""
    if isinstance(value, str):
        return prose(value) if key in _PROSE else line(value)
    if isinstance(value, Mapping):
        return {line(name): document(own, name) for name, own in value.items()}
    if isinstance(value, list | tuple):
        return [document(own, key) for own in value]
    return value


def markdown(text: str) -> str:
    """Text from outside in a paragraph or a table's cell of Markdown, none of it markup."""
    return re.sub(_MARKS, r"\\\1", line(text)).replace("\\<", "&lt;").replace("\\&", "&amp;")


def code(text: str) -> str:
    """Text from outside as Markdown's code."""
    safe = line(text)
    fence = "`" * (max(map(len, re.findall("`+", safe)), default=0) + 1)
    pad = " " if "`" in safe else ""
    return f"{fence}{pad}{safe}{pad}{fence}"


def command(*words: str) -> str | None:
    """A shell's command line of these words; None where one of them cannot be pasted."""
    if not all(map(_is_pasted, words)):
        return None
    return shlex.join(words)


def operand(path: str) -> str:
    """A path as a word of a command line that no command takes for an option."""
    return f"./{path}" if path.startswith("-") else path


def _is_pasted(word: str) -> bool:
    return word.isprintable() and redact(word) == word

"""Spelling of bytes as characters, one each, as GPT-2's vocabulary and those after it have them.

Printable characters of Latin-1 stand for their own bytes; the other 68 bytes, in order, for the
characters from U+0100 on. So a space is `\u0120`.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_PRINTABLE = {*range(0x21, 0x7F), *range(0xA1, 0x100)} - {0xAD}  # a soft hyphen does not show
_OTHERS = [value for value in range(256) if value not in _PRINTABLE]
_TABLE = "".join(
    chr(value) if value in _PRINTABLE else chr(0x100 + _OTHERS.index(value)) for value in range(256)
)
_VALUES = {character: value for value, character in enumerate(_TABLE)}


def spelled(token: bytes) -> str:
    """Spell the bytes of a token."""
    return token.decode("latin-1").translate(_TABLE)


def spelled_each(tokens: Collection[bytes]) -> Iterator[str]:
    """Spell many tokens, all at once: they are many, and most of them short."""
    text = spelled(b"".join(tokens))
    starts = accumulate(map(len, tokens), initial=0)
    return (text[start:end] for start, end in pairwise(starts))


def unspelled(text: str) -> bytes | None:
    """Return the bytes that a text spells; None if it spells none."""
    if not _VALUES.keys() >= set(text):
        return None
    return bytes(_VALUES[character] for character in text)

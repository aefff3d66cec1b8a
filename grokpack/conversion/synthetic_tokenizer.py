"""Synthetic tokenizer.tok.json: every byte, merges of letters, and the special tokens of a release.

Its structure is that of the release; which texts are merged is arbitrary.
"""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FILE = "tokenizer.tok.json"

_NAMED = ("pad", "separator", "eos")
_OF_RELEASE = 128, 704  # special tokens in front, and behind
_OF_SMALL = 16, 16
_SMALL = 4096  # a smaller vocabulary has fewer special tokens
_LETTERS = b"etaoinshrdlcumwfgypbvkjxqz"  # by their frequency in English


def files(vocab: int) -> dict[str, bytes]:
    """Return the tokenizer of a vocabulary, by the name of its file.

    Args:
        vocab: Number of tokens. Where it is too small for every byte and the special tokens, there
            is no tokenizer.
    """
    front, behind = _OF_SMALL if vocab < _SMALL else _OF_RELEASE
    regular = vocab - front - behind
    if regular < 1 << 8:
        return {}
    names = [*_NAMED, *(f"reserved_{number}" for number in range(len(_NAMED), front))]
    controls = [f"control{number}" for number in range(1, behind + 1)]
    special = [
        *_listed(map(_special, names), 0),
        *_listed(map(_special, controls), front + regular),
    ]
    document = {
        "regular_tokens": _listed(itertools.islice(_tokens(), regular), front),
        "special_tokens": special,
        "word_split": "V1",
        "vocab_size": vocab,
    }
    return {FILE: json.dumps(document).encode()}


def _tokens() -> Iterator[bytes]:
    """Yield regular tokens without end: each is a byte, or two that came before it."""
    yield from (bytes([byte]) for byte in range(1 << 8))
    yield from (b" " + bytes([letter]) for letter in _LETTERS)
    for length in itertools.count(2):
        yield from map(bytes, itertools.product(_LETTERS, repeat=length))


def _special(name: str) -> bytes:
    return f"<|{name}|>".encode()


def _listed(tokens: Iterable[bytes], first: int) -> list[dict[str, object]]:
    """List tokens with their ids, from the first on."""
    return [{"bytes": list(token), "token": number} for number, token in enumerate(tokens, first)]

"""Encoder of texts as token ids by byte pairs, and back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from grokpack.core import optional_imports
from grokpack.formats.tokenizers import split_patterns, tok_json
from grokpack.formats.tokenizers.byte_pairs import Merging

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from grokpack.formats.tokenizers.tok_json import TokenTable

_MOST_CACHED = 1 << 16
_MOST_CACHED_BYTES = 64  # longer pieces hardly come again


class BytePairEncoder:
    """Encoder with a vocabulary of byte pairs; its ids are those of tiktoken with the same data.

    Args:
        table: The vocabulary.
        path: The file that it is from, for messages.

    Raises:
        GrokpackError: GP307 without the package `regex`, GP242 if the pattern is none.
    """

    def __init__(self, table: TokenTable, path: str) -> None:
        regex = optional_imports.import_extra("regex", "evaluate")
        self._table, self._path = table, path
        try:
            self._pieces: Any = regex.compile(table.pattern)
        except regex.error as error:
            raise tok_json.broken(f"`pat_str` is no pattern: {error}", path) from error
        longest_first = sorted(table.special, key=len, reverse=True)
        self._specials = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._tokens = table.by_id()
        self._cache: dict[bytes, list[int]] = {}

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """Return the token ids of a text.

        Args:
            text: The text; halves of surrogate pairs in it are replaced.
            special: Whether the names of special tokens stand for them.
        """
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        ids: list[int] = []
        start = 0
        for match in self._specials.finditer(text) if special else ():
            ids.extend(self._regular(text[start : match.start()]))
            ids.append(self._table.special[match[0]])
            start = match.end()
        ids.extend(self._regular(text[start:]))
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of token ids; unknown ids are left out."""
        return b"".join(self._tokens.get(int(i), b"") for i in ids).decode(errors="replace")

    def piece(self, token: int) -> str:
        """Return a token as text; bytes that are none alone are replaced."""
        return self.decode([token])

    def _regular(self, text: str) -> Iterator[int]:
        """Yield the ids of a text without special tokens.

        Raises:
            GrokpackError: GP242 for a pattern that takes too long.
        """
        try:
            for match in self._pieces.finditer(text, timeout=split_patterns.seconds(len(text))):
                yield from self._merged(match[0].encode())
        except TimeoutError as error:
            what = "`pat_str` is a pattern that takes too long to split a text"
            raise tok_json.broken(what, self._path) from error

    def _merged(self, piece: bytes) -> list[int]:
        """Return the ids of a piece; empty ones, of a pattern that matches nothing, have none."""
        known = self._table.regular
        whole = known.get(piece)
        if whole is not None:
            return [whole]
        ids = self._cache.get(piece)
        if ids is None:
            ids = [known[part] for part in Merging(known, piece).parts()]
            if len(self._cache) < _MOST_CACHED and len(piece) <= _MOST_CACHED_BYTES:
                self._cache[piece] = ids
        return ids

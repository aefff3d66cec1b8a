"""Tokenizer of byte pairs: tokenizer.tok.json, and what other programs take in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.core import optional_imports
from grokpack.core.errors import GrokpackError, Place
from grokpack.formats.tokenizers import split_patterns, tok_json, tokenizer_json, vocabulary
from grokpack.formats.tokenizers.byte_pair_encoder import BytePairEncoder
from grokpack.formats.tokenizers.byte_spelling import spelled_each

if TYPE_CHECKING:
    from collections.abc import Mapping

_SPLITS = {split_patterns.SPLITS["V1"]: "grok-2"}
"""llama.cpp's names of patterns; it cannot take one from a file."""


class BytePairTokenizer:
    """Tokenizer of byte pairs.

    Args:
        data: The file.
        path: Where it is from, for messages.

    Raises:
        GrokpackError: As reading it does.
    """

    def __init__(self, data: bytes, path: str) -> None:
        self._table, self._path = tok_json.read(data, path), path

    @property
    def rows(self) -> int:
        """Rows of an embedding that has one for each token."""
        return self._table.rows

    @property
    def special(self) -> Mapping[str, int]:
        """Ids of the special tokens by their texts."""
        return self._table.special

    def check(self) -> None:
        """Check the pattern, where the package that splits texts by it is installed.

        Raises:
            GrokpackError: GP242 if the pattern is none.
        """
        if optional_imports.is_installed("regex"):
            self.encoder()

    def encoder(self) -> BytePairEncoder:
        """Make the encoder."""
        return BytePairEncoder(self._table, self._path)

    def tokenizer_json(self) -> bytes:
        """Make a tokenizer.json."""
        return tokenizer_json.render(self._table)

    def vocabulary(self, rows: int) -> vocabulary.Vocabulary:
        """Make the vocabulary for llama.cpp; rows that no token has are unused.

        Raises:
            GrokpackError: GP306 for a pattern that llama.cpp does not have.
        """
        table = self._table
        if table.pattern not in _SPLITS:
            what = "llama.cpp cannot split texts by the pattern of this tokenizer"
            hint = "`--tokenizer none` writes a file without vocabulary"
            raise GrokpackError("GP306", what, Place(self._path), hint=hint)
        tokens, types = self._spelled(rows)
        return vocabulary.Vocabulary(
            model="gpt2",
            pre=_SPLITS[table.pattern],
            tokens=tokens,
            types=types,
            merges=tokenizer_json.spelled_merges(table),
        )

    def pieces(self, rows: int) -> list[bytes]:
        """List the tokens as llama.cpp spells them."""
        return self._spelled(rows)[0]

    def _spelled(self, rows: int) -> tuple[list[bytes], list[int]]:
        """Return the tokens as llama.cpp spells them, and their types."""
        table = self._table
        tokens = [f"[PAD{number}]".encode() for number in range(max(rows, table.rows))]
        types = [vocabulary.UNUSED] * len(tokens)
        spellings = zip(table.regular.values(), spelled_each(table.regular), strict=True)
        for number, text in spellings:
            tokens[number], types[number] = text.encode(), vocabulary.NORMAL
        for text, number in table.special.items():
            tokens[number], types[number] = text.encode(), vocabulary.CONTROL
        return tokens, types

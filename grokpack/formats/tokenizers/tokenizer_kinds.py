"""Kinds of tokenizers, each with the name of its file and what can be made from one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from grokpack.core.errors import GrokpackError, Place
from grokpack.formats.tokenizers.byte_pair_tokenizer import BytePairTokenizer
from grokpack.formats.tokenizers.sentencepiece import SentencePieceTokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from grokpack.formats.tokenizers.vocabulary import Vocabulary


class Encoder(Protocol):
    """Encoder of texts as token ids."""

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text."""

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of token ids; unknown ids are left out."""

    def piece(self, token: int) -> str:
        """Return a token as it is in the vocabulary; empty for an unknown id."""


class Tokenizer(Protocol):
    """A tokenizer as its file has it."""

    @property
    def rows(self) -> int:
        """Rows of an embedding that has one for each token."""

    @property
    def special(self) -> Mapping[str, int]:
        """Ids of special tokens by their texts; none where only the model's config has them."""

    def check(self) -> None:
        """Check whatever was not checked on reading."""

    def pieces(self, rows: int, /) -> Sequence[bytes]:
        """List the tokens as llama.cpp spells them; none where reading them needs a package."""

    def vocabulary(self, rows: int, /) -> Vocabulary:
        """Make the vocabulary for llama.cpp, of as many rows as the embedding has if it can."""

    def encoder(self) -> Encoder:
        """Make the encoder."""

    def tokenizer_json(self) -> bytes | None:
        """Make a tokenizer.json; None of a kind whose own file transformers reads."""


@dataclass(frozen=True, slots=True)
class TokenizerFormat:
    """A kind of tokenizer.

    Attributes:
        file: Name of its file.
        read: Reads one, from its bytes and its path for messages.
    """

    file: str
    read: Callable[[bytes, str], Tokenizer]


KINDS = {
    "sentencepiece": TokenizerFormat("tokenizer.model", SentencePieceTokenizer),
    "byte-pairs": TokenizerFormat("tokenizer.tok.json", BytePairTokenizer),
}
"""Kinds by the names that families give them."""


def refuse_another(tokenizer: Tokenizer, rows: int, path: str, hint: str | None = None) -> None:
    """Refuse a tokenizer with more pieces than the embedding has rows.

    Raises:
        GrokpackError: GP306.
    """
    if tokenizer.rows > rows:
        facts = (("tokenizer", f"{tokenizer.rows:,} pieces"), ("embedding", f"{rows:,} rows"))
        raise GrokpackError("GP306", "the tokenizer is another model's", Place(path), facts, hint)

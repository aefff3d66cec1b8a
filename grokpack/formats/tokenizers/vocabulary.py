"""Vocabulary as llama.cpp takes it, of a tokenizer of any kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED = range(1, 6)
"""llama.cpp's types of tokens."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A vocabulary.

    Attributes:
        model: llama.cpp's name of the kind of tokenizer.
        pre: Its name of how texts are split before anything is merged.
        tokens: The tokens, by id.
        types: Their types.
        scores: Scores, which order the merges of SentencePiece; none for other kinds.
        merges: Pairs that are merged, the first of them first; none for SentencePiece.
        unknown: Id of the unknown token; None if there is none.
        space_prefix: True if a space is put before a text; None for a kind that never does.
    """

    model: str
    pre: str
    tokens: Sequence[bytes]
    types: Sequence[int]
    scores: Sequence[float] = ()
    merges: Sequence[str] = ()
    unknown: int | None = None
    space_prefix: bool | None = None

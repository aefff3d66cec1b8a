"""Answer of `generate`: tokens that continue prompts."""

from typing import TypeAlias

from typing_extensions import TypedDict

from grokpack.core.documents.answer_json import (
    Amount,
    AnswerJson,
    Count,
    NetworkJson,
    Seconds,
    Share,
    Success,
)


class SequenceJson(TypedDict):
    """Prompt and the tokens that continue it."""

    prompt: list[int]
    """Its tokens."""
    tokens: list[int]
    """That continue it."""
    text: str | None
    """Theirs; null for a prompt of ids."""
    ended: bool
    """True where the model ended the sequence."""


class GenerationJson(NetworkJson):
    """Tokens that continue prompts."""

    source: str
    """The checkpoint."""
    sequences: list[SequenceJson]
    temperature: Amount
    top_p: Share
    seed: Count
    tokens: Count
    """Tokens that were generated."""
    read_bytes: Count
    """Bytes of weights that were read."""
    first_s: Amount
    """Wall time until the first token."""
    seconds: Seconds
    s_per_token: float | None
    """Wall time of each token after the first; null where there is one only."""


GenerationAnswer: TypeAlias = AnswerJson[Success, GenerationJson]

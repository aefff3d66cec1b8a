"""xAI's tokenizer.model as GGUF's vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grokpack import extras
from grokpack.errors import GrokpackError, Place

if TYPE_CHECKING:
    from collections.abc import Sequence

_NORMAL, _UNKNOWN, _USER_DEFINED, _UNUSED = 1, 2, 4, 5
_BPE = 2  # sentencepiece_model.proto: TrainerSpec.ModelType


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Pieces as llama.cpp's SentencePiece tokenizer takes them.

    Attributes:
        tokens: The pieces, by id.
        scores: Their scores; merges are made in the order of these.
        types: llama.cpp's token types.
        unknown: Id of the unknown token; the others are in the model's constants.
        space_prefix: Whether a space is put before a text.
    """

    tokens: Sequence[bytes]
    scores: Sequence[float]
    types: Sequence[int]
    unknown: int
    space_prefix: bool


def read(data: bytes, path: str) -> Vocabulary:
    """Parse a SentencePiece model.

    Raises:
        GrokpackError: GP307 where sentencepiece or protobuf is missing, GP209 for a file that is
            none, GP306 for one that is no BPE model.
    """
    schema = extras.load("sentencepiece.sentencepiece_model_pb2", "gguf")
    model: Any = schema.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # protobuf's own class moves between its versions
        raise GrokpackError("GP209", "not a SentencePiece model", Place(path)) from error
    if model.trainer_spec.model_type != _BPE:
        raise GrokpackError("GP306", "not a BPE tokenizer, as Grok-1's is", Place(path))
    unknown = [i for i, piece in enumerate(model.pieces) if piece.type == _UNKNOWN]
    return Vocabulary(
        tokens=[piece.piece.encode() for piece in model.pieces],
        scores=[piece.score for piece in model.pieces],
        types=[token_type(piece.piece, piece.type) for piece in model.pieces],
        unknown=unknown[0] if unknown else 0,
        space_prefix=model.normalizer_spec.add_dummy_prefix,
    )


def token_type(piece: str, kind: int) -> int:
    """llama.cpp's type of a piece; both number the types alike.

    llama.cpp cuts user-defined pieces out of a text before anything else, and SentencePiece cuts
    them out of the normalised text, in which spaces are `U+2581`. So runs of spaces never match
    there, and must not here; digits, newlines and tabs are cut alike when they are normal pieces.
    """
    if kind != _USER_DEFINED:
        return kind
    if set(piece) == {" "}:
        return _UNUSED
    return _NORMAL if set(piece) <= set("0123456789\n\t") else _USER_DEFINED

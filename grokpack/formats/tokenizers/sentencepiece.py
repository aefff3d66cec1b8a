"""SentencePiece models: Grok-1's tokenizer.model, judged before any library parses it."""

from __future__ import annotations

import importlib.util
import math
from typing import TYPE_CHECKING, Any

from grokpack.core import optional_imports
from grokpack.core.errors import GrokpackError, InputTooLarge, Place
from grokpack.formats.tokenizers.vocabulary import (
    NORMAL,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    Vocabulary,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_BPE = 2  # sentencepiece_model.proto: TrainerSpec.ModelType
_PIECES = 1  # number of the field in ModelProto
_VARINT, _LENGTH = 0, 2  # wire types of protobuf; below, the sizes of the fixed ones
_WIDTHS = {1: 8, 5: 4}
_VARINT_BYTES = 10
_LONGER = 0x80  # bytes from here on are followed by another of the number
_PIECE_KEY = _PIECES << 3 | _LENGTH
_MOST_BYTES = 16 << 20  # seven times the release's tokenizer
_MOST_PIECES = 327_680  # the largest vocabularies have 262,144
_MOST_OTHER_BYTES = 2 << 20  # settings and the normalizer's map take a quarter of a megabyte
_REASON_CHARACTERS = 200


class SentencePieceTokenizer:
    """Tokenizer of a SentencePiece model.

    Args:
        data: The model's file.
        path: Where it is from, for messages.

    Raises:
        GrokpackError: GP235 for a file larger than any model, GP242 for one that is no model.
    """

    def __init__(self, data: bytes, path: str) -> None:
        self._data, self._path = data, path
        self.rows = _bound(data, path)
        """Rows of an embedding that has one for each piece."""

    @property
    def special(self) -> Mapping[str, int]:
        """No ids of special tokens: those are in the model's config."""
        return {}

    def check(self) -> None:
        """Check the model as far as the installed packages can."""
        check(self._data, self._path)

    def pieces(self, _rows: int) -> list[bytes]:
        """List the pieces; none where the library that reads them is not installed."""
        if not _is_installed():
            return []
        model = load(self._data, self._path)
        return [model.id_to_piece(number).encode() for number in range(self.rows)]

    def vocabulary(self, _rows: int) -> Vocabulary:
        """Make the vocabulary for llama.cpp."""
        return read(self._data, self._path)

    def encoder(self) -> SentencePieceEncoder:
        """Make the encoder."""
        return SentencePieceEncoder(load(self._data, self._path))

    def tokenizer_json(self) -> None:
        """Make no tokenizer.json: transformers reads the model itself."""


def read(data: bytes, path: str) -> Vocabulary:
    """Parse a SentencePiece model.

    Raises:
        GrokpackError: GP307 if sentencepiece or protobuf is missing, GP242 for a file that is no
            model or contradicts itself, GP306 for a model that is not BPE.
    """
    schema = optional_imports.import_extra("sentencepiece.sentencepiece_model_pb2", "gguf")
    check(data, path)
    model: Any = schema.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # the module of protobuf's own class differs between versions
        raise _broken("not a SentencePiece model", path) from error
    if model.trainer_spec.model_type != _BPE:
        raise GrokpackError("GP306", "not a BPE tokenizer, as Grok-1's is", Place(path))
    return Vocabulary(
        model="llama",
        pre="default",
        tokens=[piece.piece.encode() for piece in model.pieces],
        scores=[piece.score for piece in model.pieces],
        types=[token_type(piece.piece, piece.type) for piece in model.pieces],
        unknown=next(i for i, piece in enumerate(model.pieces) if piece.type == UNKNOWN),
        space_prefix=model.normalizer_spec.add_dummy_prefix,
    )


def check(data: bytes, path: str) -> int:
    """Check a SentencePiece model as far as the installed packages can.

    Returns:
        The number of pieces.

    Raises:
        GrokpackError: GP235 for a file larger than any model. GP242 for one that is no model, that
            the sentencepiece library refuses, whose scores are not finite, or that has not exactly
            one unknown piece.
    """
    pieces = _bound(data, path)
    if _is_installed():
        load(data, path)
    return pieces


def _is_installed() -> bool:
    return importlib.util.find_spec("sentencepiece") is not None


def load(data: bytes, path: str) -> Any:  # noqa: ANN401  # sentencepiece.SentencePieceProcessor
    """Load a SentencePiece model with its library, and read every piece.

    Raises:
        GrokpackError: GP242 as `check`, GP307 without the package.
    """
    _bound(data, path)
    processor: Any = optional_imports.import_extra(
        "sentencepiece", "evaluate"
    ).SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(data)
        count = processor.get_piece_size()
        for i in range(count):
            processor.id_to_piece(i)
        scores = [processor.get_score(i) for i in range(count)]
        unknown = sum(processor.is_unknown(i) for i in range(count))
    except (RuntimeError, OSError, ValueError, IndexError) as error:
        raise _broken(f"sentencepiece does not load this model: {_reason(error)}", path) from error
    if not all(map(math.isfinite, scores)):
        raise _broken("a piece has a score that is no number", path)
    if unknown != 1:
        raise _broken(f"{unknown} pieces stand for what is unknown, and one should", path)
    return processor


class SentencePieceEncoder:
    """Encoder with a SentencePiece model, used as in xAI's code.

    Args:
        model: The model, loaded by its library.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401  # sentencepiece.SentencePieceProcessor
        self._model = model

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text."""
        ids: list[int] = self._model.encode(text)
        return ids

    def piece(self, token: int) -> str:
        """Return a token as it is in the vocabulary, its space shown as `\u2581`."""
        known = token < self._model.get_piece_size()
        piece: str = self._model.id_to_piece(token) if known else ""
        return piece

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of token ids; unknown ids are left out."""
        most = self._model.get_piece_size()
        text: str = self._model.decode([int(i) for i in ids if i < most])
        return text


def _reason(error: Exception) -> str:
    """Shorten the library's message to one line without its own file names."""
    if isinstance(error, UnicodeDecodeError):
        return "a piece is not UTF-8"
    said = str(error).removeprefix("INTERNAL:").strip().partition("\n")[0]
    return "the file is none" if "ParseFromArray" in said else said[:_REASON_CHARACTERS]


def _bound(data: bytes, path: str) -> int:
    """Count the pieces before any library parses them.

    An empty piece takes two bytes in the file and 200 in memory.

    Raises:
        GrokpackError: GP235 for more than any model has, GP242 if it is no protobuf message.
    """
    at = pieces = others = 0
    end = len(data)
    if end > _MOST_BYTES:
        raise _beyond(f"{end:,} bytes are too many for a tokenizer", path)
    while at < end:
        if data[at] == _PIECE_KEY and at + 1 < end and data[at + 1] < _LONGER:
            pieces, at = pieces + 1, at + 2 + data[at + 1]
        else:
            field, behind = _next_field(data, at, path)
            pieces, others = pieces + (field == _PIECES), others + behind - at
            at = behind
        if pieces > _MOST_PIECES:
            raise _beyond(f"more than {_MOST_PIECES:,} pieces", path)
        if others > _MOST_OTHER_BYTES:
            what = f"more than {_MOST_OTHER_BYTES:,} bytes of settings and of long pieces"
            raise _beyond(what, path)
    if at > end:
        raise _broken("a SentencePiece model that breaks off, or none", path)
    if not pieces:
        raise _broken("a tokenizer without pieces", path)
    return pieces


def _next_field(data: bytes, at: int, path: str) -> tuple[int, int]:
    """Return the number of the protobuf field that begins here, and the offset behind it."""
    key, at = _varint(data, at, path)
    kind = key & 7
    if kind == _LENGTH:
        length, at = _varint(data, at, path)
        end = at + length
    elif kind == _VARINT:
        _, end = _varint(data, at, path)
    elif kind in _WIDTHS:
        end = at + _WIDTHS[kind]
    else:
        raise _broken("not a SentencePiece model", path)
    if end > len(data):
        raise _broken("a SentencePiece model that breaks off, or none", path)
    return key >> 3, end


def _varint(data: bytes, at: int, path: str) -> tuple[int, int]:
    value = 0
    for i, byte in enumerate(data[at : at + _VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * i
        if byte < _LONGER:
            return value, at + i + 1
    raise _broken("a SentencePiece model that breaks off, or none", path)


def _beyond(what: str, path: str) -> GrokpackError:
    return InputTooLarge(what, Place(path), hint="see that it is a tokenizer of this model")


def _broken(what: str, path: str) -> GrokpackError:
    hint = "fetch tokenizer.model again; `--tokenizer none` does without one where a target can"
    return GrokpackError("GP242", what, Place(path), hint=hint)


def token_type(piece: str, kind: int) -> int:
    """Return llama.cpp's type of a piece; both number the types alike.

    llama.cpp cuts user-defined pieces out of a text before anything else. SentencePiece cuts them
    out of the normalized text, in which spaces are `U+2581`, so that runs of spaces never match
    there and must not match here. Digits, newlines and tabs are cut alike as normal pieces.
    """
    if kind != USER_DEFINED:
        return kind
    if set(piece) == {" "}:
        return UNUSED
    return NORMAL if set(piece) <= set("0123456789\n\t") else USER_DEFINED

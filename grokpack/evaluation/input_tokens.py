"""Input tokens from arrays or texts, as sequences with the tokens that follow."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from grokpack import storage
from grokpack.checkpoint.tokenizer_files import find_tokenizer, origin, read_small
from grokpack.core.errors import GrokpackError, Place
from grokpack.evaluation.network.batch import Batch, batch
from grokpack.formats import npy
from grokpack.formats.tokenizers.tokenizer_kinds import KINDS, refuse_another

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.core.paths import StrPath
    from grokpack.formats.tokenizers.tokenizer_kinds import Encoder, Tokenizer

NO_TARGET = -1
CONTEXT = 512
"""Default number of tokens in the windows into which a text is cut."""
_MOST_TOKENS = 1 << 22
_MOST_ROWS = 1 << 16
_MOST_ARRAY_BYTES = 8 * _MOST_TOKENS + (1 << 16)
_MOST_TEXT_BYTES = 8 << 20  # tokens are two bytes at least in most texts, and one in some
_MATRIX = 2
_IN_PYTHON = (
    "give an integer array `[T]` or `[N, T]`; of a file, `grokpack.read_tokens` and "
    "`grokpack.read_text` make the inputs of `evaluate`"
)


@dataclass(frozen=True, slots=True)
class Inputs:
    """Sequences of tokens, with the token that follows each.

    Attributes:
        sequences: Tokens of each sequence, `i64[T]`.
        targets: The token after each, `i64[T]` over all sequences joined; -1 for none.
    """

    sequences: tuple[np.ndarray, ...]
    targets: np.ndarray

    @property
    def batch(self) -> Batch:
        """Join the sequences into a batch."""
        return batch(list(self.sequences))


def read_tokens(path: StrPath, context: int | None, most: int | None, pad: int) -> Inputs:
    """Read token ids from a .npy file: `i[T]`, or `i[N, T]` with a sequence in each row.

    Padding at the end of a row is left out; rows longer than `context` are cut into windows.

    Args:
        path: The file.
        context: Maximum number of tokens in a window; None for no limit.
        most: Maximum number of tokens in all; None for no limit.
        pad: The padding token; -1 where ids have none, with which rows may be filled up.

    Raises:
        GrokpackError: GP342 where the file holds no tokens.
    """
    path = os.fspath(path)
    hint = "write `numpy.save(FILE, ids)` with an integer array `[T]` or `[N, T]`"
    try:
        ids = npy.read_integers(_read(path, _MOST_ARRAY_BYTES), _MOST_TOKENS)
    except ValueError as error:
        raise GrokpackError(
            "GP342", f"no array of tokens: {error}", Place(path), (), hint
        ) from None
    rows = [_without_padding(row, pad) for row in _rows(ids, Place(path), hint)]
    return _cut(rows, context, most, Place(path), pad)


def inputs_of(given: Inputs | np.ndarray) -> Inputs:
    """Return inputs as they are; of token ids `i[T]` or `i[N, T]`, a sequence for each row.

    Raises:
        GrokpackError: GP342 for anything else.
    """
    if isinstance(given, Inputs):
        return given
    return _cut(_rows(np.asarray(given), None, _IN_PYTHON), None, None, None, NO_TARGET)


def prompts_of(given: Sequence[np.ndarray] | np.ndarray) -> list[np.ndarray]:
    """Return prompts as arrays `i[T]`; an array `i[T]` is one prompt.

    Raises:
        GrokpackError: GP342 for anything else.
    """
    if isinstance(given, np.ndarray):
        return _rows(given, None, _IN_PYTHON)
    return [row for prompt in given for row in _rows(np.asarray(prompt), None, _IN_PYTHON)]


def _rows(ids: np.ndarray, place: Place | None, hint: str) -> list[np.ndarray]:
    """Return the sequences in an array of tokens.

    Raises:
        GrokpackError: GP342 where it is no such array.
    """
    if ids.dtype.kind not in "iu" or ids.ndim not in (1, _MATRIX):
        what = f"tokens are integers `[T]` or `[N, T]`, not {ids.dtype}{list(ids.shape)}"
        raise GrokpackError("GP342", what, place, (), hint)
    ids = np.atleast_2d(ids)
    if len(ids) > _MOST_ROWS:
        what = f"{len(ids):,} sequences are more than the {_MOST_ROWS:,} that a run can take"
        raise GrokpackError("GP342", what, place)
    return [row.astype(np.int64) for row in ids]


def read_text(
    path: StrPath, checkpoint: Checkpoint, tokenizer: StrPath | None, context: int, most: int | None
) -> Inputs:
    """Read a UTF-8 text as tokens, in windows. As in the reference, no token is put before it.

    Args:
        path: The file.
        checkpoint: The checkpoint, beside which a tokenizer is looked for.
        tokenizer: Path of the tokenizer's file; None to look for it.
        context: Number of tokens in a window.
        most: Maximum number of tokens in all; None for no limit.

    Raises:
        GrokpackError: GP306 without a tokenizer, GP307 without the package, GP342 for no text.
    """
    path = os.fspath(path)
    encoder = text_tokenizer(checkpoint, tokenizer).encoder
    try:
        text = _read(path, _MOST_TEXT_BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise GrokpackError("GP342", f"not a text in UTF-8: {error}", Place(path)) from None
    tokens = np.array(encoder.encode(text), np.int64)
    return _cut([tokens], context, most, Place(path), NO_TARGET)


@dataclass(frozen=True, slots=True)
class TextTokenizer:
    """Tokenizer of a checkpoint, for texts.

    Attributes:
        encoder: Its encoder.
        stops: Tokens at which a generation ends; none where the model's constants say it.
    """

    encoder: Encoder
    stops: frozenset[int]


def text_tokenizer(checkpoint: Checkpoint, given: StrPath | None) -> TextTokenizer:
    """Read the tokenizer of a checkpoint.

    Args:
        checkpoint: The checkpoint, beside which the file is looked for.
        given: Path of the file; None to look for it.

    Raises:
        GrokpackError: GP306 where there is none or another model's, GP307 without a package,
            GP242 where it is broken.
    """
    path = find_tokenizer(checkpoint, None if given is None else os.fspath(given))
    kind = KINDS[checkpoint.model.family.tokenizer.kind]
    if path is None:
        where = origin(checkpoint.model)
        hint = f"name one with `--tokenizer FILE`{where}, or give ids with `--tokens FILE.npy`"
        raise GrokpackError("GP306", f"no {kind.file} beside the checkpoint", hint=hint)
    held = kind.read(read_small(path), path)
    encoder = held.encoder()
    refuse_another(held, checkpoint.geometry.vocab, path)
    return TextTokenizer(encoder, _stops(checkpoint, held))


def stop_tokens(checkpoint: Checkpoint, given: str | None) -> frozenset[int]:
    """Find the tokens at which a generation ends, where a tokenizer is there to tell.

    Args:
        checkpoint: The checkpoint, beside which the tokenizer's file is looked for.
        given: Path of the file; None to look for it.
    """
    own = checkpoint.model.family.tokenizer
    path = find_tokenizer(checkpoint, given) if own.stops else None
    if path is None:
        return frozenset()
    return _stops(checkpoint, KINDS[own.kind].read(read_small(path), path))


def _stops(checkpoint: Checkpoint, tokenizer: Tokenizer) -> frozenset[int]:
    named = checkpoint.model.family.tokenizer.stops
    return frozenset(tokenizer.special[text] for text in named if text in tokenizer.special)


def _read(path: str, most: int) -> bytes:
    if not storage.is_file(path):
        raise GrokpackError("GP342", "there is no such file", Place(path))
    data = storage.FileBytes(path)
    size = data.size()
    if size > most:
        what = f"{size:,} bytes are more than the {most:,} that a run can take"
        raise GrokpackError("GP342", what, Place(path))
    return data.read(0, size)


def _without_padding(row: np.ndarray, pad: int) -> np.ndarray:
    held = np.flatnonzero(row != pad)
    return row[: held[-1] + 1] if len(held) else row[:0]


def _cut(
    rows: list[np.ndarray], context: int | None, most: int | None, place: Place | None, pad: int
) -> Inputs:
    """Cut rows into windows; the last token's successor is the first token of the next window."""
    sequences: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    left = most if most is not None else sum(map(len, rows))
    for row in rows:
        following = np.append(row[1:], NO_TARGET)
        following = np.where(following == pad, NO_TARGET, following)
        for first in range(0, len(row), context or max(1, len(row))):
            end = min(first + (context or len(row)), len(row), first + left)
            if end > first:
                sequences.append(row[first:end])
                targets.append(following[first:end])
                left -= end - first
    if not sequences:
        raise GrokpackError("GP342", "there are no tokens", place)
    return Inputs(tuple(sequences), np.concatenate(targets))

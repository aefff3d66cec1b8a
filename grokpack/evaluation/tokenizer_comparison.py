"""Comparison of the tokenizers of two checkpoints: their pieces, and the ids of special tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.checkpoint.readers import gguf_reader
from grokpack.checkpoint.tokenizer_files import find_tokenizer, read_small
from grokpack.core.finding import Finding
from grokpack.formats import gguf_header
from grokpack.formats.tokenizers.tokenizer_kinds import KINDS
from grokpack.models import hyperparameters

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from grokpack.checkpoint.checkpoint import Checkpoint

_CONFIGURED = {"bos": "bos", "eos": "eos", "padding": "pad"}
"""Special tokens by llama.cpp's names for their uses, and by those of a config's constants."""
_NO_TOKEN = -1
"""Id of a token that a family does not have; configs write it, null, or nothing."""
_PIECES = "tokenizer.ggml.tokens"
_USES = (*_CONFIGURED, "eot")
_ID = "tokenizer.ggml.{}_token_id"


@dataclass(frozen=True, slots=True)
class _Vocabulary:
    """Vocabulary of a checkpoint.

    Attributes:
        pieces: Lists the tokens as llama.cpp spells them, by id; none where there is no tokenizer.
        special: Ids of special tokens by llama.cpp's names for their uses; one, unless tokenizer
            and config contradict each other.
    """

    pieces: Callable[[], Sequence[bytes]]
    special: Mapping[str, set[float]]


def differences(first: Checkpoint, second: Checkpoint) -> list[Finding]:
    """Find pieces, and ids of special tokens, that differ between two checkpoints.

    What only one of them has is no difference, unless their family has no such token.

    Raises:
        GrokpackError: What reading a broken tokenizer raises.
    """
    files = [_own_file(checkpoint) for checkpoint in (first, second)]
    one, other = map(_vocabulary, (first, second), files)
    found = _unequal_ids(one.special, other.special)
    if files[0] is None or files[0] != files[1]:
        found += _unequal_pieces(one.pieces(), other.pieces())
    return found


def _own_file(checkpoint: Checkpoint) -> bytes | None:
    """Return the tokenizer's own file; None for a GGUF, whose tokenizer is in its header."""
    path = None if checkpoint.format == gguf_reader.NAME else find_tokenizer(checkpoint, None)
    return None if path is None else read_small(path)


def _vocabulary(checkpoint: Checkpoint, data: bytes | None) -> _Vocabulary:
    """Return the vocabulary of a checkpoint; an empty one where it has none."""
    pieces: Callable[[], Sequence[bytes]] = tuple
    found: Mapping[str, int] = {}
    if checkpoint.format == gguf_reader.NAME:
        pieces, found = _of_gguf(checkpoint)
    elif data is not None:
        own = checkpoint.model.family.tokenizer
        tokenizer = KINDS[own.kind].read(data, KINDS[own.kind].file)
        pieces, ids = partial(tokenizer.pieces, checkpoint.geometry.vocab), tokenizer.special
        found = {use: ids[text] for use, text in own.special.items() if text in ids}
    said = hyperparameters.stated(checkpoint.config, checkpoint.model.family)
    special = {use: set(said.get(_CONFIGURED.get(use, ""), {}).values()) for use in _USES}
    usual = hyperparameters.defaults(checkpoint.model)
    for use, name in _CONFIGURED.items():
        if checkpoint.config and getattr(usual, name) == _NO_TOKEN:
            special[use] = special[use] or {_NO_TOKEN}
    for use, number in found.items():
        special[use].add(number)
    return _Vocabulary(pieces, special)


def _of_gguf(checkpoint: Checkpoint) -> tuple[Callable[[], list[bytes]], dict[str, int]]:
    """Return the pieces and the ids of special tokens in the header of a GGUF's first file."""
    path = checkpoint.path(next(checkpoint.layout.files()).path)
    data = storage.FileBytes(path)
    keys = gguf_header.read(data, path).keys
    held = {use: keys.get(_ID.format(use)) for use in _USES}
    special = {use: number for use, number in held.items() if type(number) is int}
    return lambda: list(gguf_header.texts(data, path, _PIECES)), special


def _unequal_ids(ours: Mapping[str, set[float]], theirs: Mapping[str, set[float]]) -> list[Finding]:
    return [
        _finding(f"{use} token", *(_listed(numbers) for numbers in (ours[use], theirs[use])))
        for use in _USES
        if ours[use] and theirs[use] and ours[use] != theirs[use]
    ]


def _listed(numbers: set[float]) -> str:
    return ", ".join("none" if n == _NO_TOKEN else f"{n:g}" for n in sorted(numbers))


def _unequal_pieces(ours: Sequence[bytes], theirs: Sequence[bytes]) -> list[Finding]:
    """Make a finding about the first piece that is not the same, if both have any."""
    if not ours or not theirs:
        return []
    pairs = enumerate(zip_longest(ours, theirs, fillvalue=b""))
    unequal = [(number, *pair) for number, pair in pairs if pair[0] != pair[1]]
    if not unequal:
        return []
    number, one, other = unequal[0]
    shown = (piece.decode(errors="replace") for piece in (one, other))
    return [_finding(f"token {number}, the first of {len(unequal):,} pieces,", *shown)]


def _finding(name: str, ours: str, theirs: str) -> Finding:
    return Finding("GP143", f"{name} is not the same in both", None, None, ours, theirs)

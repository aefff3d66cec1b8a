"""llama.cpp's tokenizer, from the keys of a converted file, beside SentencePiece."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import llama_cpp
from sentencepiece import SentencePieceProcessor as Reference

from tests.oracle.llama.texts import CONTROL, SEPARATORS, texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.oracle.llama.model import Model

SPACE = "\u2581"  # what stands for a space in pieces, and so cannot stand for itself
SHOWN = 5  # of the texts that differ
# Pieces that SentencePiece never makes, see grokpack.formats.tokenizers.sentencepiece.
RUNS_OF_SPACES = range(32, 47)

TINY = {
    "layers": 1,
    "d-model": 256,
    "ffn": 256,
    "experts": 2,
    "vocab": 131072,
    "heads": 8,
    "kv-heads": 2,
    "head-dim": 32,
}

Finding = tuple[str, int]


def compare(model: Model, tokenizer: Path) -> Iterator[Finding]:
    """What was compared, and how many differ."""
    reference = Reference(model_file=str(tokenizer))
    every = texts()
    plain = [text for text in every if not any(name in text for name in SEPARATORS)]
    named = [text for text in every if text not in plain]
    yield (
        f"of {len(plain)} texts, tokenized otherwise",
        _shown(t for t in plain if model.tokenize(t, special=False) != reference.encode(t)),
    )
    yield (
        f"of {len(named)} with <|...|>, otherwise than in parts",
        _shown(t for t in named if model.tokenize(t, special=False) != parts(reference, t)),
    )
    names = (*SEPARATORS, *CONTROL)
    yield (
        f"of {len(every)} with names read, than in parts",
        _shown(t for t in every if model.tokenize(t, special=True) != parts(reference, t, names)),
    )
    ids = {text: reference.encode(text) for text in every}
    yield (
        f"of {len(every)}, detokenized otherwise",
        _shown(t for t in every if model.text(ids[t]).decode() != reference.decode(ids[t])),
    )
    whole = [text for text in plain if SPACE not in text]
    yield (
        f"of {len(whole)} without {SPACE}, not themselves again",
        _shown(t for t in whole if _back(model, t) != t),
    )
    yield from _keys(model, reference)


def different(model: Model, tokenizer: Path) -> int:
    """How many texts are tokenized otherwise."""
    reference = Reference(model_file=str(tokenizer))
    return sum(model.tokenize(t, special=False) != reference.encode(t) for t in texts())


def parts(reference: Reference, text: str, names: Sequence[str] = SEPARATORS) -> list[int]:
    """How llama.cpp reads names: as those tokens, and what is between them as texts of their own.

    So the space that stands before a text comes again after each name, and is missing before one
    that a text begins with. No type of token makes llama.cpp read names as SentencePiece does.
    """
    cut = re.split("(" + "|".join(map(re.escape, names)) + ")", text)
    ids = []
    for number, part in enumerate(cut):
        ids += [reference.piece_to_id(part)] if number % 2 else reference.encode(part)
    return ids


def _back(model: Model, text: str) -> str:
    return model.text(model.tokenize(text, special=False)).decode()


def _shown(different: Iterator[str]) -> int:
    found = list(different)
    for text in found[:SHOWN]:
        print(f"       {text!r}")
    return len(found)


def _keys(model: Model, reference: Reference) -> Iterator[Finding]:
    """The special tokens and the text of every single token."""
    vocab = model.vocab
    ours = (
        llama_cpp.llama_vocab_bos(vocab),
        llama_cpp.llama_vocab_eos(vocab),
        llama_cpp.llama_vocab_pad(vocab),
    )
    theirs = tuple(reference.piece_to_id(name) for name in ("[BOS]", "[EOS]", "[PAD]"))
    yield "of bos, eos and pad, others", sum(a != b for a, b in zip(ours, theirs, strict=True))
    yield "tokens added by themselves", int(llama_cpp.llama_vocab_get_add_bos(vocab))
    size = reference.get_piece_size()
    yield "pieces too many or too few", abs(llama_cpp.llama_vocab_n_tokens(vocab) - size)
    alone = (i for i in range(size) if i not in RUNS_OF_SPACES)
    other = [i for i in alone if _text(model, i) != _own(reference, i)]
    if other:
        print(f"       {[(i, _text(model, i), _own(reference, i)) for i in other[:SHOWN]]}")
    yield f"of {size} tokens alone, with another text", len(other)


def _text(model: Model, token: int) -> bytes:
    """A token's text behind a digit's, so that its space is kept."""
    return model.text([DIGIT, token])[1:]


DIGIT = 14


def _own(reference: Reference, token: int) -> bytes:
    if reference.is_byte(token):
        return bytes([int(reference.id_to_piece(token)[3:5], 16)])
    return reference.id_to_piece(token).replace(SPACE, " ").encode()

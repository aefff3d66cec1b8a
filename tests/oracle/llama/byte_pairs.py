"""llama.cpp's tokenizer of byte pairs, from the keys of a converted Grok-2, beside tiktoken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import llama_cpp
import tiktoken

from tests.oracle.llama.texts import texts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.oracle.llama.model import Model

GOLDEN = Path("tests/data/grok2-tiny")
RELEASE = GOLDEN / "release"
# As SGLang's and vLLM's readers of tokenizer.tok.json have it.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TURNS = (("system", " You keep the light.\n"), ("user", "Rain?"), ("assistant", " Yes. "))
SPOKEN = (
    "System: You keep the light.<|separator|>\n\nHuman: Rain?<|separator|>\n\n"
    "Assistant:  Yes. <|separator|>\n\nAssistant:"
)
_LENGTH_BYTES = 8
_STRING = (8).to_bytes(4, "little")  # gguf.GGUFValueType

Finding = tuple[str, int]


def reference() -> tiktoken.Encoding:
    """The release's tokenizer, as its own readers load it."""
    held = json.loads((RELEASE / "tokenizer.tok.json").read_bytes())
    special = {bytes(row["bytes"]).decode(): row["token"] for row in held["special_tokens"]}
    return tiktoken.Encoding(
        "grok2-tiny",
        pat_str=PATTERN,
        mergeable_ranks={bytes(row["bytes"]): row["token"] for row in held["regular_tokens"]},
        special_tokens=special,
    )


def compare(model: Model) -> Iterator[Finding]:
    """What was compared, and how many differ."""
    cases: list[dict[str, Any]] = json.loads((GOLDEN / "tokenizer_cases.json").read_bytes())
    wrong = [c for c in cases if model.tokenize(c["text"], special=True) != c["ids"]]
    yield f"of {len(cases)} golden texts, tokenized otherwise", len(wrong)
    known, every = reference(), texts()
    yield f"of {len(every)} texts, tokenized otherwise", different(model)
    named = [t for t in every if read(model, t) != known.encode(t, allowed_special="all")]
    yield f"of {len(every)} with names read, otherwise", len(named)
    back = [t for t in every if model.text(read(model, t)).decode() != t]
    yield f"of {len(every)}, not themselves again", len(back)
    yield from _keys(model, known)


def different(model: Model) -> int:
    """How many texts are tokenized otherwise, names of special tokens as texts."""
    known = reference()
    ordinary = known.encode_ordinary
    return sum(model.tokenize(t, special=False) != ordinary(t) for t in texts())


def read(model: Model, text: str) -> list[int]:
    return model.tokenize(text, special=True)


def _keys(model: Model, known: tiktoken.Encoding) -> Iterator[Finding]:
    """The special tokens, and the conversation."""
    vocab = model.vocab
    ours = (
        llama_cpp.llama_vocab_eot(vocab),
        llama_cpp.llama_vocab_eos(vocab),
        llama_cpp.llama_vocab_pad(vocab),
    )
    names = ("<|separator|>", "<|eos|>", "<|pad|>")
    theirs = [known.encode_single_token(name) for name in names]
    yield "of eot, eos and pad, others", sum(a != b for a, b in zip(ours, theirs, strict=True))
    ends = {i for i in range(known.n_vocab) if llama_cpp.llama_vocab_is_eog(vocab, i)}
    yield "tokens that end an answer, others", len(ends ^ set(theirs[:2]))
    yield "tokens added by themselves", int(llama_cpp.llama_vocab_get_add_bos(vocab))
    yield "conversations put otherwise", int(model.spoken(TURNS) != SPOKEN)


def split_as_another(path: Path) -> None:
    """Name another way to split texts, with a name of as many letters."""
    key, name = b"tokenizer.ggml.pre" + _STRING, b"grok-2"
    data = path.read_bytes()
    stated = key + len(name).to_bytes(_LENGTH_BYTES, "little")
    assert data.count(stated + name) == 1
    path.write_bytes(data.replace(stated + name, stated + b"falcon"))

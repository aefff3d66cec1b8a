"""Writer of tokenizer.json, the file of the library `tokenizers`, for byte pairs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from grokpack.formats.tokenizers.byte_pairs import merges
from grokpack.formats.tokenizers.byte_spelling import spelled

if TYPE_CHECKING:
    from grokpack.formats.tokenizers.tok_json import TokenTable

_BYTE_LEVEL = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": False,
}


def render(table: TokenTable) -> bytes:
    """Make a tokenizer.json by which texts have the ids that the vocabulary gives them.

    A piece that is itself a token is taken whole (`ignore_merges`), whether or not merges lead to
    it. Special tokens stand in the vocabulary too: those that do not would get ids behind it.
    """
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            _added(text, number) for text, number in sorted(table.special.items(), key=_number)
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": table.pattern},
                    "behavior": "Isolated",
                    "invert": False,
                },
                _BYTE_LEVEL,
            ],
        },
        "post_processor": None,
        "decoder": _BYTE_LEVEL,
        "model": _model(table),
    }
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def spelled_merges(table: TokenTable) -> list[str]:
    """Return the two parts of each merge, spelled, with a space between them."""
    return [f"{spelled(one)} {spelled(other)}" for one, other in merges(table.regular)]


def _model(table: TokenTable) -> dict[str, Any]:
    vocabulary = {spelled(token): number for token, number in table.regular.items()}
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": True,
        "vocab": dict(sorted({**vocabulary, **table.special}.items(), key=_number)),
        "merges": spelled_merges(table),
    }


def _added(text: str, number: int) -> dict[str, Any]:
    return {
        "id": number,
        "content": text,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }


def _number(entry: tuple[str, int]) -> int:
    return entry[1]

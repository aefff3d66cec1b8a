"""Writer of tokenizer.json, the file of the library `tokenizers`, for byte pairs."""

from __future__ import annotations

import json
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from grokpack.formats.tokenizers.byte_pairs import merges
from grokpack.formats.tokenizers.byte_spelling import spelled_each

if TYPE_CHECKING:
    from collections.abc import Collection

    from grokpack.formats.tokenizers.tok_json import TokenTable

_BYTE_LEVEL = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": False,
}
_EMPTY = '"vocab": {}', '"merges": []'
"""Places of what is most of the file, and rendered by itself."""


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
            _added(text, number)
            for text, number in sorted(table.special.items(), key=itemgetter(1))
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
        "model": _model(),
    }
    text = json.dumps(document, indent=1, ensure_ascii=False)
    for empty, filled in zip(_EMPTY, (_vocabulary(table), spelled_merges(table)), strict=True):
        text = text.replace(empty, empty[:-2] + _lines(filled))  # no text in JSON has its quotes
    return (text + "\n").encode()


def spelled_merges(table: TokenTable) -> list[str]:
    """Return the two parts of each merge, spelled, with a space between them."""
    cuts = dict(merges(table.regular))
    spellings = zip(spelled_each(cuts), cuts.values(), strict=True)
    return [f"{text[:middle]} {text[middle:]}" for text, middle in spellings]


def _vocabulary(table: TokenTable) -> dict[str, int]:
    """Return the ids of all tokens, in the order of the ids."""
    regular = zip(spelled_each(table.regular), table.regular.values(), strict=True)
    return dict(sorted([*regular, *table.special.items()], key=itemgetter(1)))


def _lines(values: Collection[str]) -> str:
    """Render values of the model, one a line; the compiled encoder of JSON does not indent."""
    line = "\n   "
    text = json.dumps(values, ensure_ascii=False, separators=("," + line, ": "))
    return f"{text[0]}{line}{text[1:-1]}{line[:-1]}{text[-1]}" if values else text


def _model() -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": True,
        "vocab": {},
        "merges": [],
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

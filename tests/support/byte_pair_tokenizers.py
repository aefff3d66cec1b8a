"""Vocabularies of byte pairs: the golden one, and random ones in any number of tokens."""

from __future__ import annotations

import json
import random
from typing import Any

from grokpack.formats.tokenizers import tok_json
from grokpack.formats.tokenizers.tok_json import TokenTable
from tests.support.project import DATA

RELEASE = DATA / "grok2-tiny" / "release"
GOLDEN = RELEASE / "tokenizer.tok.json"
CASES: list[dict[str, Any]] = json.loads((DATA / "grok2-tiny" / "tokenizer_cases.json").read_text())


def golden() -> TokenTable:
    return tok_json.read(GOLDEN.read_bytes(), GOLDEN.name)


def document() -> dict[str, Any]:
    """The golden tokenizer as JSON values."""
    found: dict[str, Any] = json.loads(GOLDEN.read_bytes())
    return found


def random_table(tokens: int, special: tuple[str, ...], seed: int) -> TokenTable:
    """Merge tokens at random, preferring early ones, as training would."""
    draw = random.Random(seed)
    made = [bytes([value]) for value in range(256)]
    ranks = {token: number for number, token in enumerate(made, len(special))}
    while len(ranks) < tokens - len(special):
        one, other = (made[min(int(draw.expovariate(0.001)), len(made) - 1)] for _ in range(2))
        if len(one + other) <= 10 and one + other not in ranks:
            ranks[one + other] = len(ranks) + len(special)
            made.append(one + other)
    return TokenTable(ranks, {s: n for n, s in enumerate(special)}, tok_json.SPLITS["V1"])


def render(table: TokenTable) -> bytes:
    """The file of a vocabulary."""
    special = {text.encode(): number for text, number in table.special.items()}
    lists = {"regular_tokens": table.ranks, "special_tokens": special}
    rows = {
        key: [{"bytes": list(token), "token": number} for token, number in tokens.items()]
        for key, tokens in lists.items()
    }
    return json.dumps({**rows, "word_split": "V1"}).encode()

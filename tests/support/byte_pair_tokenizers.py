"""Vocabularies of byte pairs: the golden one, and random ones in any number of tokens."""

from __future__ import annotations

import json
import random
from typing import Any

from grokpack.formats.tokenizers import split_patterns, tok_json
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
    ids = {token: number for number, token in enumerate(made, len(special))}
    while len(ids) < tokens - len(special):
        one, other = (made[min(int(draw.expovariate(0.001)), len(made) - 1)] for _ in range(2))
        if len(one + other) <= 10 and one + other not in ids:
            ids[one + other] = len(ids) + len(special)
            made.append(one + other)
    return TokenTable(ids, {s: n for n, s in enumerate(special)}, split_patterns.SPLITS["V1"])

"""tokenizer.json of a vocabulary gives the ids of the vocabulary in the library `tokenizers`."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from tokenizers import Tokenizer

from grokpack.formats.tokenizers import tokenizer_json
from grokpack.formats.tokenizers.byte_pair_encoder import BytePairEncoder
from grokpack.formats.tokenizers.byte_spelling import spelled, unspelled
from tests.formats.tokenizers.test_byte_pair_encoder import GOLDEN, TABLES, WORDS
from tests.support.byte_pair_tokenizers import CASES, random_table

if TYPE_CHECKING:
    from grokpack.formats.tokenizers.tok_json import TokenTable


def loaded(table: TokenTable) -> Tokenizer:
    return Tokenizer.from_str(tokenizer_json.render(table).decode())


PAIRS = [(BytePairEncoder(table, "here"), loaded(table)) for table in TABLES]


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    found: list[int] = tokenizer.encode(text).ids
    return found


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_the_golden_texts_have_their_ids(case: dict[str, Any]) -> None:
    tokenizer = PAIRS[0][1]
    assert ids(tokenizer, case["text"]) == case["ids"]
    assert tokenizer.decode(case["ids"], skip_special_tokens=False) == case["text"]


@given(WORDS)
def test_any_text_has_the_same_ids(words: list[str]) -> None:
    for encoder, tokenizer in PAIRS:
        assert ids(tokenizer, "".join(words)) == encoder.encode("".join(words))


def test_every_token_keeps_its_id() -> None:
    for table, (_, tokenizer) in zip(TABLES, PAIRS, strict=True):
        held = {spelled(token): number for token, number in table.regular.items()}
        assert tokenizer.get_vocab(with_added_tokens=True) == held | dict(table.special)


def test_special_tokens_may_have_any_ids() -> None:
    table = replace(GOLDEN, special={"<|eos|>": 700, "<|pad|>": 9})
    text = "<|pad|>a<|eos|>"
    assert ids(loaded(table), text) == BytePairEncoder(table, "here").encode(text)


def test_a_piece_that_is_a_token_is_one_though_no_merges_lead_to_it() -> None:
    table = replace(GOLDEN, regular={**GOLDEN.regular, b"qzqz": 600})
    assert "q z" not in json.loads(tokenizer_json.render(table))["model"]["merges"]
    assert ids(loaded(table), "qzqz") == [600]


def test_bytes_are_spelled_one_to_one() -> None:
    every = bytes(range(256))
    assert len(set(spelled(every))) == 256
    assert unspelled(spelled(every)) == every
    assert spelled(b" a\n\xc3\xad") == "ĠaĊÃŃ"
    assert unspelled("灯") is None


@pytest.mark.slow
def test_a_vocabulary_of_the_release_s_size() -> None:
    table = random_table(131_072, ("<|pad|>", "<|separator|>", "<|eos|>"), seed=9)
    encoder, tokenizer = BytePairEncoder(table, "here"), loaded(table)
    text = " ".join(token.decode(errors="replace") for token in [*table.regular][::50])
    assert ids(tokenizer, text) == encoder.encode(text)

"""Texts become the ids that tiktoken makes of them with the same vocabulary, and texts again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from grokpack.core.errors import GrokpackError
from grokpack.formats.tokenizers.byte_pair_encoder import BytePairEncoder
from grokpack.formats.tokenizers.byte_pairs import Merging, merges
from tests.support.byte_pair_tokenizers import CASES, golden, random_table

if TYPE_CHECKING:
    from random import Random

    from grokpack.formats.tokenizers.tok_json import TokenTable

GOLDEN = golden()
RANDOM = random_table(1200, ("<|pad|>", "<|pad|><|pad|>", "<|é|>"), seed=5)
TABLES = [GOLDEN, RANDOM]
TEXTS = st.text() | st.text("ab '\r\n\t.sS\u017ftTreé0½٣ \u00a0\u2028İ\u2019", max_size=40)
WORDS = st.lists(TEXTS | st.sampled_from([*list(GOLDEN.special)[:3], *RANDOM.special, "<|", "|>"]))


def reference(table: TokenTable) -> tiktoken.Encoding:
    return tiktoken.Encoding(
        "reference",
        pat_str=table.pattern,
        mergeable_ranks=dict(table.regular),
        special_tokens=dict(table.special),
    )


PAIRS = [(BytePairEncoder(table, "here"), reference(table)) for table in TABLES]


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_the_golden_texts_have_their_ids(case: dict[str, Any]) -> None:
    encoder = PAIRS[0][0]
    assert encoder.encode(case["text"]) == case["ids"]
    assert encoder.decode(case["ids"]) == case["text"]


@given(WORDS)
def test_any_text_has_the_ids_of_the_reference(words: list[str]) -> None:
    text = "".join(words)
    for encoder, known in PAIRS:
        ids = encoder.encode(text, special=False)
        assert ids == known.encode(text, disallowed_special=())
        assert encoder.decode(ids) == text


def test_names_of_special_tokens_stand_for_them_unless_told_otherwise() -> None:
    text = "<|pad|>a<|eos|>\n<|separator|>"
    encoder, known = PAIRS[0]
    assert encoder.encode(text) == known.encode(text, allowed_special="all")
    assert encoder.encode(text, special=False) == known.encode(text, disallowed_special=())
    assert PAIRS[1][0].encode("<|pad|><|pad|><|pad|>") == [1, 0], "the longest name goes first"


def test_halves_of_surrogate_pairs_are_replaced() -> None:
    for encoder, known in PAIRS:
        for text in ("a\ud83d", "\ud83d\ude00", "\udce9"):
            assert encoder.encode(text) == known.encode(text)


@given(st.lists(st.integers(0, 1300)))
def test_ids_become_the_text_of_the_reference(ids: list[int]) -> None:
    for encoder, known in PAIRS:
        held = [number for number in ids if encoder.piece(number)]
        assert encoder.decode(ids) == known.decode(held)


def test_a_long_piece_is_merged_in_the_time_of_its_length() -> None:
    encoder, known = PAIRS[1]
    text = "abracadabra" * 20_000
    assert encoder.encode(text) == known.encode(text)


@pytest.mark.parametrize("table", TABLES, ids=["golden", "random"])
def test_merges_alone_make_every_token_again(table: TokenTable) -> None:
    """Of a pair that is listed, only those two parts become the token in whatever text."""
    made = [token for token, _ in merges(table.regular)]
    assert made == sorted(made, key=table.regular.__getitem__)
    assert len(set(made)) == len(made)
    unreached = {token for token in table.regular if len(token) > 1} - set(made)
    assert all(len([*Merging(table.regular, token).parts()]) > 1 for token in unreached)


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(GrokpackError, match="`pat_str` is no pattern") as caught:
        BytePairEncoder(replace(GOLDEN, pattern="(a"), "here")
    assert caught.value.code == "GP242"


def assert_last_merges_are_those_of_each_token_alone(tokens: list[str]) -> None:
    ids = {token.encode(): number for number, token in enumerate(tokens)}
    made = {token: Merging(ids, token).meeting() for token in ids if len(token) > 1}
    assert list(merges(ids)) == [(token, at) for token, at in made.items() if at is not None]


@given(st.sets(st.text("ab", min_size=2, max_size=7), max_size=40), st.randoms())
def test_last_merges_are_those_of_merging_each_token_alone(words: set[str], random: Random) -> None:
    shuffled = sorted(words | {"a", "b"})
    random.shuffle(shuffled)
    assert_last_merges_are_those_of_each_token_alone(shuffled)
    assert_last_merges_are_those_of_each_token_alone(sorted(shuffled, key=len))


@pytest.mark.parametrize(
    "tokens",
    ["a b bb ab abbb", "a b ba abb bba bab babbab"],
    ids=["of equal ids the left one first", "the later merge is undone first"],
)
def test_merges_at_a_seam_are_undone_in_their_order(tokens: str) -> None:
    assert_last_merges_are_those_of_each_token_alone(tokens.split())

"""A tokenizer.tok.json is read as it is, or refused with a code."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokpack.core.errors import GrokpackError
from grokpack.formats.tokenizers import tok_json
from tests.support.byte_pair_tokenizers import GOLDEN, document, golden
from tests.support.mutations import dumped, mutate_bytes, mutate_document

BELL = list(b"<|bell|>")


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    values = document()
    change(values)
    return json.dumps(values).encode()


def code_of(data: bytes) -> str | None:
    try:
        tok_json.read(data, "tokenizer.tok.json")
    except GrokpackError as error:
        return error.code
    return None


def add(key: str, **entry: Any) -> Callable[[dict[str, Any]], object]:
    return lambda values: values[key].append(entry)


def put(**entries: Any) -> Callable[[dict[str, Any]], object]:
    return lambda values: values.update(entries)


CONTRADICTIONS: dict[str, Callable[[dict[str, Any]], object]] = {
    "no regular tokens": lambda values: values.pop("regular_tokens"),
    "no special tokens": lambda values: values.pop("special_tokens"),
    "tokens in an object": put(regular_tokens={}),
    "a token twice": add("regular_tokens", bytes=[0], token=600),
    "an id twice": add("regular_tokens", bytes=[1, 2, 3], token=599),
    "a special token twice": add("special_tokens", bytes=list(b"<|eos|>"), token=600),
    "a regular token is special": add("special_tokens", bytes=[32, 40], token=600),
    "a regular token is spelled like a special one": lambda values: values["special_tokens"].append(
        {"bytes": list("Ġthe".encode()), "token": 600}
    ),
    "an id below zero": add("regular_tokens", bytes=[1, 2, 3], token=-1),
    "an id beyond all": add("regular_tokens", bytes=[1, 2, 3], token=1 << 40),
    "an id that is no whole number": add("regular_tokens", bytes=[1, 2, 3], token=600.0),
    "an id that is true": add("regular_tokens", bytes=[1, 2, 3], token=True),
    "an entry without an id": add("regular_tokens", bytes=[1, 2, 3]),
    "an entry that is a list": lambda values: values["regular_tokens"].append([[1], 600]),
    "a byte of 256": add("regular_tokens", bytes=[1, 256], token=600),
    "a byte below zero": add("regular_tokens", bytes=[1, -1], token=600),
    "a byte that is true": add("regular_tokens", bytes=[1, True], token=600),
    "a byte that is text": add("regular_tokens", bytes="ab", token=600),
    "a byte that is a list": add("regular_tokens", bytes=[[1]], token=600),
    "a token without bytes": add("regular_tokens", bytes=[], token=600),
    "a single byte is missing": lambda values: values["regular_tokens"].pop(7),
    "a special token that is not UTF-8": add("special_tokens", bytes=[255, 254], token=600),
    "another size": put(vocab_size=601),
    "a size that is text": put(vocab_size="600"),
    "a pattern that is a number": put(pat_str=3),
    "an empty pattern": put(pat_str=""),
}


def test_the_golden_tokenizer_is_read() -> None:
    table = golden()
    assert (len(table.regular), len(table.special)) == (568, 32)
    assert (table.regular[b" At"], table.special["<|separator|>"]) == (583, 1)
    assert table.by_id()[599] == b"<|control16|>"
    assert table.pattern.startswith("(?i:'s|'t")


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_file_that_contradicts_itself_is_refused(name: str) -> None:
    def change(values: dict[str, Any]) -> None:
        values.pop("vocab_size")  # which would refuse an entry too many by itself
        CONTRADICTIONS[name](values)

    assert code_of(changed(change)) == "GP242"


@pytest.mark.parametrize("data", [b"", b"<html>", b'{"a": 1, "a": 2}', b"\xff\xfe"])
def test_what_is_no_json_is_refused(data: bytes) -> None:
    assert code_of(data) == "GP242"


@pytest.mark.parametrize("split", ["V2", None, 1, ["V1"]])
def test_an_unknown_way_to_split_texts_is_refused(split: object) -> None:
    assert code_of(changed(put(word_split=split))) == "GP306"


def test_a_file_may_have_a_pattern_of_its_own_and_gaps_between_ids() -> None:
    data = changed(
        lambda values: (
            values.update(pat_str=r"\S+|\s+", vocab_size=None)
            or values["special_tokens"].append({"bytes": BELL, "token": 700})
        )
    )
    table = tok_json.read(data, "tokenizer.tok.json")
    assert (table.pattern, table.special["<|bell|>"]) == (r"\S+|\s+", 700)


@pytest.mark.parametrize(
    "change",
    [
        add("regular_tokens", bytes=[1] * 5000, token=600),
        put(regular_tokens=[0] * 330_000),
        put(pad="x" * (33 << 20)),
        put(regular_tokens=[{}] * 3_000_000),
    ],
    ids=["a token of 5,000 bytes", "too many tokens", "33 MiB", "millions of objects"],
)
def test_a_file_larger_than_any_tokenizer_is_refused(change: Any) -> None:
    assert code_of(changed(change)) == "GP235"


def test_tokens_that_are_too_long_together_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tok_json, "_MOST_BYTES", 1000)
    assert code_of(GOLDEN.read_bytes()) == "GP235"


@given(st.integers(0, 1 << 32))
def test_a_mutated_file_is_read_or_refused(seed: int) -> None:
    dice = random.Random(seed)
    mutated = [dumped(mutate_document(document(), dice)), mutate_bytes(GOLDEN.read_bytes(), dice)]
    assert {code_of(data) for data in mutated} <= {None, "GP235", "GP242", "GP306"}

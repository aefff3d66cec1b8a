"""Patterns of a tokenizer cost little to compile, and splitting by them ends."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from grokpack.core.errors import GrokpackError
from grokpack.formats.tokenizers import split_patterns, tok_json
from grokpack.formats.tokenizers.byte_pair_encoder import BytePairEncoder
from tests.support.byte_pair_tokenizers import golden

KNOWN = [
    *split_patterns.SPLITS.values(),
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{M}]+(?i:'s|'t)?|\p{N}{1,3}|\s+",
    r"\S+|\s+",
]
"""Those of Grok-2, GPT-2, GPT-4, GPT-4o (begun), and a plain one."""
COSTLY = {
    "a count that is unrolled": "x{99999999}",
    "counts in counts": "(?:(?:(?:x{999}){999}){999})",
    "counts side by side": "x{999}" * 300,
    "groups in groups": "(" * 2000 + "x" + ")" * 2000,
    "a pattern within itself": "(?R)?x",
    "a group within itself": "(x(?1)?)+y",
    "what is similar": "(?:xyxyxyxyxy){e<=9}",
    "the best of what is similar": "(?b)(?:xy){e}",
    "a name for a group": "(?P<name>x)(?&name)",
    "nothing": "",
    "too much": "x" * 5000,
}


@pytest.mark.parametrize("pattern", KNOWN)
def test_patterns_of_tokenizers_are_taken(pattern: str) -> None:
    assert split_patterns.is_bounded(pattern)


@pytest.mark.parametrize("name", COSTLY)
def test_a_pattern_that_costs_much_is_refused_before_it_is_compiled(name: str) -> None:
    document = {
        "regular_tokens": [{"bytes": [value], "token": value} for value in range(256)],
        "special_tokens": [],
        "word_split": "V1",
        "pat_str": COSTLY[name],
    }
    with pytest.raises(GrokpackError, match="`pat_str` is not a pattern") as caught:
        tok_json.read(json.dumps(document).encode(), "here")
    assert caught.value.code == "GP242"


def test_a_pattern_that_goes_back_without_end_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split_patterns, "seconds", lambda _: 0.05)
    encoder = BytePairEncoder(replace(golden(), pattern="(?:a|aa)+$"), "here")
    with pytest.raises(GrokpackError, match="takes too long") as caught:
        encoder.encode("a" * 60 + "b")
    assert caught.value.code == "GP242"

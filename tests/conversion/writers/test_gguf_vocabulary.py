"""Vocabulary of byte pairs in a GGUF, as llama.cpp's own reader sees it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import pytest

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.conversion.writers.gguf_vocabulary import read_vocabulary
from grokpack.core.errors import GrokpackError
from grokpack.execution.run import execute
from tests.support.byte_pair_tokenizers import RELEASE, document, golden
from tests.support.mutations import dumped

UNUSED = int(gguf.TokenType.UNUSED)


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("made") / "out.gguf"
    plan = plan_convert(open_checkpoint(str(RELEASE)), "gguf", ConvertOptions(type="bf16"))
    execute(plan, str(out))
    read = gguf.GGUFReader(out).fields
    return {name: field.contents() for name, field in read.items() if "tokenizer" in name}


def below(fields: dict[str, Any], name: str) -> Any:
    return fields[f"tokenizer.ggml.{name}"]


def test_it_is_of_the_kind_that_splits_texts_as_the_release_does(fields: dict[str, Any]) -> None:
    assert (below(fields, "model"), below(fields, "pre")) == ("gpt2", "grok-2")
    assert fields["tokenizer.chat_template"].startswith("{% for message in messages %}")


def test_every_special_id_is_the_file_s(fields: dict[str, Any]) -> None:
    named = {name: value for name, value in fields.items() if name.endswith(("_id", "bos_token"))}
    assert named == {
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.eot_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.padding_token_id": 0,
    }


def test_tokens_are_spelled_and_typed(fields: dict[str, Any]) -> None:
    tokens, types, table = below(fields, "tokens"), below(fields, "token_type"), golden()
    assert (len(tokens), len(types)) == (600, 600)
    assert (tokens[583], tokens[1], tokens[16]) == ("ĠAt", "<|separator|>", "Ā")
    control = {number for number, kind in enumerate(types) if kind == gguf.TokenType.CONTROL}
    assert control == set(table.special.values())
    assert {types[number] for number in table.regular.values()} == {int(gguf.TokenType.NORMAL)}


def test_merges_stand_in_the_order_of_their_ids(fields: dict[str, Any]) -> None:
    tokens = below(fields, "tokens")
    made = [tokens.index(pair.replace(" ", "")) for pair in below(fields, "merges")]
    assert made == sorted(made)
    assert len(made) == 312


def test_rows_that_no_token_has_are_unused() -> None:
    release = open_checkpoint(str(RELEASE))
    wider = replace(release, model=release.model.sized(vocab=602))
    made = read_vocabulary(wider, None)
    assert made is not None
    assert made.vocabulary.tokens[600:] == [b"[PAD600]", b"[PAD601]"]
    assert list(made.vocabulary.types[599:]) == [3, UNUSED, UNUSED]
    narrower = replace(release, model=release.model.sized(vocab=599))
    with pytest.raises(GrokpackError, match="another model"):
        read_vocabulary(narrower, None)


def test_a_pattern_that_llama_cpp_does_not_have_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.tok.json"
    path.write_bytes(dumped(document() | {"pat_str": r"\S+|\s+"}))
    with pytest.raises(GrokpackError, match="cannot split texts by the pattern") as caught:
        read_vocabulary(open_checkpoint(str(RELEASE)), str(path))
    assert caught.value.code == "GP306"

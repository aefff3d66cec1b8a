"""Texts and conversations become tokens by the family's own tokenizer, which also ends answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.cli.app import app
from grokpack.core.errors import GrokpackError
from grokpack.evaluation.generation import generate
from grokpack.evaluation.input_tokens import read_text, stop_tokens, text_tokenizer
from tests.report.test_schemas import answer
from tests.support.byte_pair_tokenizers import CASES, RELEASE, document
from tests.support.checkpoints import GOLDEN

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint

TURNS = [
    {"role": "system", "content": "You keep the light.\n"},
    {"role": "user", "content": " Will it rain at 12 today?"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "And then?"},
]
"""As in the second of the golden texts, but for the spaces around two of them."""


@pytest.fixture(scope="module")
def release() -> Checkpoint:
    return open_checkpoint(str(RELEASE))


def asked(*words: Any) -> list[int]:
    """Tokens of the prompt that a command makes."""
    data = answer("generate", RELEASE, *words, "--max-new-tokens", "1")["data"]
    prompt: list[int] = data["sequences"][0]["prompt"]
    return prompt


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_a_text_is_evaluated_on_its_golden_tokens(
    release: Checkpoint, tmp_path: Path, case: dict[str, Any]
) -> None:
    path = tmp_path / "text"
    path.write_bytes(case["text"].encode())
    if not case["ids"]:
        with pytest.raises(GrokpackError, match="there are no tokens"):
            read_text(str(path), release, None, 512, None)
        return
    (tokens,) = read_text(str(path), release, None, 512, None).sequences
    assert tokens.tolist() == case["ids"]


def test_messages_are_put_as_the_engines_put_them(tmp_path: Path) -> None:
    path = tmp_path / "turns.json"
    path.write_text(json.dumps(TURNS), encoding="utf-8")
    assert asked("--messages", path) == CASES[1]["ids"]


def test_a_prompt_is_a_text_or_the_users_turn(release: Checkpoint) -> None:
    encode = text_tokenizer(release, None).encoder.encode
    assert asked("--prompt", "Will it?") == encode("Will it?")
    turn = encode("Human: Will it?<|separator|>\n\nAssistant:")
    assert asked("--prompt", "Will it?", "--chat") == turn


def test_padding_that_is_not_masked_stays_in_a_prompt(tmp_path: Path) -> None:
    np.save(tmp_path / "ids.npy", [296, 445, 0])
    assert asked("--tokens", tmp_path / "ids.npy") == [296, 445, 0]


def test_an_answer_ends_at_any_of_the_stops(release: Checkpoint) -> None:
    prompt = np.array(CASES[0]["ids"])
    usual = generate(release, [prompt], 3)
    assert not usual.ended[0]
    assert len(set(usual.tokens[0])) == 3
    found = generate(release, [prompt], 3, stops=[599, usual.tokens[0][1]])
    assert (found.tokens[0], found.ended) == (usual.tokens[0][:1], (True,))


def test_the_stops_have_the_ids_of_the_file(release: Checkpoint, tmp_path: Path) -> None:
    assert text_tokenizer(release, None).stops == stop_tokens(release, None) == {1, 2}
    values = document()
    for row in values["special_tokens"]:
        row["token"] = {0: 584, 1: 585, 584: 0, 585: 1}.get(row["token"], row["token"])
    path = tmp_path / "tokenizer.tok.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    assert text_tokenizer(release, str(path)).stops == stop_tokens(release, str(path)) == {585, 2}


def test_constants_end_a_generation_where_no_tokenizer_tells(tmp_path: Path) -> None:
    assert stop_tokens(open_checkpoint(str(GOLDEN)), str(tmp_path)) == frozenset()


@pytest.mark.parametrize(
    "turns",
    [
        "[]",
        '{"role": "user", "content": "x"}',
        '["x"]',
        '[{"role": "User", "content": "x"}]',
        '[{"role": ["user"], "content": "x"}]',
        '[{"role": "user", "content": [{"type": "text", "text": "x"}]}]',
        '[{"role": "user"}]',
    ],
)
def test_what_is_no_conversation_is_refused(turns: str, tmp_path: Path) -> None:
    path = tmp_path / "turns.json"
    path.write_text(turns, encoding="utf-8")
    assert code_of(RELEASE, "--messages", path) == "GP342"


@pytest.mark.parametrize(
    ("source", "words", "code"),
    [
        (GOLDEN, ["--prompt", "a", "--chat"], "GP304"),
        (RELEASE, ["--chat"], "GP304"),
        (RELEASE, ["--tokens", "a.npy", "--chat"], "GP304"),
        (RELEASE, ["--tokens", "a.npy", "--messages", "b.json"], "GP304"),
        (RELEASE, ["--messages", "missing.json"], "GP342"),
    ],
)
def test_contradictions_are_refused(source: Path, words: list[str], code: str) -> None:
    assert code_of(source, *words) == code


def code_of(source: Path, *words: Any) -> str:
    done = CliRunner().invoke(app, ["generate", str(source), *map(str, words), "--json"])
    code: str = json.loads(done.stdout)["errors"][0]["code"]
    return code

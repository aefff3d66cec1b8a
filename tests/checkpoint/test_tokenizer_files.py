"""Files of a tokenizer of byte pairs: carried along, made where they are missing, or refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tokenizers import Tokenizer

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.checkpoint.tokenizer_files import origin, tokenizer_files
from grokpack.core.errors import GrokpackError
from grokpack.models.family import Model
from grokpack.models.grok1 import GROK1
from grokpack.models.grok2 import GROK2
from tests.support.byte_pair_tokenizers import CASES, GOLDEN, RELEASE, document

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint


@pytest.fixture(scope="module")
def release() -> Checkpoint:
    return open_checkpoint(str(RELEASE))


def test_the_release_s_file_goes_along_with_three_that_are_made_from_it(
    release: Checkpoint,
) -> None:
    made = tokenizer_files(release, None)
    assert list(made) == [
        "tokenizer.tok.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    ]
    assert made["tokenizer.tok.json"] == GOLDEN.read_bytes()
    loaded = Tokenizer.from_str(made["tokenizer.json"].decode())
    assert [loaded.encode(case["text"]).ids for case in CASES] == [case["ids"] for case in CASES]
    config = json.loads(made["tokenizer_config.json"])
    assert (config["eos_token"], config["pad_token"]) == ("<|eos|>", "<|pad|>")
    assert made["chat_template.jinja"].endswith(b"{{ 'Assistant:' }}{% endif %}")
    assert tokenizer_files(release, "none") == {}


def test_files_that_are_there_are_kept_as_they_are(release: Checkpoint, tmp_path: Path) -> None:
    written = tokenizer_files(release, None) | {"chat_template.jinja": b"{{ messages }}"}
    for name, data in written.items():
        (tmp_path / name).write_bytes(data)
    assert tokenizer_files(release, str(tmp_path)) == written
    (tmp_path / "tokenizer.json").unlink()
    assert tokenizer_files(release, str(tmp_path)) == written


def test_tokens_that_the_file_does_not_have_are_not_named(
    release: Checkpoint, tmp_path: Path
) -> None:
    values = document() | {"vocab_size": None}
    values["special_tokens"] = [row for row in values["special_tokens"] if row["token"] != 0]
    given = tmp_path / "other.json"
    given.write_text(json.dumps(values))
    config = json.loads(tokenizer_files(release, str(given))["tokenizer_config.json"])
    assert "pad_token" not in config
    assert "eos_token" in config


def test_a_tokenizer_of_more_tokens_than_the_embedding_has_rows_is_refused(
    release: Checkpoint,
) -> None:
    narrow = replace(release, model=release.model.sized(vocab=599))
    with pytest.raises(GrokpackError, match="another model") as caught:
        tokenizer_files(narrow, None)
    assert caught.value.code == "GP306"


def test_a_broken_one_is_refused_by_name(release: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.tok.json").write_text('{"regular_tokens": []}')
    with pytest.raises(GrokpackError, match="special_tokens") as caught:
        tokenizer_files(release, str(tmp_path))
    assert caught.value.code == "GP242"


def test_it_says_where_a_tokenizer_is_that_does_not_come_with_the_weights() -> None:
    released = Model(GROK1, GROK1.release)
    assert origin(released) == " (xAI keeps it at https://github.com/xai-org/grok-1)"
    assert not origin(Model(GROK2, GROK2.release))
    assert not origin(released.sized(layers=2))

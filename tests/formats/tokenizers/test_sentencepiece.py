"""A tokenizer that is broken is refused before anything is made with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.core.errors import GrokpackError
from grokpack.evaluation.input_tokens import text_tokenizer
from grokpack.formats.tokenizers import sentencepiece as tokenizer
from tests.support.checkpoints import synthesize
from tests.support.fuzzing import TINY
from tests.support.sentencepieces import CONTRADICTIONS, broken, model, sentencepieces

GOOD = sentencepieces(60)
WITH_BYTES: bytes = model(300, bytes_too=True).SerializeToString()
NO_MODELS = {
    "empty": b"",
    "cut short": GOOD[:-3],
    "run on": GOOD + b"more",
    "a page": b"<html><body>not found</body></html>",
    "a pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    "not UTF-8": GOOD.replace("\u4e05".encode(), b"\xff\xfe\xfd"),
    "zeros": bytes(1000),
}


def code_of(data: bytes) -> str | None:
    """The code that refuses a tokenizer, the same in whatever form it is asked for."""
    codes: list[str | None] = []
    for judge in (tokenizer.check, tokenizer.load, tokenizer.read):
        try:
            judge(data, "tokenizer.model")
        except GrokpackError as error:
            codes.append(error.code)
        else:
            codes.append(None)
    assert codes[0] == codes[1]
    assert codes[2] in (codes[0], "GP306"), "the GGUF format takes models of byte pairs only"
    return codes[0]


@pytest.mark.parametrize("data", [GOOD, WITH_BYTES], ids=["plain", "with bytes"])
def test_good_models_are_taken(data: bytes) -> None:
    assert code_of(data) is None
    assert tokenizer.read(data, "tokenizer.model").unknown == 0


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_models_that_contradict_themselves_are_refused(name: str) -> None:
    assert code_of(broken(name)) == "GP242"


@pytest.mark.parametrize("name", NO_MODELS)
def test_what_is_no_model_is_refused(name: str) -> None:
    assert code_of(NO_MODELS[name]) == "GP242"


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a\x00" * (4 << 20),
        GOOD + b"\x0a\x03\x0a\x01a" * 400_000,
        GOOD + b"\x12\x02\xf2\x01" * 1_000_000,
        bytes(17 << 20),
        GOOD + b"\x1a\x80\x80\x80\x02" + bytes(4 << 20),
    ],
    ids=["empty pieces", "many pieces", "many settings", "zeros", "a huge setting"],
)
def test_what_is_larger_than_any_model_is_refused_before_a_library_sees_it(data: bytes) -> None:
    assert code_of(data) == "GP235"


@given(
    st.sampled_from([GOOD, WITH_BYTES]),
    st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_what_sentencepiece_refuses_is_refused(
    data: bytes, changes: list[tuple[float, int]]
) -> None:
    changed = bytearray(data)
    for place, value in changes:
        changed[int(place * len(data))] = value
    found = code_of(bytes(changed))
    try:
        sentencepiece.SentencePieceProcessor().LoadFromSerializedProto(bytes(changed))
    except (RuntimeError, ValueError):
        assert found is not None


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(synthesize(tmp_path_factory.mktemp("made") / "model", TINY))


@pytest.mark.parametrize("name", ["a piece twice", "a score that is no number", "no unknown"])
def test_no_command_takes_a_broken_tokenizer(origin: str, tmp_path: Path, name: str) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(broken(name))
    checkpoint = open_checkpoint(origin)
    for to in ("gguf", "hf", "sglang"):
        options = ConvertOptions(tokenizer=str(path), type="q8_0" if to == "gguf" else None)
        with pytest.raises(GrokpackError) as caught:
            plan_convert(checkpoint, to, options)
        assert caught.value.code == "GP242", to
    with pytest.raises(GrokpackError) as caught:
        text_tokenizer(checkpoint, str(path))
    assert caught.value.code == "GP242"
    assert caught.value.where is not None
    assert caught.value.where.path == str(path)


def test_a_tokenizer_of_more_pieces_than_the_embedding_has_rows_is_another_model_s(
    origin: str, tmp_path: Path
) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(sentencepieces(TINY.vocab + 1))
    for use in (
        lambda: text_tokenizer(open_checkpoint(origin), str(path)),
        lambda: plan_convert(
            open_checkpoint(origin), "gguf", ConvertOptions(tokenizer=str(path), type="q8_0")
        ),
        lambda: plan_convert(open_checkpoint(origin), "hf", ConvertOptions(tokenizer=str(path))),
    ):
        with pytest.raises(GrokpackError, match="another model") as caught:
            use()
        assert caught.value.code == "GP306"


def test_special_tokens_that_are_no_pieces_are_refused(tmp_path: Path) -> None:
    source = synthesize(tmp_path / "model", TINY)
    path = source / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {"bos_token_id": TINY.vocab}
    config.pop("bos_token", None)
    path.write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "tokenizer.model").write_bytes(sentencepieces(TINY.vocab))
    options = ConvertOptions(tokenizer=str(tmp_path / "tokenizer.model"), type="q8_0")
    with pytest.raises(GrokpackError, match="bos") as caught:
        plan_convert(open_checkpoint(str(source)), "gguf", options)
    assert caught.value.code == "GP306"

"""Damaged releases of Grok-2: what is wrong is found by the name of its file."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.conversion.plan_convert import plan_convert
from grokpack.core import optional_imports
from grokpack.core.errors import GrokpackError
from grokpack.models.family import Model
from grokpack.models.grok2 import GROK2
from grokpack.report.text import verification_text
from grokpack.verification.layer_states import layers
from grokpack.verification.repair import fixes, repair_command
from grokpack.verification.verify_structure import Verdict, verify_structure
from tests.support.checkpoints import reshard
from tests.support.grok2 import RELEASE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEYS, VALUES, ROUTERS = (f"pytorch_model-{n:05d}-TP-common.safetensors" for n in (9, 12, 17))

TOKENS = ("regular_tokens", "special_tokens")


def ranked(kind: int, rank: int) -> str:
    return f"pytorch_model-{kind:05d}-TP-{rank:03d}.safetensors"


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return shutil.copytree(RELEASE, tmp_path / "release")


def verdict(folder: Path) -> Verdict:
    return verify_structure(survey(str(folder)))


def found(folder: Path) -> list[tuple[str, str | None]]:
    return [(finding.code, finding.file) for finding in verdict(folder).findings]


def swap(folder: Path, one: str, other: str) -> None:
    (folder / one).rename(folder / "between")
    (folder / other).rename(folder / one)
    (folder / "between").rename(folder / other)


def lengthen(folder: Path, name: str) -> None:
    with (folder / name).open("ab") as file:
        file.write(b"more")


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda f: (f / ranked(6, 3)).unlink(), [("GP101", ranked(6, 3))]),
        (lambda f: (f / ranked(7, 7)).unlink(), [("GP101", ranked(7, 7))]),
        (
            lambda f: [(f / ranked(8, rank)).unlink() for rank in range(8)],
            [("GP101", ranked(8, rank)) for rank in range(8)],
        ),
        (lambda f: (f / KEYS).unlink(), [("GP101", KEYS)]),
        (lambda f: swap(f, KEYS, VALUES), [("GP108", KEYS), ("GP108", VALUES)]),
        (
            lambda f: swap(f, ranked(6, 1), ranked(8, 1)),
            [("GP108", ranked(6, 1)), ("GP108", ranked(8, 1))],
        ),
        (lambda f: shutil.copy(f / KEYS, f / VALUES), [("GP108", VALUES)]),
        (
            lambda f: shutil.copy(f / ranked(6, 1), f / ranked(6, 2)),
            [("GP109", ranked(6, 2))],
        ),
        (lambda f: (f / KEYS).write_bytes((f / KEYS).read_bytes()[:-1]), [("GP111", KEYS)]),
        (lambda f: lengthen(f, ranked(7, 0)), [("GP111", ranked(7, 0))]),
        (lambda f: (f / ROUTERS).write_text("<html>"), [("GP233", ROUTERS)]),
        (
            lambda f: shutil.copy(f / KEYS, f / "pytorch_model-00018-TP-common.safetensors"),
            [("GP102", "pytorch_model-00018-TP-common.safetensors")],
        ),
        (
            lambda f: shutil.copy(f / ranked(6, 0), f / ranked(6, 8)),
            [("GP102", ranked(6, 8))],
        ),
    ],
)
def test_what_is_wrong_is_found_by_name(
    release: Path, damage: Callable[[Path], object], expected: list[tuple[str, str]]
) -> None:
    damage(release)
    assert found(release) == expected


def test_ranks_that_a_config_promises_are_missed(release: Path) -> None:
    for path in release.glob("*-TP-00[4567].safetensors"):
        path.unlink()
    missing = [("GP101", ranked(kind, rank)) for kind in (6, 7, 8) for rank in range(4, 8)]
    assert found(release) == missing


def test_another_rank_of_the_same_kind_is_beyond_headers_which_is_said(release: Path) -> None:
    swap(release, ranked(6, 1), ranked(6, 2))
    looked = verdict(release)
    assert looked.findings == ()
    assert "headers do not tell whose slices a file holds" in verification_text.render(looked, 0)


def test_a_config_that_says_too_little_is_completed_and_that_is_said(release: Path) -> None:
    path = release / "config.json"
    said = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in said.items() if k != "rope_theta"}))
    (finding,) = verdict(release).findings
    assert (finding.code, finding.severity) == ("GP131", "warning")
    assert "rope_theta: the release's 208533496.0 is taken" in finding.message
    path.write_text(json.dumps(said | {"moe_intermediate_size": 128}))
    assert found(release) == [("GP130", "config.json")]
    path.unlink()
    assert found(release) == [("GP131", "config.json")]
    assert open_checkpoint(str(release), 16).model.family is GROK2


def test_the_command_that_fetches_is_of_its_own_repository(
    release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (release / ranked(7, 5)).unlink()
    assert repair_command(verdict(release)) is None
    monkeypatch.setattr(Model, "is_release", property(lambda _: True))
    spoilt = verdict(release)
    (fix,) = fixes(spoilt)
    assert fix == repair_command(spoilt)
    assert (fix or "").startswith(f"hf download xai-org/grok-2 {ranked(7, 5)} --local-dir ")


@pytest.mark.parametrize("damage", ["missing", "cut short"])
def test_a_file_of_one_kind_belongs_to_every_layer(release: Path, damage: str) -> None:
    path = release / ranked(6, 3)
    path.unlink() if damage == "missing" else path.write_bytes(path.read_bytes()[:-1])
    states = layers(verdict(release))
    gate = "block_sparse_moe.experts.w1.weight"
    assert [state["bad"] for state in states] == [[gate]] * 3


def test_a_tokenizer_that_is_missing_or_broken_is_found(
    release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = release / "tokenizer.tok.json"
    rows = json.loads(path.read_text())
    path.unlink()
    (missing,) = verdict(release).findings
    assert (missing.code, missing.severity, missing.file) == ("GP132", "warning", path.name)
    path.write_text("{}")
    looked = verdict(release)
    assert [(f.code, f.file) for f in looked.findings] == [("GP132", path.name)]
    assert (looked.word, looked.damaged_files) == ("damaged", [])
    rows["regular_tokens"][0]["token"] = 600
    path.write_text(json.dumps(rows | {"vocab_size": None}))
    (other,) = verdict(release).findings
    assert (other.expected, other.found) == ("600 rows", "601 pieces")
    monkeypatch.setattr(Model, "is_release", property(lambda _: True))
    assert (repair_command(verdict(release)) or "").startswith(
        f"hf download xai-org/grok-2 {path.name} --local-dir "
    )


def test_a_config_of_another_network_is_told(release: Path) -> None:
    path = release / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rope_type": "yarn"}))
    (finding,) = verdict(release).findings
    assert (finding.code, finding.severity) == ("GP133", "warning")
    said = "rope_type is 'yarn' in config.json, not 'original': that is another network"
    assert finding.message == said
    assert said in plan_convert(open_checkpoint(str(release)), "hf").target.notes


@pytest.mark.parametrize(
    ("name", "other"),
    [
        (ranked(6, 3), "pytorch_model-0006-TP-003.safetensors"),
        (ranked(6, 3), "pytorch_model-00018-TP-003.safetensors"),
        (KEYS, "pytorch_model-00009-common.safetensors"),
        (KEYS, "pytorch_model-00019-TP-common.safetensors"),
    ],
)
def test_a_file_of_another_name_is_to_be_renamed(
    release: Path, monkeypatch: pytest.MonkeyPatch, name: str, other: str
) -> None:
    monkeypatch.chdir(release)
    (release / name).rename(release / other)
    spoilt = verdict(release)
    misnamed, missing = spoilt.findings
    assert (misnamed.code, misnamed.file, misnamed.expected) == ("GP102", other, name)
    assert (missing.code, missing.file) == ("GP101", name)
    assert fixes(spoilt) == [f"mv {other} {name}"] * 2
    text = verification_text.render(spoilt, 0)
    assert "damaged: 1 of 39 files; the other 38 are as they should be" in text
    assert text.endswith(f"then verify\n      mv {other} {name}")
    monkeypatch.setattr(Model, "is_release", property(lambda _: True))
    assert repair_command(spoilt) is None


def test_a_file_of_another_name_and_rank_is_not_taken_for_a_missing_one(release: Path) -> None:
    (release / ranked(6, 3)).rename(release / ranked(6, 8))
    assert found(release) == [("GP102", ranked(6, 8)), ("GP101", ranked(6, 3))]
    assert verdict(release).findings[0].expected is None


def test_a_missing_file_is_named_with_a_manifest_too(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    reshard(RELEASE, folder, 4, "sglang")
    (folder / KEYS).unlink()
    (finding,) = verdict(folder).findings
    assert (finding.message, finding.file) == ("file is missing", KEYS)


@pytest.mark.parametrize("names", ["*-00017-*", "*.safetensors"])
def test_no_download_of_another_family_is_offered(release: Path, names: str) -> None:
    for path in release.glob(names):
        path.write_text("version https://git-lfs.github.com/spec/v1\n")
    text = verification_text.render(verdict(release), 0)
    assert "hf download xai-org/grok-2 --local-dir grok-2" in text
    assert "grok-1" not in text


def specials_without(document: dict[str, Any], *texts: str) -> list[dict[str, Any]]:
    return [row for row in document["special_tokens"] if bytes(row["bytes"]).decode() not in texts]


@pytest.mark.parametrize(
    ("without", "severity", "lacking", "noted"),
    [
        (("<|eos|>",), "warning", "no <|eos|>", "1 of the 2"),
        (("<|pad|>",), "warning", "no <|pad|>", None),
        (("<|eos|>", "<|separator|>"), "error", "no <|eos|>, <|separator|>", "0 of the 2"),
        (None, "error", "no special token", "0 of the 2"),
    ],
)
def test_a_tokenizer_without_special_tokens_is_told(
    release: Path,
    without: tuple[str, ...] | None,
    severity: str,
    lacking: str,
    noted: str | None,
) -> None:
    path = release / "tokenizer.tok.json"
    rows = json.loads(path.read_text())
    kept = [] if without is None else specials_without(rows, *without)
    path.write_text(json.dumps(rows | {"special_tokens": kept, "vocab_size": None}))
    (finding,) = verdict(release).findings
    assert (finding.code, finding.severity, finding.file) == ("GP132", severity, path.name)
    assert (finding.expected, finding.found) == ("<|eos|>, <|pad|>, <|separator|>", lacking)
    notes = plan_convert(open_checkpoint(str(release)), "hf").target.notes
    said = [note for note in notes if "that end an answer" in note]
    assert said == ([f"the tokenizer has {noted} tokens that end an answer"] if noted else [])


@pytest.mark.parametrize("regex", ["there", "missing"])
def test_a_tokenizer_whose_pattern_is_none_is_told_and_not_carried_on(
    release: Path, monkeypatch: pytest.MonkeyPatch, regex: str
) -> None:
    monkeypatch.setattr(optional_imports, "is_installed", lambda _: regex == "there")
    path = release / "tokenizer.tok.json"
    rows = json.loads(path.read_text())
    for pattern in ("(((", "a)", "[a", "a\\") + (("*",) if regex == "there" else ()):
        path.write_text(json.dumps(rows | {"pat_str": pattern}))
        (finding,) = verdict(release).findings
        assert (finding.code, finding.severity) == ("GP132", "error")
        assert "`pat_str` is no pattern" in finding.message
        with pytest.raises(GrokpackError, match="pat_str"):
            plan_convert(open_checkpoint(str(release)), "hf")
    for pattern in (r"[(\[]+|[])]|\(|[[:alpha:]]|(?:a(?=b))", ".{1,3}"):
        path.write_text(json.dumps(rows | {"pat_str": pattern}))
        assert found(release) == []


def test_a_tokenizer_much_smaller_than_the_embedding_is_told(release: Path) -> None:
    path = release / "tokenizer.tok.json"
    rows = json.loads(path.read_text())
    kept = {key: [row for row in rows[key] if row["token"] < 400] for key in TOKENS}
    path.write_text(json.dumps(rows | kept | {"vocab_size": None}))
    (finding,) = verdict(release).findings
    assert (finding.code, finding.severity) == ("GP132", "warning")
    assert (finding.expected, finding.found) == ("600 rows", "400 pieces")
    kept = {key: [row for row in rows[key] if row["token"] < 590] for key in TOKENS}
    path.write_text(json.dumps(rows | kept | {"vocab_size": None}))
    assert found(release) == []


def test_a_config_or_a_manifest_cut_short_comes_with_advice(release: Path) -> None:
    expected = {"config.json": "from where the weights came", "grokpack.json": "or move it away"}
    for name, advice in expected.items():
        path = release / name
        whole = path.read_bytes() if path.exists() else b""
        for text in ("{", "[]"):
            path.write_text(text)
            with pytest.raises(GrokpackError) as caught:
                open_checkpoint(str(release))
            assert caught.value.code == "GP209"
            assert advice in (caught.value.hint or "")
        path.write_bytes(whole)


@pytest.mark.parametrize(
    ("gone", "advice"),
    [
        ((), None),
        (("config.json",), "config.json"),
        (("tokenizer.tok.json",), "tokenizer.tok.json"),
        (("config.json", "tokenizer.tok.json"), "config.json and tokenizer.tok.json"),
    ],
)
def test_a_warning_of_what_is_missing_comes_with_advice(
    release: Path, gone: tuple[str, ...], advice: str | None
) -> None:
    for name in gone:
        (release / name).unlink()
    hint = verification_text.render(verdict(release), 0).partition("\nhint: ")[2]
    assert hint == (f"put the model's own {advice} beside the weights" if advice else "")


def test_an_empty_config_is_not_called_missing(release: Path) -> None:
    (release / "config.json").write_text("{}")
    (finding,) = verdict(release).findings
    assert finding.code == "GP131"
    assert finding.message == "config.json is empty: the release's constants are taken"


def configured(release: Path, entries: dict[str, Any]) -> None:
    path = release / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


@pytest.mark.parametrize("key", ["pad_token_id", "eos_token_id"])
@pytest.mark.parametrize("said", [5, [1, 7], "2", [[]]])
def test_ids_of_a_config_that_are_not_the_tokenizers_are_told(
    release: Path, key: str, said: object
) -> None:
    configured(release, {key: said})
    (finding,) = verdict(release).findings
    assert (finding.code, finding.severity, finding.file) == ("GP132", "warning", "config.json")
    assert finding.found == f"{key} is {said!r}"
    stops = "<|separator|> is 1, <|eos|> is 2"
    assert finding.expected == (stops if key == "eos_token_id" else "<|pad|> is 0")


@pytest.mark.parametrize("eos", [1, 2, [1, 2], None, -1])
def test_ids_of_a_config_that_are_the_tokenizers_are_no_finding(release: Path, eos: object) -> None:
    configured(release, {"pad_token_id": 0, "eos_token_id": eos})
    assert found(release) == []


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("model_type", "grok-1"),
        ("model_type", ["git"]),
        ("architectures", ["LlamaForCausalLM"]),
        ("architectures", "LlamaForCausalLM"),
        ("architectures", 7),
    ],
)
def test_a_config_that_names_another_model_is_told(release: Path, key: str, said: object) -> None:
    configured(release, {key: said})
    (finding,) = verdict(release).findings
    assert (finding.code, finding.severity, finding.file) == ("GP133", "warning", "config.json")
    assert finding.message.startswith(f"{key} is {said!r} in config.json, not ")
    configured(release, {"auto_map": {"AutoModelForCausalLM": "modeling.Own"}})
    assert found(release) == []


def test_other_names_of_the_same_class_are_no_finding(release: Path) -> None:
    for name in ("Grok1ModelForCausalLM", "GrokForCausalLM", "Grok2ForCausalLM"):
        configured(release, {"architectures": [name]})
        assert found(release) == []

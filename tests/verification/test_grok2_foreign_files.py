"""Files of another model, dtype or name in a release of Grok-2: they are named, and no others."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.execution.run import execute
from grokpack.models.family import Model
from grokpack.report.text import verification_text
from grokpack.verification.repair import repair_command
from grokpack.verification.verify_structure import verify_structure
from tests.support.grok2 import RELEASE

if TYPE_CHECKING:
    from pathlib import Path

COMMON = {n: f"pytorch_model-{n:05d}-TP-common.safetensors" for n in range(18)}


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return shutil.copytree(RELEASE, tmp_path / "release")


def ranked(kind: int, rank: int) -> str:
    return f"pytorch_model-{kind:05d}-TP-{rank:03d}.safetensors"


def widen(path: Path, axis: int = 0) -> None:
    """Let a file's tensors have twice the size on an axis, as those of another model have."""
    held = load_file(path)
    save_file({name: np.concatenate([own, own], axis) for name, own in held.items()}, path)


def relabel(path: Path, old: bytes, new: bytes) -> None:
    """Replace words of a header by others of the same length."""
    held = path.read_bytes()
    assert old in held
    path.write_bytes(held.replace(old, new))


def found(folder: Path) -> list[tuple[str, str | None]]:
    """Return code and file of each finding, once."""
    verdict = verify_structure(str(folder))
    return list(dict.fromkeys((finding.code, finding.file) for finding in verdict.findings))


@pytest.mark.parametrize("number", range(18))
def test_a_file_of_another_model_is_named_whatever_its_kind(release: Path, number: int) -> None:
    if number in (6, 7, 8):
        widen(release / ranked(number, 0))
        assert found(release) == [("GP105", ranked(number, 0))]
    else:
        widen(release / COMMON[number])
        assert found(release) == [("GP105", COMMON[number])]


def test_a_config_that_embedding_and_head_contradict_is_blamed(release: Path) -> None:
    widen(release / COMMON[0])
    widen(release / COMMON[1])
    rows = [row for row in found(release) if row[0] != "GP132"]  # of the smaller tokenizer
    assert rows == [("GP130", "config.json")]


def test_an_embedding_without_a_config_to_decide_is_told_with_the_file_of_the_head(
    release: Path,
) -> None:
    (release / "config.json").unlink()
    widen(release / COMMON[0])
    assert found(release)[0] == ("GP105", COMMON[1])


@pytest.mark.parametrize("number", [0, 2, 9, 17])
def test_one_file_that_calls_itself_float16_is_named(release: Path, number: int) -> None:
    relabel(release / COMMON[number], b'"BF16","shape"', b'"F16", "shape"')
    (finding,) = verify_structure(str(release)).findings
    assert (finding.code, finding.file) == ("GP106", COMMON[number])
    assert (finding.expected, finding.found) == ("bf16", "f16")


def test_a_copy_in_float16_is_whole_as_is_one_whose_router_is_float32(release: Path) -> None:
    for path in release.glob("*.safetensors"):
        dtype = np.float32 if path.name == COMMON[17] else np.float16
        save_file({name: own.astype(dtype) for name, own in load_file(path).items()}, path)
    assert found(release) == []


@pytest.mark.parametrize(
    ("number", "other"), [(2, np.float16), (10, ml_dtypes.bfloat16), (17, np.float16)]
)
def test_a_copy_that_grokpack_wrote_in_float16_is_whole_until_one_file_differs(
    release: Path, tmp_path: Path, number: int, other: type
) -> None:
    copy = tmp_path / "copy"
    options = ConvertOptions(dtype="f16")
    execute(plan_convert(open_checkpoint(str(release)), "sglang", options), str(copy))
    (copy / "grokpack.json").unlink()
    assert found(copy) == []
    path = copy / COMMON[number]
    save_file({name: own.view(other) for name, own in load_file(path).items()}, path)
    assert found(copy) == [("GP106", COMMON[number])]


@pytest.mark.parametrize("config", [True, False])
@pytest.mark.parametrize("name", [ranked(6, 0), ranked(6, 3), COMMON[9], COMMON[16]])
def test_one_digit_of_a_layer_blames_the_one_file_that_has_it(
    release: Path, name: str, *, config: bool
) -> None:
    if not config:
        (release / "config.json").unlink()
    relabel(release / name, b"layers.0.", b"layers.4.")
    assert [row for row in found(release) if row[0] != "GP131"] == [("GP102", name)]


def test_one_digit_of_an_expert_blames_the_one_file_that_has_it(release: Path) -> None:
    held = (release / ranked(7, 3)).read_bytes()
    (release / ranked(7, 3)).write_bytes(held.replace(b"experts.0.", b"experts.8.", 1))
    (finding,) = verify_structure(str(release)).findings
    assert (finding.code, finding.file) == ("GP102", ranked(7, 3))
    assert finding.tensor == "model.layers.0.block_sparse_moe.experts.8.w2.weight"
    assert finding.message.endswith("lacks one that they have: its header is damaged")


@pytest.mark.parametrize("copied", [ranked(6, 0), ranked(6, 3), COMMON[9], COMMON[0]])
def test_a_copy_under_another_name_is_found_alone(release: Path, copied: str) -> None:
    shutil.copy(release / copied, release / "model.safetensors")
    assert found(release) == [("GP102", "model.safetensors")]


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors",
        ranked(6, 8),
        "pytorch_model-00018-TP-common.safetensors",
        "pytorch_model-00006-TP-common.safetensors",
    ],
)
def test_a_file_too_many_is_to_be_moved_and_not_fetched_again(release: Path, name: str) -> None:
    shutil.copy(release / ranked(6, 0), release / name)
    verdict = verify_structure(str(release))
    assert (verdict.superfluous_files, verdict.damaged_files) == ([name], [])
    text = verification_text.render(verdict, 0)
    assert text.endswith(f"hint: move out of the folder: {name}")
    assert "fetch" not in text
    (release / COMMON[9]).unlink()
    text = verification_text.render(verify_structure(str(release)), 0)
    assert "hint: fetch the files named above again" in text
    assert text.endswith(f"hint: move out of the folder: {name}")


def test_a_file_with_a_damaged_header_can_be_fetched_again(
    release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relabel(release / COMMON[9], b"layers.0.", b"layers.4.")
    shutil.copy(release / COMMON[9], release / "pytorch_model-00018-TP-common.safetensors")
    monkeypatch.setattr(Model, "is_release", property(lambda _: True))
    command = repair_command(verify_structure(str(release))) or ""
    assert command.startswith(f"hf download xai-org/grok-2 {COMMON[9]} --local-dir ")

"""What should be there is told by something else than what is there, or it is not known."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.cli.app import app
from grokpack.core.errors import GrokpackError
from grokpack.models import architecture
from grokpack.verification.record_manifest import record
from grokpack.verification.verify_structure import verify_structure
from tests.report.test_schemas import check
from tests.support.checkpoints import reshard, synthesize
from tests.support.conversions import WIDE, convert


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("made") / "model", WIDE)


def missing(folder: Path) -> set[str | None]:
    return {f.file for f in survey(str(folder)).findings if f.code == "GP101"}


def verified(*arguments: object) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["verify", *map(str, arguments), "--json", "--progress", "none"])
    document: dict[str, Any] = json.loads(done.stdout)
    check(document)
    assert done.exit_code == document["exit_code"]
    return document


def bare(folder: Path) -> Path:
    """Take away what tells of files: config and manifest."""
    for name in ("config.json", "grokpack.json"):
        (folder / name).unlink(missing_ok=True)
    return folder


def without_last_layer(folder: Path, layers: int) -> set[str]:
    """Delete the files of the layer that comes last among the files of ckpt-0; tells which."""
    gone = [12 * (layers - 1) + 2 + n for n in range(12)]
    names = {f"tensor{index:05d}_000" for index in gone}
    for name in names:
        (folder / "ckpt-0" / name).unlink()
    return names


@pytest.mark.parametrize("first", [758, 2 + 12 * 33])
def test_a_download_of_the_release_that_stopped_misses_each_file(
    release: Path, tmp_path: Path, first: int
) -> None:
    stopped = tmp_path / "ckpt-0"
    stopped.mkdir()
    for file in (release / "ckpt-0").iterdir():
        if int(file.name[6:11]) < first:
            (stopped / file.name).symlink_to(file)
    names = {f"tensor{index:05d}_000" for index in range(first, 770)}
    found = survey(str(tmp_path))
    assert {f.file for f in found.findings if f.code == "GP101"} == names
    assert found.complete is False
    named = {f.file: f.tensor for f in found.findings}
    assert named["tensor00769_000"] == "transformer/decoder_layer_9/router/w"


def test_the_release_is_known_to_be_complete_without_a_config(release: Path) -> None:
    assert survey(str(release)).complete is True


def test_where_nothing_tells_completeness_is_not_known(made: Path, tmp_path: Path) -> None:
    model = bare(Path(shutil.copytree(made, tmp_path / "model")))
    without_last_layer(model, 2)
    document = verified(model)
    assert (document["exit_code"], document["status"]) == (0, "ok")
    assert document["data"]["complete"] is None
    inspected = CliRunner().invoke(app, ["inspect", str(model)])
    assert "completeness not known" in inspected.stdout


@pytest.mark.parametrize("form", ["text", "json", "github", "junit", "html"])
def test_what_is_not_known_is_not_called_by_the_word(made: Path, tmp_path: Path, form: str) -> None:
    model = bare(Path(shutil.copytree(made, tmp_path / "model")))
    out = tmp_path / f"report.{form}"
    printed = {"text": [], "github": ["--format", "github"], "junit": ["--format", "junit"]}
    options = printed.get(form, ["--report", str(out)])
    done = CliRunner().invoke(app, ["verify", str(model), *options, "--color", "never"])
    said = done.stdout + (out.read_text() if out.exists() else "")
    assert done.exit_code == 0
    assert "whole" not in said
    if form in ("text", "html"):
        assert "completeness not known" in said


@pytest.mark.parametrize("to", ["ckpt-0", "hf", "zarr", "orbax"])
@pytest.mark.parametrize("tells", ["manifest", "config"])
def test_a_layer_that_is_gone_is_missed_where_something_tells_of_it(
    made: Path, tmp_path: Path, to: str, tells: str
) -> None:
    """The files of a model of one layer, beside what was written for one of two."""
    one = synthesize(tmp_path / "one", architecture.Geometry(**{**_dims(), "layers": 1}))
    out, less = tmp_path / "out", tmp_path / "less"
    options = {"shard_bytes": 100_000} if to == "hf" else {}
    convert(made, out, to, **options)
    convert(one, less, to, **options)
    for name in ("model.safetensors.index.json", "grokpack.json", "config.json"):
        (less / name).unlink(missing_ok=True)
    told = {"manifest": "grokpack.json", "config": "config.json"}[tells]
    shutil.copy(out / told, less / told)
    found = survey(str(less))
    assert found.complete is False
    assert "GP101" in {f.code for f in found.findings}
    with pytest.raises(GrokpackError) as caught:
        open_checkpoint(str(less))
    assert caught.value.code == "GP202"


def _dims() -> dict[str, Any]:
    return {name: getattr(WIDE, name) for name in architecture.Geometry.__slots__}


def test_what_the_manifest_lists_and_is_gone_is_missing_in_every_check(
    made: Path, tmp_path: Path
) -> None:
    model = bare(Path(shutil.copytree(made, tmp_path / "model")))
    record(open_checkpoint(str(model), head_dim=WIDE.head_dim))
    names = without_last_layer(model, 2)
    for options in ([], ["--data"], ["--against", model / "ckpt-0" / "grokpack.json"]):
        document = verified(model, *options)
        assert document["exit_code"] == 1
        gone = {Path(f["file"]).name for f in document["findings"] if f["code"] == "GP101"}
        assert gone == names
    assert document["data"]["complete"] is False
    assert verified(model, "--data")["data"]["contents"]["total_files"] == 26


def test_what_the_manifest_does_not_list_was_not_compared(made: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(made, tmp_path / "model"))
    path = model / "grokpack.json"
    document = json.loads(path.read_text())
    row = document["files"].pop("ckpt-0/tensor00003_000")
    path.write_text(json.dumps(document))
    for options in ([], ["--data"]):
        found = verified(model, *options)
        assert (found["exit_code"], found["status"]) == (0, "ok")
        (warning,) = found["findings"]
        assert (warning["code"], warning["found"]) == ("GP118", "tensor00003_000")
    contents = found["data"]["contents"]
    assert contents["total_files"] - contents["compared_files"] == 1
    assert contents["total_bytes"] - contents["read_bytes"] == row["bytes"]
    path.write_text(json.dumps(document | {"files": {}}))
    nothing = verified(model, "--data")
    assert (nothing["exit_code"], nothing["errors"][0]["code"]) == (3, "GP230")
    assert verified(model)["status"] == "ok"


def test_a_list_of_everything_tells_that_nothing_is_missing(made: Path, tmp_path: Path) -> None:
    model = bare(Path(shutil.copytree(made, tmp_path / "model")))
    sums = tmp_path / "sums"
    files = sorted((model / "ckpt-0").iterdir())
    rows = [f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.name}\n" for f in files]
    sums.write_text("".join(rows))
    document = verified(model, "--against", sums)
    assert (document["status"], document["data"]["complete"]) == ("whole", True)
    sums.write_text("".join(rows[1:]))
    document = verified(model, "--against", sums)
    assert (document["status"], document["data"]["complete"]) == ("ok", None)


# Ranks.


@pytest.mark.parametrize("tells", ["all", "manifest", "config", "nothing"])
def test_the_last_rank_is_missed_by_name(made: Path, tmp_path: Path, tells: str) -> None:
    out = tmp_path / "out"
    convert(made, out, "sglang", tp=4)
    (out / "model-00001-TP-003.safetensors").unlink()
    for name, kept in (("config.json", "config"), ("grokpack.json", "manifest")):
        if tells not in ("all", kept):
            (out / name).unlink()
    verdict = verify_structure(survey(str(out)))
    errors = {(f.code, f.file) for f in verdict.findings if f.severity == "error"}
    companions = {("GP101", "config.json")} if tells == "manifest" else set()
    assert errors == {("GP101", "model-00001-TP-003.safetensors")} | companions
    with pytest.raises(GrokpackError) as caught:
        open_checkpoint(str(out), head_dim=WIDE.head_dim)
    assert caught.value.code == "GP202"


def test_one_rank_of_two_is_no_narrower_model(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    convert(made, out, "sglang", tp=2)
    (out / "model-00001-TP-001.safetensors").unlink()
    assert missing(out) == {"model-00001-TP-001.safetensors"}
    (out / "grokpack.json").unlink()
    assert missing(out) == {"model-00001-TP-001.safetensors"}
    (out / "config.json").unlink()
    document = verified(out)
    assert (document["exit_code"], document["data"]["complete"]) == (0, None)
    assert [f["code"] for f in document["findings"]] == ["GP123"]
    with pytest.raises(GrokpackError) as caught:
        open_checkpoint(str(out), head_dim=WIDE.head_dim)
    assert caught.value.code == "GP123"


def test_what_all_ranks_share_is_missed_by_name(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    convert(made, out, "sglang", tp=2)
    (out / "model-00001-TP-common.safetensors").unlink()
    bare(out)
    assert "model-00001-TP-common.safetensors" in missing(out)


def test_a_part_of_one_rank_is_missed_by_name(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    convert(made, out, "sglang", tp=2, shard_bytes=200_000)
    names = sorted(p.name for p in out.glob("*-TP-001.safetensors"))
    assert len(names) > 1
    (out / names[0]).unlink()
    (out / "grokpack.json").unlink()
    assert missing(out) == {names[0]}


@pytest.mark.parametrize("tells", ["manifest", "config", "nothing"])
def test_the_last_host_is_missed_by_name(made: Path, tmp_path: Path, tells: str) -> None:
    """The embedding is cut by features, of which norms hold all: the data themselves tell."""
    out = tmp_path / "out"
    reshard(made, out, 2, "ckpt-0", hosts=2)
    gone = {file.name for file in (out / "ckpt-0").glob("*_001")}
    for name in gone:
        (out / "ckpt-0" / name).unlink()
    for name, kept in (("config.json", "config"), ("grokpack.json", "manifest")):
        if tells != kept:
            (out / name).unlink()
    assert missing(out) == gone


@pytest.mark.parametrize("keeps", [["config.json"], ["grokpack.json"], []])
def test_the_last_rank_folder_is_missed_by_its_files(
    made: Path, tmp_path: Path, keeps: list[str]
) -> None:
    out = tmp_path / "out"
    reshard(made, out, 4)
    shutil.rmtree(out / "rank-003-of-004")
    for name in ("config.json", "grokpack.json"):
        if name not in keeps:
            (out / name).unlink()
    assert missing(out) == {"rank-003-of-004/model-00001-of-00001.safetensors"}

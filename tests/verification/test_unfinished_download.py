"""Half a download is told in a few lines: what is missing, how much, and how to go on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.cli.app import app
from grokpack.core.errors import GrokpackError
from grokpack.report.text.name_ranges import name_ranges
from tests.support.checkpoints import synthesize
from tests.support.grok2 import RELEASE


@pytest.fixture(scope="module")
def half(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release's files, of which a quarter has not arrived, and one not whole."""
    folder = tmp_path_factory.mktemp("half") / "ckpt-0"
    folder.mkdir()
    missing = {f"tensor{index:05d}_000" for index in (*range(500, 700), 702)}
    for file in (release / "ckpt-0").iterdir():
        if file.name not in missing:
            (folder / file.name).hardlink_to(file)
    with (folder / "tensor00002_000").open("rb") as opened:
        begin = opened.read(100_000)
    (folder / "tensor00002_000").unlink()
    (folder / "tensor00002_000").write_bytes(begin)
    return folder


def verify(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["verify", str(folder), "--progress", "none", *options])


def test_missing_files_are_told_by_ranges_with_one_command_that_goes_on(half: Path) -> None:
    done = verify(half)
    assert done.exit_code == 1
    assert "error[GP101]: file is missing: 201 files" in done.stdout
    assert "      tensor00500_000 to tensor00699_000\n      tensor00702_000\n" in done.stdout
    last = done.stdout.partition("incomplete: ")[2]
    assert last.startswith("202 of 770 files are not here whole; ")
    assert " of 318.24 GB are missing, " in last
    assert "hf download xai-org/grok-1 --include 'ckpt-0/*' --local-dir" in last
    assert len(done.stdout.splitlines()) < 20


def test_the_document_has_every_finding(half: Path) -> None:
    document = json.loads(verify(half, "--json").stdout)
    assert len(document["findings"]) == 202
    assert document["findings"][0]["fix"].split()[3] == "ckpt-0/tensor00500_000"


def test_few_missing_files_are_named_each(tmp_path: Path) -> None:
    folder = synthesize(tmp_path / "m") / "ckpt-0"
    (folder / "tensor00007_000").unlink()
    shown = verify(folder).stdout
    assert f"error[GP101]: file is missing\n  --> {folder}/tensor00007_000" in shown
    assert "incomplete: 1 of 26 files is not here whole; " in shown


def test_a_share_is_told_only_where_the_number_of_layers_is_known(tmp_path: Path) -> None:
    """Those that are there do not tell it, and a manifest lists files without their layers."""
    folder = synthesize(tmp_path / "m") / "ckpt-0"
    for path in (tmp_path / "m").rglob("*.json"):
        path.unlink()
    assert CliRunner().invoke(app, ["manifest", str(folder)]).exit_code == 0
    (folder / "tensor00003_000").unlink()
    for index in range(14, 26):
        (folder / f"tensor{index:05d}_000").unlink()
    assert "13 of 26 files are not here whole\n" in verify(folder).stdout
    for path in (tmp_path / "m").rglob("*.json"):
        path.unlink()
    assert "1 of 14 files is not here whole\n" in verify(folder).stdout


def test_other_damage_is_no_unfinished_download(tmp_path: Path) -> None:
    folder = synthesize(tmp_path / "m") / "ckpt-0"
    (folder / "tensor00007_000").unlink()
    with (folder / "tensor00003_000").open("ab") as file:
        file.write(b"x")
    assert "damaged: 2 of 26 files" in verify(folder).stdout


@pytest.mark.parametrize("ending", [".part", ".!qB", ".crdownload", ".incomplete"])
def test_a_file_that_is_on_its_way_is_counted(tmp_path: Path, ending: str) -> None:
    folder = synthesize(tmp_path / "m") / "ckpt-0"
    one = folder / "tensor00007_000"
    one.rename(one.with_name(one.name + ending))
    assert "; 1 is on its way" in verify(folder).stdout


@pytest.mark.parametrize("grok2", [False, True])
def test_a_file_of_full_size_may_be_unfinished(tmp_path: Path, *, grok2: bool) -> None:
    if grok2:
        folder = Path(shutil.copytree(RELEASE, tmp_path / "m"))
        name = "pytorch_model-00006-TP-003.safetensors"
    else:
        folder, name = synthesize(tmp_path / "m") / "ckpt-0", "tensor00007_000"
    (folder / f"{name}.aria2").write_bytes(b"")
    shown = verify(folder).stdout
    assert f"error[GP103]: the download of this file is not finished: {name}.aria2" in shown
    assert "incomplete: " in shown
    with pytest.raises(GrokpackError) as caught:
        open_checkpoint(folder)
    assert caught.value.code == "GP202"


def test_names_that_differ_in_one_number_are_a_range() -> None:
    assert name_ranges(["a-1-b", "a-2-b", "a-4-b", "b"]) == ["a-1-b to a-2-b", "a-4-b", "b"]
    assert name_ranges(["t9", "t10", "t11-0", "t11-1"]) == ["t9 to t10", "t11-0 to t11-1"]
    assert name_ranges(["x1-1", "x1-2", "x2-2", "x3-2"]) == ["x1-1 to x1-2", "x2-2 to x3-2"]
    assert name_ranges(["same", "same"]) == ["same", "same"]
    assert name_ranges([]) == []

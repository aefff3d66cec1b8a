"""Paths without a checkpoint: the error names the one that was probably meant."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from grokpack import open_checkpoint, plan_reshard, storage
from grokpack.checkpoint.open_checkpoint import default_source
from grokpack.checkpoint.path_suggestions import suggest
from grokpack.core.errors import GrokpackError
from grokpack.execution.run import execute
from tests.support.checkpoints import GOLDEN, synthesize
from tests.support.servers import serving

CACHE = "models--xai-org--grok-1/snapshots/0123"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(GOLDEN / "ckpt-0", tmp_path / "ckpt-0")
    shutil.copy(GOLDEN / "config.json", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def hint(path: str) -> str:
    """Return the hint of the error that opening a path ends with."""
    with pytest.raises(GrokpackError) as caught:
        open_checkpoint(path)
    assert caught.value.code in ("GP201", "GP203")
    return caught.value.hint or ""


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("path", "right"),
    [
        ("ckpt", "ckpt-0"),
        ("ckpt-0/tensor00000_000", "ckpt-0"),
        ("config.json", "."),
        ("xai-org/grok-1", "hf://xai-org/grok-1"),
        ("hf:xai-org/grok-2", "hf://xai-org/grok-2"),
        ("huggingface.co/xai-org/grok-2", "hf://xai-org/grok-2"),
        ("hf.co/xai-org/grok-2", "hf://xai-org/grok-2"),
        ("hf:/xai-org/grok-2/tree/main", "hf://xai-org/grok-2@main"),
        ("hf:", "hf://OWNER/NAME"),
        ("hf-hub:xai-org/grok-1", "hf://xai-org/grok-1"),
        ("https:/huggingface.co/xai-org/grok-1", "hf://xai-org/grok-1"),
        ("https:host/grok", "https://host/grok"),
        ("S3:/bucket/grok", "s3://bucket/grok"),
        ("s3:", "s3://BUCKET/FOLDER"),
        ("gcs:bucket/grok", "gs://bucket/grok"),
        ("file:ckpt-0", "ckpt-0"),
        ("git@github.com:xai-org/grok-1.git", "hf://xai-org/grok-1"),
        ("models--xai-org--grok-1", "hf://xai-org/grok-1"),
    ],
)
def test_the_right_path_is_named(path: str, right: str) -> None:
    assert hint(path) == f"did you mean `{right}`?"


@pytest.mark.parametrize(
    ("url", "right"),
    [
        ("HF://xai-org/grok-1", "hf://xai-org/grok-1"),
        ("hf:///xai-org/grok-1", "hf://xai-org/grok-1"),
        ("hf://models/xai-org/grok-1", "hf://xai-org/grok-1"),
        ("HTTPS://huggingface.co/xai-org/grok-1", "hf://xai-org/grok-1"),
        ("s3a://bucket/grok", "s3://bucket/grok"),
        ("file:///models/grok", "/models/grok"),
    ],
)
def test_a_url_in_another_form_is_told_in_the_right_one(url: str, right: str) -> None:
    with pytest.raises(GrokpackError) as caught:
        open_checkpoint(url)
    assert caught.value.code == "GP224"
    assert caught.value.hint == f"did you mean `{right}`?"


def test_a_web_page_of_the_release_and_a_file_of_a_checkpoint_on_a_server(folder: Path) -> None:
    with serving(folder) as server:
        page = f"{server.url}/xai-org/grok-1"
        assert hint(page) == "did you mean `hf://xai-org/grok-1`?"
        synthesize(folder / "served")
        file = f"{server.url}/served/config.json"
        assert hint(file) == f"did you mean `{server.url}/served`?"


def test_what_is_no_folder_is_named(folder: Path) -> None:
    (folder / "other").mkdir()
    for name, code, said in (
        ("grok-1.torrent", "GP203", "--against other/grok-1.torrent"),
        ("grok-1.tar.gz", "GP203", "unpack it"),
        ("notes.txt", "GP203", "expected views"),
        ("pytorch_model.bin", "GP220", "safetensors"),
    ):
        (folder / "other" / name).write_text("x")
        with pytest.raises(GrokpackError) as caught:
            open_checkpoint(f"other/{name}")
        assert caught.value.code == code
        assert said in (caught.value.hint or "")
    with pytest.raises(GrokpackError, match="magnet"):
        open_checkpoint("magnet:?xt=urn:btih:0123")


def test_a_pipe_is_no_checkpoint(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(GrokpackError, match="a pipe lies where a file should"):
        open_checkpoint("pipe")


@pytest.mark.parametrize(
    "file",
    ["model.safetensors.part", ".cache/huggingface/download/ckpt-0/x.incomplete", "blobs/x.aria2"],
)
def test_a_download_without_a_whole_file_is_told_from_another_format(
    folder: Path, file: str
) -> None:
    path = folder / "begun" / file
    path.parent.mkdir(parents=True)
    path.write_text("x")
    with pytest.raises(GrokpackError) as caught:
        open_checkpoint("begun")
    assert caught.value.code == "GP202"
    assert caught.value.facts == (("1 file", file),)


def test_a_folder_that_may_not_be_entered_does_not_hide_the_right_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "disk" / "lost+found").mkdir(parents=True)
    shutil.copytree(folder / "ckpt-0", folder / "disk" / "data" / "ckpt-0")
    names = storage.names

    def refused(path: str) -> list[str]:
        if path.endswith("lost+found"):
            raise GrokpackError("GP214", "cannot read the source: Permission denied")
        return names(path)

    monkeypatch.setattr(storage, "names", refused)
    assert hint("disk") == "did you mean `disk/data`?"


def test_where_nothing_is_named_a_checkpoint_below_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GROKPACK_CHECKPOINT", raising=False)
    (folder / "models").mkdir()
    shutil.move(folder / "ckpt-0", folder / "models" / "ckpt-0")
    with pytest.raises(GrokpackError) as caught:
        default_source()
    assert caught.value.hint == "did you mean `./models`?"


def test_a_folder_in_the_cache_of_the_hub(folder: Path) -> None:
    inside = folder / CACHE / "ckpt-0"
    shutil.move(folder / "ckpt-0", inside)
    above = "models--xai-org--grok-1"
    assert hint(above) == f"did you mean `{above}/snapshots/0123`?"


def test_folders_of_steps_the_last_first(folder: Path) -> None:
    for step in ("900", "1000", "50"):
        shutil.copytree(folder / "ckpt-0", folder / "run" / step / "default" / "ckpt-0")
    assert hint("run").startswith("did you mean `run/1000/default` or `run/900/default`")


def test_one_rank_of_several(folder: Path) -> None:
    execute(plan_reshard(open_checkpoint("ckpt-0"), 2, "safetensors"), "cut")
    for part in ("common", "rank-000-of-002"):
        assert hint(f"cut/{part}") == f"name the folder of all ranks: `{folder / 'cut'}`"


def test_another_folder_among_the_files_is_not_taken_for_a_part_of_them(folder: Path) -> None:
    (folder / "ckpt-0" / "logs").mkdir()
    assert "hf download" in hint("ckpt-0/logs")


def test_a_path_below_a_folder_that_exists_is_no_repository(folder: Path) -> None:
    (folder / "other").mkdir()
    assert "hf download" in hint("other/grok-1")


def test_a_deep_tree_is_not_looked_through_without_end(tmp_path: Path) -> None:
    asked = 0

    def never(path: str) -> str | None:
        nonlocal asked
        del path
        asked += 1
        return None

    for number in range(300):
        (tmp_path / f"{number}" / "below").mkdir(parents=True)
    assert suggest(str(tmp_path), never) == []
    assert asked <= 201

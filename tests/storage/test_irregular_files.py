"""What is no regular file, or may not be read, is refused at once wherever a file is expected."""

from __future__ import annotations

import json
import os
import shutil
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from grokpack import storage
from grokpack.cli.app import app
from grokpack.core.errors import GrokpackError
from grokpack.core.exit_status import ExitStatus
from tests.support.checkpoints import reshard, synthesize
from tests.support.conversions import convert

KINDS = ("pipe", "socket", "folder", "device")


def put(kind: str, path: Path) -> None:
    """Put something that is no regular file at a path."""
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's address is short
        with socket.socket(socket.AF_UNIX) as own:
            own.bind(path.name)
        os.chdir(here)


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [*map(str, words), "--json", "--progress", "none"])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("irregular") / "base")


@pytest.mark.parametrize("kind", KINDS)
def test_reading_refuses_what_is_no_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    put(kind, path)
    for read in (
        lambda: storage.FileBytes(str(path)).read(0, 8),
        lambda: storage.FileBytes(str(path)).size(),
        lambda: storage.read_json(str(path)),
    ):
        with pytest.raises(GrokpackError) as caught:
            read()
        assert caught.value.code == "GP237"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["tensor00003_000", "config.json", "grokpack.json"])
def test_a_checkpoint_is_not_waited_for(base: Path, tmp_path: Path, kind: str, name: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(base.parent, copy)
    path = copy / base.name / name if name.startswith("tensor") else copy / name
    put(kind, path)
    for words in (("verify", copy), ("inspect", copy), ("verify", copy, "--data")):
        done = run(*words)
        assert done.exit_code in (0, 1, 2, 3), done.output
        assert "GP901" not in done.output


@pytest.mark.parametrize("kind", ["pipe", "folder"])
@pytest.mark.parametrize("to", ["zarr", "hf", "gguf"])
def test_no_format_waits_for_what_is_no_file(
    base: Path, tmp_path: Path, kind: str, to: str
) -> None:
    out = tmp_path / ("out.gguf" if to == "gguf" else "out")
    convert(base, out, to, **({"type": "f32"} if to == "gguf" else {}))
    files = [out] if out.is_file() else [p for p in out.rglob("*") if p.is_file()]
    largest = max(files, key=lambda p: p.stat().st_size)
    put(kind, largest)
    for words in (("verify", out, "--values"), ("inspect", out, "--stats")):
        done = run(*words)
        assert done.exit_code in (1, 3), done.output
        assert "GP901" not in done.output


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "words",
    [
        ("verify", "BASE", "--against", "FILE"),
        ("quantize", "BASE", "--bits", "4", "--policy", "FILE", "-o", "OUT"),
        ("evaluate", "BASE", "--tokens", "FILE.npy"),
        ("evaluate", "BASE", "--text", "FILE", "--tokenizer", "FILE"),
        ("generate", "BASE", "--tokens", "FILE.npy"),
        ("diff", "BASE", "FILE"),
        ("verify", "FILE"),
        ("verify", "FILE.gguf"),
        ("verify", "BASE", "--source", "FILE"),
        ("convert", "BASE", "--to", "hf", "--tokenizer", "FILE", "-o", "OUT"),
    ],
)
def test_no_option_waits_for_what_is_no_file(
    base: Path, tmp_path: Path, words: tuple[str, ...], kind: str
) -> None:
    for name in ("FILE", "FILE.npy", "FILE.gguf"):
        put(kind, tmp_path / name)
    places = {"BASE": base, "OUT": tmp_path / "out"}
    given = [str(places.get(w, tmp_path / w if w.startswith("FILE") else w)) for w in words]
    done = run(*given)
    assert done.exit_code in (2, 3), done.output
    assert "GP901" not in done.output


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
@pytest.mark.parametrize("name", ["_METADATA", "zarr.json", ".zgroup", "grokpack.view.json"])
def test_what_names_a_format_is_not_absent_because_it_is_no_file(
    tmp_path: Path, name: str, kind: str
) -> None:
    put(kind, tmp_path / name)
    done = run("verify", tmp_path)
    assert done.exit_code == ExitStatus.SOURCE
    assert [row["code"] for row in json.loads(done.stdout)["errors"]] == ["GP237"]


def test_a_folder_that_may_not_be_read_is_named(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_file", refuse)
    monkeypatch.setattr(Path, "is_dir", refuse)
    done = run("verify", base)
    assert done.exit_code == ExitStatus.SOURCE
    assert json.loads(done.stdout)["errors"][0]["code"] == "GP214"


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 5000, "x/" * 3000])
def test_a_name_that_no_file_can_have_is_refused(name: str) -> None:
    for words in (("verify", name), ("inspect", name), ("diff", name, name)):
        done = run(*words)
        assert done.exit_code in (2, 3), done.output
        assert "GP901" not in done.output


def test_ranks_are_not_waited_for(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    reshard(base, out, 2)
    path = next(out.rglob("*.safetensors"))
    put("pipe", path)
    done = run("verify", out)
    assert done.exit_code in (1, 3), done.output

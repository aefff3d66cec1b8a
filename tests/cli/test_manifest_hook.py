"""`.pre-commit-hooks.yaml` does what pre-commit runs it for: committed manifests are sound."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from grokpack.cli import manifest_hook
from tests.support.checkpoints import synthesize
from tests.support.project import ROOT

SCRIPT = Path(sys.executable).parent / "grokpack-manifest"


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    model = synthesize(tmp_path_factory.mktemp("made") / "m")
    found: dict[str, Any] = json.loads((model / "grokpack.json").read_text(encoding="utf-8"))
    return found


def test_what_grokpack_writes_is_sound(document: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "grokpack.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    done = subprocess.run([SCRIPT, path, path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_it_says_what_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        manifest_hook.main(["--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("Usage: grokpack-manifest FILE...\n")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema": "grokpack/manifest/9"}, "not a grokpack manifest"),
        ({"tile_bytes": 1024}, "tile_bytes is 1024"),
        ({"checksum": "crc32c"}, "checksum is 'crc32c'"),
        ({"plan": "abc"}, "plan is 'abc'"),
        ({"files": {"a": {"bytes": 5, "tiles": ""}}}, "table of files is broken"),
        ({"files": {"a": {"bytes": 5, "tiles": "z" * 32}}}, "files.a.tiles is 'zzz"),
        ({"files": {"../a": {"bytes": 5, "tiles": "0" * 32}}}, "leads out of the folder"),
        ({"files": {"/a": {"bytes": 0, "tiles": ""}}}, "leads out of the folder"),
        ({"files": {"a": {"bytes": 0, "tiles": "", "sha256": "x"}}}, "files.a.sha256 is 'x'"),
        ({"framings": {"literals": 5}}, "table of framings is broken"),
        ({"encoding": 5}, "encoding is 5: see `grokpack explain --schema grokpack.json`"),
        ({"tool": {"name": "grokpack"}}, "tool.version is missing"),
    ],
)
def test_what_is_not_is_named(
    document: dict[str, Any],
    change: dict[str, Any],
    reason: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "grokpack.json"
    path.write_text(json.dumps(document | change), encoding="utf-8")
    with pytest.raises(SystemExit, match="1"):
        manifest_hook.main([str(path)])
    (told,) = capsys.readouterr().err.splitlines()
    assert reason in told


def test_pre_commit_takes_the_hook(tmp_path: Path) -> None:
    """Its own check of the file, and which files it would be run on."""
    path = ROOT / ".pre-commit-hooks.yaml"
    command = [sys.executable, "-m", "pre_commit", "validate-manifest", str(path)]
    subprocess.run(command, check=True, cwd=tmp_path)
    (entry,) = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert entry["entry"] == SCRIPT.name
    import re

    names = ["grokpack.json", "out/grokpack.json", "x.gguf.grokpack.json", "notgrokpack.json"]
    assert [bool(re.search(entry["files"], name)) for name in names] == [True, True, True, False]


@pytest.mark.slow
def test_pre_commit_runs_the_hook(document: dict[str, Any], tmp_path: Path) -> None:
    """On a repository with a good manifest and a bad one, in an environment of its own."""
    hooks, repo = tmp_path / "hooks", tmp_path / "repo"
    shutil.copytree(
        ROOT, hooks, ignore=shutil.ignore_patterns(".venv", "build", ".git", ".*_cache")
    )
    environment = {**os.environ, "PRE_COMMIT_HOME": str(tmp_path / "home")}
    for folder in (hooks, repo):
        folder.mkdir(exist_ok=True)
        _git(folder, "init", "-q")
    _git(hooks, "add", "-A")
    _git(hooks, "commit", "-qm", "all of it")
    (repo / "grokpack.json").write_text(json.dumps(document), encoding="utf-8")
    _git(repo, "add", "-A")
    tried = [str(hooks), "grokpack-manifest", "-a"]
    command = [sys.executable, "-m", "pre_commit", "try-repo", *tried]
    good = subprocess.run(command, cwd=repo, env=environment, check=False, capture_output=True)
    assert good.returncode == 0, good.stdout
    (repo / "grokpack.json").write_text(json.dumps(document | {"plan": "x"}), encoding="utf-8")
    bad = subprocess.run(command, cwd=repo, env=environment, check=False, capture_output=True)
    assert bad.returncode == 1
    assert b"plan is 'x'" in bad.stdout


def _git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=tests", "-c", "user.email=tests@example.org")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True)

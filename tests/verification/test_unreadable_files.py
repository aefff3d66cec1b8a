"""Files that the system refuses are not called damaged, and pointers are called what they are."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from grokpack.cli.app import app

_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 12345\n"
_BOUND = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


def grokpack(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments), "--progress", "none"])


def as_anybody(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the program without root's right to read everything."""
    line = [sys.executable, "-m", "grokpack", *map(str, arguments), "--progress", "none"]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv is not installed")
        line = [*_BOUND, *line]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=100)


def test_a_link_that_leads_nowhere_is_not_damage(model: Path) -> None:
    file = model / "ckpt-0" / "tensor00007_000"
    file.unlink()
    file.symlink_to("nowhere")
    done = grokpack("verify", model, "--json")
    document = json.loads(done.stdout)
    assert (done.exit_code, document["status"]) == (3, "unreadable")
    shown = grokpack("verify", model).stdout
    assert "error[GP214]: cannot read the source: it is a link to a file that is not there" in shown
    assert "not known: 1 of 26 files cannot be read" in shown


def test_damage_beside_it_is_still_damage(model: Path) -> None:
    file = model / "ckpt-0" / "tensor00007_000"
    file.unlink()
    file.symlink_to("nowhere")
    with (model / "ckpt-0" / "tensor00003_000").open("ab") as other:
        other.write(b"x")
    assert grokpack("verify", model).exit_code == 1


@pytest.mark.parametrize("command", ["verify", "inspect"])
def test_a_folder_that_may_not_be_entered_is_named(model: Path, command: str) -> None:
    (model / "ckpt-0").chmod(0o644)
    try:
        done = as_anybody(command, model)
    finally:
        (model / "ckpt-0").chmod(0o755)
    assert done.returncode == 3, done.stderr
    place = f"error[GP214]: cannot read the source: Permission denied\n  --> {model}/ckpt-0\n"
    assert place in done.stderr


def test_pointers_are_called_pointers(model: Path) -> None:
    (model / "grokpack.json").unlink()
    for number, file in enumerate(sorted((model / "ckpt-0").iterdir())):
        file.write_text(_POINTER.format(f"{number:064x}"))
    done = grokpack("verify", model)
    assert done.exit_code == 1
    message = "error[GP233]: the file is a Git LFS pointer: `git lfs pull` fetches it: 26 files"
    assert done.stdout.startswith(message)
    assert "incomplete: 26 of 26 files are not here whole" in done.stdout
    assert "hf download xai-org/grok-1" in done.stdout
    assert len(done.stdout.splitlines()) < 12

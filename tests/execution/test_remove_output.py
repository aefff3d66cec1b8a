"""`--restart` removes what grokpack wrote, and where anything else is in the way nothing at all."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from grokpack import storage
from grokpack.checkpoint.manifest_file import row_of
from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.core.errors import GrokpackError
from grokpack.execution.journal import Journal
from grokpack.execution.run import Outcome, execute
from grokpack.execution.run_options import RunOptions
from tests.faults.crashing import WRITERS, Crash, counted, crashing, name_of
from tests.support.checkpoints import synthesize, tree
from tests.support.fuzzing import TINY

VICTIM = "thesis.tex"
TEXT = b"years of work\n"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("made") / "model", TINY, seed=2)


def reshard(source: Path, out: Path, tp: int = 2, *, restart: bool = False) -> Outcome:
    limits = RunOptions(workers=1, restart=restart)
    return execute(plan_reshard(open_checkpoint(str(source)), tp), str(out), limits)


def begun(source: Path, out: Path, after: str = "append") -> None:
    """A run that was killed before an operation."""

    def hook(operation: str, path: str) -> None:
        if operation == after and not path.endswith("made.jsonl"):
            raise Crash

    storage.faults.hook = hook
    try:
        with pytest.raises(Crash):
            reshard(source, out)
    finally:
        storage.faults.hook = None


def everything(folder: Path) -> dict[str, bytes | str]:
    """Every path below a folder, with what it holds or where it leads."""
    return {
        str(path.relative_to(folder)): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else ""
        for path in folder.rglob("*")
    }


def refused(source: Path, out: Path, code: str) -> GrokpackError:
    """The error of a restart that touches nothing."""
    before = everything(out.parent)
    with pytest.raises(GrokpackError) as caught:
        reshard(source, out, 4, restart=True)
    assert caught.value.code == code
    assert everything(out.parent) == before
    return caught.value


def forge(out: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = out / "grokpack.json"
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))


def test_what_somebody_has_added_to_is_kept(source: Path, tmp_path: Path) -> None:
    """All its recorded tiles are as they were written, and its end is somebody's own."""
    out = tmp_path / "out"
    reshard(source, out)
    with (out / "config.json").open("ab") as file:
        file.write(TEXT)
    refused(source, out, "GP330")


@pytest.mark.parametrize("after", ["create", "append", "publish", "write_whole"])
def test_what_a_run_left_is_removed_wherever_it_was_killed(
    after: str, source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    if after == "write_whole":  # of the manifest
        reshard(source, out)
    else:
        begun(source, out, after)
    reshard(source, out, 4, restart=True)
    reshard(source, tmp_path / "clean", 4)
    assert tree(out) == tree(tmp_path / "clean")
    assert not (out / ".grokpack").exists()


def test_a_restart_that_was_killed_is_restarted(source: Path, tmp_path: Path) -> None:
    reshard(source, tmp_path / "clean", 4)
    expected = tree(tmp_path / "clean")

    def prepared(number: int) -> Path:
        out = tmp_path / f"out{number}"
        reshard(source, out)
        return out

    out = prepared(0)
    with counted() as operations:
        reshard(source, out, 4, restart=True)
    removals = [n for n, (name, _) in enumerate(operations) if name.startswith("remove")]
    for number in removals[::2]:
        out = prepared(number + 1)
        with pytest.raises(Crash), crashing(number):
            reshard(source, out, 4, restart=True)
        reshard(source, out, 4, restart=True)
        assert tree(out) == expected


@pytest.mark.parametrize("name", ["../" + VICTIM, "/" + VICTIM, "common/../../" + VICTIM, ""])
@pytest.mark.parametrize("table", ["files", "finals"])
def test_names_that_lead_outside_are_refused(
    name: str, table: str, source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    reshard(source, out)
    (tmp_path / VICTIM).write_bytes(TEXT)
    forge(out, lambda document: document[table].update({name: row_of(TEXT)}))
    refused(source, out, "GP330")


@pytest.mark.parametrize("row", [row_of(b"x"), row_of(TEXT[::-1])], ids=["size", "sum"])
def test_a_file_that_the_manifest_names_falsely_is_kept(
    row: dict[str, Any], source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "an output; of mine"
    reshard(source, out)
    (out / VICTIM).write_bytes(TEXT)
    forge(out, lambda document: document["files"].update({VICTIM: row}))
    error = refused(source, out, "GP330")
    assert error.where is not None
    assert error.where.path == str(out / VICTIM)
    assert error.hint is not None
    moving = error.hint.rpartition(": ")[2]
    assert shlex.split(moving) == ["mv", "-n", str(out), f"{out}.aside"]
    subprocess.run(shlex.split(moving), check=True)
    assert reshard(source, out, 4, restart=True).published
    assert (tmp_path / f"{out.name}.aside" / VICTIM).read_bytes() == TEXT


def test_a_file_that_the_manifest_does_not_name_is_kept(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    reshard(source, out)
    for place in (out / VICTIM, out / "common" / VICTIM):
        place.write_bytes(TEXT)
        refused(source, out, "GP323")
        place.unlink()
    (out / "mine").mkdir()
    refused(source, out, "GP323")


def test_nothing_is_removed_through_a_link(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    reshard(source, out)
    (out / "common").rename(tmp_path / "elsewhere")
    (out / "common").symlink_to(tmp_path / "elsewhere")
    refused(source, out, "GP330")
    (out / "common").unlink()
    (tmp_path / "elsewhere").rename(out / "common")
    file = next((out / "common").iterdir())
    file.rename(tmp_path / "moved")
    file.symlink_to(tmp_path / "moved")
    refused(source, out, "GP330")


@pytest.mark.parametrize("harm", ["cut", "changed"])
def test_a_file_that_was_changed_since_is_no_proof_of_itself(
    harm: str, source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    reshard(source, out)
    file = out / "config.json"
    data = file.read_bytes()
    file.write_bytes(data[:-1] if harm == "cut" else data[::-1])
    refused(source, out, "GP330")
    file.unlink()
    assert reshard(source, out, 4, restart=True).published


def test_a_forged_record_of_a_run_removes_nothing(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    begun(source, out)
    (out / VICTIM).write_bytes(TEXT)
    (out / f"{VICTIM}.part").write_bytes(TEXT)
    journal = Journal(str(out / ".grokpack"))
    path = Path(journal.path("plan.json"))
    plan = json.loads(path.read_bytes())
    plan["files"].append(VICTIM)
    path.write_text(json.dumps(plan))
    refused(source, out, "GP330")
    journal.note_made({VICTIM: 1})
    refused(source, out, "GP330")


@pytest.mark.parametrize("restart", [False, True])
def test_a_record_that_lies_elsewhere_is_not_touched(
    restart: bool, source: Path, tmp_path: Path
) -> None:
    out, theirs = tmp_path / "out", tmp_path / "theirs"
    begun(source, out)
    (out / ".grokpack").rename(theirs)
    (out / ".grokpack").symlink_to(theirs)
    before = everything(tmp_path)
    with pytest.raises(GrokpackError) as caught:
        reshard(source, out, 2, restart=restart)
    assert caught.value.code == "GP330"
    assert everything(tmp_path) == before


@pytest.mark.parametrize("command", ["archive", "zarr"])
def test_other_kinds_of_outputs_are_removed_too(command: str, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    WRITERS[command](source, out)
    reshard(source, out, restart=True)
    reshard(source, tmp_path / "clean")
    assert tree(out) == tree(tmp_path / "clean")


def test_of_a_single_file_only_that_is_removed(source: Path, tmp_path: Path) -> None:
    out, mine = name_of("gguf", tmp_path), tmp_path / VICTIM
    options = ConvertOptions(type="bf16", tokenizer="none")
    plan = plan_convert(open_checkpoint(str(source)), "gguf", options)
    WRITERS["gguf"](source, out)
    mine.write_bytes(TEXT)
    execute(plan, str(out), RunOptions(workers=1, restart=True))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        out.name,
        f"{out.name}.grokpack.json",
        VICTIM,
    ]
    record = Path(f"{out}.grokpack.json")
    document = json.loads(record.read_bytes())
    document["finals"] = {VICTIM: row_of(TEXT[::-1])}
    record.write_text(json.dumps(document))
    before = everything(tmp_path)
    with pytest.raises(GrokpackError) as caught:
        execute(plan, str(out), RunOptions(workers=1, restart=True))
    assert caught.value.code == "GP330"
    assert everything(tmp_path) == before


def test_a_hard_link_to_an_outputs_file_survives(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    reshard(source, out)
    file = next(out.rglob("*.safetensors"))
    os.link(file, tmp_path / "kept")
    data = file.read_bytes()
    reshard(source, out, 4, restart=True)
    assert (tmp_path / "kept").read_bytes() == data

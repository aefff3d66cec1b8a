"""What machines do: files vanish, disks turn read-only, clocks jump, processes are killed."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from grokpack import storage
from grokpack.core.errors import GrokpackError
from tests.faults.crashing import WRITERS, contents, counted, name_of
from tests.faults.damage import judged
from tests.support.checkpoints import SMALL, reshard, synthesize, tree
from tests.support.fuzzing import TINY

COMMANDS = ("reshard", "hf", "gguf", "zarr", "archive", "int4")
KILLS = 50


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return synthesize(tmp_path / "source", TINY, seed=6)


def _places(command: str, folder: Path) -> tuple[Path, Path]:
    """Where a run is disturbed, and where one is not."""
    out, clean = (name_of(command, folder / name) for name in ("place", "clean"))
    for place in (out, clean):
        place.parent.mkdir()
    return out, clean


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_that_vanishes_in_mid_run_is_named_and_nothing_is_lost(
    command: str, source: Path, tmp_path: Path
) -> None:
    write = WRITERS[command]
    out, clean = _places(command, tmp_path)
    write(source, clean)
    victim = source / "ckpt-0" / "tensor00004_000"
    data, stat = victim.read_bytes(), victim.stat()
    left = [6]

    def vanish(_operation: str, _path: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            victim.unlink()

    storage.faults.hook = vanish
    try:
        with pytest.raises(GrokpackError) as caught:
            write(source, out)
    finally:
        storage.faults.hook = None
    assert caught.value.code in ("GP213", "GP214")
    assert caught.value.where is not None
    assert victim.name in caught.value.where.path
    victim.write_bytes(data)
    os.utime(victim, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    write(source, out)
    assert contents(out) == contents(clean)


@pytest.mark.parametrize("error", [errno.EROFS, errno.EACCES, errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_disk_that_refuses_in_mid_run_is_named_and_the_run_continues(
    command: str, error: int, source: Path, tmp_path: Path
) -> None:
    write = WRITERS[command]
    out, clean = _places(command, tmp_path)
    with counted() as operations:
        write(source, clean)
    refused = random.Random(f"{command}{error}").randrange(len(operations))

    left = [refused]

    def refuse(_operation: str, path: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(error, os.strerror(error), path)

    storage.faults.hook = refuse
    try:
        with pytest.raises(GrokpackError) as caught:
            write(source, out)
    finally:
        storage.faults.hook = None
    assert caught.value.code == ("GP401" if error == errno.ENOSPC else "GP324")
    write(source, out)
    assert contents(out) == contents(clean)


def test_clocks_that_jump_change_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files from the future, and a clock that goes back and forth at every look."""
    reshard(source, tmp_path / "clean", 2)
    chance = random.Random(1)
    honest = time.time
    for path in (source / "ckpt-0").iterdir():
        os.utime(path, (4e9, 4e9))
    monkeypatch.setattr(time, "time", lambda: honest() + chance.uniform(-1e9, 1e9))
    reshard(source, tmp_path / "out", 2)
    assert tree(tmp_path / "out") == tree(tmp_path / "clean")
    assert judged(tmp_path / "out") == "whole"
    assert judged(tmp_path / "out") == "whole"


def test_a_second_run_of_any_command_on_one_output_is_refused(source: Path, tmp_path: Path) -> None:
    """While the first is at work, at each of its operations."""
    for command in COMMANDS:
        write, out = WRITERS[command], name_of(command, tmp_path / command / "place")
        out.parent.mkdir(parents=True)
        seen: list[str] = []
        left = [12]

        def again(
            _operation: str, _path: str, left: list[int] = left, seen: list[str] = seen
        ) -> None:
            left[0] -= 1
            if left[0] == 0:
                hook, storage.faults.hook = storage.faults.hook, None
                try:
                    write(source, out)  # noqa: B023
                except GrokpackError as error:
                    seen.append(error.code)
                finally:
                    storage.faults.hook = hook

        storage.faults.hook = again
        try:
            write(source, out)
        finally:
            storage.faults.hook = None
        assert seen == ["GP322"], command


@pytest.mark.faults
@pytest.mark.parametrize("command", ["reshard --tp 4", "convert --to hf", "quantize --group 32"])
def test_the_process_survives_sigkill_at_fifty_moments(command: str, tmp_path: Path) -> None:
    source = synthesize(tmp_path / "source", replace(SMALL, vocab=32768, d_model=512))
    words = [sys.executable, "-m", "grokpack", *command.split(), "--progress", "none"]
    verb = words[3]
    program = [*words[:4], str(source), *words[4:], "-o"]
    subprocess.run([*program, str(tmp_path / "clean")], check=True, capture_output=True)
    began = time.monotonic()
    subprocess.run([*program, str(tmp_path / "again")], check=True, capture_output=True)
    usual = time.monotonic() - began
    chance = random.Random(verb)
    out = tmp_path / "out"
    for _ in range(KILLS):
        process = subprocess.Popen(
            [*program, str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(chance.uniform(0.1, usual))
        process.send_signal(signal.SIGKILL)
        process.wait()
        if (out / "grokpack.json").exists():
            assert tree(out) == tree(tmp_path / "clean")
            assert judged(out) == "whole"
            subprocess.run(["rm", "-r", str(out)], check=True)
    subprocess.run([*program, str(out)], check=True, capture_output=True)
    assert tree(out) == tree(tmp_path / "clean")

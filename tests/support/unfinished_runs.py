"""Runs that were stopped, as the program of their day left them, to be continued by later ones.

Kept of each are the files of its journal, word for word, and how much of each unfinished file had
been written; the bytes themselves are those of a run that nobody stops. The source's files get
the time that the journal has noted, and `FOLDER` stands in it for where the run was.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from typer.testing import CliRunner

import grokpack
from grokpack.cli.app import app

SOURCE = (
    "synth s --layers 2 --experts 2 --d-model 128 --ffn 256 --heads 4 --kv-heads 4 --head-dim 32 "
    "--vocab 32768 --scale-groups 2"
)
"""An embedding of 16 MiB, so that files have several tiles and a run can stop amid one."""
_TIME_NS = 1_700_000_000_000_000_000
_PART = ".part"


@dataclass(frozen=True, slots=True)
class Run:
    """A run to be stopped.

    Attributes:
        command: What continues it.
        advances: How often it says that it got on before it is stopped.
    """

    command: str
    advances: int


RUNS = {
    "reshard": Run("reshard s --tp 2 -o out", 2),
    "reshard-ckpt": Run("reshard s --tp 2 --to ckpt-0 -o out", 5),
    "quantize": Run("quantize s --method rtn --shard-size 1MB -o out", 3),
    "gguf": Run("convert s --to gguf --type f32 --tokenizer none -o out.gguf", 1),
    "part": Run("reshard s --tp 2 -o out", 0),
}


def synthesize(folder: Path) -> None:
    """Make the source, its files as old as the journals say."""
    with contextlib.chdir(folder):
        _answer(SOURCE)
    for path in (folder / "s").rglob("*"):
        os.utime(path, ns=(_TIME_NS, _TIME_NS))


def freeze(name: str, folder: Path) -> dict[str, Any]:
    """Stop a run, then do it whole elsewhere; what is left of the one, in terms of the other."""
    stopped, whole = _folder(folder / "stopped"), _folder(folder / "whole")
    with contextlib.chdir(stopped):
        _stop(name)
    with contextlib.chdir(whole):
        _answer(RUNS[name].command)
    journal, parts = {}, {}
    for path in _files(stopped):
        relative = path.relative_to(stopped).as_posix()
        if path.name.endswith(_PART):
            finished = (whole / relative.removesuffix(_PART)).read_bytes()
            parts[relative] = _common(path.read_bytes(), finished)
        elif path.name != "lock":
            own = relative.replace(platform.node(), "host")  # a log of one of several processes
            journal[own] = path.read_text("utf-8").replace(str(stopped), "FOLDER")
    outstanding = _continue(name, stopped)
    return {
        "journal": journal,
        "written": {path: n for path, n in parts.items() if n},
        "outstanding_bytes": outstanding,
    }


def restore(name: str, state: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Lay out a stopped run and continue it.

    Returns:
        Bytes that were outstanding, and files by path that are not those of a run in one go.
    """
    stopped, whole = _folder(folder / "stopped"), _folder(folder / "whole")
    with contextlib.chdir(whole):
        _answer(RUNS[name].command)
    for relative, text in state["journal"].items():
        path = stopped / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("FOLDER", str(stopped)), encoding="utf-8")
    for relative, nbytes in state["written"].items():
        finished = (whole / relative.removesuffix(_PART)).read_bytes()
        path = stopped / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(finished[:nbytes])
        os.truncate(path, len(finished))
    outstanding = _continue(name, stopped)
    return {"outstanding_bytes": outstanding, "unlike": _unlike(stopped, whole)}


def _folder(path: Path) -> Path:
    """A new folder in which the source is named `s`."""
    path.mkdir(parents=True)
    (path / "s").symlink_to(path.parent.parent / "s", target_is_directory=True)
    return path


def _stop(name: str) -> None:
    """Do a part of a run."""
    public: Any = grokpack  # its options have other names where they are defined
    source = grokpack.open_checkpoint("s")
    plans = {
        "reshard": lambda: grokpack.plan_reshard(source, 2),
        "reshard-ckpt": lambda: grokpack.plan_reshard(source, 2, "ckpt-0"),
        "quantize": lambda: grokpack.plan_quantize(
            source, public.QuantizeOptions(method="rtn", shard_bytes=1_000_000)
        ),
        "gguf": lambda: grokpack.plan_convert(
            source, "gguf", public.ConvertOptions(type="f32", tokenizer="none")
        ),
    }
    if name not in plans:
        _answer(f"{RUNS[name].command} --part 1/2")
        return
    limits, left = grokpack.Limits(workers=1), [RUNS[name].advances]

    def listen(event: object) -> None:
        if type(event).__name__ == "Advanced":
            left[0] -= 1
        if left[0] <= 0:
            limits.stop.set()

    out = RUNS[name].command.split()[-1]
    with contextlib.suppress(grokpack.GrokpackError):
        grokpack.execute(plans[name](), out, limits, listen)


def _continue(name: str, folder: Path) -> int:
    """Bytes that the same command had to write."""
    with contextlib.chdir(folder):
        written: int = _answer(RUNS[name].command)["written_bytes"]
    return written


def _answer(command: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*command.split(), "--json", "--progress", "none"])
    document = json.loads(done.stdout)
    assert done.exit_code in (0, 75), document["errors"]
    data: dict[str, Any] = document["data"]
    return data


def _files(folder: Path) -> list[Path]:
    """What a run left beside its source."""
    return sorted(
        p for p in folder.rglob("*") if p.is_file() and p.relative_to(folder).parts[0] != "s"
    )


def _common(part: bytes, finished: bytes) -> int:
    """Bytes from the start that are written already."""
    one, other = (np.frombuffer(data, np.uint8) for data in (part, finished))
    unlike = np.flatnonzero(one != other)
    nbytes = int(unlike[0]) if unlike.size else len(part)
    assert not any(part[nbytes:]), "a part has a hole before its end"
    return nbytes


def _unlike(one: Path, other: Path) -> list[str]:
    """Paths at which two folders differ."""
    contents = [
        {p.relative_to(f).as_posix(): p.read_bytes() for p in _files(f)} for f in (one, other)
    ]
    paths = contents[0].keys() | contents[1].keys()
    return sorted(path for path in paths if contents[0].get(path) != contents[1].get(path))

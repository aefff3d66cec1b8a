"""Files changed by a bit, and what a check of contents says of them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grokpack.checkpoint import manifest_records
from grokpack.checkpoint.open_checkpoint import survey
from grokpack.verification import sampling
from grokpack.verification.read_options import ReadOptions
from grokpack.verification.verify_contents import check_contents
from tests.support.forked import run

if TYPE_CHECKING:
    from grokpack.verification.read_and_compare import ReadResult
    from grokpack.verification.sampling import Sample


def flip(path: Path, byte: int, bit: int = 0) -> None:
    """Flip a bit; size and modification time stay as they are, as on a disk that forgets."""
    before = path.stat()
    with path.open("r+b") as handle:
        handle.seek(byte)
        value = handle.read(1)[0]
        handle.seek(byte)
        handle.write(bytes([value ^ (1 << bit)]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def checked(folder: Path, share: Sample | None = None) -> ReadResult:
    found = survey(str(folder)).checkpoint
    assert found is not None
    own = manifest_records.own(found)
    assert own is not None
    return check_contents(found, own, ReadOptions(share or sampling.Sample()))


def bad(contents: ReadResult) -> set[tuple[str, str | None]]:
    return {(finding.code, finding.file) for finding in contents.findings}


def tiles(chosen: list[sampling.TileRun]) -> list[tuple[str, int]]:
    return [(s.record.path, tile) for s in chosen for tile in range(s.first, s.last)]


def listing(folder: Path, *options: str) -> str:
    names = sorted(path.name for path in folder.iterdir())
    done = subprocess.run(
        ["sha256sum", *options, *names], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout


def answer(*arguments: Any) -> tuple[int, dict[str, Any]]:
    done = run(*arguments, "--json", "--progress", "none")
    document: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, document

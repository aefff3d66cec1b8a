"""Checkpoints for tests, and ways to compare folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.conversion.plan_synth import plan_synth
from grokpack.execution.run import Outcome, execute
from grokpack.models.architecture import Geometry
from tests.support.project import DATA

GOLDEN = DATA / "tiny3"

SMALL = Geometry(
    vocab=64, d_model=32, layers=2, experts=2, ffn=64, q_width=128, kv_width=64, head_dim=8
)
"""16 query and 8 key/value heads: legal at every width up to 16, a few hundred kB."""


def synthesize(out: Path, geometry: Geometry = SMALL, seed: int = 0) -> Path:
    execute(plan_synth(geometry, seed), str(out))
    return out


def reshard(source: Path, out: Path, tp: int, to: str = "safetensors", **options: Any) -> Outcome:
    return execute(plan_reshard(open_checkpoint(str(source)), tp, to, **options), str(out))


def tensor_files(folder: Path) -> dict[str, bytes]:
    """The pickles of a ckpt-0 folder, by name."""
    return {p.name: p.read_bytes() for p in sorted(folder.glob("tensor*"))}


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below a folder, by its path from there; pathlib would take three times as long."""
    root = os.fspath(folder)
    for place, _, names in os.walk(root):
        for name in names:
            path = os.path.join(place, name)  # noqa: PTH118
            if os.path.isfile(path):  # noqa: PTH113
                with open(path, "rb") as file:  # noqa: PTH123
                    yield path[len(root) + 1 :], file.read()


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of an output but for the journal."""
    return dict(sorted(row for row in files(folder) if ".grokpack" not in row[0].split("/")))

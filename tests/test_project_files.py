"""Files of the project: no trace of a machine, a reason for each ignored rule, a changelog."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import grokpack
from tests.support.project import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

# Folders that no version of the project contains, beside hidden ones and environments.
UNTRACKED = {"__pycache__", "build", "checkpoints", "demo", "dist"}
MAX_TRACKED_BYTES = 4 << 20  # ten times the largest; what is more is a checkpoint kept here
HIDDEN = {".ci", ".github"}  # the hidden folders that it may contain


def _files() -> Iterator[Path]:
    """Every file that belongs to the project, tracked or about to be."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = sorted(name for name in folders if _belongs(Path(folder, name)))
        paths = (Path(folder, name) for name in sorted(names) if name != ".git")
        yield from (path for path in paths if path.stat().st_size <= MAX_TRACKED_BYTES)


def _belongs(folder: Path) -> bool:
    foreign = folder.name.startswith(".") and folder.name not in HIDDEN
    return not (foreign or folder.name in UNTRACKED or (folder / "pyvenv.cfg").exists())


def test_the_version_has_a_heading_in_the_changelog() -> None:
    lines = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    assert any(line.startswith(f"## [{grokpack.__version__}]") for line in lines)


def test_every_ignored_rule_is_given_a_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lint = tomllib.loads(text)["tool"]["ruff"]["lint"]
    by_file = lint["per-file-ignores"].values()
    ignored = [*lint["ignore"], *(code for codes in by_file for code in codes)]
    reasoned = [line for line in text.splitlines() if line.strip().startswith('"') and "#" in line]
    bare = [code for code in ignored if not any(f'"{code}"' in line for line in reasoned)]
    assert not bare


def test_no_file_names_a_folder_of_the_machine_it_was_made_on() -> None:
    """Examples use relative folders or `/data`, so that what these find is a leak.

    The folder of the clone is not among them: it may be `/data` or `/grokpack`.
    """
    places = [f"/{name}/" for name in ("home", "root", "tmp", "work", "Users")]
    leaks = [
        f"{path.relative_to(ROOT)}: {place}"
        for path in _files()
        for place in places
        if place.encode() in path.read_bytes()
    ]
    assert not leaks


def test_the_search_for_such_folders_covers_every_part_of_the_project() -> None:
    found = {str(path.relative_to(ROOT)) for path in _files()}
    assert {"Makefile", ".ci/run", "docs/conf.py", "grokpack/core/error_codes/code.py"} <= found
    assert any(path.startswith("tests/data/") for path in found)

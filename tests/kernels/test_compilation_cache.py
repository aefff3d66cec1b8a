"""Compiled kernels are kept apart by the sources that they were compiled from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from grokpack import kernels
from grokpack.kernels.compilation_cache import compilation_cache


@pytest.mark.parametrize(
    "changed",
    ["compiled/_integer/lanes.py", "compiled/__init__.py", "integer_steps.py"],
    ids=["helper", "options", "constant"],
)
def test_any_changed_source_of_kernels_changes_the_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changed: str
) -> None:
    folder = compilation_cache()
    copy = tmp_path / "kernels"
    shutil.copytree(kernels.__path__[0], copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(kernels, "__file__", str(copy / "__init__.py"))
    monkeypatch.setattr(kernels, "__path__", [str(copy)])
    assert compilation_cache() == folder
    with (copy / changed).open("a") as source:
        source.write("\n")
    assert compilation_cache() != folder

"""Compiled kernels are kept apart by the sources that they were compiled from."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from grokpack import kernels
from grokpack.kernels.compilation_cache import compilation_cache

if TYPE_CHECKING:
    import pytest


def test_a_changed_helper_of_kernels_changes_the_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = compilation_cache()
    shutil.copytree(Path(kernels.__path__[0], "compiled"), tmp_path / "compiled")
    monkeypatch.setattr(kernels, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(kernels, "__path__", [str(tmp_path)])
    assert compilation_cache() == folder
    with (tmp_path / "compiled" / "_lanes.py").open("a") as helper:
        helper.write("\n")
    assert compilation_cache() != folder

"""Folders of packed weights, written once for the tests of this folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.checkpoints import synthesize
from tests.support.packed_folders import FORMS
from tests.support.quantized_checkpoints import WIDE, quantize


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("forms")
    source = synthesize(base / "in", WIDE)
    made = {}
    for form, options in FORMS.items():
        made[form] = quantize(source, base / form.replace(" ", "-"), **options)
        (made[form] / "grokpack.json").unlink()
    return made


@pytest.fixture
def copied(written: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    return lambda form: shutil.copytree(written[form], tmp_path / "q")

"""Packages that are not installed: the hint fits the environment that lacks them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from grokpack.core.errors import GrokpackError
from grokpack.core.optional_imports import import_extra


@pytest.mark.parametrize(
    ("mark", "command"),
    [
        ("pyvenv.cfg", "pip install"),
        ("pipx_metadata.json", "pipx install --force"),
        ("uv-receipt.toml", "uv tool install --force"),
    ],
)
def test_an_extra_is_installed_as_the_program_was(
    mark: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / mark).touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(GrokpackError) as refused:
        import_extra("no_such_module", "hub", "or do without")
    assert refused.value.hint == f"{command} 'grokpack[hub]'\nor do without"

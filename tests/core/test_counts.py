"""Numbers of things, with the form of the noun that each asks for."""

from __future__ import annotations

import pytest

from grokpack.core.counts import counted


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 files"), (1, "1 file"), (2, "2 files"), (48_305, "48,305 files")],
)
def test_counts(number: int, text: str) -> None:
    assert counted(number, "file") == text

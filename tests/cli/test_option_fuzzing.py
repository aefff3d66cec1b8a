"""No combination of options ends in a bug: some of the cases of `tests.support.option_fuzzing`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support import option_fuzzing

if TYPE_CHECKING:
    import pytest

FEW = 15  # of cases that are run here; `make fuzz` runs thousands


def test_no_combination_of_options_ends_in_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/nonexistent")  # no crash file is left behind
    assert option_fuzzing.wrong(FEW, seed=0) == []


def test_every_command_has_options_that_are_drawn() -> None:
    found = option_fuzzing.commands()
    assert {"verify", "quantize", "evaluate", "generate"} <= set(found)
    assert {"--importance", "--policy", "--keep"} <= {each.name for each in found["quantize"]}

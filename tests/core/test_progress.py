"""Phases of long work, as a listener is told of them."""

from __future__ import annotations

import pytest

from grokpack.core.events import Event, Finished, Started
from grokpack.core.progress import phase


def test_a_phase_ends_by_the_name_it_began_with() -> None:
    heard: list[Event] = []
    with phase(Started("contents", 7), heard.append):
        assert heard == [Started("contents", 7)]
    end = heard[-1]
    assert isinstance(end, Finished)
    assert end.what == "contents"


def test_a_phase_that_fails_has_no_end() -> None:
    heard: list[Event] = []
    with pytest.raises(ValueError, match="broken"), phase(Started("contents", 7), heard.append):
        raise ValueError("broken")
    assert heard == [Started("contents", 7)]

"""Long lines in a narrow terminal: wrapped between words, below their text; commands stay whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokpack.report.text.line_wrapping import wrapped

words = st.lists(st.text("abc,.:`-", min_size=1, max_size=12), min_size=1, max_size=20)


@given(words, st.integers(0, 8), st.integers(30, 100))
def test_no_word_is_lost_and_no_line_is_longer(given_: list[str], lead: int, width: int) -> None:
    line = " " * lead + " ".join(given_).replace("`", "")
    shown = wrapped(line, width)
    assert shown.split() == line.split()
    assert all(len(one) <= width for one in shown.splitlines())


@pytest.mark.parametrize(
    ("line", "below"),
    [
        ("ok  structure: all files are as they should be", 4),
        ("hint: all files are as they should be, or not", 6),
        ("error[GP101]: all files are as they should be, or not", 6),
        ("  memory   5 MB   of 9 MB, and all files are as they should be", 18),
        ("  a line of prose that is longer than the terminal is", 4),
        ("a line of prose that is longer than the terminal is", 2),
    ],
)
def test_what_goes_on_below_begins_under_its_text(line: str, below: int) -> None:
    first, second, *_ = wrapped(line, 40).splitlines()
    assert line.startswith(first)
    assert len(second) - len(second.lstrip()) == below


@pytest.mark.parametrize(
    "line",
    [
        "      grokpack verify tiny --against hf:xai-org/grok-1 --data",
        "  next     grokpack verify tiny --against hf:xai-org/grok-1",
        "      hf download xai-org/grok-1 --include 'ckpt-0/*' --local-dir .",
        "  --> /a/path/without/a/blank/that/is/longer/than/forty/characters",
    ],
)
def test_a_command_and_a_long_word_stay_whole(line: str) -> None:
    assert " ".join(wrapped(line, 40).split()) == " ".join(line.split())
    assert line.rsplit(maxsplit=1)[-1] in wrapped(line, 40)
    if "-->" not in line:
        assert wrapped(line, 40) == line


def test_a_long_word_moves_left_where_it_would_end_beyond_the_line() -> None:
    word = "transformer/decoder_layer_0/linear/w"
    assert wrapped(f"  rounded {word}", 40).splitlines()[1] == f"    {word}"
    assert wrapped(f"  rounded {word}", 38).splitlines()[1] == f"  {word}"
    assert wrapped(f"  rounded {word}", 30).splitlines()[1] == word


def test_a_command_in_a_sentence_and_a_number_with_its_unit_are_not_torn() -> None:
    line = "hint: to see what it would write, run `grokpack convert --dry-run` first"
    assert any("`grokpack convert --dry-run`" in one for one in wrapped(line, 40).splitlines())
    assert wrapped("what this machine's disk takes is 17.21 GB", 40).endswith("\n  17.21 GB")

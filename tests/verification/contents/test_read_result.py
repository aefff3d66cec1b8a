"""Counts of what a comparison of contents has covered."""

from __future__ import annotations

from grokpack.verification.read_and_compare import ReadResult

SIZES = {"a": 5, "b": 7, "empty": 0}


def counted(compared: dict[str, int], sizes: dict[str, int] = SIZES) -> ReadResult:
    return ReadResult.of((), "a list", sizes, compared, ended=True)


def test_everything_is_compared_when_every_byte_of_every_file_was() -> None:
    result = counted({"a": 5, "b": 7, "empty": 0})
    assert (result.total_bytes, result.read_bytes, result.never_bytes) == (12, 12, 0)
    assert (result.total_files, result.compared_files, result.all_bytes) == (3, 3, True)


def test_a_file_that_is_compared_in_part_is_not_compared() -> None:
    result = counted({"a": 5, "b": 3, "empty": 0})
    assert (result.read_bytes, result.never_bytes) == (8, 4)
    assert (result.compared_files, result.all_bytes) == (2, False)


def test_an_empty_file_that_nobody_looked_at_is_not_compared() -> None:
    result = counted({"a": 5, "b": 7})
    assert (result.read_bytes, result.total_bytes) == (12, 12)
    assert (result.compared_files, result.all_bytes) == (2, False)

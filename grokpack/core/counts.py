"""Formatting of how many there are of something."""

from __future__ import annotations


def noun_form(number: int, noun: str) -> str:
    """Return the form of a noun that a number asks for: `file` for 1, `files` for others."""
    return noun if number == 1 else f"{noun}s"


def counted(number: int, noun: str) -> str:
    """Format a number of things: `1 file`, `770 files`, `48,305 tensors`."""
    return f"{number:,} {noun_form(number, noun)}"

"""Wrapping of long lines of text at the width of a terminal; commands stay whole, to be copied."""

from __future__ import annotations

import re
import textwrap

_TOGETHER = "\0"  # stands for a blank that no line ends at
_KEPT = re.compile(r"`[^`]*`|\d [kMGT]?B\b")  # a command in a sentence, a number and its unit
_COMMAND = re.compile(r" +(?:next +)?(?:grokpack|hf|git) ")
_LABEL = re.compile(r"  --> |(?:hint|note): +|(?:error|warning)(?:\[GP\d{3}\])?: ")
_FIELD = re.compile(r" *\S.*?  +(?=\S)")
_DEEPEST = 28  # characters that lines below a wrapped one are indented by at most
_ERROR_INDENT = 6  # of facts and of a hint's further lines
_STEP = 2  # by which lines below are indented beyond the wrapped one


def wrapped(text: str, width: int) -> str:
    """Wrap lines that are longer than a width, between words, and indent what goes on below.

    A line that holds a command, and a word that is longer, stay as they are.
    """
    return "\n".join(
        line if len(line) <= width or _COMMAND.match(line) else _wrapped_line(line, width)
        for line in text.split("\n")
    )


def _wrapped_line(line: str, width: int) -> str:
    kept = _KEPT.sub(lambda found: found[0].replace(" ", _TOGETHER), line)
    lines = textwrap.wrap(
        kept,
        width,
        subsequent_indent=" " * _indent(line, width),
        break_long_words=False,
        break_on_hyphens=False,
        expand_tabs=False,
        replace_whitespace=False,
    )
    return "\n".join(_moved_left(one, width) for one in lines).replace(_TOGETHER, " ")


def _moved_left(line: str, width: int) -> str:
    """Take from the indent of a line what its one long word needs."""
    lead = len(line) - len(line.lstrip())
    return line[min(lead, max(0, len(line) - width)) :]


def _indent(line: str, width: int) -> int:
    """Return where lines below begin: under the text beside a label or after the first fields."""
    if _LABEL.match(line):
        return _ERROR_INDENT
    end = 0
    while (field := _FIELD.match(line, end)) and field.end() <= min(_DEEPEST, width // 2):
        end = field.end()
    lead = len(line) - len(line.lstrip())
    return end or (lead if lead >= _ERROR_INDENT else lead + _STEP)

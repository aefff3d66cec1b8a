"""Error codes as text."""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING

from grokpack.report import terminal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.core.error_codes import Code

_WIDEST = 96  # characters of a line


def page(code: Code) -> str:
    """Render everything about one code."""
    width = min(terminal.text_width(sys.stdout) or _WIDEST, _WIDEST)
    rows = (("Do", code.remedy), ("Exit status", str(int(code.exit_status))))
    lines = [
        f"{code.id}  {code.title}",
        textwrap.fill(code.meaning, width, initial_indent="  ", subsequent_indent="  "),
    ]
    for label, text in rows:
        lead = f"  {label:<11}  "
        lines.append(
            textwrap.fill(text, width, initial_indent=lead, subsequent_indent=" " * len(lead))
        )
    return "\n".join(lines)


def listing(codes: Mapping[str, Code]) -> str:
    """Render a line for each code."""
    return "\n".join(f"{c.id}  exit {int(c.exit_status):<3}  {c.title}" for c in codes.values())

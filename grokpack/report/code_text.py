"""Error codes as text."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grokpack.core.error_codes import Code


def page(code: Code) -> str:
    """Render everything about one code."""
    body = [
        f"{code.id}  {code.title}",
        f"  {code.meaning}",
        f"  Do           {code.remedy}",
        f"  Exit status  {int(code.exit_status)}",
    ]
    return "\n".join(textwrap.fill(line, 96, subsequent_indent=" " * 15) for line in body)


def listing(codes: Mapping[str, Code]) -> str:
    """Render a line for each code."""
    return "\n".join(f"{c.id}  exit {int(c.exit_status):<3}  {c.title}" for c in codes.values())

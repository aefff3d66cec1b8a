"""Text of errors: code, sentence, place, facts, hint."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from grokpack.report.text.shown_paths import shown_path

if TYPE_CHECKING:
    from grokpack.core.documents.answer_json import FindingJson
    from grokpack.core.errors import GrokpackError


def render(error: GrokpackError) -> str:
    """Render the message for stderr, understandable without colour."""
    lines = [f"error[{error.code}]: {error.what}"]
    if error.where is not None:
        place = replace(error.where, path=shown_path(error.where.path))
        lines.append(f"  --> {place}")
    width = max((len(label) for label, _ in error.facts), default=0)
    lines += [f"      {label:<{width}}  {value}" for label, value in error.facts]
    if error.hint:
        lines += [
            "",
            *(
                f"{'hint: ' if i == 0 else '      '}{line}"
                for i, line in enumerate(error.hint.split("\n"))
            ),
        ]
    return "\n".join(lines)


def compared(finding: FindingJson) -> list[str]:
    """Describe the values that a finding compares, as far as there are some."""
    values = (("expected", finding["expected"]), ("found", finding["found"]))
    return [f"{label} {value}" for label, value in values if value]

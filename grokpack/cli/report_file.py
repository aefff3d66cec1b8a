"""`--report FILE`: the result of a command in a file, beside stdout and stderr."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from grokpack.core import escaping
from grokpack.core.errors import UnusableValue
from grokpack.report import envelope, pages

if TYPE_CHECKING:
    from grokpack.core.documents.answer_json import Answer

_DOCUMENT, _PAGE = ".json", ".html"


def is_possible(report: Path, command: str) -> bool:
    """Tell whether a command can write a report with this suffix."""
    suffix = report.suffix.lower()
    return suffix == _DOCUMENT or (suffix == _PAGE and command in pages.COMMANDS)


def check(report: Path | None, command: str) -> None:
    """Refuse a report that cannot be written, before any work begins.

    Raises:
        GrokpackError: GP346 for an unknown suffix, or if the command has no page.
    """
    if report is None or is_possible(report, command):
        return
    if report.suffix.lower() == _PAGE:
        what = f"`{command}` has no page to write"
        hint = escaping.shell_command("--report", str(report.with_suffix(_DOCUMENT)))
        raise UnusableValue(what, hint=hint)
    what = f"--report cannot tell the form from `{report.name}`"
    forms = "a name that ends in .json" + (" or .html" if command in pages.COMMANDS else "")
    raise UnusableValue(what, hint=f"give it {forms}")


def write(report: Path, document: Answer) -> None:
    """Write the report atomically: the file is either the old one or the new one.

    Raises:
        GrokpackError: GP324 or GP401 where it cannot be written.
    """
    from grokpack import storage

    page = report.suffix.lower() == _PAGE
    text = pages.render(document) if page else envelope.text(document) + "\n"
    storage.write_whole(str(report.absolute()), text.encode("utf-8", "backslashreplace"))

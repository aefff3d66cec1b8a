"""`--report FILE`: the result of a command in a file, beside stdout and stderr."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from grokpack.cli import command_line
from grokpack.core.errors import UnusableValue
from grokpack.report import envelope

if TYPE_CHECKING:
    from grokpack.core.documents.answer_json import Answer

_DOCUMENT, _PAGE = ".json", ".html"


def is_possible(report: Path) -> bool:
    """Return whether a report can be written with this suffix."""
    return report.suffix.lower() in (_DOCUMENT, _PAGE)


def check(report: Path | None) -> None:
    """Refuse a report that cannot be written, before any work begins.

    Raises:
        GrokpackError: GP346 for an unknown suffix, GP330 where a pipe or a device has the name.
    """
    from grokpack import storage

    if report is None:
        return
    if is_possible(report):
        storage.refuse_special(str(report))
        return
    what = f"--report cannot tell the form from `{report.name}`"
    hint = f"give it a name that ends in {_DOCUMENT} or {_PAGE}"
    raise UnusableValue(what, hint=hint)


def write(report: Path, document: Answer) -> None:
    """Write the report atomically: the file is either the old one or the new one.

    Raises:
        GrokpackError: GP324 or GP401 where it cannot be written.
    """
    from grokpack import storage

    is_page = report.suffix.lower() == _PAGE
    text = _page(document) if is_page else envelope.text(document) + "\n"
    storage.write_whole(str(report.absolute()), text.encode("utf-8", "backslashreplace"))


def _page(document: Answer) -> str:
    from grokpack.report.pages import command_pages

    return command_pages.render(document, command_line.current())

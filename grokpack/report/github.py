"""Results for GitHub Actions: workflow commands on stdout, a table in the job's summary."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.core import escaping
from grokpack.report.text import error_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.core.documents.answer_json import Answer, FindingJson

_MOST_ROWS = 50  # GitHub shows ten annotations of a step; the summary may be longer


def render(document: Answer) -> str:
    """Render a command for each finding and error, then the result in a line.

    No `file=` is given: it would have to be a path in the repository.
    """
    return "\n".join([*_commands(document), f"grokpack {_command(document)}: {document['status']}"])


def _commands(document: Answer) -> Iterator[str]:
    for finding in document["findings"]:
        fix = [f"fix: {finding['fix']}"] if finding.get("fix") else []
        what = "\n".join([_titled(finding), *error_text.compared(finding), *fix])
        kind = finding["severity"]
        yield f"::{kind} title={_property('grokpack ' + finding['code'])}::{_message(what)}"
    command = document["data"].get("fix")
    if command:
        yield f"::notice title=grokpack::{_message('fetch just what is bad: ' + command)}"
    for error in document["errors"]:
        facts = [f"{row['label']} {row['value']}" for row in error["facts"]]
        hint = [f"hint: {error['hint']}"] if error["hint"] else []
        place = f"{error['file']}: " if error["file"] else ""
        what = "\n".join([place + error["message"], *facts, *hint])
        yield f"::error title={_property('grokpack ' + error['code'])}::{_message(what)}"


def _command(document: Answer) -> str:
    return document["schema"].split("/")[1]


def _titled(finding: FindingJson) -> str:
    tensor = f" ({finding['tensor']})" if finding["tensor"] else ""
    place = f"{finding['file'] or ''}{tensor}".strip()
    return f"{place}: {finding['message']}" if place else finding["message"]


def _message(text: str) -> str:
    return escaping.escape_terminal(text).replace("%", "%25").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")


def summary(document: Answer) -> str:
    """Render the result in Markdown, for `$GITHUB_STEP_SUMMARY`."""
    place = document["data"].get("source")
    heading = f"### grokpack {_command(document)}: {document['status']}"
    lines = [heading, "", *([escaping.code(place), ""] if place else [])]
    checks = document["data"].get("checks", {})
    skipped = [name for name, result in checks.items() if result == "skipped"]
    lines += [f"Not read: {', '.join(skipped)}", ""] if skipped else []
    rows = [(f["code"], f["message"], f["file"], f["tensor"]) for f in document["findings"]]
    rows += [(e["code"], e["message"], e["file"], None) for e in document["errors"]]
    if rows:
        lines += ["| code | what | where |", "|---|---|---|"]
    for code, message, *places in rows[:_MOST_ROWS]:
        where = escaping.markdown(" ".join(place for place in places if place))
        lines.append(f"| {code} | {escaping.markdown(message)} | {where} |")
    if len(rows) > _MOST_ROWS:
        lines += ["", f"and {len(rows) - _MOST_ROWS} more"]
    return "\n".join(lines)

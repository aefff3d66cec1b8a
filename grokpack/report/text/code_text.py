"""Error codes as text."""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING, NamedTuple

from grokpack.core.error_codes import CODES
from grokpack.core.escaping import escape_line
from grokpack.report.text import terminal
from grokpack.report.text.name_ranges import name_ranges

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from grokpack.core.documents.answer_json import ErrorJson, FindingJson, ReasonsJson
    from grokpack.core.error_codes import Code

_WIDEST = 96  # characters of a line
_MOST_PLACES = 6  # where a code was found, before the rest is counted
_LONGEST = 2000  # characters of a text that are shown: a document may hold megabytes


def page(code: Code) -> str:
    """Render everything about one code."""
    return _page(code, (("Do", code.remedy),))


def of_answer(document: ReasonsJson) -> str:
    """Render what the codes of a command's JSON document mean, and what to do about each here."""
    said = [*map(_of_finding, document["findings"]), *map(_of_error, document["errors"])]
    kinds: dict[str, list[_Said]] = {}
    for one in said:
        kinds.setdefault(one.code, []).append(one)
    pages = [_here(row, kinds[code]) for code, row in CODES.items() if code in kinds]
    return "\n\n".join(pages) or f"nothing to explain: the answer was `{_cut(document['status'])}`"


class _Said(NamedTuple):
    """Finding or error as a document has it: code, place, values, and what to do."""

    code: str
    place: str
    facts: list[tuple[str, str]]
    remedy: str


def _of_finding(row: FindingJson) -> _Said:
    facts = (("expected", row["expected"]), ("found", row["found"]))
    held = [(label, _cut(value)) for label, value in facts if value]
    return _Said(row["code"], _cut(row["file"] or row["tensor"]), held, _cut(row.get("fix")))


def _of_error(row: ErrorJson) -> _Said:
    facts = [(_cut(fact["label"]), _cut(fact["value"])) for fact in row["facts"]]
    return _Said(row["code"], _cut(row["file"]), facts, _cut(row["hint"]))


def _cut(text: str | None) -> str:
    """Return a text, or its beginning if it is long; "" for none."""
    whole = text or ""
    return whole if len(whole) <= _LONGEST else f"{whole[:_LONGEST]}..."


def _here(code: Code, said: Sequence[_Said]) -> str:
    """Render a code with where it was found, and the remedy that was given there, if there was."""
    places = name_ranges(dict.fromkeys(one.place for one in said if one.place))
    more = [f"and {len(places) - _MOST_PLACES} more"] if len(places) > _MOST_PLACES else []
    remedies = [*dict.fromkeys(one.remedy for one in said if one.remedy)] or [code.remedy]
    here = ", ".join([*places[:_MOST_PLACES], *more])
    facts = said[0].facts if len(said) == 1 else []
    return _page(code, [("Here", here), *facts, ("Do", "; ".join(remedies[:_MOST_PLACES]))])


def _page(code: Code, rows: Iterable[tuple[str, str]]) -> str:
    width = min(terminal.text_width(sys.stdout) or _WIDEST, _WIDEST)
    lines = [
        f"{code.id}  {code.title}",
        textwrap.fill(code.meaning, width, initial_indent="  ", subsequent_indent="  "),
    ]
    for label, text in (*rows, ("Exit status", str(int(code.exit_status)))):
        lead = f"  {escape_line(label):<11}  "
        lines += _filled(escape_line(text), lead, width) if text else []
    return "\n".join(lines)


def _filled(text: str, lead: str, width: int) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=lead,
        subsequent_indent=" " * len(lead),
        break_long_words=False,
        break_on_hyphens=False,
    )


def listing(codes: Mapping[str, Code]) -> str:
    """Render a line for each code."""
    return "\n".join(f"{c.id}  exit {int(c.exit_status):<3}  {c.title}" for c in codes.values())

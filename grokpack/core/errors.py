"""The one error type of the library: a code, what is wrong, where, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from grokpack.core.escaping import line, prose
from grokpack.core.redaction import redact

if TYPE_CHECKING:
    from grokpack.core.exit_status import ExitStatus


@dataclass(frozen=True, slots=True)
class Place:
    """A point in a file: which file, and the byte where the trouble begins, if one is known."""

    path: str
    byte: int | None = None
    tensor: str | None = None

    def __post_init__(self) -> None:
        """Leave out what a URL holds of secrets."""
        object.__setattr__(self, "path", redact(self.path))

    def __str__(self) -> str:
        """Render as `path, byte N   tensor`, the form every message uses, on one line."""
        path = line(self.path)
        text = path if self.byte is None else f"{path}, byte {self.byte:,}"
        return text if self.tensor is None else f"{text}   {line(self.tensor)}"


@dataclass(slots=True)
class GrokpackError(Exception):
    """Something the user can act on.

    Its text is safe to be shown: names from outside that it quotes are on one line, whatever they
    hold, and secrets are left out.

    Attributes:
        code: One of `grokpack.codes.CODES`, for example `GP204`; decides the exit status.
        what: One sentence without a full stop.
        where: The file (and byte) the error is about.
        facts: Label and value pairs that explain it: found, expected, needed.
        hint: What to do next, one or more lines.
    """

    code: str
    what: str
    where: Place | None = None
    facts: tuple[tuple[str, str], ...] = field(default=())
    hint: str | None = None

    def __post_init__(self) -> None:
        """Make the text safe."""
        self.what = line(self.what)
        self.facts = tuple((line(label), line(value)) for label, value in self.facts)
        self.hint = None if self.hint is None else prose(self.hint)
        self.args = (self.code, self.what)

    @property
    def exit_status(self) -> ExitStatus:
        """The exit status that the table of codes gives this error."""
        from grokpack.core.error_codes import (
            CODES,  # the table is prose-heavy; only failures pay for it
        )

        return CODES[self.code].exit_status

    def __reduce__(self) -> tuple[type[GrokpackError], tuple[object, ...]]:
        """Whole, to another process: an exception's own way knows only what was positional."""
        return type(self), (self.code, self.what, self.where, self.facts, self.hint)

    def __str__(self) -> str:
        """Render on one line: code, sentence, place."""
        place = f" ({self.where})" if self.where else ""
        return f"[{self.code}] {self.what}{place}"

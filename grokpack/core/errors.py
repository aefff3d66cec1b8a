"""The library's error type: a code, what is wrong, where, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from grokpack.core.escaping import line, prose
from grokpack.core.redaction import redact

if TYPE_CHECKING:
    from grokpack.core.exit_status import ExitStatus


@dataclass(frozen=True, slots=True)
class Place:
    """Location in a file: its path, and the byte where the trouble begins, if that is known."""

    path: str
    byte: int | None = None
    tensor: str | None = None

    def __post_init__(self) -> None:
        """Redact the secrets that a URL may hold."""
        object.__setattr__(self, "path", redact(self.path))

    def __str__(self) -> str:
        """Render as `path, byte N   tensor`, the form that every message uses, on one line."""
        path = line(self.path)
        text = path if self.byte is None else f"{path}, byte {self.byte:,}"
        return text if self.tensor is None else f"{text}   {line(self.tensor)}"


@dataclass(slots=True)
class GrokpackError(Exception):
    """Error that the user can act on.

    Its text is safe to print: names from outside are escaped to one line, and secrets are redacted.

    Attributes:
        code: One of `grokpack.core.error_codes.CODES`, for example `GP204`; it sets the exit
            status.
        what: One sentence without a full stop.
        where: The file (and byte) that the error is about.
        facts: Pairs of label and value that explain it: found, expected, needed.
        hint: What to do next, in one or more lines.
    """

    code: str
    what: str
    where: Place | None = None
    facts: tuple[tuple[str, str], ...] = field(default=())
    hint: str | None = None

    def __post_init__(self) -> None:
        """Escape and redact the text."""
        self.what = line(self.what)
        self.facts = tuple((line(label), line(value)) for label, value in self.facts)
        self.hint = None if self.hint is None else prose(self.hint)
        self.args = (self.code, self.what)

    @property
    def exit_status(self) -> ExitStatus:
        """Exit status that the table of codes gives this error."""
        from grokpack.core.error_codes import (
            CODES,  # long texts, which only failures load
        )

        return CODES[self.code].exit_status

    def __reduce__(self) -> tuple[type[GrokpackError], tuple[object, ...]]:
        """Pickle every field: the default of exceptions keeps only the positional ones."""
        return type(self), (self.code, self.what, self.where, self.facts, self.hint)

    def __str__(self) -> str:
        """Render on one line: code, sentence, location."""
        place = f" ({self.where})" if self.where else ""
        return f"[{self.code}] {self.what}{place}"

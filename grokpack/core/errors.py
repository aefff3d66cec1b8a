"""Errors: a code, what is wrong, where, and what to do about it; a class for each that is caught.

Handlers tell errors apart by their classes. Codes are printed, and never change.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, TypeVar

from grokpack.core.escaping import escape_line, escape_prose
from grokpack.core.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from grokpack.core.exit_status import ExitStatus

E = TypeVar("E", bound="GrokpackError")
Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Location in a file: its path, and the byte where the error begins, if that is known."""

    path: str
    byte: int | None = None
    tensor: str | None = None

    def __post_init__(self) -> None:
        """Redact the secrets that a URL may hold."""
        object.__setattr__(self, "path", redact(self.path))

    def __str__(self) -> str:
        """Render as `path, byte N   tensor`, the form that every message uses, on one line."""
        path = escape_line(self.path)
        text = path if self.byte is None else f"{path}, byte {self.byte:,}"
        return text if self.tensor is None else f"{text}   {escape_line(self.tensor)}"


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
        self.what = escape_line(self.what)
        self.facts = tuple((escape_line(label), escape_line(value)) for label, value in self.facts)
        self.hint = None if self.hint is None else escape_prose(self.hint)
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
        """Render on a line: code, sentence, location; facts and what to do in lines below."""
        place = f" ({self.where})" if self.where else ""
        lines = [f"[{self.code}] {self.what}{place}"]
        lines += [f"  {label}: {value}" for label, value in self.facts]
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


def revised(
    error: E,
    *,
    what: str | None = None,
    where: Place | None = None,
    facts: Facts | None = None,
    hint: str | None = None,
) -> E:
    """Return a copy of an error, with the fields replaced that are not None."""
    new = copy.copy(error)
    new.what = error.what if what is None else what
    new.where = error.where if where is None else where
    new.facts = error.facts if facts is None else facts
    new.hint = error.hint if hint is None else hint
    new.__post_init__()
    return new


class CaughtError(GrokpackError):
    """An error that some handler knows: its class gives the code.

    Attributes:
        CODE: The code of all errors of this class; subclasses may have others.
    """

    CODE: ClassVar[str]

    def __init__(
        self, what: str, where: Place | None = None, facts: Facts = (), hint: str | None = None
    ) -> None:
        super().__init__(self.CODE, what, where, facts, hint)

    def __reduce__(self) -> tuple[type[CaughtError], tuple[object, ...]]:
        """Rebuild the whole error in another process."""
        return type(self), (self.what, self.where, self.facts, self.hint)


class NothingThere(CaughtError):
    """Nothing lies at the path of a checkpoint."""

    CODE = "GP201"


class UnsafePickle(CaughtError):
    """A pickle that names more than arrays."""

    CODE = "GP204"


class PickleBeyondLimits(UnsafePickle):
    """A pickle with more opcodes, nesting or text than any tensor's has."""

    CODE = "GP205"


class UnsupportedLayout(CaughtError):
    """A sound array in a form that is not read."""

    CODE = "GP208"


class OldPickle(UnsupportedLayout):
    """A pickle of a protocol that keeps the payload as text."""

    CODE = "GP206"


class JaxPickle(UnsupportedLayout):
    """A pickle of arrays of jax."""

    CODE = "GP207"


class MalformedInput(CaughtError):
    """A header or document that breaks off, contradicts itself or is of another grammar."""

    CODE = "GP209"


class TrailingBytes(MalformedInput):
    """A file that goes on after what it holds has ended."""


class UnfinishedOutput(CaughtError):
    """A folder that a run has begun and not completed."""

    CODE = "GP212"


class SourceUnreadable(CaughtError):
    """A file that cannot be opened or read."""

    CODE = "GP214"


class SourceChanged(SourceUnreadable):
    """A file that is no longer the one that was opened."""

    CODE = "GP213"


class ServerFailed(CaughtError):
    """A server that cannot be reached, breaks off or is busy, however often it is asked."""

    CODE = "GP221"


class AccessRefused(CaughtError):
    """A server that requires credentials."""

    CODE = "GP222"


class WrongResponse(CaughtError):
    """A server whose response does not match the request."""

    CODE = "GP223"


class ChunkUnreadable(CaughtError):
    """A chunk of an array that is missing or damaged; others may be sound."""

    CODE = "GP225"


class FrameDamaged(CaughtError):
    """A frame of a compressed file that is damaged; others may be sound."""

    CODE = "GP227"


class OtherFormat(CaughtError):
    """A file of another format than its name promises."""

    CODE = "GP233"


class InputTooLarge(CaughtError):
    """A file or an answer beyond what any checkpoint has."""

    CODE = "GP235"


class UnusableValue(CaughtError):
    """A value that an option or a variable does not take."""

    CODE = "GP346"

    @classmethod
    def choice(
        cls,
        option: str,
        given: object,
        choices: Iterable[object],
        variable: str | None = None,
    ) -> UnusableValue:
        """Make the error for a value that is none of the choices of an option.

        Args:
            option: The option, as `--to`.
            given: The value that was given.
            choices: Those that it takes.
            variable: Variable of the environment that gave the value, if one did.
        """
        from difflib import get_close_matches  # which only failures load

        words = [str(choice) for choice in choices]
        near = get_close_matches(str(given).lower(), words, 1)
        hint = f"did you mean `{option} {near[0]}`?" if near else None
        what = f"{option} does not take `{given}`" + (f" of {variable}" if variable else "")
        return cls(what, None, (("option", option), ("takes", ", ".join(words))), hint)

    @classmethod
    def below(cls, option: str, given: object, least: str) -> UnusableValue:
        """Make the error for a number that is less than an option takes."""
        facts = (("option", option), ("takes", f"{least} or more"))
        return cls(f"{option} does not take `{given}`", None, facts)


class WrongUsage(CaughtError):
    """A command line that no command understands."""

    CODE = "GP347"


class TooLittleMemory(CaughtError):
    """A plan that needs more memory than it may have."""

    CODE = "GP312"


class LockHeld(CaughtError):
    """An output that another process works on."""

    CODE = "GP322"


class WriteFailed(CaughtError):
    """A file that cannot be created or written."""

    CODE = "GP324"


class Interrupted(CaughtError):
    """Work that ends early on request."""

    CODE = "GP403"


class DeadlineReached(CaughtError):
    """A run that ends because its time is over."""

    CODE = "GP404"


NO_FAULT_OF_FILES = (
    SourceChanged,
    ServerFailed,
    AccessRefused,
    WrongResponse,
    InputTooLarge,
    Interrupted,
)
"""Errors that tell of no damage to a file: they end a survey, others are findings."""

UNSAFE_PICKLES: Mapping[str, type[UnsafePickle]] = {
    kind.CODE: kind for kind in (UnsafePickle, PickleBeyondLimits)
}
"""Errors of hostile pickles, by the code that a finding of theirs has."""

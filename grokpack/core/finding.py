"""Findings: what is wrong with a checkpoint, each with its code and location."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from grokpack.core.escaping import escape_line

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Hashable, Iterable

    from grokpack.core.documents.answer_json import FindingJson

T = TypeVar("T")

_MANY = 4  # findings of one kind from which on they are reported as one


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found.

    Attributes:
        code: Its kind, GP1xx (or GP2xx for a file that cannot be read).
        message: One sentence.
        file: Path below the checkpoint's folder.
        tensor: Parameter name, if one is concerned.
        expected: The value that should be there, in words.
        found: The value that is there.
        severity: An `error` makes the answer no; a `warning` does not.
    """

    code: str
    message: str
    file: str | None = None
    tensor: str | None = None
    expected: str | None = None
    found: str | None = None
    severity: Literal["error", "warning"] = "error"

    def __post_init__(self) -> None:
        """Escape the sentences; `file` and `tensor` stay the exact names."""
        for name in ("message", "expected", "found"):
            text = getattr(self, name)
            object.__setattr__(self, name, None if text is None else escape_line(text))

    def row(self) -> FindingJson:
        """Return the finding as JSON values."""
        return {
            "code": self.code,
            "message": self.message,
            "file": self.file,
            "tensor": self.tensor,
            "expected": self.expected,
            "found": self.found,
            "severity": self.severity,
        }


def alike(found: Iterable[T], kind: Callable[[T], Hashable]) -> list[list[T]]:
    """Put findings of one kind together where there are many; a few stay on their own."""
    kinds: dict[Hashable, list[T]] = {}
    for one in found:
        kinds.setdefault(kind(one), []).append(one)
    return [
        group
        for same in kinds.values()
        for group in ([same] if len(same) >= _MANY else [[one] for one in same])
    ]


def of_kinds(findings: Iterable[Finding], *codes: str) -> list[Finding]:
    """Return the findings with one of these codes, in order."""
    return [finding for finding in findings if finding.code in codes]


def only_errors(findings: Iterable[Finding], besides: Container[str] = ()) -> list[Finding]:
    """Return the findings that are errors, in order, without the codes in `besides`."""
    return [f for f in findings if f.severity == "error" and f.code not in besides]

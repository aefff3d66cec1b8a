"""Row of the table of readers, which each reader declares beside its code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from grokpack.checkpoint.checkpoint import Survey


class _Survey(Protocol):
    def __call__(self, folder: str, head_dim: int | None = None, /) -> Survey: ...


@dataclass(frozen=True, slots=True)
class Reader:
    """Row of a format that grokpack reads.

    Attributes:
        name: The format, as `inspect` and every answer name it.
        title: By what people know its files.
        is_store: Tells whether a folder, or a file, is of this format.
        survey: Reads every header of it, given the head size where no config has that.
        dense: Whether its arrays lie in its files byte for byte, so that a view can point at them.
        by_tensor: Whether these arrays are the model's own, under its own names.
    """

    name: str
    title: str
    is_store: Callable[[str], bool]
    survey: _Survey
    dense: bool = False
    by_tensor: bool = False
